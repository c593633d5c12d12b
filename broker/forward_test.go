package broker_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// local are the codes that every member serves itself. A new code must be put
// here, with its reason, or be forwarded.
var local = []int32{
	protocol.CodeCheckClientConfig,    // looks at the request alone
	protocol.CodeGetBrokerConfig,      // of this member
	protocol.CodeUpdateBrokerConfig,   // of this member
	protocol.CodeGetBrokerRuntimeInfo, // of this member
	protocol.CodeGetBrokerHAStatus,    // of this member
	// Each member removes files of its own.
	protocol.CodeCleanExpiredConsumeQueue, protocol.CodeDeleteExpiredCommitLog,
	31001, 31002, // between members
}

// Each code that concerns the group is answered by the leader, whomever the
// client asks, and is never sent on twice.
func TestEveryCodeIsForwarded(t *testing.T) {
	t.Parallel()
	forwarded, rest := broker.Codes()
	slices.Sort(local)
	require.Equal(t, local, rest, "forward a new code (route.leader), or say here why not")
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	follower := cluster.Follower()
	viaFollower, leader := newClient(t, follower.Addr), newClient(t, cluster.Leader().Addr)
	for _, code := range forwarded {
		name := fmt.Sprint("code ", code)
		// Without fields and body each answers something of its own.
		got, want := viaFollower.call(fields(code)), leader.call(fields(code))
		require.Equal(t, want.Code, got.Code, name)
		require.Equal(t, want.Remark, got.Remark, name)
		require.Eventually(t, func() bool { // what is counted meanwhile may differ once
			if steady(want.Body) == steady(got.Body) {
				return true
			}
			got, want = viaFollower.call(fields(code)), leader.call(fields(code))
			return false
		}, 10*time.Second, time.Millisecond, "%s: %s instead of %s", name, got.Body, want.Body)
		require.NotContains(t, got.Remark, "is a follower", name)

		marked := follower.Broker.Mark("n9", "s", 1, netip.MustParseAddrPort("10.0.0.1:5"), 0)
		again := viaFollower.call(fields(code, "cometForwardedFor", marked))
		require.Equal(t, protocol.StatusServiceNotAvailable, again.Code, name)
		require.Equal(t, "true", again.Str("cometNotLeader"), name)
	}
}

// steady is a body without what changes from one moment to the next.
func steady(body []byte) string {
	return regexp.MustCompile(`"(contactMs|bytesPerSecond)":\d+`).ReplaceAllString(string(body), `"$1":0`)
}

// An offset that was on its way to a leader when that was deposed comes by it to
// the next one, after newer ones.
func TestLateReportsOfOffsetsAreLeftAlone(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	direct, late := newClient(t, cluster.Leader().Addr), newClient(t, cluster.Follower().Addr)
	direct.createTopic("t", 1, 6)
	offset := func() int64 {
		return direct.offsetOf(protocol.CodeQueryConsumerOffset, "consumerGroup", "g", "topic", "t", "queueId", "0")
	}
	report := func(c *client, offset int) *protocol.Command {
		return c.call(fields(protocol.CodeUpdateConsumerOffset, "consumerGroup", "g", "topic", "t", "queueId", "0", "commitOffset", strconv.Itoa(offset)))
	}
	direct.commit("g", "t", 0, 100)
	resp := report(late, 50)
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "offset 50 of queue 0 is earlier than what another connection has reported")
	require.EqualValues(t, 100, offset())
	late.commit("g", "t", 0, 120)
	require.EqualValues(t, 120, offset(), "a newer one is taken whichever way it comes")
	late.commit("g", "t", 0, 60)
	require.EqualValues(t, 60, offset(), "and who reported last may go back")
	direct.commit("g", "t", 0, 40)
	require.EqualValues(t, 40, offset(), "and so may who speaks with the leader")
}

// Only members may say for whom a request is.
func TestForgedMarkIsRefused(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	for _, n := range []*testcluster.Node{cluster.Leader(), cluster.Follower()} {
		c := newClient(t, n.Addr)
		good := n.Broker.Mark("n9", "s", 1, netip.MustParseAddrPort("10.0.0.1:5"), 0)
		for _, forged := range []string{
			"", "10.0.0.1:5", "wrong n9 s 1 10.0.0.1:5 0", " n9 s 1 10.0.0.1:5 0", "x" + good[1:], good + " more", good[:len(good)-1] + "x",
		} {
			for _, code := range []int32{protocol.CodeGetMaxOffset, protocol.CodeGetBrokerRuntimeInfo, 31001, 31002, 9999} {
				resp := c.call(fields(code, "topic", "t", "queueId", "0", "cometForwardedFor", forged))
				require.Equal(t, protocol.StatusNoPermission, resp.Code, "%q code %d: %s", forged, code, resp.Remark)
			}
		}
		for _, code := range []int32{31001, 31002} {
			require.Equal(t, protocol.StatusNoPermission, c.call(fields(code)).Code)
		}
		h := sendHeader("orders", 0)
		req := sendRequest(h, "x")
		req.SetField("cometForwardedFor", "10.9.9.9:1")
		require.Equal(t, protocol.StatusNoPermission, c.call(req).Code)
	}
	c := newClient(t, cluster.Leader().Addr)
	c.createTopic("t", 1, 6)
	require.Zero(t, c.maxOffset("t", 0))
}

