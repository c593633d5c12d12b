package delay

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
)

var (
	client = netip.MustParseAddrPort("10.0.0.9:5000")
	broker = netip.MustParseAddrPort("10.0.0.1:10911")
)

// delayed returns the stored form of a delayed message for a topic.
func delayed(tb testing.TB, topic, queue, body string) message.Stored {
	tb.Helper()
	var props []byte
	for _, kv := range [][2]string{
		{message.PropertyKeys, "k"}, {message.PropertyRealTopic, topic}, {message.PropertyDelayTimeLevel, "3"},
		{message.PropertyRealQueueID, queue}, {message.PropertyTags, "TagA"},
	} {
		if kv[1] != "" {
			props = message.AppendProperty(props, kv[0], kv[1])
		}
	}
	m := message.Message{
		Topic: message.TopicSchedule, QueueID: 2, Flag: 9, SysFlag: message.SysFlagCompressed, ReconsumeTimes: 4,
		BornTimestamp: 111, StoreTimestamp: 222, BornHost: client, StoreHost: broker, Body: []byte(body), Properties: props,
	}
	b, err := m.AppendStored(nil)
	require.NoError(tb, err)
	return b
}

func TestAppendDelivery(t *testing.T) {
	out, err := AppendDelivery([]byte("before"), delayed(t, "T1", "7", "hello"), netip.AddrPort{})
	require.NoError(t, err)
	require.Equal(t, "before", string(out[:6]))
	s, err := message.ParseStored(out[6:])
	require.NoError(t, err)
	require.Equal(t, "T1", string(s.Topic()))
	require.Equal(t, int32(7), s.QueueID())
	require.Equal(t, "hello", string(s.Body()))
	require.Equal(t, int32(9), s.Flag())
	require.Equal(t, int32(message.SysFlagCompressed), s.SysFlag())
	require.Equal(t, int32(4), s.ReconsumeTimes())
	require.Equal(t, int64(111), s.BornTimestamp())
	require.Zero(t, s.StoreTimestamp(), "for the collector to stamp")
	require.Equal(t, client, s.BornHost())
	require.Equal(t, broker, s.StoreHost())
	_, ok := s.Property(message.PropertyDelayTimeLevel)
	require.False(t, ok, "it would be delayed for ever")
	for key, want := range map[string]string{
		message.PropertyKeys: "k", message.PropertyTags: "TagA", message.PropertyRealTopic: "T1", message.PropertyRealQueueID: "7",
	} {
		v, ok := s.Property(key)
		require.True(t, ok, key)
		require.Equal(t, want, string(v))
	}

	v6 := netip.MustParseAddrPort("[fd00::1]:10911")
	out, err = AppendDelivery(nil, delayed(t, "T1", "0", ""), v6)
	require.NoError(t, err)
	s, err = message.ParseStored(out)
	require.NoError(t, err)
	require.Equal(t, v6, s.StoreHost())
	require.Equal(t, client, s.BornHost())
}

func TestAppendDeliveryRefuses(t *testing.T) {
	for name, rec := range map[string]message.Stored{
		"no topic":           delayed(t, "", "1", ""),
		"an illegal topic":   delayed(t, "a b", "1", ""),
		"the half topic":     delayed(t, message.TopicTransHalf, "1", ""),
		"the schedule topic": delayed(t, message.TopicSchedule, "1", ""),
		"no queue":           delayed(t, "T", "", ""),
		"a negative queue":   delayed(t, "T", "-1", ""),
		"a text for a queue": delayed(t, "T", "x", ""),
		"a large queue":      delayed(t, "T", "2147483648", ""),
	} {
		out, err := AppendDelivery([]byte("x"), rec, broker)
		require.ErrorIs(t, err, ErrUndeliverable, name)
		require.Equal(t, "x", string(out), name)
	}
}

func FuzzAppendDelivery(f *testing.F) {
	f.Add([]byte(delayed(f, "T1", "7", "hello")))
	f.Add([]byte(delayed(f, "", "", "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := message.ViewStored(b)
		if err != nil {
			return
		}
		out, err := AppendDelivery(nil, rec, broker)
		if err != nil {
			require.Empty(t, out)
			return
		}
		s, err := message.ParseStored(out)
		require.NoError(t, err)
		require.Equal(t, rec.Body(), s.Body())
	})
}

func BenchmarkAppendDelivery(b *testing.B) {
	rec := delayed(b, "T1", "7", string(make([]byte, 128)))
	var bt batch
	b.SetBytes(int64(len(rec)))
	b.ReportAllocs()
	for b.Loop() {
		if bt.full(len(rec)) {
			bt.reset(0)
		}
		if err := bt.add(&Entry{Record: rec}, broker, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}
