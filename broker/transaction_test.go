package broker_test

import (
	"bytes"
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// pushedRequest is a request that a broker sent to its client.
type pushedRequest struct {
	check protocol.CheckTransactionHeader
	reply protocol.PushReplyHeader
	body  []byte
}

// listener is a client that keeps the check-backs and replies it gets.
type listener struct {
	*client
	mu  sync.Mutex
	got []pushedRequest
	// status answers pushed replies.
	status int32
}

func newListener(t testing.TB, addr string) *listener {
	t.Helper()
	l := &listener{client: &client{t: t, addr: addr}}
	l.rpc = remoting.NewClient(remoting.ClientConfig{InvokeTimeout: 20 * time.Second, Handler: func(call remoting.Call, req *protocol.Command) {
		var p pushedRequest
		var err error
		switch req.Code {
		case protocol.CodeCheckTransactionState:
			err = p.check.Decode(req)
		case protocol.CodePushReplyMessageToClient:
			err = p.reply.Decode(req)
		default:
			call.Reply(&protocol.Response{})
			return
		}
		if err != nil {
			t.Error(err)
		}
		p.body = bytes.Clone(req.Body)
		l.mu.Lock()
		l.got = append(l.got, p)
		status := l.status
		l.mu.Unlock()
		call.Reply(&protocol.Response{Code: status})
	}})
	t.Cleanup(func() { require.NoError(t, l.rpc.Close()) })
	return l
}

func (l *listener) all() []pushedRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]pushedRequest(nil), l.got...)
}

// produce registers the client as a producer.
func (c *client) produce(id, group string) {
	c.t.Helper()
	hb := protocol.HeartbeatData{ClientID: id, Producers: []protocol.ProducerData{{GroupName: group}}}
	resp := c.call(protocol.NewRequest(protocol.CodeHeartBeat).SetBody(protocol.Encode(&hb)))
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
}

// prepare sends a half message.
func (c *client) prepare(topic string, queue int32, body string, props ...string) protocol.SendResponseHeader {
	c.t.Helper()
	h := sendHeader(topic, queue)
	h.SysFlag = message.SysFlagTransactionPrepared
	h.Properties = []byte("TRAN_MSG\x01true\x02PGROUP\x01pg\x02UNIQ_KEY\x01" + body)
	for i := 0; i < len(props); i += 2 {
		h.Properties = message.AppendProperty(h.Properties, props[i], props[i+1])
	}
	return c.stored(sendRequest(h, body))
}

// endOf is the end of the transaction that a prepare was answered for.
func endOf(t testing.TB, half protocol.SendResponseHeader, state int32) protocol.EndTransactionHeader {
	t.Helper()
	_, phy, err := message.ParseOffsetMsgID(string(half.MsgID))
	require.NoError(t, err)
	return protocol.EndTransactionHeader{
		ProducerGroup: "pg", TranStateTableOffset: half.QueueOffset, CommitLogOffset: int64(phy), CommitOrRollback: state, MsgID: "u",
	}
}

func (c *client) end(h protocol.EndTransactionHeader) *protocol.Command {
	c.t.Helper()
	return c.call(protocol.NewRequest(protocol.CodeEndTransaction).SetHeader(&h))
}

func (c *client) maxOffset(topic string, queue int) int64 {
	c.t.Helper()
	return c.offsetOf(protocol.CodeGetMaxOffset, "topic", topic, "queueId", strconv.Itoa(queue))
}

