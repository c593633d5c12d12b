package broker_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func sendBack(m message.Stored, level, limit int) *protocol.Command {
	h := protocol.SendBackHeader{
		Offset: int64(m.PhyOffset()), Group: "g1", DelayLevel: int32(level), OriginMsgID: "U1", OriginTopic: string(m.Topic()),
		MaxReconsumeTimes: int32(limit),
	}
	return protocol.NewRequest(protocol.CodeConsumerSendMsgBack).SetHeader(&h)
}

// next waits for the next message of a queue.
func (c *client) next(topic string, offset int64) message.Stored {
	c.t.Helper()
	c.t.Logf("wait for %s at %d", topic, offset)
	require.Eventually(c.t, func() bool {
		return c.offsetOf(protocol.CodeGetMaxOffset, "topic", topic, "queueId", "0") > offset
	}, waitFor, tick)
	p := c.pull(pullHeader(topic, 0, offset))
	require.Equal(c.t, protocol.StatusSuccess, p.code, p.remark)
	return p.msgs[0]
}

// A message that nobody can process comes back as often as its group allows
// and ends among the dead letters.
func TestSendBackRetriesAndBuries(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"messageDelayLevel": "1s 1s 1s 1s 1s"})
	c.createTopic("orders", 1, 6)
	first := c.send("orders", 0, "poison", "TAGS", "a", "KEYS", "k")
	original := c.next("orders", 0)
	require.Equal(t, protocol.StatusSuccess, c.call(sendBack(original, 0, 2)).Code)

	retry := message.RetryTopic("g1")
	again := c.next(retry, 0)
	require.EqualValues(t, 1, again.ReconsumeTimes())
	require.Equal(t, "poison", string(again.Body()))
	require.Equal(t, original.BornTimestamp(), again.BornTimestamp())
	require.Equal(t, original.BornHost(), again.BornHost())
	for key, want := range map[string]string{
		message.PropertyRetryTopic: "orders", message.PropertyOriginMessageID: string(first.MsgID),
		message.PropertyTags: "a", message.PropertyKeys: "k", message.PropertyRealTopic: retry,
	} {
		got, _ := again.Property(key)
		require.Equal(t, want, string(got), key)
	}

	require.Equal(t, protocol.StatusSuccess, c.call(sendBack(again, 1, 2)).Code)
	third := c.next(retry, 1)
	require.EqualValues(t, 2, third.ReconsumeTimes())
	origin, _ := third.Property(message.PropertyOriginMessageID)
	require.Equal(t, string(first.MsgID), string(origin), "that of the first delivery")

	require.Equal(t, protocol.StatusSuccess, c.call(sendBack(third, 0, 2)).Code)
	dead := c.next(message.DLQTopic("g1"), 0)
	require.EqualValues(t, 3, dead.ReconsumeTimes())
	require.Equal(t, "poison", string(dead.Body()))
	_, delayed := dead.Property(message.PropertyDelayTimeLevel)
	require.False(t, delayed, "dead letters do not wait")
}

func TestSendBackRefusals(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"autoCreateSubscriptionGroup": "false"})
	c.createTopic("orders", 1, 6)
	c.send("orders", 0, "x")
	m := c.next("orders", 0)
	resp := c.call(sendBack(m, 0, -1))
	require.Equal(t, protocol.StatusSubscriptionGroupMissing, resp.Code)

	put := func(retryQueues int32) {
		cfg := protocol.NewSubscriptionGroupConfig("g1")
		cfg.RetryQueueNums = retryQueues
		require.Equal(t, protocol.StatusSuccess, c.call(protocol.NewRequest(protocol.CodeUpdateAndCreateSubGroup).SetBody(protocol.Encode(cfg))).Code)
	}
	put(1)
	wrong := append(message.Stored{}, m...)
	message.PatchOffsets(wrong, 0, m.PhyOffset()+1)
	resp = c.call(sendBack(wrong, 0, -1))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Equal(t, "look message by offset failed, "+strconv.Itoa(int(m.PhyOffset())+1), resp.Remark)
	put(0)
	require.Equal(t, protocol.StatusSuccess, c.call(sendBack(m, 0, -1)).Code, "no retry queues: dropped without a word")
	put(1)
	require.Equal(t, protocol.StatusSuccess, c.call(sendBack(m, -1, -1)).Code)
	require.Equal(t, "x", string(c.next(message.DLQTopic("g1"), 0).Body()), "a level below 0 buries at once")
}

