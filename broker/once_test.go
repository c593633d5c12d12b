package broker_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// uniqueSend is a send with a unique id to a queue of "orders".
func uniqueSend(id string, queue int32) *protocol.Command {
	h := sendHeader("orders", queue)
	h.Properties = []byte("UNIQ_KEY\x01" + id)
	return sendRequest(h, "x")
}

func TestRepeatedSendIsStoredOnce(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"deduplicateEnable": "true"})
	c.createTopic("orders", 2, 6)
	c.stored(uniqueSend("u0", 0))
	first := c.stored(uniqueSend("u1", 0))
	require.EqualValues(t, 1, first.QueueOffset)
	require.Equal(t, first, c.stored(uniqueSend("u1", 0)))
	require.Equal(t, first, c.stored(uniqueSend("u1", 1)), "a retry takes another queue, and is told of the first")
	require.EqualValues(t, 2, c.maxOffset("orders", 0))
	require.Zero(t, c.maxOffset("orders", 1))
	m := c.pull(pullHeader("orders", 0, 1)).msgs[0]
	require.Equal(t, string(first.MsgID), message.OffsetMsgID(m.StoreHost(), m.PhyOffset()))

	other := sendHeader("orders", 0)
	other.ProducerGroup, other.Properties = []byte("another"), []byte("UNIQ_KEY\x01u1")
	require.EqualValues(t, 2, c.stored(sendRequest(other, "x")).QueueOffset, "of another group")
	h := sendHeader("orders", 0)
	h.Properties = nil
	require.EqualValues(t, 3, c.stored(sendRequest(h, "x")).QueueOffset)
	require.EqualValues(t, 4, c.stored(sendRequest(h, "x")).QueueOffset, "without an id nothing is repeated")
}

func TestDeduplicationIsOffByDefaultAndPerTopic(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings map[string]string
		want     int64
	}{
		"off":       {nil, 2},
		"listed":    {map[string]string{"deduplicateTopics": "a; orders"}, 1},
		"elsewhere": {map[string]string{"deduplicateTopics": "a;orders2"}, 2},
		"window":    {map[string]string{"deduplicateEnable": "true", "deduplicateWindowMillis": "1"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := one(t, test.settings)
			first := c.stored(uniqueSend("u1", 0))
			if name == "window" {
				// The group's clock goes on with time; wait for it to be seen.
				require.Eventually(t, func() bool { return c.stored(uniqueSend("u1", 0)).QueueOffset > first.QueueOffset }, waitFor, tick)
				return
			}
			c.stored(uniqueSend("u1", 0))
			require.Equal(t, test.want, c.maxOffset("orders", 0))
		})
	}
}

func TestRepeatedBatchIsStoredOnce(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"deduplicateEnable": "true"})
	c.createTopic("orders", 1, 6)
	batch := func(unique ...string) *protocol.Command {
		h := sendHeader("orders", 0)
		h.Batch, h.Properties = true, nil
		var body []byte
		for _, u := range unique {
			props := ""
			if u != "" {
				props = "UNIQ_KEY\x01" + u
			}
			body = batchItem(body, "item", props)
		}
		return protocol.NewRequest(protocol.CodeSendBatchMessage).SetHeader(&h).SetBody(body)
	}
	first := c.stored(batch("b1", "b2", "b3"))
	require.Len(t, strings.Split(string(first.MsgID), ","), 3)
	require.Equal(t, first, c.stored(batch("b1", "b2", "b3")))
	require.EqualValues(t, 3, c.maxOffset("orders", 0))
	require.EqualValues(t, 3, c.stored(batch("b1", "b2")).QueueOffset, "another batch")
	c.stored(batch("", ""))
	c.stored(batch("", ""))
	require.EqualValues(t, 9, c.maxOffset("orders", 0), "batches of the Go client carry no ids")
}

func TestDelayedAndHalfMessagesAreStoredOnce(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"deduplicateEnable": "true"})
	c.createTopic("orders", 2, 6)
	half := c.prepare("orders", 1, "h1")
	require.Equal(t, half, c.prepare("orders", 1, "h1"))
	require.EqualValues(t, 1, c.maxOffset(message.TopicTransHalf, 0))
	require.Equal(t, protocol.StatusSuccess, c.end(endOf(t, half, protocol.TransactionCommit)).Code)
	require.EqualValues(t, 1, c.maxOffset("orders", 1))

	h := sendHeader("orders", 1)
	h.Properties = []byte("UNIQ_KEY\x01d1\x02DELAY\x0118")
	delayed := c.stored(sendRequest(h, "x"))
	require.Equal(t, delayed, c.stored(sendRequest(h, "x")))
	require.EqualValues(t, 1, c.maxOffset(message.TopicSchedule, 17))
}

// A consumer's client sends one message back as often as it is to be retried.
func TestRetriesAreNotDeduplicated(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"deduplicateEnable": "true"})
	c.heartbeat("me", "g1", "*", "orders")
	h := sendHeader("%RETRY%g1", 0)
	h.Properties = []byte("UNIQ_KEY\x01u1")
	for times := range int32(3) {
		h.ReconsumeTimes = times
		c.stored(sendRequest(h, "x"))
	}
	require.EqualValues(t, 3, c.maxOffset("%RETRY%g1", 0))
}

func TestDeduplicationSurvivesTheLeader(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: map[string]string{"deduplicateEnable": "true"}})
	old := cluster.Leader()
	c := newClient(t, old.Addr)
	c.createTopic("orders", 2, 6)
	answers := map[string]protocol.SendResponseHeader{}
	for _, id := range []string{"u1", "u2", "u3"} {
		answers[id] = c.stored(uniqueSend(id, 0))
	}
	old.Stop()
	next := newClient(t, cluster.Leader().Addr)
	again := map[string]protocol.SendResponseHeader{}
	for id := range maps.Keys(answers) {
		again[id] = next.stored(uniqueSend(id, 1))
		require.Equal(t, answers[id], again[id])
	}
	require.EqualValues(t, 3, next.maxOffset("orders", 0))
	require.Zero(t, next.maxOffset("orders", 1))
}
