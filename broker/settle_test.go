package broker_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// uniqueBatch is a batch of two to "orders".
func uniqueBatch(id string) *protocol.Command {
	h := sendHeader("orders", 1)
	h.Batch, h.Properties = true, nil
	body := batchItem(nil, "one", "UNIQ_KEY\x01"+id)
	body = batchItem(body, "two", "UNIQ_KEY\x01"+id+"-2")
	return protocol.NewRequest(protocol.CodeSendBatchMessage).SetHeader(&h).SetBody(body)
}

// delayedSend is a message to queue 2 of "orders" that comes in two hours.
func delayedSend(id string) *protocol.Command {
	h := sendHeader("orders", 2)
	h.Properties = []byte("UNIQ_KEY\x01" + id + "\x02DELAY\x0118")
	return sendRequest(h, "later")
}

// The leader ends after it was given sends and before their answers arrive.
// Whether it had stored them or not, the clients of a follower are told where they
// are, and they are there once.
func TestSendsInDoubtAreSettledWithTheNextLeader(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cut    func(*testcluster.Node)
		stored bool
	}{
		"stored":     {(*testcluster.Node).Mute, true},
		"not stored": {(*testcluster.Node).Deafen, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Links: true, Settings: map[string]string{"leaderWaitTimeout": "15000"}})
			leader := cluster.Leader()
			c := newClient(t, cluster.Follower().Addr)
			c.createTopic("orders", 4, 6)
			plain := sendHeader("orders", 3)
			plain.Properties = nil
			sends := map[string]*protocol.Command{
				"single": uniqueSend("u1", 0), "batch": uniqueBatch("b1"), "delayed": delayedSend("d1"), "no id": sendRequest(plain, "x"),
			}
			test.cut(leader)
			type end struct {
				name string
				resp *protocol.Command
				err  error
			}
			ended := make(chan end, len(sends))
			for name, req := range sends {
				c.rpc.InvokeAsync(c.addr, req, func(resp *protocol.Command, err error) { ended <- end{name, resp, err} })
			}
			// "pg" is in each request, and the id of a message in each answer.
			mark := map[bool]string{true: `"msgId":`, false: `"pg"`}[test.stored]
			require.Eventually(t, func() bool { return leader.Lost(mark) == len(sends) }, waitFor, tick)
			host := leader.Addr
			leader.Stop()
			if !test.stored {
				host = cluster.Leader().Addr
			}
			got := map[string]protocol.SendResponseHeader{}
			for range sends {
				e := <-ended
				require.NoError(t, e.err)
				if e.name == "no id" {
					require.Equal(t, protocol.StatusSystemError, e.resp.Code)
					require.Contains(t, e.resp.Remark, "outcome unknown")
					continue
				}
				require.Equal(t, protocol.StatusSuccess, e.resp.Code, "%s: %s", e.name, e.resp.Remark)
				_, leaked := e.resp.Field("cometUnknown")
				require.False(t, leaked)
				var h protocol.SendResponseHeader
				require.NoError(t, h.Decode(e.resp))
				require.True(t, h.Stored)
				got[e.name] = h
			}
			for name, want := range map[string]struct {
				topic string
				at    int   // the queue it lies in
				queue int32 // the queue the client is told
				count int64
			}{
				"single": {"orders", 0, 0, 1}, "batch": {"orders", 1, 1, 2}, "delayed": {message.TopicSchedule, 17, 2, 1},
			} {
				require.Equal(t, want.count, c.maxOffset(want.topic, want.at), "%s is there once", name)
				require.Equal(t, want.queue, got[name].QueueID, name)
				require.Zero(t, got[name].QueueOffset, name)
				ids := strings.Split(string(got[name].MsgID), ",")
				require.Len(t, ids, int(want.count), name)
				for _, id := range ids {
					from, _, err := message.ParseOffsetMsgID(id)
					require.NoError(t, err)
					require.Equal(t, host, from.String(), "%s: the id names who stored it", name)
					found := c.call(fields(protocol.CodeViewMessageByID, "offset", strconv.FormatInt(phyOf(t, id), 10)))
					require.Equal(t, protocol.StatusSuccess, found.Code, name)
				}
			}
		})
	}
}

func phyOf(t *testing.T, id string) int64 {
	_, phy, err := message.ParseOffsetMsgID(id)
	require.NoError(t, err)
	return int64(phy)
}