func TestCommitPublishesOnce(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 4, 6)
	half := c.prepare("orders", 2, "hello", "TAGS", "a")
	require.EqualValues(t, 2, half.QueueID, "the producer is told the queue it asked for")
	require.Zero(t, c.maxOffset("orders", 2), "invisible")
	require.EqualValues(t, 1, c.maxOffset(message.TopicTransHalf, 0))

	end := endOf(t, half, protocol.TransactionCommit)
	resp := c.end(end)
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	m := c.pull(pullHeader("orders", 2, 0)).msgs[0]
	require.Equal(t, "hello", string(m.Body()))
	require.EqualValues(t, message.SysFlagTransactionCommit, m.SysFlag())
	require.EqualValues(t, end.CommitLogOffset, m.PreparedTransactionOffset())
	require.Equal(t, "TRAN_MSG\x01true\x02PGROUP\x01pg\x02UNIQ_KEY\x01hello\x02TAGS\x01a\x02CLUSTER\x01test-cluster\x02REAL_TOPIC\x01orders\x02REAL_QID\x012",
		string(m.Properties()))

	resp = c.end(end)
	require.Equal(t, protocol.StatusSuccess, resp.Code, "a repeated end gets the answer of the first")
	end.CommitOrRollback = protocol.TransactionRollback
	resp = c.end(end)
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "was committed before")
	require.EqualValues(t, 1, c.maxOffset("orders", 2))
}

func TestRollbackPublishesNothing(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	end := endOf(t, c.prepare("orders", 0, "x"), protocol.TransactionRollback)
	require.Equal(t, protocol.StatusSuccess, c.end(end).Code)
	end.CommitOrRollback = protocol.TransactionCommit
	resp := c.end(end)
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "was rolled back before")
	require.Zero(t, c.maxOffset("orders", 0))
}

func TestEndOfUnknownTransactionNamesTheFault(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	plain := c.send("orders", 0, "plain")
	good := endOf(t, c.prepare("orders", 0, "x"), protocol.TransactionCommit)
	for remark, change := range map[string]func(*protocol.EndTransactionHeader){
		"Find prepared transaction message failed: no message begins at commit log offset 99999999": func(h *protocol.EndTransactionHeader) { h.CommitLogOffset = 99999999 },
		"Find prepared transaction message failed: no message begins at commit log offset -1":       func(h *protocol.EndTransactionHeader) { h.CommitLogOffset = -1 },
		"is of topic orders": func(h *protocol.EndTransactionHeader) {
			h.CommitLogOffset = endOf(t, plain, 0).CommitLogOffset
		},
		"The producer group wrong: the message was prepared by pg, not by other": func(h *protocol.EndTransactionHeader) { h.ProducerGroup = "other" },
		"The transaction state table offset wrong: it is 0, not 7":               func(h *protocol.EndTransactionHeader) { h.TranStateTableOffset = 7 },
	} {
		bad := good
		change(&bad)
		resp := c.end(bad)
		require.Equal(t, protocol.StatusSystemError, resp.Code)
		require.Contains(t, resp.Remark, remark)
	}
	resp := c.call(fields(protocol.CodeEndTransaction, "producerGroup", "pg"))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "tranStateTableOffset")
	require.EqualValues(t, 1, c.maxOffset("orders", 0))
	require.Equal(t, protocol.StatusSuccess, c.end(good).Code, "it is still pending")
}

// An end that is neither commit nor roll back gets no answer, and leaves the
// connection as it was: with room for one request it would block otherwise.
func TestUndecidedEndGetsNoAnswer(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"serverMaxInFlightPerConnection": "1"})
	c.createTopic("orders", 1, 6)
	end := endOf(t, c.prepare("orders", 0, "x"), protocol.TransactionUnknown)
	answered := make(chan error, 2)
	for _, state := range []int32{protocol.TransactionUnknown, 5} {
		end.CommitOrRollback = state
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := c.rpc.Invoke(ctx, c.addr, protocol.NewRequest(protocol.CodeEndTransaction).SetHeader(&end))
		cancel()
		answered <- err
	}
	require.ErrorIs(t, <-answered, remoting.ErrTimeout)
	require.ErrorIs(t, <-answered, remoting.ErrTimeout)
	end.CommitOrRollback = protocol.TransactionCommit
	require.Equal(t, protocol.StatusSuccess, c.end(end).Code)
}

