package transaction

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
)

var (
	bornHost = netip.MustParseAddrPort("10.0.0.9:5000")
	oldHost  = netip.MustParseAddrPort("10.0.0.1:10911")
	newHost  = netip.MustParseAddrPort("10.0.0.2:10911")
)

func stored(t require.TestingT, m message.Message) message.Stored {
	b, err := m.AppendStored(nil)
	require.NoError(t, err)
	return b
}

// half is a half message as it lies in the log.
func half(t require.TestingT, body string, props ...string) message.Stored {
	m := message.Message{
		Topic: "T", QueueID: 3, Flag: 7, SysFlag: message.SysFlagTransactionPrepared | message.SysFlagCompressed,
		BornTimestamp: 5, BornHost: bornHost, StoreHost: oldHost, Body: []byte(body),
	}
	p := message.AppendProperty(nil, message.PropertyTransactionPrepared, "true")
	p = message.AppendProperty(p, message.PropertyUniqKey, "U1")
	for i := 0; i < len(props); i += 2 {
		p = message.AppendProperty(p, props[i], props[i+1])
	}
	Prepare(&m, p, []byte("pg"))
	return stored(t, m)
}

func TestHalfIsLikeAnyMessage(t *testing.T) {
	h := half(t, "body")
	require.Equal(t, message.TopicTransHalf, string(h.Topic()))
	require.Zero(t, h.QueueID())
	require.EqualValues(t, message.SysFlagCompressed, h.SysFlag(), "transaction bits are cleared, others kept")
	require.Equal(t, "TRAN_MSG\x01true\x02UNIQ_KEY\x01U1\x02REAL_TOPIC\x01T\x02REAL_QID\x013\x02PGROUP\x01pg", string(h.Properties()))
	named := half(t, "body", message.PropertyProducerGroup, "own", message.PropertyRealTopic, "forged")
	group, _ := named.Property(message.PropertyProducerGroup)
	require.Equal(t, "own", string(group))
	topic, _ := named.Property(message.PropertyRealTopic)
	require.Equal(t, "T", string(topic))
}

func TestFinalGoesBack(t *testing.T) {
	h := half(t, "body")
	m, err := Final(h, 777, newHost)
	require.NoError(t, err)
	want := message.Message{
		Topic: "T", QueueID: 3, Flag: 7, SysFlag: message.SysFlagTransactionCommit | message.SysFlagCompressed, BornTimestamp: 5,
		BornHost: bornHost, StoreHost: newHost, PreparedTransactionOffset: 777, Body: []byte("body"), Properties: h.Properties(),
	}
	require.Equal(t, want, m, "properties as 4.9.4 leaves them")
}

func TestCheckBodyIsOneRecord(t *testing.T) {
	h := half(t, "body")
	message.PatchOffsets(h, 12, 3456)
	b, err := CheckBody(h, 4)
	require.NoError(t, err)
	m, err := message.ParseStored(b)
	require.NoError(t, err)
	require.Len(t, b, len(m))
	require.Equal(t, "T", string(m.Topic()))
	require.EqualValues(t, 3, m.QueueID())
	require.EqualValues(t, 12, m.QueueOffset())
	require.EqualValues(t, 3456, m.PhyOffset())
	times, _ := m.Property(message.PropertyTransactionCheckTimes)
	require.Equal(t, "4", string(times))
}

func TestGivenUpAndResumed(t *testing.T) {
	h := half(t, "body")
	aside := GivenUp(h, 42, 15, newHost)
	require.Equal(t, message.TopicTransCheckMaxTime, aside.Topic)
	back, offset, err := Resumed(stored(t, aside), newHost)
	require.NoError(t, err)
	require.EqualValues(t, 42, offset)
	again, err := Final(stored(t, back), 1, newHost)
	require.NoError(t, err)
	require.Equal(t, "T", again.Topic)
	require.EqualValues(t, 3, again.QueueID)
	times, _ := message.Property(back.Properties, message.PropertyTransactionCheckTimes)
	require.Equal(t, "0", string(times))
	_, _, err = Resumed(h, newHost)
	require.ErrorIs(t, err, ErrHalf)
}

// What is no half message is refused, whatever its properties say.
func TestOnlyHalvesAreRestored(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := message.Message{Topic: rapid.SampledFrom([]string{message.TopicTransHalf, "T"}).Draw(rt, "topic"), BornHost: bornHost, StoreHost: oldHost}
		for _, key := range []string{message.PropertyRealTopic, message.PropertyRealQueueID} {
			if v := rapid.SampledFrom([]string{"", "T", "a b", "3", "-1", "99999999999"}).Draw(rt, key); v != "" {
				m.Properties = message.AppendProperty(m.Properties, key, v)
			}
		}
		got, err := Final(stored(rt, m), 1, newHost)
		if err != nil {
			require.ErrorIs(rt, err, ErrHalf)
			return
		}
		require.Equal(rt, message.TopicTransHalf, m.Topic)
		require.NoError(rt, message.ValidTopic(got.Topic))
		require.EqualValues(rt, 3, got.QueueID)
	})
}
