package broker_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// answerText is an answer without what changes from run to run.
func answerText(resp *protocol.Command, addr string) string {
	var b strings.Builder
	for _, f := range resp.Fields {
		v := string(f.Value)
		if string(f.Key) == "msgId" {
			host, _, err := message.ParseOffsetMsgID(v)
			if err == nil && host.String() == addr {
				v = "<id at the broker's address>"
			}
		}
		b.WriteString(string(f.Key) + "=" + v + "\n")
	}
	return b.String()
}

func TestSendAnswerAndStoredMessage(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	h := sendHeader("orders", 2)
	h.Flag, h.SysFlag = 7, message.SysFlagCompressed
	req := sendRequest(h, "hello")
	resp := c.call(req)
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, protocol.Version, resp.Version)
	golden(t, "send-answer.txt", answerText(resp, c.addr))

	p := c.pull(pullHeader("orders", 2, 0))
	require.Equal(t, protocol.StatusSuccess, p.code)
	require.Equal(t, "FOUND", p.remark)
	require.Equal(t, protocol.PullResponseHeader{NextBeginOffset: 1, MaxOffset: 1}, p.header)
	require.Len(t, p.msgs, 1)
	m := p.msgs[0]
	require.Equal(t, "orders", string(m.Topic()))
	require.Equal(t, "hello", string(m.Body()))
	require.Equal(t, "UNIQ_KEY\x01U1\x02CLUSTER\x01test-cluster", string(m.Properties()), "WAIT goes, CLUSTER comes")
	require.EqualValues(t, 7, m.Flag())
	require.EqualValues(t, message.SysFlagCompressed, m.SysFlag())
	require.Equal(t, c.addr, m.StoreHost().String())
	require.Equal(t, "127.0.0.1", m.BornHost().Addr().String())
	require.NotZero(t, m.StoreTimestamp())
	require.EqualValues(t, 0, m.QueueOffset())
	id, _ := resp.Field("msgId")
	require.Equal(t, string(id), message.OffsetMsgID(m.StoreHost(), m.PhyOffset()))
}

func TestSendWithFullNamesAndAnyQueue(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	h := sendHeader("orders", -1)
	got := c.stored(protocol.NewRequest(protocol.CodeSendMessage).SetHeader(protocol.SendHeaderV1{SendHeader: &h}).SetBody([]byte("x")))
	require.GreaterOrEqual(t, got.QueueID, int32(0))
	require.Less(t, got.QueueID, int32(4))
}

func TestAutoCreatedTopicIsRegistered(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	c.send("fresh", 3, "x")
	ns := newClient(t, cluster.Namesrv)
	require.Eventually(t, func() bool {
		resp := ns.call(fields(protocol.CodeGetRouteInfoByTopic, "topic", "fresh"))
		var route protocol.TopicRouteData
		return resp.Code == protocol.StatusSuccess && route.Decode(resp.Body) == nil && len(route.QueueDatas) == 1 &&
			route.QueueDatas[0].WriteQueueNums == 4 && route.QueueDatas[0].Perm == 6 && route.BrokerDatas[0].BrokerAddrs[0] == c.addr
	}, waitFor, tick)
}

// Java clients 4.3 name the template otherwise, to the name server and to the broker.
func TestAutoCreationByClients43(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	ns := newClient(t, cluster.Namesrv)
	require.Eventually(t, func() bool {
		resp := ns.call(fields(protocol.CodeGetRouteInfoByTopic, "topic", message.TopicAutoCreate43))
		var route protocol.TopicRouteData
		return resp.Code == protocol.StatusSuccess && route.Decode(resp.Body) == nil && route.QueueDatas[0].WriteQueueNums == 8
	}, waitFor, tick)
	h := sendHeader("fresh", 3)
	h.DefaultTopic = []byte(message.TopicAutoCreate43)
	c.stored(protocol.NewRequest(protocol.CodeSendMessageV2).SetHeader(&h).SetBody([]byte("x")))
	resp := c.call(fields(protocol.CodeGetTopicConfig, "topic", message.TopicAutoCreate43))
	require.Equal(t, protocol.StatusTopicNotExist, resp.Code, "it is no topic")
}

