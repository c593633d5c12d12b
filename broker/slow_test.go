package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Of three groups that stand at the first message, with much of the log behind it, the one that is connected is switched
// off. One that has caught up stays on although its topic's last message is old.
func TestGroupsThatFallBehindAreSwitchedOff(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, map[string]string{"consumerFallbehindThreshold": "10000"})
	c.createTopic("busy", 1, 6)
	c.createTopic("idle", 1, 6)
	c.send("idle", 0, "old")
	for range 20 {
		c.send("busy", 0, string(make([]byte, 1000)))
	}
	commit := func(group, topic string, offset string) {
		resp := c.call(fields(protocol.CodeUpdateConsumerOffset, "consumerGroup", group, "topic", topic, "queueId", "0", "commitOffset", offset))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	}
	for group, topic := range map[string]string{"behind": "busy", "reader": "busy", "done": "idle", "new": "busy"} {
		c.heartbeat("me", group, "*", topic)
	}
	commit("behind", "busy", "0")
	commit("away", "busy", "0")
	commit("reader", "busy", "15")
	commit("done", "idle", "1")
	enabled := func(group string) bool {
		var cfg protocol.SubscriptionGroupConfig
		require.NoError(t, cfg.Decode(c.call(fields(protocol.CodeGetSubGroupConfig, "group", group)).Body))
		return cfg.ConsumeEnable
	}
	b := cluster.Nodes[0].Broker
	b.DisableSlow(t.Context())
	require.True(t, enabled("behind"), "off by default")

	resp := c.call(protocol.NewRequest(protocol.CodeUpdateBrokerConfig).SetBody([]byte("disableConsumeIfConsumerReadSlowly=true\n")))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	b.DisableSlow(t.Context())
	require.False(t, enabled("behind"))
	for _, group := range []string{"reader", "done", "new"} {
		require.True(t, enabled(group), group)
	}
	h := pullHeader("busy", 0, 0)
	h.ConsumerGroup = []byte("behind")
	require.Equal(t, protocol.StatusNoPermission, c.pull(h).code)
}

// traceTopicEnable makes the topic that msgTraceTopicName names, and only that one.
func TestTraceTopicHasItsConfiguredName(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"traceTopicEnable": "true", "msgTraceTopicName": "traces"})
	require.Eventually(t, func() bool {
		return c.call(fields(protocol.CodeGetTopicConfig, "topic", "traces")).Code == protocol.StatusSuccess
	}, waitFor, tick)
	require.Equal(t, protocol.StatusTopicNotExist, c.call(fields(protocol.CodeGetTopicConfig, "topic", message.TopicTrace)).Code)
}

// A new group begins at the first message while that is near the end of the log; far behind it, where the client says.
func TestNewGroupOnAnOldQueue(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	cluster.Nodes[0].Broker.SetMemory(100_000)
	c.createTopic("orders", 1, 6)
	c.createTopic("empty", 1, 6)
	ask := func(topic string) int32 {
		return c.call(fields(protocol.CodeQueryConsumerOffset, "consumerGroup", "fresh", "topic", topic, "queueId", "0")).Code
	}
	c.send("orders", 0, "first")
	require.Equal(t, protocol.StatusSuccess, ask("orders"))
	for range 60 {
		c.send("orders", 0, string(make([]byte, 1000)))
	}
	require.Equal(t, protocol.StatusQueryNotFound, ask("orders"), "more than 40 percent of the memory lie behind its first message")
	require.Equal(t, protocol.StatusSuccess, ask("empty"))
}