func TestCommittedMessageMayBeDelayed(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"messageDelayLevel": "1s"})
	c.createTopic("orders", 1, 6)
	end := endOf(t, c.prepare("orders", 0, "x", "DELAY", "1"), protocol.TransactionCommit)
	require.Equal(t, protocol.StatusSuccess, c.end(end).Code)
	require.EqualValues(t, 1, c.maxOffset(message.TopicSchedule, 0))
	require.Eventually(t, func() bool { return c.maxOffset("orders", 0) == 1 }, waitFor, tick)
	m := c.pull(pullHeader("orders", 0, 0)).msgs[0]
	require.EqualValues(t, end.CommitLogOffset, m.PreparedTransactionOffset())
}

func TestCommitToDeletedTopicStaysPending(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	end := endOf(t, c.prepare("orders", 0, "x"), protocol.TransactionCommit)
	c.call(fields(protocol.CodeDeleteTopicInBroker, "topic", "orders"))
	require.Equal(t, protocol.StatusTopicNotExist, c.end(end).Code)
	c.createTopic("orders", 1, 6)
	require.Equal(t, protocol.StatusSuccess, c.end(end).Code)
	require.EqualValues(t, 1, c.maxOffset("orders", 0))
}

// impatient makes check-backs follow each other quickly.
func impatient(max string) map[string]string {
	return map[string]string{"transactionTimeOut": "50", "transactionCheckInterval": "50", "transactionCheckMax": max}
}

func TestCheckBackGoesToLiveProducersInTurn(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, impatient("1000"))
	c.createTopic("orders", 4, 6)
	half := c.prepare("orders", 3, "hello")
	a, b := newListener(t, cluster.Nodes[0].Addr), newListener(t, cluster.Nodes[0].Addr)
	a.produce("a", "pg")
	b.produce("b", "pg")
	require.Eventually(t, func() bool { return len(a.all()) > 0 && len(b.all()) > 0 }, waitFor, tick)
	p := a.all()[0]
	end := endOf(t, half, protocol.TransactionCommit)
	require.Equal(t, protocol.CheckTransactionHeader{
		TranStateTableOffset: half.QueueOffset, CommitLogOffset: end.CommitLogOffset, MsgID: "hello", TransactionID: "hello", OffsetMsgID: string(half.MsgID),
	}, p.check)
	m, err := message.ParseStored(p.body)
	require.NoError(t, err)
	require.Equal(t, "orders", string(m.Topic()))
	require.EqualValues(t, 3, m.QueueID())
	require.Equal(t, "hello", string(m.Body()))
	group, _ := m.Property(message.PropertyProducerGroup)
	require.Equal(t, "pg", string(group))

	require.NoError(t, a.rpc.Close())
	n := len(b.all())
	require.Eventually(t, func() bool { return len(b.all()) > n+2 }, waitFor, tick, "the other one is asked")
	end.FromTransactionCheck = true
	require.Equal(t, protocol.StatusSuccess, c.end(end).Code)
	require.EqualValues(t, 1, c.maxOffset("orders", 3))
}