// A leader that loses its majority with a proposal on its way settles it with who
// leads next, which may be itself.
func TestDeposedLeaderSettlesItsOwnSends(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: map[string]string{"leaderWaitTimeout": "15000"}})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	c.createTopic("orders", 1, 6)
	stop, done := make(chan struct{}), make(chan struct{})
	sent, failed := int64(0), ""
	go func() {
		defer close(done)
		for failed == "" {
			select {
			case <-stop:
				return
			default:
			}
			resp, err := c.rpc.Invoke(t.Context(), c.addr, uniqueSend(fmt.Sprint("u", sent), 0))
			switch {
			case err != nil:
				failed = err.Error()
			case resp.Code != protocol.StatusSuccess:
				failed = resp.Remark
			default:
				sent++
			}
		}
	}()
	var others []*testcluster.Node
	for _, n := range cluster.Nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	for _, n := range others {
		n.Stop()
	}
	require.Eventually(t, func() bool { return leader.Broker.Status().Counters.Unknown > 0 }, waitFor, tick)
	for _, n := range others {
		n.Restart()
	}
	cluster.Leader()
	close(stop)
	<-done
	require.Empty(t, failed)
	require.Equal(t, sent, c.maxOffset("orders", 0), "each send stored once")
}

// marked is a send as a member sends it on.
func marked(req *protocol.Command, mark, term string) *protocol.Command {
	req.SetField("cometForwardedFor", mark)
	if term != "" {
		req.SetField("cometTerm", term)
	}
	return req
}

var born = netip.MustParseAddrPort("10.0.0.1:5")

// doubtful calls with a send that may have been stored in the term before.
func doubtful(c *client, n *testcluster.Node, req *protocol.Command, since int64) *protocol.Command {
	term := n.Broker.Status().Term
	return c.call(marked(req, n.Broker.MarkDoubtful(born, term-1, since), strconv.FormatUint(term, 10)))
}

func TestOnlyTheSendInDoubtIsTakenForStored(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	n := cluster.Nodes[0]
	c.createTopic("orders", 2, 6)
	send := func(change func(h *protocol.SendHeader)) *protocol.Command {
		h := sendHeader("orders", 0)
		if change != nil {
			change(&h)
		}
		return sendRequest(h, "x")
	}
	first := c.stored(marked(send(nil), n.Broker.Mark("n9", "s", 1, born, 0), ""))
	again := func(req *protocol.Command) protocol.SendResponseHeader {
		resp := doubtful(c, n, req, 0)
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		var h protocol.SendResponseHeader
		require.NoError(t, h.Decode(resp))
		return h
	}
	require.Equal(t, first, again(send(nil)))
	require.Equal(t, first, again(send(func(h *protocol.SendHeader) { h.QueueID = -1 })), "the broker chose the queue")
	require.EqualValues(t, 1, c.maxOffset("orders", 0))

	count := int64(1)
	for name, req := range map[string]*protocol.Command{
		"the same message object, sent later": send(func(h *protocol.SendHeader) { h.BornTimestamp++ }),
		"another id":                          send(func(h *protocol.SendHeader) { h.Properties = []byte("UNIQ_KEY\x01U2") }),
		"an id in its keys":                   send(func(h *protocol.SendHeader) { h.Properties = []byte("UNIQ_KEY\x01U3\x02KEYS\x01U1") }),
		"another body":                        sendRequest(sendHeader("orders", 0), "y"),
		"another flag":                        send(func(h *protocol.SendHeader) { h.Flag = 7 }),
	} {
		require.EqualValues(t, count, again(req).QueueOffset, name)
		count++
	}
	require.EqualValues(t, 0, again(send(func(h *protocol.SendHeader) { h.QueueID = 1 })).QueueOffset, "another queue")
	require.Equal(t, first, again(send(nil)), "among others with its id")

	later := doubtful(c, n, send(nil), time.Now().Add(time.Hour).UnixMilli())
	require.Equal(t, protocol.StatusSuccess, later.Code)
	require.Equal(t, count+1, c.maxOffset("orders", 0), "what was stored before the first attempt is another send")
}