func TestSendRefusals(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"maxMessageSize": "1000"})
	c.createTopic("orders", 2, 6)
	with := func(change func(*protocol.SendHeader)) protocol.SendHeader {
		h := sendHeader("orders", 0)
		change(&h)
		return h
	}
	topic := func(name string) protocol.SendHeader {
		return with(func(h *protocol.SendHeader) { h.Topic = []byte(name) })
	}
	prop := func(k, v string) protocol.SendHeader {
		return with(func(h *protocol.SendHeader) { h.Properties = message.AppendProperty(h.Properties, k, v) })
	}
	for name, test := range map[string]struct {
		head   protocol.SendHeader
		body   string
		code   int32
		remark string
	}{
		"blank topic":      {topic(" "), "x", protocol.StatusSystemError, "The specified topic is blank."},
		"illegal letters":  {topic("a.b"), "x", protocol.StatusSystemError, "The specified topic contains illegal characters"},
		"long topic":       {topic(strings.Repeat("a", 128)), "x", protocol.StatusSystemError, "The specified topic is longer"},
		"forbidden":        {topic(message.TopicSchedule), "x", protocol.StatusNoPermission, "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden."},
		"template missing": {with(func(h *protocol.SendHeader) { h.Topic, h.DefaultTopic = []byte("t2"), []byte("nope") }), "x", protocol.StatusTopicNotExist, "topic[t2] not exist, apply first please!"},
		"template not":     {with(func(h *protocol.SendHeader) { h.Topic, h.DefaultTopic = []byte("t2"), []byte("orders") }), "x", protocol.StatusTopicNotExist, "topic[t2] not exist"},
		"queue too high":   {with(func(h *protocol.SendHeader) { h.QueueID = 2 }), "x", protocol.StatusSystemError, "request queueId[2] is illegal, TopicConfig [topicName=orders, readQueueNums=2, writeQueueNums=2, perm=RW-"},
		"large body":       {topic("orders"), strings.Repeat("x", 1001), protocol.StatusMessageIllegal, "msg body length limit 1000B"},
		"large properties": {prop("k", strings.Repeat("v", 32767)), "x", protocol.StatusMessageIllegal, "the message is illegal"},
		"half of no group": {with(func(h *protocol.SendHeader) {
			h.Properties, h.ProducerGroup = []byte("TRAN_MSG\x01true"), []byte("a b")
		}), "x", protocol.StatusSystemError, "illegal"},
		"half never due":      {prop("TRAN_MSG\x01true\x02DELAY", "soon"), "x", protocol.StatusSystemError, "DELAY"},
		"delay is no number":  {prop("DELAY", "soon"), "x", protocol.StatusSystemError, "DELAY"},
		"retry without group": {topic("%RETRY%nobody"), "x", protocol.StatusSubscriptionGroupMissing, "subscription group not exist, nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := c.call(sendRequest(test.head, test.body))
			require.Equal(t, test.code, resp.Code, resp.Remark)
			require.Contains(t, resp.Remark, test.remark)
			require.Equal(t, "DefaultRegion", resp.Str("MSG_REGION"), "producers read it on errors too")
			require.Equal(t, "true", resp.Str("TRACE_ON"))
		})
	}
	resp := c.call(fields(protocol.CodeSendMessageV2, "a", "pg"))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "topic")
	require.Zero(t, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0"), "nothing may be stored")
}

func TestOnewaySend(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	require.NoError(t, c.rpc.Oneway(t.Context(), c.addr, sendRequest(sendHeader("orders", 0), "x")))
	require.Eventually(t, func() bool {
		return c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0") == 1
	}, waitFor, tick)
}

func TestBatchIsStoredWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	body := batchItem(nil, "one", "UNIQ_KEY\x01Ub1")
	body = batchItem(body, "two", "")
	last := len(body)
	body = batchItem(body, "three", "TAGS\x01t\x02")
	h := sendHeader("orders", 0)
	h.Batch, h.Properties = true, []byte("WAIT\x01true")
	batch := func(body []byte) *protocol.Command {
		return protocol.NewRequest(protocol.CodeSendBatchMessage).SetHeader(&h).SetBody(body)
	}

	resp := c.call(batch(breakLastItem(append([]byte{}, body...), last)))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Zero(t, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0"))

	got := c.stored(batch(body))
	require.Zero(t, got.QueueOffset)
	require.Len(t, strings.Split(string(got.MsgID), ","), 3)
	p := c.pull(pullHeader("orders", 0, 0))
	require.Len(t, p.msgs, 3)
	var bodies []string
	for i, m := range p.msgs {
		require.EqualValues(t, i, m.QueueOffset())
		bodies = append(bodies, string(m.Body()))
	}
	require.Equal(t, []string{"one", "two", "three"}, bodies)
	require.Equal(t, "UNIQ_KEY\x01Ub1\x02WAIT\x01true\x02CLUSTER\x01test-cluster", string(p.msgs[0].Properties()))
	require.Equal(t, "TAGS\x01t\x02WAIT\x01true\x02CLUSTER\x01test-cluster", string(p.msgs[2].Properties()))
}

func TestDelayedMessageArrivesOnce(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"messageDelayLevel": "1s 2s"})
	c.createTopic("orders", 2, 6)
	sent := c.send("orders", 1, "later", "DELAY", "1")
	require.EqualValues(t, 1, sent.QueueID, "the queue that was asked for")
	require.Zero(t, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "1"))
	h := pullHeader("orders", 1, 0)
	h.SysFlag |= protocol.PullSuspend
	h.SuspendTimeoutMillis = 15_000
	p := c.pull(h)
	require.Len(t, p.msgs, 1)
	require.Equal(t, "later", string(p.msgs[0].Body()))
	real, _ := p.msgs[0].Property(message.PropertyRealTopic)
	require.Equal(t, "orders", string(real))
	require.GreaterOrEqual(t, p.msgs[0].StoreTimestamp(), int64(1000))
}

func TestUnknownCode(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	resp := c.call(protocol.NewRequest(22))
	require.Equal(t, protocol.StatusRequestCodeNotSupported, resp.Code)
	require.Equal(t, " request type 22 not supported", resp.Remark)
}