func TestGivenUpAndResumed(t *testing.T) {
	t.Parallel()
	_, c := one(t, impatient("2"))
	c.createTopic("orders", 1, 6)
	first := endOf(t, c.prepare("orders", 0, "x"), protocol.TransactionCommit)
	require.Eventually(t, func() bool { return c.maxOffset(message.TopicTransCheckMaxTime, 0) == 1 }, waitFor, tick)
	resp := c.end(first)
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "was given up before")

	aside := c.pull(pullHeader(message.TopicTransCheckMaxTime, 0, 0)).msgs[0]
	id := message.OffsetMsgID(aside.StoreHost(), aside.PhyOffset())
	l := newListener(t, c.addr)
	l.produce("me", "pg")
	resp = c.call(fields(protocol.CodeResumeCheckHalfMessage, "msgId", id))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	resp = c.call(fields(protocol.CodeResumeCheckHalfMessage, "msgId", id))
	require.Equal(t, protocol.StatusSystemError, resp.Code, "it came back once")
	require.Contains(t, resp.Remark, "given up")
	require.Eventually(t, func() bool { return len(l.all()) > 0 }, waitFor, tick)
	check := l.all()[0].check
	again := first
	again.TranStateTableOffset, again.CommitLogOffset = check.TranStateTableOffset, check.CommitLogOffset
	require.Equal(t, protocol.StatusSuccess, c.end(again).Code)
	require.EqualValues(t, 1, c.maxOffset("orders", 0))

	for msgID, remark := range map[string]string{
		"zz": "is not an offset message id",
		message.OffsetMsgID(aside.StoreHost(), 99999999): "no message begins at commit log offset 99999999",
	} {
		resp = c.call(fields(protocol.CodeResumeCheckHalfMessage, "msgId", msgID))
		require.Equal(t, protocol.StatusSystemError, resp.Code)
		require.Contains(t, resp.Remark, remark)
	}
}

func TestTransactionsCanBeRejected(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"rejectTransactionMessage": "true"})
	h := sendHeader("orders", 0)
	h.Properties = []byte("TRAN_MSG\x01true")
	resp := c.call(sendRequest(h, "x"))
	require.Equal(t, protocol.StatusNoPermission, resp.Code)
	require.Equal(t, "the broker[127.0.0.1] sending transaction message is forbidden", resp.Remark)
}

// A committed message that its consumer sends back through its own producer
// still says TRAN_MSG; it must not become a half message again.
func TestRetriedMessageIsNoHalf(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.heartbeat("me", "g1", "*", "orders")
	h := sendHeader("%RETRY%g1", 0)
	h.ReconsumeTimes = 1
	h.Properties = []byte("TRAN_MSG\x01true\x02PGROUP\x01pg\x02DELAY\x013")
	c.stored(sendRequest(h, "x"))
	require.EqualValues(t, 1, c.maxOffset(message.TopicSchedule, 2))
	require.Zero(t, c.maxOffset(message.TopicTransHalf, 0))
}

// What was prepared and committed is known to the next leader: an end that is
// repeated there publishes nothing again, one that was lost is asked for, and
// check-backs go on counting.
func TestTransactionsSurviveTheLeader(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: impatient("1000")})
	old := cluster.Leader()
	c := newClient(t, old.Addr)
	c.createTopic("orders", 1, 6)
	done := endOf(t, c.prepare("orders", 0, "done"), protocol.TransactionCommit)
	require.Equal(t, protocol.StatusSuccess, c.end(done).Code)
	open := endOf(t, c.prepare("orders", 0, "open"), protocol.TransactionCommit)
	asked := newListener(t, old.Addr)
	asked.produce("me", "pg")
	times := func(l *listener) (n int) {
		for _, p := range l.all() {
			m, err := message.ParseStored(p.body)
			require.NoError(t, err)
			text, _ := m.Property(message.PropertyTransactionCheckTimes)
			v, err := strconv.Atoi(string(text))
			require.NoError(t, err)
			n = max(n, v)
		}
		return n
	}
	require.Eventually(t, func() bool { return times(asked) >= 3 }, waitFor, tick)
	before := times(asked)
	old.Stop()

	next := newListener(t, cluster.Leader().Addr)
	next.produce("me", "pg")
	require.Equal(t, protocol.StatusSuccess, next.end(done).Code)
	require.EqualValues(t, 1, next.maxOffset("orders", 0))
	require.Eventually(t, func() bool { return len(next.all()) > 0 }, waitFor, tick)
	require.GreaterOrEqual(t, times(next), before, "the count did not begin anew")
	require.Equal(t, protocol.StatusSuccess, next.end(open).Code)
	require.Equal(t, protocol.StatusSuccess, next.end(open).Code)
	require.EqualValues(t, 2, next.maxOffset("orders", 0))
}