// What the leader cannot know is not stored.
func TestSendThatCannotBeFoundEndsUnknown(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	blind, cBlind := one(t, map[string]string{"messageIndexEnable": "false"})
	for _, c := range []*client{c, cBlind} {
		c.createTopic("orders", 4, 6)
		c.heartbeat("me", "g1", "*", "orders")
	}
	half := sendHeader("orders", 0)
	half.SysFlag, half.Properties = message.SysFlagTransactionPrepared, []byte("TRAN_MSG\x01true\x02PGROUP\x01pg\x02UNIQ_KEY\x01h")
	timed := sendHeader("orders", 0)
	timed.Properties = []byte("UNIQ_KEY\x01t\x02TIMER_DELAY_SEC\x0160")
	retry := sendHeader("%RETRY%g1", 0)
	retry.ReconsumeTimes = 1
	none := sendHeader("orders", 0)
	none.Properties = nil
	for name, test := range map[string]struct {
		c   *client
		n   *testcluster.Node
		req *protocol.Command
	}{
		"half":         {c, cluster.Nodes[0], sendRequest(half, "x")},
		"timed":        {c, cluster.Nodes[0], sendRequest(timed, "x")},
		"retry":        {c, cluster.Nodes[0], sendRequest(retry, "x")},
		"without id":   {c, cluster.Nodes[0], sendRequest(none, "x")},
		"without keys": {cBlind, blind.Nodes[0], uniqueSend("u1", 0)},
	} {
		before := test.n.Broker.Status().Counters.Proposals
		resp := doubtful(test.c, test.n, test.req, 0)
		require.Equal(t, protocol.StatusSystemError, resp.Code, name)
		require.Contains(t, resp.Remark, "outcome unknown", name)
		require.Equal(t, before, test.n.Broker.Status().Counters.Proposals, "%s: nothing was proposed", name)
	}
}

// With de-duplication the store knows by itself, also what has no keys.
func TestDeduplicationSettlesByItself(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, map[string]string{"deduplicateEnable": "true", "messageIndexEnable": "false"})
	c.createTopic("orders", 1, 6)
	n := cluster.Nodes[0]
	first := c.stored(marked(uniqueSend("u1", 0), n.Broker.Mark("n9", "s", 1, born, 0), ""))
	for range 2 {
		resp := doubtful(c, n, uniqueSend("u1", 0), 0)
		var h protocol.SendResponseHeader
		require.NoError(t, h.Decode(resp))
		require.Equal(t, first, h)
	}
	require.Equal(t, protocol.StatusSuccess, doubtful(c, n, uniqueSend("u2", 0), 0).Code)
	require.EqualValues(t, 2, c.maxOffset("orders", 0))
}

// A send is stored in the term that it is meant for, and one in doubt in a later
// term than the one that it may have been stored in.
func TestSendsAreMeantForOneTerm(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	n := cluster.Nodes[0]
	c.createTopic("orders", 1, 6)
	term := n.Broker.Status().Term
	mark := n.Broker.Mark("n9", "s", 1, born, 0)
	text := func(term uint64) string { return strconv.FormatUint(term, 10) }
	for name, req := range map[string]*protocol.Command{
		"earlier":          marked(uniqueSend("u1", 0), mark, text(term-1)),
		"later":            marked(uniqueSend("u1", 0), mark, text(term+1)),
		"doubt, same term": marked(uniqueSend("u1", 0), n.Broker.MarkDoubtful(born, term, 0), text(term)),
		"doubt, earlier":   marked(uniqueSend("u1", 0), n.Broker.MarkDoubtful(born, term-1, 0), text(term-1)),
		"doubt, later":     marked(uniqueSend("u1", 0), n.Broker.MarkDoubtful(born, term-1, 0), text(term+1)),
	} {
		resp := c.call(req)
		require.Equal(t, protocol.StatusServiceNotAvailable, resp.Code, name)
		require.Equal(t, "true", resp.Str("cometNotLeader"), name)
	}
	// An older member refuses a mark of another length than it knows, and a newer
	// one's answer to what it does not know is recognised.
	for _, forged := range []string{mark + " 1", mark + " 0 5", mark + " x 5", mark + " 1 x", mark + " 1 5 9"} {
		resp := c.call(marked(uniqueSend("u1", 0), forged, text(term)))
		require.Equal(t, protocol.StatusNoPermission, resp.Code, forged)
		require.True(t, broker.IsStranger(resp))
	}
	require.Equal(t, protocol.StatusNoPermission, c.call(marked(uniqueSend("u1", 0), mark, "x")).Code)
	require.Zero(t, c.maxOffset("orders", 0))
	require.Equal(t, protocol.StatusSuccess, c.call(marked(uniqueSend("u1", 0), mark, text(term))).Code)
	require.EqualValues(t, 1, c.maxOffset("orders", 0), "an ordinary mark, and the term that it is meant for")
}
