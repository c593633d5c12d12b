package broker_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

const (
	waitFor = 20 * time.Second
	tick    = 5 * time.Millisecond
)

func TestPullOutcomes(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 3, 6)
	for range 3 {
		c.send("orders", 0, "x", "TAGS", "a")
	}
	for name, test := range map[string]struct {
		queue        int32
		offset       int64
		subscription string
		code         int32
		remark       string
		next, max    int64
		messages     int
	}{
		"found":                  {0, 1, "*", protocol.StatusSuccess, "FOUND", 3, 3, 2},
		"found by tag":           {0, 0, "b || a", protocol.StatusSuccess, "FOUND", 3, 3, 3},
		"no match":               {0, 0, "b", protocol.StatusPullRetryImmediately, "NO_MATCHED_MESSAGE", 3, 3, 0},
		"at the end":             {0, 3, "*", protocol.StatusPullNotFound, "OFFSET_OVERFLOW_ONE", 3, 3, 0},
		"beyond the end":         {0, 9, "*", protocol.StatusPullOffsetMoved, "OFFSET_OVERFLOW_BADLY", 3, 3, 0},
		"before the begin":       {0, -1, "*", protocol.StatusPullOffsetMoved, "OFFSET_TOO_SMALL", 0, 3, 0},
		"empty queue":            {1, 0, "*", protocol.StatusPullNotFound, "NO_MESSAGE_IN_QUEUE", 0, 0, 0},
		"empty queue, no start":  {1, 5, "*", protocol.StatusPullOffsetMoved, "NO_MESSAGE_IN_QUEUE", 0, 0, 0},
		"tags with blanks":       {0, 0, " a ", protocol.StatusSuccess, "FOUND", 3, 3, 3},
		"empty text is all":      {0, 0, "", protocol.StatusSuccess, "FOUND", 3, 3, 3},
		"untagged is not tagged": {0, 0, "c", protocol.StatusPullRetryImmediately, "NO_MATCHED_MESSAGE", 3, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := pullHeader("orders", test.queue, test.offset)
			h.Subscription = []byte(test.subscription)
			p := c.pull(h)
			require.Equal(t, test.code, p.code, p.remark)
			require.Equal(t, test.remark, p.remark)
			require.Equal(t, protocol.PullResponseHeader{NextBeginOffset: test.next, MaxOffset: test.max}, p.header)
			require.Len(t, p.msgs, test.messages)
		})
	}
	t.Run("the alias of 5.x", func(t *testing.T) {
		h := pullHeader("orders", 0, 0)
		p := c.decodePull(c.call(protocol.NewRequest(protocol.CodeLitePullMessage).SetHeader(&h)))
		require.Len(t, p.msgs, 3)
	})
}

func TestPullRefusals(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"autoCreateSubscriptionGroup": "false"})
	c.createTopic("orders", 2, 6)
	c.createTopic("closed", 2, 2)
	group := func(cfg protocol.SubscriptionGroupConfig) {
		resp := c.call(protocol.NewRequest(protocol.CodeUpdateAndCreateSubGroup).SetBody(protocol.Encode(&cfg)))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	}
	group(*protocol.NewSubscriptionGroupConfig("g1"))
	off := protocol.NewSubscriptionGroupConfig("off")
	off.ConsumeEnable = false
	group(*off)
	c.heartbeat("me", "g1", "*", "orders")
	for name, test := range map[string]struct {
		change func(*protocol.PullHeader)
		code   int32
		remark string
	}{
		"unknown group":    {func(h *protocol.PullHeader) { h.ConsumerGroup = []byte("nobody") }, protocol.StatusSubscriptionGroupMissing, "nobody"},
		"group disabled":   {func(h *protocol.PullHeader) { h.ConsumerGroup = []byte("off") }, protocol.StatusNoPermission, "off"},
		"unknown topic":    {func(h *protocol.PullHeader) { h.Topic = []byte("nope") }, protocol.StatusTopicNotExist, "topic[nope] not exist"},
		"topic write only": {func(h *protocol.PullHeader) { h.Topic = []byte("closed") }, protocol.StatusNoPermission, "closed"},
		"queue too high":   {func(h *protocol.PullHeader) { h.QueueID = 77 }, protocol.StatusSystemError, "queueId[77] is illegal, topic:[orders] topicConfig.readQueueNums:[2]"},
		"not a member":     {func(h *protocol.PullHeader) { h.ConsumerGroup, h.SysFlag = []byte("TOOLS_CONSUMER"), 0 }, protocol.StatusSubscriptionNotExist, "group info not exist"},
		"not subscribed":   {func(h *protocol.PullHeader) { h.Topic, h.SysFlag = []byte("TBW102"), 0 }, protocol.StatusSubscriptionNotExist, "subscription not exist"},
		"version ahead":    {func(h *protocol.PullHeader) { h.SysFlag, h.SubVersion = 0, 6 }, protocol.StatusSubscriptionNotLatest, "not latest"},
		"sql":              {func(h *protocol.PullHeader) { h.ExpressionType = []byte("SQL92") }, protocol.StatusSystemError, "SQL92"},
	} {
		t.Run(name, func(t *testing.T) {
			h := pullHeader("orders", 0, 0)
			h.ConsumerGroup = []byte("g1")
			test.change(&h)
			p := c.pull(h)
			require.Equal(t, test.code, p.code, p.remark)
			require.Contains(t, p.remark, test.remark)
		})
	}
	h := pullHeader("orders", 0, 0)
	h.ConsumerGroup, h.SysFlag, h.SubVersion = []byte("g1"), 0, 5
	require.Equal(t, protocol.StatusPullNotFound, c.pull(h).code, "the registered subscription is used")
}

