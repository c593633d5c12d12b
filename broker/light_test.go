package broker_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

const dispatch = message.PropertyInnerMultiDispatch

// light are the settings with which messages may name light queues.
func light(more ...string) map[string]string {
	settings := map[string]string{"enableLmq": "true", "enableMultiDispatch": "true"}
	for i := 0; i < len(more); i += 2 {
		settings[more[i]] = more[i+1]
	}
	return settings
}

// lightly reads a light queue: body, topic, own offset, offsets in light queues.
func (c *client) lightly(name string) []string {
	c.t.Helper()
	p := c.pull(pullHeader(name, 0, 0))
	require.Equal(c.t, protocol.StatusSuccess, p.code, p.remark)
	var got []string
	for _, m := range p.msgs {
		text, _ := m.Property(message.PropertyInnerMultiQueueOffset)
		var offsets []string
		for number := range strings.SplitSeq(string(text), ",") {
			n, err := strconv.Atoi(number)
			require.NoError(c.t, err)
			offsets = append(offsets, strconv.Itoa(n))
		}
		got = append(got, fmt.Sprintf("%s %s %d [%s]", m.Body(), m.Topic(), m.QueueOffset(), strings.Join(offsets, " ")))
	}
	return got
}

// A message is read from its topic and from each light queue it names, by the same
// offsets on all members, and after the leader is gone.
func TestLightQueuesAcrossFailover(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: light()})
	c := newClient(t, cluster.Follower().Addr)
	c.createTopic("orders", 1, 6)
	c.createTopic("parts", 1, 6)
	held := c.pullAsync(suspended("%LMQ%b", 0, 0, 20*time.Second))
	leader := newClient(t, cluster.Leader().Addr)
	require.Eventually(t, func() bool { return leader.runtime()["heldPulls"] == "1" }, waitFor, tick)
	c.send("orders", 0, "1", "TAGS", "x", dispatch, "%LMQ%a,%LMQ%b,%LMQ%a")
	woken := <-held
	require.Len(t, woken.msgs, 1, "a held pull hears of it")
	c.send("parts", 0, "2", dispatch, "%LMQ%b")
	c.send("orders", 0, "3")

	want := map[string][]string{
		"%LMQ%a": {"1 orders 0 [0 0 0]"},
		"%LMQ%b": {"1 orders 0 [0 0 0]", "2 parts 0 [1]"},
		"parts":  {"2 parts 0 [1]"},
	}
	for name, messages := range want {
		require.Equal(t, messages, c.lightly(name), name)
	}
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeUpdateConsumerOffset,
		"consumerGroup", "%LMQ%g", "topic", "%LMQ%b", "queueId", "0", "commitOffset", "1")).Code)

	cluster.Leader().Stop()
	c = newClient(t, cluster.Leader().Addr)
	for name, messages := range want {
		require.Equal(t, messages, c.lightly(name), name)
	}
	require.EqualValues(t, 1, c.offsetOf(protocol.CodeQueryConsumerOffset, "consumerGroup", "%LMQ%g", "topic", "%LMQ%b", "queueId", "0"))
	c.send("orders", 0, "4", dispatch, "%LMQ%b")
	require.Equal(t, append(want["%LMQ%b"], "4 orders 2 [2]"), c.lightly("%LMQ%b"))
}

