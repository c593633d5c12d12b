package broker_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// report commits an offset one-way, as consumers do.
func (c *client) report(group, topic string, queue, offset int) {
	c.t.Helper()
	require.NoError(c.t, c.rpc.Oneway(c.t.Context(), c.addr, fields(protocol.CodeUpdateConsumerOffset, "consumerGroup", group, "topic", topic,
		"queueId", strconv.Itoa(queue), "commitOffset", strconv.Itoa(offset))))
}

// committed asks for the offset of queue 0.
func (c *client) committed(group, topic string) int64 {
	c.t.Helper()
	return c.offsetOf(protocol.CodeQueryConsumerOffset, "consumerGroup", group, "topic", topic, "queueId", "0")
}

// never keeps reports for the length of a test, unless somebody asks.
var never = map[string]string{"consumerOffsetFlushInterval": "60000"}

// Every answer that shows offsets shows the newest report, which has been
// replicated for it.
func TestShownOffsetsAreReplicated(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, never)
	b := cluster.Leader().Broker
	c.createTopic("orders", 1, 6)
	c.sendN("orders", 0, 30)
	group := protocol.NewSubscriptionGroupConfig("g")
	resp := c.call(protocol.NewRequest(protocol.CodeUpdateAndCreateSubGroup).SetBody(protocol.Encode(group)))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	reported := 0
	check := func(what string, ask *protocol.Command, shows string) {
		t.Helper()
		reported++
		c.report("g", "orders", 0, reported)
		resp := c.call(ask)
		stored, _ := b.StoredOffset("g", "orders", 0)
		require.EqualValues(t, reported, stored, what)
		require.Equal(t, protocol.StatusSuccess, resp.Code, "%s: %s", what, resp.Remark)
		require.Contains(t, string(resp.Body), shows+strconv.Itoa(reported), what)
	}
	reported++
	c.report("g", "orders", 0, reported)
	require.EqualValues(t, reported, c.committed("g", "orders"))
	stored, _ := b.StoredOffset("g", "orders", 0)
	require.EqualValues(t, reported, stored)
	check("consume stats", fields(protocol.CodeGetConsumeStats, "consumerGroup", "g"), `"consumerOffset":`)
	check("consume stats of a topic", fields(protocol.CodeGetConsumeStats, "consumerGroup", "g", "topic", "orders"), `"consumerOffset":`)
	check("consume stats of all groups", fields(protocol.CodeGetBrokerConsumeStats, "isOrder", "false"), `"consumerOffset":`)
	check("all offsets", fields(protocol.CodeGetAllConsumerOffset), `"orders@g":{0:`)
	check("least offsets", fields(protocol.CodeQueryCorrectionOffset, "topic", "orders", "compareGroup", "h", "filterGroups", ""), `0:`)
	check("time span", fields(protocol.CodeQueryConsumeTimeSpan, "topic", "orders", "group", "g"), "")

	reported++
	c.report("g", "orders", 0, reported)
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeCloneGroupOffset, "srcGroup", "g", "destGroup", "h", "offline", "true")).Code)
	for _, name := range []string{"g", "h"} {
		stored, _ := b.StoredOffset(name, "orders", 0)
		require.EqualValues(t, reported, stored, name)
	}

	reported++
	c.report("g", "orders", 0, reported)
	resp = c.call(fields(protocol.CodeInvokeBrokerToResetOffset, "topic", "orders", "group", "g", "timestamp", "-1", "isForce", "false"))
	require.Equal(t, protocol.StatusConsumerNotOnline, resp.Code, "nobody to tell")
	stored, _ = b.StoredOffset("g", "orders", 0)
	require.EqualValues(t, reported, stored, "where it stands decides where it goes, and is in the answer")
}

// A group without an offset is answered as before.
func TestQueryWithoutAnOffset(t *testing.T) {
	t.Parallel()
	_, c := one(t, never)
	c.createTopic("orders", 1, 6)
	c.sendN("orders", 0, 3)
	require.Zero(t, c.committed("g", "orders"), "a young queue is read from its beginning")
	resp := c.call(fields(protocol.CodeQueryConsumerOffset, "consumerGroup", "g", "topic", "orders", "queueId", "0", "setZeroIfNotFound", "false"))
	require.Equal(t, protocol.StatusQueryNotFound, resp.Code)
	resp = c.call(fields(protocol.CodeQueryConsumerOffset, "consumerGroup", "g", "topic", "orders"))
	require.Equal(t, protocol.StatusSystemError, resp.Code, "a field is missing")
}