// consumers asks for the list of a group, "" when it is empty.
func (c *client) consumers(group string) string {
	c.t.Helper()
	resp := c.call(fields(protocol.CodeGetConsumerListByGroup, "consumerGroup", group))
	return string(resp.Body)
}

const bothMembers = `{"consumerIdList":["one","two"]}`

// Two members of a group, one with the leader and one with a follower, see each
// other, are told of each other, and stay so when the leader changes.
func TestGroupOverTwoMembers(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	old := cluster.Leader()
	var followers []*testcluster.Node
	for _, n := range cluster.Nodes {
		if n != old {
			followers = append(followers, n)
		}
	}
	one, two := newClient(t, followers[0].Addr), newClient(t, followers[1].Addr)
	one.createTopic("orders", 2, 6)
	pushes := func(c *client) int { return c.pushes(protocol.CodeNotifyConsumerIDsChanged) }

	one.heartbeat("one", "g", "*", "orders")
	require.Equal(t, 1, pushes(one), "the notice comes before the heartbeat's answer, as at the leader")
	require.JSONEq(t, `{"consumerIdList":["one"]}`, one.consumers("g"))
	two.heartbeat("two", "g", "*", "orders")
	require.JSONEq(t, bothMembers, one.consumers("g"))
	require.JSONEq(t, bothMembers, two.consumers("g"))
	require.Equal(t, 1, pushes(two))
	require.Eventually(t, func() bool { return pushes(one) == 2 }, waitFor, tick)
	conns := two.call(fields(protocol.CodeGetConsumerConnectionList, "consumerGroup", "g"))
	require.Contains(t, string(conns.Body), `"clientId":"one"`)
	require.Contains(t, string(conns.Body), `"clientId":"two"`)

	// A second way to the same member changes nothing.
	again := newClient(t, followers[1].Addr)
	again.heartbeat("one", "g", "*", "orders")
	require.JSONEq(t, bothMembers, two.consumers("g"))
	require.Equal(t, 2, pushes(one))
	require.Equal(t, 1, pushes(two))

	old.Stop()
	cluster.Leader()
	for _, c := range []*client{one, two} {
		require.Eventually(t, func() bool { return c.consumers("g") == bothMembers }, waitFor, tick, "the next leader knows both")
	}
	before := pushes(two)
	require.NoError(t, again.rpc.Close())
	require.NoError(t, one.rpc.Close())
	require.Eventually(t, func() bool { return two.consumers("g") == `{"consumerIdList":["two"]}` }, waitFor, tick)
	require.Eventually(t, func() bool { return pushes(two) > before }, waitFor, tick)

	two.call(fields(protocol.CodeUnregisterClient, "clientID", "two", "consumerGroup", "g"))
	require.Empty(t, two.consumers("g"))
}

// A member that dies takes its clients out of their groups.
func TestClientsGoWithTheirMember(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	follower := cluster.Follower()
	one, two := newClient(t, follower.Addr), newClient(t, cluster.Leader().Addr)
	one.heartbeat("one", "g", "*", "orders")
	two.heartbeat("two", "g", "*", "orders")
	require.JSONEq(t, bothMembers, two.consumers("g"))
	follower.Stop()
	require.Eventually(t, func() bool { return two.consumers("g") == `{"consumerIdList":["two"]}` }, waitFor, tick)
	require.Eventually(t, func() bool { return two.pushes(protocol.CodeNotifyConsumerIDsChanged) == 2 }, waitFor, tick)
}

// Replies and check-backs reach a client whose only connection is to a follower.
func TestCallbacksThroughAFollower(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: impatient("15")})
	follower, leader := cluster.Follower(), newClient(t, cluster.Leader().Addr)
	requester := newListener(t, follower.Addr)
	requester.produce("requester", "pg")
	got := leader.stored(replyRequest("requester"))
	require.Len(t, got.MsgID, 32)
	require.Len(t, requester.all(), 1, "pushed before the replier is answered")
	requester.mu.Lock()
	requester.status = protocol.StatusSystemError
	requester.mu.Unlock()
	require.Equal(t, "push reply message to requesterfail.", leader.call(replyRequest("requester")).Remark)

	requester.createTopic("orders", 1, 6)
	half := requester.prepare("orders", 0, "half")
	asked := func() *pushedRequest {
		for _, p := range requester.all() {
			if p.check.MsgID != "" {
				return &p
			}
		}
		return nil
	}
	require.Eventually(t, func() bool { return asked() != nil }, waitFor, tick, "the producer is asked")
	require.Equal(t, half.QueueOffset, asked().check.TranStateTableOffset)
	require.Equal(t, protocol.StatusSuccess, requester.end(endOf(t, half, protocol.TransactionCommit)).Code)
	require.EqualValues(t, 1, requester.maxOffset("orders", 0))
}