// Every question about a queue is answered for a light one, which is no topic.
func TestLightQueueIsAskedAsAnyQueue(t *testing.T) {
	t.Parallel()
	_, c := one(t, light())
	c.createTopic("orders", 1, 6)
	sent := c.send("orders", 0, "1", "TAGS", "x", dispatch, "%LMQ%a")
	c.send("orders", 0, "2", "TAGS", "y", dispatch, "%LMQ%a")
	require.EqualValues(t, 2, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "%LMQ%a", "queueId", "0"))
	require.EqualValues(t, 0, c.offsetOf(protocol.CodeGetMinOffset, "topic", "%LMQ%a", "queueId", "0"))
	require.EqualValues(t, 0, c.offsetOf(protocol.CodeSearchOffsetByTimestamp, "topic", "%LMQ%a", "queueId", "0", "timestamp", "0"))
	stored := c.pull(pullHeader("%LMQ%a", 0, 0)).msgs[0].StoreTimestamp()
	require.Equal(t, strconv.FormatInt(stored, 10), c.call(fields(protocol.CodeGetEarliestMsgStoreTime, "topic", "%LMQ%a", "queueId", "0")).Str("timestamp"))
	_, at, err := message.ParseOffsetMsgID(string(sent.MsgID))
	require.NoError(t, err)
	viewed, err := message.ParseStored(c.call(fields(protocol.CodeViewMessageByID, "offset", strconv.FormatInt(int64(at), 10))).Body)
	require.NoError(t, err)
	offset, _ := viewed.Property(message.PropertyInnerMultiQueueOffset)
	require.Equal(t, "00000000000000000000", string(offset))

	h := pullHeader("%LMQ%a", 0, 0)
	h.Subscription = []byte("y")
	filtered := c.pull(h)
	require.Len(t, filtered.msgs, 1)
	require.Equal(t, "2", string(filtered.msgs[0].Body()))
	require.Equal(t, protocol.StatusSystemError, c.pull(pullHeader("%LMQ%a", 1, 0)).code, "it has one queue")
	empty := c.pull(pullHeader("%LMQ%never", 0, 0))
	require.Equal(t, protocol.StatusPullNotFound, empty.code)

	// Its groups need no settings and get none.
	c.heartbeat("c1", "%LMQ%g", "*", "%LMQ%a")
	h = pullHeader("%LMQ%a", 0, 0)
	h.ConsumerGroup, h.SysFlag, h.Subscription = []byte("%LMQ%g"), 0, nil
	require.Len(t, c.pull(h).msgs, 2)
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeUpdateConsumerOffset,
		"consumerGroup", "%LMQ%g", "topic", "%LMQ%a", "queueId", "0", "commitOffset", "1")).Code)
	stats := c.call(fields(protocol.CodeGetConsumeStats, "consumerGroup", "%LMQ%g"))
	require.Contains(t, string(stats.Body), `"brokerOffset":2,"consumerOffset":1`)
	require.Contains(t, string(c.call(fields(protocol.CodeGetTopicStatsInfo, "topic", "%LMQ%a")).Body), `"maxOffset":2`)
	reset := c.call(fields(protocol.CodeInvokeBrokerToResetOffset, "topic", "%LMQ%a", "group", "%LMQ%g", "timestamp", "0", "isForce", "true"))
	require.Equal(t, protocol.StatusSuccess, reset.Code, reset.Remark)
	require.Contains(t, string(reset.Body), `"topic":"%LMQ%a"}:0`)
	groups := c.call(fields(protocol.CodeGetAllSubGroupConfig))
	require.NotContains(t, string(groups.Body), `"%LMQ%g"`)
	topics := c.call(fields(protocol.CodeGetAllTopicConfig))
	require.NotContains(t, string(topics.Body), `"%LMQ%a"`)

	// It takes no messages of its own and no settings; tidying up leaves it alone.
	resp := c.call(sendRequest(sendHeader("%LMQ%a", 0), "x"))
	require.Equal(t, protocol.StatusNoPermission, resp.Code)
	require.Contains(t, resp.Remark, "name the queue in the property INNER_MULTI_DISPATCH")
	resp = c.call(fields(protocol.CodeUpdateAndCreateTopic, "topic", "%LMQ%a", "defaultTopic", "TBW102", "readQueueNums", "4", "writeQueueNums", "4", "perm", "6"))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "is a light queue")
	resp = c.call(protocol.NewRequest(protocol.CodeUpdateAndCreateSubGroup).SetBody(protocol.Encode(protocol.NewSubscriptionGroupConfig("%LMQ%g"))))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeCleanUnusedTopic)).Code)
	require.EqualValues(t, 2, c.maxOffset("%LMQ%a", 0))
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeDeleteTopicInBroker, "topic", "%LMQ%a")).Code)
	require.EqualValues(t, 0, c.maxOffset("%LMQ%a", 0))
	require.EqualValues(t, 2, c.maxOffset("orders", 0), "its messages stay in their topic")
	require.Equal(t, []string{"1 orders 0 [0]", "2 orders 1 [0]"}, c.lightly("orders"))
	c.send("orders", 0, "3", dispatch, "%LMQ%a")
	require.Equal(t, []string{"3 orders 2 [0]"}, c.lightly("%LMQ%a"))
}

// What waits is in its light queues when it gets to its topic, once; what is
// retried or given up is not in them again.
func TestLightQueuesOfMessagesThatWait(t *testing.T) {
	t.Parallel()
	_, c := one(t, light("messageDelayLevel", "1s 1s 1s 1s 1s"))
	c.createTopic("orders", 1, 6)
	end := endOf(t, c.prepare("orders", 0, "half", dispatch, "%LMQ%t"), protocol.TransactionCommit)
	require.EqualValues(t, 0, c.maxOffset("%LMQ%t", 0))
	require.Equal(t, protocol.StatusSuccess, c.end(end).Code)
	require.Equal(t, []string{"half orders 0 [0]"}, c.lightly("%LMQ%t"))
	require.Equal(t, protocol.StatusSuccess, c.call(sendBack(c.next("orders", 0), 1, 16)).Code)

	c.send("orders", 0, "late", "DELAY", "1", dispatch, "%LMQ%d,%LMQ%t")
	require.EqualValues(t, 0, c.maxOffset("%LMQ%d", 0))
	c.send("orders", 0, "timed", "TIMER_DELAY_MS", "300", dispatch, "%LMQ%w")
	c.next(message.RetryTopic("g1"), 0)
	c.next("%LMQ%w", 0)
	c.next("%LMQ%d", 0)
	require.EqualValues(t, 3, c.maxOffset("orders", 0))
	require.EqualValues(t, 2, c.maxOffset("%LMQ%t", 0), "not with the retry")
	require.Equal(t, []string{"late orders 2 [0 1]"}, c.lightly("%LMQ%d"))
	require.Equal(t, []string{"timed orders 1 [0]"}, c.lightly("%LMQ%w"))

	// A batch is stored as it is.
	h := sendHeader("orders", 0)
	h.Batch = true
	forged := string(message.AppendLightOffsets([]byte(dispatch+"\x01%LMQ%x"), 1))
	c.stored(sendRequest(h, string(batchItem(nil, "item", forged))))
	require.EqualValues(t, 0, c.maxOffset("%LMQ%x", 0))
	items := c.pull(pullHeader("orders", 0, 3)).msgs
	_, there := items[0].Property(message.PropertyInnerMultiQueueOffset)
	require.False(t, there)
}

