package dledger

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// clean removes as much of a member's log as may ever be removed.
func (m *member) clean() {
	t := m.group.t
	t.Helper()
	hours := make([]int, 24)
	for i := range hours {
		hours[i] = i
	}
	for {
		done, err := m.store.CleanExpired(store.CleanRequest{
			Retention: store.Retention{DeleteWhen: hours, MaxUsedPercent: 100}, Now: time.Now(),
			FirstNeeded: func(bool) uint64 { return m.node.FirstNeeded(true) },
		})
		require.NoError(t, err)
		if len(done.Segments) == 0 {
			return
		}
	}
}

// tail reads what is left of a queue: the ids and the offset of the first.
func (m *member) tail(queue int32) (message.QueueOffset, []uint64) {
	t := m.group.t
	t.Helper()
	first, next := m.store.QueueRange(testTopic, queue)
	var ids []uint64
	for off := first; off < next; {
		res := m.store.Get(store.GetRequest{Topic: testTopic, QueueID: queue, Offset: off, MaxMessages: 1000, MaxBytes: 1 << 20})
		require.Equal(t, store.Found, res.Status, "%s queue %d offset %d: %v", m.id, queue, off, res.Err)
		for rest := res.Messages; len(rest) > 0; {
			rec, err := message.ParseStored(rest)
			require.NoError(t, err)
			require.EqualValues(t, int(first)+len(ids), rec.QueueOffset())
			ids = append(ids, binary.BigEndian.Uint64(rec.Body()))
			rest = rest[rec.Size():]
		}
		off = res.Next
	}
	return first, ids
}

// requireSameMessages compares what is left on all members, and with what the
// senders were told.
func (h *history) requireSameMessages(g *group) {
	t := g.t
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for q := range int32(4) {
		first, ids := g.members[0].tail(q)
		for _, m := range g.members[1:] {
			f, other := m.tail(q)
			both := max(first, f)
			require.Equal(t, ids[both-first:], other[both-f:], "queue %d of %s from offset %d", q, m.id, both)
			first, ids = both, ids[both-first:]
		}
		at := map[uint64]message.QueueOffset{}
		for i, id := range ids {
			at[id] = first + message.QueueOffset(i)
		}
		for id, r := range h.acked {
			if h.queues[id] == q && r.Queue >= first { // what is gone from one member is not looked for
				off, there := at[id]
				require.True(t, there, "message %d was acknowledged and is lost", id)
				require.Equal(t, r.Queue, off, "message %d", id)
			}
		}
	}
	require.LessOrEqual(t, len(h.ends), int(h.next.Load()))
}

// replaced waits until the member has received its leader's log and starts it
// again, as its process would.
func (m *member) replaced() {
	t := m.group.t
	t.Helper()
	select {
	case err := <-m.exited:
		require.ErrorIs(t, err, ErrReplaced)
	case <-time.After(30 * time.Second):
		require.Fail(t, "the member was not brought up", "%s: %+v", m.id, m.node.Status())
	}
	m.crash()
	m.start(nil)
}

// grow lets the group take n more messages and save a checkpoint.
func (g *group) grow(h *history, n int) {
	g.t.Helper()
	before := h.ackedCount()
	require.Eventually(g.t, func() bool { return h.ackedCount() >= before+n }, 30*time.Second, time.Millisecond)
	saved := g.leader().node.Status().Counters.Checkpoints
	require.Eventually(g.t, func() bool { return g.leader().node.Status().Counters.Checkpoints > saved+1 }, 30*time.Second, time.Millisecond)
}

// P6: a member whose next entry is gone everywhere, and one whose disk is empty,
// are brought up while the group takes messages.
func TestMemberBehindTheLogIsBroughtUp(t *testing.T) {
	for _, wiped := range []bool{false, true} {
		g := newGroup(t, groupOptions{segment: 64 << 10})
		leader, rest := g.followers()
		away := rest[0]
		h := newHistory()
		stop := make(chan struct{})
		senders := g.load(h, 4, 32, 200, stop)
		g.grow(h, 500)
		last := away.store.Log().LastIndex()
		away.crash()
		if wiped {
			away.empty()
			last = 0
		}
		g.grow(h, 3000)
		leader.clean()
		rest[1].clean()
		require.Greater(t, leader.store.Log().FirstIndex(), last+1)
		away.start(nil)
		away.replaced()
		g.grow(h, 200)
		close(stop)
		senders.Wait()
		g.settle()
		g.requireSameBytes()
		h.requireSameMessages(g)
		require.Equal(t, leader.id, g.leader().id, "nobody else had to lead")

		// It is a member like any other.
		away.stop()
		away.start(nil)
		leader.crash()
		_, err := g.leader().node.Do(t.Context(), command(1), 1)
		require.NoError(t, err)
		leader.start(nil)
		g.settle()
		g.requireSameBytes()
	}
}