// A leader without a majority shows no report that it cannot replicate: the
// question waits for a leader who can tell. Through whom it is asked makes no
// difference to what may not be taken back.
func TestUnreplicatedOffsetIsNotShown(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: never})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	c.createTopic("orders", 1, 6)
	c.commit("g", "orders", 0, 5)
	for _, n := range cluster.Nodes {
		if n != leader {
			n.Stop()
		}
	}
	c.report("g", "orders", 0, 9)
	asked := make(chan int64, 1)
	go func() { asked <- c.committed("g", "orders") }()
	require.Eventually(t, func() bool { return !leader.Broker.Status().Ready }, waitFor, tick)
	stored, _ := leader.Broker.StoredOffset("g", "orders", 0)
	require.EqualValues(t, 5, stored)
	require.Empty(t, asked, "shown, and nobody else has it")

	for _, n := range cluster.Nodes {
		if n != leader {
			n.Restart()
		}
	}
	shown := <-asked
	require.Contains(t, []int64{5, 9}, shown)
	for _, n := range cluster.Nodes {
		require.GreaterOrEqual(t, newClient(t, n.Addr).committed("g", "orders"), shown, "taken back")
	}
}

// What was reported one-way is with the next leader when the leadership is handed
// over, on request and by a member that stops.
func TestReportsAreWrittenBeforeHandOver(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: never})
	first, next := cluster.Leader(), cluster.Follower()
	c := newClient(t, first.Addr)
	c.createTopic("orders", 1, 6)
	pending := func(b *client, offset int) {
		b.report("g", "orders", 0, offset)
		// An answer on the same connection: the report has been taken.
		b.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0")
	}
	pending(c, 7)
	_, ok := first.Broker.StoredOffset("g", "orders", 0)
	require.False(t, ok, "it is only collected")
	_, resp := c.step(protocol.ChangeMembersHeader{Step: protocol.StepTransfer, ID: next.ID})
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, next, cluster.Leader())
	c = newClient(t, next.Addr)
	require.EqualValues(t, 7, c.committed("g", "orders"))

	pending(c, 8)
	next.Stop()
	require.EqualValues(t, 8, newClient(t, cluster.Leader().Addr).committed("g", "orders"))
}

// A question from another member's client waits like any other.
func TestForwardedQueryShowsItsOwnReport(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: never})
	leader := cluster.Leader()
	c := newClient(t, cluster.Follower().Addr)
	c.createTopic("orders", 1, 6)
	for offset := range 20 {
		c.report("g", "orders", 0, offset+1)
		require.EqualValues(t, offset+1, c.committed("g", "orders"))
		stored, _ := leader.Broker.StoredOffset("g", "orders", 0)
		require.EqualValues(t, offset+1, stored)
	}
}

// BenchmarkQueryManyOffsets is a tool that asks for all offsets of a group of 1,000
// queues, one after the other, while consumers report each of them every 5 s
// (quiet: while nobody does).
func BenchmarkQueryManyOffsets(b *testing.B) {
	const queues = 1000
	for _, reporting := range []bool{false, true} {
		name := "quiet"
		if reporting {
			name = "reported"
		}
		b.Run(name, func(b *testing.B) {
			cluster := testcluster.Start(b, testcluster.Options{Nodes: 3})
			leader := cluster.Leader()
			c, reporter := newClient(b, leader.Addr), newClient(b, leader.Addr)
			c.createTopic("orders", queues, 6)
			for q := range queues {
				reporter.report("g", "orders", q, 1)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				tick := time.NewTicker(5 * time.Second / queues)
				defer tick.Stop()
				for n := 0; reporting; n++ {
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
						reporter.report("g", "orders", n%queues, n)
					}
				}
			}()
			entries := leader.Broker.Status().Counters.Entries
			b.ResetTimer()
			for b.Loop() {
				for q := range queues {
					c.offsetOf(protocol.CodeQueryConsumerOffset, "consumerGroup", "g", "topic", "orders", "queueId", strconv.Itoa(q))
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(leader.Broker.Status().Counters.Entries-entries)/b.Elapsed().Seconds(), "entries/s")
			cancel()
			<-done
		})
	}
}