func TestLightQueuesRefused(t *testing.T) {
	t.Parallel()
	_, c := one(t, light("maxLmqConsumeQueueNum", "2"))
	c.createTopic("orders", 1, 6)
	ask := func(names string) *protocol.Command {
		h := sendHeader("orders", 0)
		h.Properties = message.AppendProperty(h.Properties, dispatch, names)
		return c.call(sendRequest(h, "x"))
	}
	for names, why := range map[string]string{
		"orders":                             `"orders" cannot be a light queue`,
		"%LMQ%a,parts":                       `"parts" cannot be a light queue`,
		"%LMQ%a.b":                           "cannot be a light queue",
		strings.Repeat("%LMQ%a,", 65):        "more than 64 queues",
		"%LMQ%" + strings.Repeat("long", 40): "cannot be a light queue",
	} {
		resp := ask(names)
		require.Equal(t, protocol.StatusMessageIllegal, resp.Code, names)
		require.Contains(t, resp.Remark, why, names)
	}
	h := sendHeader("orders", 0)
	h.Properties = message.AppendProperty([]byte("big\x01"+strings.Repeat("x", message.PropertiesBytesMax-1000)), dispatch, strings.Repeat("%LMQ%a,", 60))
	resp := c.call(sendRequest(h, "x"))
	require.Equal(t, protocol.StatusMessageIllegal, resp.Code)
	require.Contains(t, resp.Remark, "for its offsets in light queues")

	require.Equal(t, protocol.StatusSuccess, ask("%LMQ%a,%LMQ%b").Code)
	for _, names := range []string{"%LMQ%c", "%LMQ%a,%LMQ%c"} {
		resp := ask(names)
		require.Equal(t, protocol.StatusSystemError, resp.Code)
		require.Contains(t, resp.Remark, "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]")
	}
	require.EqualValues(t, 1, c.maxOffset("orders", 0), "nothing is stored of what is refused")
	require.Equal(t, protocol.StatusSuccess, ask("%LMQ%b").Code, "those that exist go on")
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeDeleteTopicInBroker, "topic", "%LMQ%a")).Code)
	require.Equal(t, protocol.StatusSuccess, ask("%LMQ%c").Code)
	require.Equal(t, protocol.StatusSuccess, ask(",").Code, "no names")
}

// Without the two settings the property is a property as any other.
func TestLightQueuesSwitchedOff(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	forged := message.AppendLightOffsets(nil, 1)
	c.send("orders", 0, "off", dispatch, "%LMQ%a", message.PropertyInnerMultiQueueOffset, strings.TrimLeft(string(forged), "\x02INER_MULTQOFS\x01"))
	c.send("orders", 0, "anything", dispatch, "parts")
	m := c.next("orders", 0)
	names, _ := m.Property(dispatch)
	require.Equal(t, "%LMQ%a", string(names))
	_, there := m.Property(message.PropertyInnerMultiQueueOffset)
	require.False(t, there, "only the broker says where a message is in light queues")
	require.Equal(t, protocol.StatusTopicNotExist, c.pull(pullHeader("%LMQ%a", 0, 0)).code)
	require.Equal(t, protocol.StatusSuccess, c.update("enableLmq=true").Code)
	c.send("orders", 0, "half on", dispatch, "%LMQ%a")
	require.Equal(t, protocol.StatusPullNotFound, c.pull(pullHeader("%LMQ%a", 0, 0)).code)
	require.Equal(t, protocol.StatusSuccess, c.update("enableMultiDispatch=true").Code)
	c.send("orders", 0, "on", dispatch, "%LMQ%a")
	require.Equal(t, []string{"on orders 3 [0]"}, c.lightly("%LMQ%a"))
	// What is dispatched stays so.
	require.Equal(t, protocol.StatusSuccess, c.update("enableMultiDispatch=false").Code)
	c.send("orders", 0, "off again", dispatch, "%LMQ%a")
	require.Equal(t, []string{"on orders 3 [0]"}, c.lightly("%LMQ%a"))
}
