package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
)

// A dead letter goes back to its topic, without what its retries added: a DELAY
// that was kept would hold it back, and the count of its deliveries would make it
// a dead letter again.
func TestCopyOfDeadLetter(t *testing.T) {
	stored := func(topic string, props ...string) message.Stored {
		at := netip.MustParseAddrPort("10.0.0.1:10911")
		m := message.Message{Topic: topic, Body: []byte("hello"), BornHost: at, StoreHost: at, ReconsumeTimes: 16}
		for i := 0; i < len(props); i += 2 {
			m.Properties = message.AppendProperty(m.Properties, props[i], props[i+1])
		}
		b, err := m.AppendStored(nil)
		require.NoError(t, err)
		s, err := message.ParseStored(b)
		require.NoError(t, err)
		return s
	}
	retried := []string{"UNIQ_KEY", "U1", "RETRY_TOPIC", "orders", "DELAY", "18", "RECONSUME_TIME", "16", "MAX_RECONSUME_TIMES", "16",
		"ORIGIN_MESSAGE_ID", "O1", "CLUSTER", "c", "colour", "red"}
	msg, err := copyOf(stored("%DLQ%g", retried...))
	require.NoError(t, err)
	require.Equal(t, "orders", msg.Topic)
	require.Equal(t, "hello", string(msg.Body))
	want := message.AppendProperty(message.AppendProperty(nil, "UNIQ_KEY", "U1"), "colour", "red")
	require.Equal(t, string(want), string(msg.Properties))

	msg, err = copyOf(stored("orders", "DELAY", "3", "CLUSTER", "c"))
	require.NoError(t, err)
	require.Equal(t, "orders", msg.Topic)
	require.Equal(t, string(message.AppendProperty(nil, "DELAY", "3")), string(msg.Properties), "a producer's own")

	_, err = copyOf(stored("%DLQ%g"))
	require.ErrorContains(t, err, "does not say which topic it came from (property RETRY_TOPIC)")
}