// The transfer survives the death of the receiver and of the sender, and goes on
// where it was cut.
func TestTransferGoesOnAfterACut(t *testing.T) {
	g := newGroup(t, groupOptions{segment: 64 << 10, config: func(_ string, c *Config) {
		c.InstallRate = 1 << 20
	}})
	leader, rest := g.followers()
	away := rest[0]
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 4, 32, 200, stop)
	g.grow(h, 100)
	away.crash()
	away.empty()
	g.grow(h, 12000)
	close(stop) // so that the group can settle with a member less
	senders.Wait()
	leader.clean() // early, so that most of the log is still there
	rest[1].clean()
	require.Eventually(t, func() bool { return !leader.node.dirty() && !rest[1].node.dirty() }, 10*time.Second, time.Millisecond)
	stop = make(chan struct{})
	senders = g.load(h, 4, 32, 200, stop)
	g.grow(h, 12000)
	close(stop)
	senders.Wait()

	away.start(nil)
	progress := func(from func(id string) bool, least int64) InstallStatus {
		var s InstallStatus
		require.Eventually(t, func() bool {
			p := away.node.Status().Taking
			if p == nil || !from(p.Peer) {
				return false
			}
			s = *p
			return s.Bytes >= least
		}, 30*time.Second, time.Millisecond)
		require.Greater(t, s.Total, s.Bytes, "too fast to be cut")
		return s
	}
	anybody := func(string) bool { return true }
	s := progress(anybody, 600<<10)
	require.Zero(t, s.Resumed)
	require.Len(t, leader.node.Status().Sending, 1)
	require.Equal(t, away.id, leader.node.Status().Sending[0].Peer)
	away.crash() // the receiver dies
	away.start(nil)
	s = progress(anybody, 1200<<10)
	require.Greater(t, s.Resumed, int64(300<<10))
	leader.crash() // the sender dies
	leader.start(nil)
	s = progress(func(id string) bool { return id != leader.id }, 1800<<10)
	require.Greater(t, s.Resumed, int64(900<<10))
	away.replaced()
	g.settle()
	h.requireSameMessages(g)
	g.requireSameBytes()
}

// What a follower refuses, and what it does not need.
func TestOffers(t *testing.T) {
	g := newGroup(t, groupOptions{})
	leader, rest := g.followers()
	_, err := leader.node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return leader.node.Status().Counters.Checkpoints > 0 && !leader.node.dirty() }, 10*time.Second, time.Millisecond)
	g.settle()
	x, err := leader.store.Export()
	require.NoError(t, err)
	term := leader.node.raft.CurrentTerm()
	good := offer{
		Leader: leader.id, LeaderTerm: term, SegmentSize: leader.store.SegmentSize(),
		FirstIndex: x.FirstIndex, Base: x.Base, Index: x.Index, Term: x.Term, End: x.End,
	}
	ask := func(change func(o *offer)) (taken, error) {
		o := good
		change(&o)
		body, err := json.Marshal(o)
		require.NoError(t, err)
		var answer taken
		err = leader.node.streams.call(raft.ServerAddress(rest[0].addr), 5*time.Second, call{Op: opInstall, Body: body}, &answer)
		return answer, err
	}
	answer, err := ask(func(*offer) {})
	require.NoError(t, err)
	require.True(t, answer.Has)
	for _, tt := range []struct {
		change func(*offer)
		says   string
	}{
		{func(o *offer) { o.LeaderTerm-- }, "the offer is of term"},
		{func(o *offer) { o.LeaderTerm++ }, "the offer is of term"},
		{func(o *offer) { o.SegmentSize++ }, "mapedFileSizeCommitLog"},
		{func(o *offer) { o.Term++ }, "contradict each other"},
	} {
		_, err := ask(tt.change)
		var r refusal
		require.ErrorAs(t, err, &r)
		require.ErrorContains(t, err, tt.says)
	}
	err = leader.node.streams.call(raft.ServerAddress(rest[0].addr), 5*time.Second, call{Op: "dance"}, &answer)
	require.ErrorContains(t, err, `does not know the call "dance"`)

	// Raft's own way would not come here, and the leader tells Raft of success.
	var resp raft.InstallSnapshotResponse
	require.NoError(t, leader.node.transport.InstallSnapshot(raft.ServerID(rest[0].id), "", &raft.InstallSnapshotRequest{Term: term}, &resp, noBytes{}))
	require.True(t, resp.Success)
	require.Equal(t, term, resp.Term)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = leader.node.Do(ctx, command(2), 1)
	require.NoError(t, err)
}

func TestPacer(t *testing.T) {
	p := pacer{rate: 1 << 20, began: time.Now().Add(-time.Second)}
	require.LessOrEqual(t, p.after(3<<20), time.Duration(0))
	require.InDelta(t, 2*time.Second, p.after(1), float64(100*time.Millisecond))
	p = pacer{rate: -1}
	require.Zero(t, p.after(1<<30))
}
