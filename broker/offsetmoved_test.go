package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// TestOffsetMovedEvent asks for wrong offsets. The repeated pull lies between two
// that have events, so that an event of its own would lie between theirs.
func TestOffsetMovedEvent(t *testing.T) {
	t.Parallel()
	_, cl := one(t, nil)
	cl.createTopic("orders", 2, 6)
	cl.send("orders", 1, "x")
	moved := func(queue int32, offset, next int64) {
		h := pullHeader("orders", queue, offset)
		h.ConsumerGroup = []byte("g1")
		p := cl.pull(h)
		require.Equal(t, protocol.StatusPullOffsetMoved, p.code, p.remark)
		require.Equal(t, next, p.header.NextBeginOffset)
	}
	moved(1, 9, 1)
	moved(1, 7, 1)
	moved(0, 5, 0)
	var events pulled
	require.Eventually(t, func() bool {
		events = cl.pull(pullHeader(message.TopicOffsetMoved, 0, 0))
		return len(events.msgs) > 1
	}, waitFor, tick)
	const broker = "broker-a"
	for i, want := range []protocol.OffsetMovedEvent{
		{ConsumerGroup: "g1", Queue: protocol.MessageQueue{Topic: "orders", BrokerName: broker, QueueID: 1}, OffsetRequest: 9, OffsetNew: 1},
		{ConsumerGroup: "g1", Queue: protocol.MessageQueue{Topic: "orders", BrokerName: broker, QueueID: 0}, OffsetRequest: 5, OffsetNew: 0},
	} {
		m := events.msgs[i]
		var got protocol.OffsetMovedEvent
		require.NoError(t, got.Decode(m.Body()))
		require.Equal(t, want, got)
		for _, key := range []string{message.PropertyKeys, message.PropertyTags} {
			value, _ := message.Property(m.Properties(), key)
			require.Equal(t, "g1", string(value), key)
		}
	}
	require.Len(t, events.msgs, 2)
}
