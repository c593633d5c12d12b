package broker_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// A client that knows only a follower is served as if it were the leader.
func TestFollowersForward(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	c := newClient(t, cluster.Follower().Addr)
	c.createTopic("orders", 1, 6)
	sent := c.send("orders", 0, "through a follower")
	require.Zero(t, sent.QueueOffset)
	p := c.pull(pullHeader("orders", 0, 0))
	require.Len(t, p.msgs, 1)
	require.Equal(t, "127.0.0.1", p.msgs[0].BornHost().Addr().String())
	require.Equal(t, cluster.Leader().Addr, p.msgs[0].StoreHost().String())

	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeUpdateConsumerOffset,
		"consumerGroup", "g1", "topic", "orders", "queueId", "0", "commitOffset", "1")).Code)
	require.EqualValues(t, 1, c.offsetOf(protocol.CodeQueryConsumerOffset, "consumerGroup", "g1", "topic", "orders", "queueId", "0"))

	held := c.pullAsync(suspended("orders", 0, 1, 15*time.Second))
	leader := newClient(t, cluster.Leader().Addr)
	require.Eventually(t, func() bool { return leader.runtime()["heldPulls"] == "1" }, waitFor, tick)
	leader.send("orders", 0, "news")
	p = <-held
	require.Len(t, p.msgs, 1)

	refused := c.call(sendRequest(sendHeader("a.b", 0), "x"))
	require.Equal(t, protocol.StatusSystemError, refused.Code, "the leader's refusals come through")
	require.Equal(t, "DefaultRegion", refused.Str("MSG_REGION"))
}

// One hop: a request that came by a member is not sent on by another.
func TestForwardedRequestIsNotForwardedAgain(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	follower := cluster.Follower()
	c := newClient(t, follower.Addr)
	req := fields(protocol.CodeGetMaxOffset, "topic", "t", "queueId", "0",
		"cometForwardedFor", follower.Broker.Mark("n9", "s", 1, netip.MustParseAddrPort("10.0.0.1:5"), 0))
	resp := c.call(req)
	require.Equal(t, protocol.StatusServiceNotAvailable, resp.Code)
	require.Regexp(t, fmt.Sprintf(`broker-a/%s is a follower \(term \d+\); leader is n\d at 127\.0\.0\.1:\d+`, follower.ID), resp.Remark)
	require.Equal(t, "true", resp.Str("cometNotLeader"))
}

// The leader stops while a client keeps sending to a follower: each send is
// stored once, and the client sees no error.
func TestGracefulHandOverIsInvisible(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	leader := cluster.Leader()
	c := newClient(t, cluster.Follower().Addr)
	c.createTopic("orders", 1, 6)
	c.heartbeat("me", "g1", "*", "orders")
	stop, done := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		defer func() { done <- n }()
		for {
			select {
			case <-stop:
				return
			default:
				c.send("orders", 0, "x")
				n++
			}
		}
	}()
	waitSent := func(n int64) {
		require.Eventually(t, func() bool {
			return c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0") >= n
		}, waitFor, tick)
	}
	waitSent(20)
	before := c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0")
	leader.Stop()
	next := cluster.Leader()
	require.NotEqual(t, leader.ID, next.ID)
	waitSent(before + 20)
	close(stop)
	sent := <-done
	require.EqualValues(t, sent, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0"), "none lost, none twice")

	leader.Restart()
	require.Equal(t, next.ID, cluster.Leader().ID, "a returning member follows")
	back := newClient(t, leader.Addr)
	require.EqualValues(t, sent, back.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0"))
}

// The same for a client of the leader itself: it goes on being served through
// the hand-over and the time it is given to learn of the new leader.
func TestStoppingLeaderForwardsUntilItLeaves(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: map[string]string{"shutdownDrainTime": "60000"}})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	c.createTopic("orders", 1, 6)
	stopped := make(chan error, 1)
	go func() { stopped <- leader.Broker.Close() }()
	after := 0
	for sent := int64(0); after < 50; sent++ {
		require.Equal(t, sent, c.send("orders", 0, "x").QueueOffset, "each send stored once")
		if !leader.Broker.Status().Ready {
			after++
		}
	}
	require.NoError(t, c.rpc.Close())
	require.NoError(t, <-stopped)
	leader.Broker = nil
}

// Name servers show the leader as id 0 and followers by their names' numbers.
func TestRegistrationFollowsTheRole(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	ns := newClient(t, cluster.Namesrv)
	addrs := func() map[int64]string {
		resp := ns.call(protocol.NewRequest(protocol.CodeGetBrokerCluster))
		var info protocol.ClusterInfo
		require.NoError(t, info.Decode(resp.Body))
		return info.BrokerAddrTable["broker-a"].BrokerAddrs
	}
	check := func() {
		leader := cluster.Leader()
		want := map[int64]string{}
		for i, n := range cluster.Nodes {
			switch {
			case n == leader:
				want[0] = n.Addr
			case n.Broker != nil:
				want[int64(i)+1] = n.Addr
			}
		}
		require.Eventually(t, func() bool { return fmt.Sprint(addrs()) == fmt.Sprint(want) }, waitFor, 20*time.Millisecond,
			"want %v", want)
	}
	check()
	old := cluster.Leader()
	old.Stop()
	check()
	old.Restart()
	check()
}

// Without a majority nothing is acknowledged, and the remark says why.
func TestNoMajority(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: map[string]string{"leaderWaitTimeout": "200"}})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	c.createTopic("orders", 1, 6)
	for _, n := range cluster.Nodes {
		if n != leader {
			n.Stop()
		}
	}
	require.Eventually(t, func() bool { return !leader.Broker.Status().Ready }, waitFor, tick)
	resp := c.call(sendRequest(sendHeader("orders", 0), "x"))
	require.Equal(t, protocol.StatusServiceNotAvailable, resp.Code)
	require.Contains(t, resp.Remark, "the group has no leader at the moment")
	require.Equal(t, "DefaultRegion", resp.Str("MSG_REGION"))
}