// A pull that a follower's client left behind is not held any longer.
func TestHeldPullEndsWithItsClient(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	leader := newClient(t, cluster.Leader().Addr)
	leader.createTopic("orders", 1, 6)
	c := newClient(t, cluster.Follower().Addr)
	held := c.pullAsync(suspended("orders", 0, 0, 60*time.Second))
	require.Eventually(t, func() bool { return leader.runtime()["heldPulls"] == "1" }, waitFor, tick)
	require.NoError(t, c.rpc.Close())
	<-held
	require.Eventually(t, func() bool { return leader.runtime()["heldPulls"] == "0" }, waitFor, tick)
}

// A pull that waited before it reached the leader is held for the rest of its
// time only.
func TestWaitingCountsAsHeld(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	c.createTopic("orders", 1, 6)
	req := pullRequest(suspended("orders", 0, 0, 15*time.Second))
	req.SetField("cometForwardedFor", leader.Broker.Mark("n9", "s", 1, netip.AddrPort{}, 15*time.Second))
	began := time.Now()
	require.Equal(t, protocol.StatusPullNotFound, c.call(req).Code)
	require.Less(t, time.Since(began), 10*time.Second)
}

// What is committed can be read from the last member, nothing can be written,
// and all returns by itself.
func TestReadingWithoutQuorum(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: map[string]string{
		"slaveReadEnable": "true", "leaderWaitTimeout": "300", "shutdownDrainTime": "0",
	}})
	last := cluster.Follower()
	c := newClient(t, last.Addr)
	c.createTopic("orders", 1, 6)
	c.heartbeat("me", "g", "*", "orders")
	for i := range 3 {
		c.send("orders", 0, fmt.Sprint(i))
	}
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeUpdateConsumerOffset,
		"consumerGroup", "g", "topic", "orders", "queueId", "0", "commitOffset", "2")).Code)
	require.Eventually(t, func() bool { return last.Broker.Status().CommitIndex == cluster.Leader().Broker.Status().CommitIndex }, waitFor, tick)
	for _, n := range cluster.Nodes {
		if n != last && !n.Broker.Status().Ready {
			n.Stop()
		}
	}
	cluster.Leader().Stop()
	require.Eventually(t, func() bool { return !last.Broker.Status().Ready }, waitFor, tick)

	var p pulled
	require.Eventually(t, func() bool {
		p = c.pull(pullHeader("orders", 0, 0))
		return p.code == protocol.StatusSuccess
	}, waitFor, tick)
	require.Len(t, p.msgs, 3)
	require.EqualValues(t, 2, c.offsetOf(protocol.CodeQueryConsumerOffset, "consumerGroup", "g", "topic", "orders", "queueId", "0"))
	require.JSONEq(t, `{"consumerIdList":["me"]}`, c.consumers("g"))
	require.EqualValues(t, 3, c.maxOffset("orders", 0))
	ahead := c.pull(pullHeader("orders", 0, 7))
	require.Equal(t, protocol.StatusPullNotFound, ahead.code, "a client that has seen more is not sent back")
	require.EqualValues(t, 7, ahead.header.NextBeginOffset)
	c.heartbeat("me", "g", "*", "orders")

	var refused *protocol.Command
	require.Eventually(t, func() bool {
		refused = c.call(sendRequest(sendHeader("orders", 0), "x"))
		return len(refused.Remark) > 0 && refused.Code == protocol.StatusServiceNotAvailable
	}, waitFor, tick)
	require.Regexp(t, `no quorum: n\d, n\d unreachable since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, refused.Remark)
	require.Equal(t, protocol.StatusServiceNotAvailable, c.call(fields(protocol.CodeUpdateConsumerOffset,
		"consumerGroup", "g", "topic", "orders", "queueId", "0", "commitOffset", "3")).Code)

	for _, n := range cluster.Nodes {
		if n.Broker == nil {
			n.Restart()
			break
		}
	}
	require.Eventually(t, func() bool {
		return c.call(sendRequest(sendHeader("orders", 0), "y")).Code == protocol.StatusSuccess
	}, waitFor, tick)
}
