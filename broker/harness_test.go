package broker_test

import (
	"context"
	"encoding/binary"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a client of one broker, spoken to in raw requests.
type client struct {
	t    testing.TB
	rpc  *remoting.Client
	addr string

	mu     sync.Mutex
	pushed []int32 // codes of requests the broker sent to us, in order
}

func newClient(t testing.TB, addr string) *client {
	t.Helper()
	c := &client{t: t, addr: addr}
	c.rpc = remoting.NewClient(remoting.ClientConfig{InvokeTimeout: 20 * time.Second, Handler: func(call remoting.Call, req *protocol.Command) {
		c.mu.Lock()
		c.pushed = append(c.pushed, req.Code)
		c.mu.Unlock()
		call.Reply(&protocol.Response{})
		req.Release()
	}})
	t.Cleanup(func() { require.NoError(t, c.rpc.Close()) })
	return c
}

// pushes returns how many requests of a code the broker sent to us.
func (c *client) pushes(code int32) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.pushed {
		if p == code {
			n++
		}
	}
	return n
}

// call sends a request and returns its answer.
func (c *client) call(req *protocol.Command) *protocol.Command {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	resp, err := c.rpc.Invoke(ctx, c.addr, req)
	require.NoError(c.t, err)
	return resp
}

// fields makes a request from key, value, key, value and so on.
func fields(code int32, kv ...string) *protocol.Command {
	req := protocol.NewRequest(code)
	for i := 0; i < len(kv); i += 2 {
		req.SetField(kv[i], kv[i+1])
	}
	return req
}

// sendHeader is what a producer sends for a topic that may be created.
func sendHeader(topic string, queue int32) protocol.SendHeader {
	return protocol.SendHeader{
		ProducerGroup: []byte("pg"), Topic: []byte(topic), DefaultTopic: []byte(message.TopicAutoCreate), DefaultTopicQueueNums: 4,
		QueueID: queue, BornTimestamp: 1_700_000_000_000, MaxReconsumeTimes: -1, Properties: []byte("UNIQ_KEY\x01U1\x02WAIT\x01true"),
	}
}

func sendRequest(h protocol.SendHeader, body string) *protocol.Command {
	return protocol.NewRequest(protocol.CodeSendMessageV2).SetHeader(&h).SetBody([]byte(body))
}

// send stores a message and returns where.
func (c *client) send(topic string, queue int32, body string, props ...string) protocol.SendResponseHeader {
	c.t.Helper()
	h := sendHeader(topic, queue)
	for i := 0; i < len(props); i += 2 {
		h.Properties = message.AppendProperty(h.Properties, props[i], props[i+1])
	}
	return c.stored(sendRequest(h, body))
}

func (c *client) stored(req *protocol.Command) protocol.SendResponseHeader {
	c.t.Helper()
	resp := c.call(req)
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
	var h protocol.SendResponseHeader
	require.NoError(c.t, h.Decode(resp))
	require.True(c.t, h.Stored)
	return h
}

// pullHeader asks for everything of a queue, with a subscription of its own.
func pullHeader(topic string, queue int32, offset int64) protocol.PullHeader {
	return protocol.PullHeader{
		ConsumerGroup: []byte("TOOLS_CONSUMER"), Topic: []byte(topic), QueueID: queue, QueueOffset: offset, MaxMsgNums: 32,
		SysFlag: protocol.PullSubscription, Subscription: []byte("*"),
	}
}

func pullRequest(h protocol.PullHeader) *protocol.Command {
	return protocol.NewRequest(protocol.CodePullMessage).SetHeader(&h)
}

// pulled is the answer of a pull.
type pulled struct {
	code   int32
	remark string
	header protocol.PullResponseHeader
	msgs   []message.Stored
}

func (c *client) pull(h protocol.PullHeader) pulled {
	c.t.Helper()
	return c.decodePull(c.call(pullRequest(h)))
}

func (c *client) decodePull(resp *protocol.Command) pulled {
	c.t.Helper()
	p := pulled{code: resp.Code, remark: resp.Remark}
	switch resp.Code {
	case protocol.StatusSuccess, protocol.StatusPullNotFound, protocol.StatusPullRetryImmediately, protocol.StatusPullOffsetMoved:
		require.NoError(c.t, p.header.Decode(resp))
	}
	for rest := resp.Body; len(rest) > 0; {
		m, err := message.ParseStored(rest)
		require.NoError(c.t, err)
		p.msgs = append(p.msgs, m)
		rest = rest[len(m):]
	}
	return p
}

// pullAsync sends a pull whose answer comes later.
func (c *client) pullAsync(h protocol.PullHeader) <-chan pulled {
	out := make(chan pulled, 1)
	c.rpc.InvokeAsync(c.addr, pullRequest(h), func(resp *protocol.Command, err error) {
		if err != nil {
			out <- pulled{code: -1, remark: err.Error()}
			return
		}
		out <- c.decodePull(resp)
	})
	return out
}

// heartbeat registers a consumer of topics, all with the same expression.
func (c *client) heartbeat(id, group, expression string, topics ...string) *protocol.Command {
	c.t.Helper()
	d := protocol.ConsumerData{
		GroupName: group, ConsumeType: protocol.ConsumePassively, MessageModel: protocol.ModelClustering,
		ConsumeFromWhere: protocol.FromLastOffset,
	}
	for _, topic := range topics {
		d.Subscriptions = append(d.Subscriptions, protocol.SubscriptionData{
			Topic: topic, SubString: expression, SubVersion: 5, ExpressionType: protocol.ExpressionTag,
		})
	}
	hb := protocol.HeartbeatData{ClientID: id, Consumers: []protocol.ConsumerData{d}}
	resp := c.call(protocol.NewRequest(protocol.CodeHeartBeat).SetBody(protocol.Encode(&hb)))
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
	return resp
}

// createTopic makes a topic with the same number of read and write queues.
func (c *client) createTopic(topic string, queues int, perm int32) {
	c.t.Helper()
	resp := c.call(fields(protocol.CodeUpdateAndCreateTopic, "topic", topic, "defaultTopic", "TBW102",
		"readQueueNums", strconv.Itoa(queues), "writeQueueNums", strconv.Itoa(queues), "perm", strconv.Itoa(int(perm)),
		"topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false"))
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
}

// offsetOf asks one of the codes that answer an offset.
func (c *client) offsetOf(code int32, kv ...string) int64 {
	c.t.Helper()
	resp := c.call(fields(code, kv...))
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
	var h protocol.OffsetHeader
	require.NoError(c.t, h.Decode(resp))
	return h.Offset
}

// one starts a group of one with a client to it.
func one(t testing.TB, settings map[string]string) (*testcluster.Cluster, *client) {
	t.Helper()
	c := testcluster.Start(t, testcluster.Options{Settings: settings})
	return c, newClient(t, c.Nodes[0].Addr)
}

// batchItem appends one item of a batch body.
func batchItem(dst []byte, body, props string) []byte {
	dst, err := message.AppendBatchItem(dst, message.BatchItem{Body: []byte(body), Properties: []byte(props)})
	if err != nil {
		panic(err)
	}
	return dst
}

// breakLastItem makes the last item of a batch longer than what is there.
func breakLastItem(body []byte, at int) []byte {
	binary.BigEndian.PutUint32(body[at:], binary.BigEndian.Uint32(body[at:])+1)
	return body
}