// The way of orderly consumers, and of clients whose send-back failed.
func TestSendToRetryTopicEndsInDeadLetters(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	c.heartbeat("me", "g1", "*", "orders")
	h := sendHeader(message.RetryTopic("g1"), 0)
	h.ReconsumeTimes, h.MaxReconsumeTimes = 3, 3
	h.Properties = message.AppendProperty(h.Properties, "DELAY", "5")
	c.stored(sendRequest(h, "gone"))
	dead := c.next(message.DLQTopic("g1"), 0)
	require.Equal(t, "gone", string(dead.Body()))
	h.ReconsumeTimes = 2
	c.stored(sendRequest(h, "waits"))
	require.EqualValues(t, 1, c.offsetOf(protocol.CodeGetMaxOffset, "topic", message.TopicSchedule, "queueId", "4"))
}

func TestTopicAdministration(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	c.createTopic("orders", 8, 6)
	ns := newClient(t, cluster.Namesrv)
	require.Equal(t, protocol.StatusSuccess, ns.call(fields(protocol.CodeGetRouteInfoByTopic, "topic", "orders")).Code,
		"registered before the answer")
	c.send("orders", 0, "x")

	resp := c.call(protocol.NewRequest(protocol.CodeGetAllTopicConfig))
	var topics protocol.TopicConfigSerializeWrapper
	require.NoError(t, topics.Decode(resp.Body))
	require.EqualValues(t, 8, topics.TopicConfigTable["orders"].ReadQueueNums)
	require.NotZero(t, topics.DataVersion.Counter)

	resp = c.call(fields(protocol.CodeGetTopicStatsInfo, "topic", "orders"))
	var stats protocol.TopicStatsTable
	require.NoError(t, stats.Decode(resp.Body))
	require.Len(t, stats.Offsets, 8)
	first := stats.Offsets[protocol.MessageQueue{Topic: "orders", BrokerName: "broker-a", QueueID: 0}]
	require.EqualValues(t, 1, first.MaxOffset)
	require.WithinDuration(t, time.Now(), time.UnixMilli(first.LastUpdateTimestamp), time.Minute)

	refused := c.call(fields(protocol.CodeUpdateAndCreateTopic, "topic", "TBW102", "readQueueNums", "1", "writeQueueNums", "1", "perm", "6"))
	require.Equal(t, protocol.StatusSystemError, refused.Code)
	require.Equal(t, "The topic[TBW102] is conflict with system topic.", refused.Remark)

	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeDeleteTopicInBroker, "topic", "orders")).Code)
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeDeleteTopicInBroker, "topic", "never-was")).Code)
	require.Zero(t, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0"))
	require.Equal(t, protocol.StatusTopicNotExist, c.pull(pullHeader("orders", 0, 0)).code)

	resp = c.call(protocol.NewRequest(protocol.CodeGetSystemTopicListFromBrk))
	var list protocol.TopicList
	require.NoError(t, list.Decode(resp.Body))
	require.Contains(t, list.Topics, "TBW102")
	require.NotContains(t, list.Topics, "orders")
}

func TestViewMessage(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	sent := c.send("orders", 0, "x")
	_, at, err := message.ParseOffsetMsgID(string(sent.MsgID))
	require.NoError(t, err)
	resp := c.call(fields(protocol.CodeViewMessageByID, "offset", strconv.FormatInt(int64(at), 10)))
	m, err := message.ParseStored(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "x", string(m.Body()))
	require.Equal(t, at, m.PhyOffset())
	resp = c.call(fields(protocol.CodeViewMessageByID, "offset", strconv.FormatInt(int64(at)+1, 10)))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "can not find message by the offset")
}

func TestRuntimeInfoHasWhatToolsRead(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	table := c.runtime()
	for _, key := range []string{
		"putTps", "getTransferedTps", "sendThreadPoolQueueSize", "pullThreadPoolQueueSize", "sendThreadPoolQueueHeadWaitTimeMills",
		"pullThreadPoolQueueHeadWaitTimeMills", "pageCacheLockTimeMills", "earliestMessageTimeStamp", "commitLogDiskRatio",
		"brokerVersionDesc", "msgPutTotalYesterdayMorning", "msgPutTotalTodayMorning", "msgPutTotalTodayNow",
		"msgGetTotalYesterdayMorning", "msgGetTotalTodayMorning", "msgGetTotalTodayNow", "consumeQueueDiskRatio", "putMessageAverageSize",
	} {
		require.NotEmpty(t, table[key], key)
	}
	require.Equal(t, "V4_9_4", table["brokerVersionDesc"])
	resp := c.call(protocol.NewRequest(protocol.CodeGetBrokerConfig))
	require.Contains(t, string(resp.Body), "brokerName=broker-a\n")
}