func suspended(topic string, queue int32, offset int64, d time.Duration) protocol.PullHeader {
	h := pullHeader(topic, queue, offset)
	h.SysFlag |= protocol.PullSuspend
	h.SuspendTimeoutMillis = d.Milliseconds()
	return h
}

func TestHeldPullWakesOnMatchingMessage(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	h := suspended("orders", 0, 0, 15*time.Second)
	h.Subscription = []byte("b")
	start := time.Now()
	answer := c.pullAsync(h)
	require.Eventually(t, func() bool { return c.runtime()["heldPulls"] == "1" }, waitFor, tick)
	c.send("orders", 0, "no", "TAGS", "a")
	select {
	case p := <-answer:
		require.Fail(t, "a message with another tag woke the pull", "%+v", p)
	case <-time.After(50 * time.Millisecond): // long enough for a wrong wake-up to show
	}
	c.send("orders", 0, "yes", "TAGS", "b")
	p := <-answer
	require.Equal(t, protocol.StatusSuccess, p.code, p.remark)
	require.Len(t, p.msgs, 1)
	require.Equal(t, "yes", string(p.msgs[0].Body()))
	require.EqualValues(t, 2, p.header.NextBeginOffset)
	require.Less(t, time.Since(start), 14*time.Second)
}

func TestHeldPullExpires(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	start := time.Now()
	p := c.pull(suspended("orders", 0, 0, 300*time.Millisecond))
	require.Equal(t, protocol.StatusPullNotFound, p.code)
	require.GreaterOrEqual(t, time.Since(start), 300*time.Millisecond)

	h := suspended("orders", 0, 0, 300*time.Millisecond)
	h.Subscription = []byte("b")
	answer := c.pullAsync(h)
	require.Eventually(t, func() bool { return c.runtime()["heldPulls"] == "1" }, waitFor, tick)
	c.send("orders", 0, "no", "TAGS", "a")
	p = <-answer
	require.Equal(t, protocol.StatusPullRetryImmediately, p.code, "expired with messages for others: go on behind them")
	require.EqualValues(t, 1, p.header.NextBeginOffset)
}

func TestHeldPullsAreBoundedAndGoWithTheirConnection(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, map[string]string{"heldPullsMax": "1"})
	c.createTopic("orders", 2, 6)
	other := newClient(t, cluster.Nodes[0].Addr)
	_ = other.pullAsync(suspended("orders", 0, 0, 15*time.Second))
	require.Eventually(t, func() bool { return c.runtime()["heldPulls"] == "1" }, waitFor, tick)
	require.Equal(t, protocol.StatusPullNotFound, c.pull(suspended("orders", 1, 0, 15*time.Second)).code)
	require.NoError(t, other.rpc.Close())
	require.Eventually(t, func() bool { return c.runtime()["heldPulls"] == "0" }, waitFor, tick)
}

// runtime asks for the runtime table.
func (c *client) runtime() map[string]string {
	c.t.Helper()
	resp := c.call(protocol.NewRequest(protocol.CodeGetBrokerRuntimeInfo))
	var table protocol.KVTable
	require.NoError(c.t, table.Decode(resp.Body))
	return table.Table
}

func TestPullCommitsOffset(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	c.send("orders", 0, "x")
	h := pullHeader("orders", 0, 1)
	h.SysFlag |= protocol.PullCommitOffset
	h.CommitOffset = 1
	c.pull(h)
	require.EqualValues(t, 1, c.offsetOf(protocol.CodeQueryConsumerOffset, "consumerGroup", "TOOLS_CONSUMER", "topic", "orders", "queueId", "0"))
}

func TestQueueOffsets(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 2, 6)
	for range 3 {
		c.send("orders", 0, "x")
	}
	ask := func(code int32, queue int, kv ...string) int64 {
		return c.offsetOf(code, append([]string{"topic", "orders", "queueId", strconv.Itoa(queue)}, kv...)...)
	}
	require.EqualValues(t, 3, ask(protocol.CodeGetMaxOffset, 0))
	require.EqualValues(t, 0, ask(protocol.CodeGetMinOffset, 0))
	require.EqualValues(t, 0, ask(protocol.CodeGetMaxOffset, 1))
	require.EqualValues(t, 2, ask(protocol.CodeSearchOffsetByTimestamp, 0, "timestamp", "99999999999999"))
	require.EqualValues(t, 0, ask(protocol.CodeSearchOffsetByTimestamp, 0, "timestamp", "1"))
	require.EqualValues(t, 0, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "nope", "queueId", "9"))
	earliest := func(queue string) int64 {
		resp := c.call(fields(protocol.CodeGetEarliestMsgStoreTime, "topic", "orders", "queueId", queue))
		require.Equal(t, protocol.StatusSuccess, resp.Code)
		return resp.Int64("timestamp", 0)
	}
	require.Positive(t, earliest("0"))
	require.EqualValues(t, -1, earliest("1"))
}
