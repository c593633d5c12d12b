package broker_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestHeartbeatMakesGroupAndRetryTopic(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	c.heartbeat("me@1", "g1", "*", "orders", message.RetryTopic("g1"))
	// The client asks for the route of its retry topic right after the answer.
	ns := newClient(t, cluster.Namesrv)
	resp := ns.call(fields(protocol.CodeGetRouteInfoByTopic, "topic", message.RetryTopic("g1")))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)

	resp = c.call(protocol.NewRequest(protocol.CodeGetAllSubGroupConfig))
	var groups protocol.SubscriptionGroupWrapper
	require.NoError(t, groups.Decode(resp.Body))
	require.Contains(t, groups.SubscriptionGroupTable, "g1")
	require.Contains(t, groups.SubscriptionGroupTable, "TOOLS_CONSUMER")

	resp = c.call(protocol.NewRequest(protocol.CodeHeartBeat))
	require.Equal(t, protocol.StatusSystemError, resp.Code, "a heartbeat without a body")
}

// A client that hears of the change before its heartbeat is answered finds
// itself in the list when it asks.
func TestNoticeComesBeforeTheHeartbeatsAnswer(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	rpc := remoting.NewClient(remoting.ClientConfig{Handler: func(call remoting.Call, req *protocol.Command) {
		require.Equal(t, protocol.CodeNotifyConsumerIDsChanged, req.Code)
		require.Equal(t, "g1", req.Str("consumerGroup"))
		require.True(t, call.Oneway())
		note("notice")
		call.Reply(&protocol.Response{})
	}})
	defer rpc.Close()
	hb := protocol.HeartbeatData{ClientID: "me", Consumers: []protocol.ConsumerData{{GroupName: "g1"}}}
	done := make(chan struct{})
	rpc.InvokeAsync(c.addr, protocol.NewRequest(protocol.CodeHeartBeat).SetBody(protocol.Encode(&hb)), func(*protocol.Command, error) {
		note("answer")
		close(done)
	})
	<-done
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"notice", "answer"}, order)
}

func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	list := func() []string {
		resp := c.call(fields(protocol.CodeGetConsumerListByGroup, "consumerGroup", "g1"))
		if resp.Code != protocol.StatusSuccess {
			require.Equal(t, "no consumer for this group, g1", resp.Remark)
			return nil
		}
		var l protocol.ConsumerList
		require.NoError(t, l.Decode(resp.Body))
		return l.IDs
	}
	require.Empty(t, list())
	other := newClient(t, c.addr)
	c.heartbeat("a", "g1", "*", "orders")
	require.Equal(t, []string{"a"}, list())
	other.heartbeat("b", "g1", "*", "orders")
	require.Equal(t, []string{"a", "b"}, list())
	require.Eventually(t, func() bool { return c.pushes(protocol.CodeNotifyConsumerIDsChanged) == 2 }, waitFor, tick)

	resp := c.call(fields(protocol.CodeGetConsumerConnectionList, "consumerGroup", "g1"))
	var conns protocol.ConsumerConnection
	require.NoError(t, conns.Decode(resp.Body))
	require.Len(t, conns.Connections, 2)
	require.Equal(t, "*", conns.Subscriptions["orders"].SubString)

	require.NoError(t, other.rpc.Close())
	require.Eventually(t, func() bool { return len(list()) == 1 }, waitFor, tick, "a closed connection leaves its groups")
	require.Eventually(t, func() bool { return c.pushes(protocol.CodeNotifyConsumerIDsChanged) == 3 }, waitFor, tick)
	c.call(fields(protocol.CodeUnregisterClient, "clientID", "a", "consumerGroup", "g1"))
	require.Empty(t, list())
}

func TestQueueLocks(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	queues := []protocol.MessageQueue{{Topic: "orders", BrokerName: "broker-a", QueueID: 0}, {Topic: "orders", BrokerName: "broker-a", QueueID: 1}}
	lock := func(code int32, id string, qs ...protocol.MessageQueue) []protocol.MessageQueue {
		resp := c.call(protocol.NewRequest(code).SetBody(protocol.Encode(&protocol.LockBatchRequest{ConsumerGroup: "g1", ClientID: id, Queues: qs})))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		var got protocol.LockBatchResponse
		if len(resp.Body) > 0 {
			require.NoError(t, got.Decode(resp.Body))
		}
		return got.Queues
	}
	require.Equal(t, queues[:1], lock(protocol.CodeLockBatchMQ, "a", queues[0]))
	require.Equal(t, queues[1:], lock(protocol.CodeLockBatchMQ, "b", queues...), "only what is free")
	require.Equal(t, queues[:1], lock(protocol.CodeLockBatchMQ, "a", queues...), "renewed")
	cluster.Nodes[0].Stop()
	cluster.Nodes[0].Restart()
	cluster.Leader()
	require.Empty(t, lock(protocol.CodeLockBatchMQ, "b", queues[0]), "locks outlive the broker")
	lock(protocol.CodeUnlockBatchMQ, "b", queues[0])
	require.Empty(t, lock(protocol.CodeLockBatchMQ, "b", queues[0]), "nobody unlocks for another")
	lock(protocol.CodeUnlockBatchMQ, "a", queues[0])
	require.Equal(t, queues[:1], lock(protocol.CodeLockBatchMQ, "b", queues[0]))
	require.Empty(t, lock(protocol.CodeLockBatchMQ, "b"))
}

func TestConsumerOffsets(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	c.createTopic("orders", 2, 6)
	query := func() *protocol.Command {
		return c.call(fields(protocol.CodeQueryConsumerOffset, "consumerGroup", "g1", "topic", "orders", "queueId", "0"))
	}
	offset := func() int64 {
		resp := query()
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		var h protocol.OffsetHeader
		require.NoError(t, h.Decode(resp))
		return h.Offset
	}
	commit := func(at string) *protocol.Command {
		return fields(protocol.CodeUpdateConsumerOffset, "consumerGroup", "g1", "topic", "orders", "queueId", "0", "commitOffset", at)
	}
	require.Zero(t, offset(), "a new group on a young queue begins at 0")
	require.NoError(t, c.rpc.Oneway(t.Context(), c.addr, commit("7")))
	require.EqualValues(t, 7, offset(), "visible before it is replicated")
	require.Equal(t, protocol.StatusSuccess, c.call(commit("9")).Code)
	require.Equal(t, protocol.StatusSystemError, c.call(commit("-1")).Code)
	require.NoError(t, c.rpc.Oneway(t.Context(), c.addr, commit("4")))
	require.EqualValues(t, 4, offset(), "the last commit wins, also backwards")
	cluster.Nodes[0].Stop()
	cluster.Nodes[0].Restart()
	cluster.Leader()
	require.EqualValues(t, 4, offset(), "a graceful stop writes what was pending")

	resp := c.call(fields(protocol.CodeQueryConsumerOffset, "consumerGroup", "g2", "topic", "orders", "queueId", "0", "setZeroIfNotFound", "false"))
	require.Equal(t, protocol.StatusQueryNotFound, resp.Code)
}

func TestCheckClientConfig(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	check := func(kind string) *protocol.Command {
		q := protocol.CheckClientRequest{ClientID: "c", Group: "g", Subscription: protocol.SubscriptionData{Topic: "t", SubString: "a > 1", ExpressionType: kind}}
		return c.call(protocol.NewRequest(protocol.CodeCheckClientConfig).SetBody(protocol.Encode(&q)))
	}
	require.Equal(t, protocol.StatusSuccess, check(protocol.ExpressionTag).Code)
	require.Equal(t, protocol.StatusSystemError, check(protocol.ExpressionSQL92).Code)
}
