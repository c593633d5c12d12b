package dledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store"
	"github.com/cometmq/cometmq/store/commitlog"
)

func TestMembersReplicateAndReplay(t *testing.T) {
	g := newGroup(t, groupOptions{disk: true})
	leader, rest := g.followers()

	results, err := leader.node.Do(t.Context(), command(7), 1)
	require.NoError(t, err)
	require.Len(t, results, 1)
	require.EqualValues(t, 7, results[0].Value)

	_, err = rest[0].node.Do(t.Context(), command(8), 1)
	require.ErrorIs(t, err, ErrNotLeader)
	require.NotErrorIs(t, err, ErrUnknown)

	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 4, 64, 100, stop)
	require.Eventually(t, func() bool { return h.ackedCount() > 3000 }, 20*time.Second, 5*time.Millisecond)
	close(stop)
	senders.Wait()
	g.settle()
	h.check(g)
	g.requireSameBytes()
	require.Empty(t, h.unknown)

	s := leader.node.Status()
	require.Equal(t, Leader, s.Role)
	require.Equal(t, leader.id, s.LeaderID)
	require.Len(t, s.Peers, 3)
	for _, p := range s.Peers {
		require.Equal(t, s.LastIndex, p.LastIndex, "%+v", p)
		require.Equal(t, p.ID == leader.id, p.Contact.IsZero())
	}
	for _, m := range rest {
		require.Equal(t, 1, m.machine.seen[7], "command on %s", m.id)
	}

	// Restart all: one with a checkpoint at its end, two as after a crash.
	leader.stop()
	rest[0].crash()
	rest[1].crash()
	for _, m := range g.members {
		m.start(nil)
	}
	g.settle()
	h.check(g)
	g.requireSameBytes()
	for _, m := range g.members {
		require.Equal(t, 1, m.machine.seen[7], "command on %s", m.id)
	}
	_, err = g.leader().node.Do(t.Context(), command(9), 1)
	require.NoError(t, err)
}

// The heart of the design: whatever happens to leaders, the logs are the same
// bytes on every member, nothing acknowledged is missing, and no offset is
// given out twice.
func TestMembersHaveTheSameBytes(t *testing.T) {
	for _, sync := range []bool{false, true} {
		t.Run(fmt.Sprintf("sync=%v", sync), func(t *testing.T) {
			g := newGroup(t, groupOptions{sync: sync, segment: 256 << 10, config: func(_ string, c *Config) {
				c.EntryBytesMax = 16 << 10
			}})
			g.leader()
			h := newHistory()
			stop := make(chan struct{})
			senders := g.load(h, 8, 32, 100, stop)
			for range 4 {
				before := h.ackedCount()
				require.Eventually(t, func() bool { return h.ackedCount() > before+1500 }, 30*time.Second, time.Millisecond)
				dead := g.leader()
				dead.crash()
				before = h.ackedCount()
				require.Eventually(t, func() bool { return h.ackedCount() > before+200 }, 30*time.Second, time.Millisecond)
				dead.start(nil)
			}
			close(stop)
			senders.Wait()
			g.settle()
			h.check(g)
			g.requireSameBytes()
			require.Greater(t, len(g.members[0].segments()), 2, "the test must roll segments")
			t.Logf("acked %d, unknown %d, refused %d", len(h.acked), len(h.unknown), len(h.refused))
		})
	}
}

// Leaders come and go as fast as they can, by transfer and by crash; every
// proposal still ends once and with the truth.
func TestProposalsEndOnceUnderChurn(t *testing.T) {
	g := newGroup(t, groupOptions{})
	g.leader()
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 8, 32, 20, stop)
	for i := range 8 {
		before := h.ackedCount()
		require.Eventually(t, func() bool { return h.ackedCount() > before+100 }, 30*time.Second, time.Millisecond)
		m := g.leader()
		if i%4 == 3 {
			m.crash()
			m.start(nil)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_ = m.node.TransferLeadership(ctx) // may find nobody ready; the churn is the point
		cancel()
	}
	close(stop)
	senders.Wait()
	g.settle()
	h.check(g)
	g.requireSameBytes()
	for _, m := range g.members {
		m.requireOrderlyRoles()
	}
}

// requireOrderlyRoles checks what the callbacks were told.
func (m *member) requireOrderlyRoles() {
	t := m.group.t
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var term uint64
	for i, c := range m.roles {
		require.GreaterOrEqual(t, c.Term, term, "%s: %+v", m.id, m.roles)
		term = c.Term
		if c.Leader {
			require.Equal(t, m.id, c.LeaderID)
			if i > 0 {
				require.False(t, m.roles[i-1].Leader, "%s leads twice without a loss between: %+v", m.id, m.roles)
			}
		}
	}
}

func TestTransferCausesNoUnknownOutcome(t *testing.T) {
	g := newGroup(t, groupOptions{})
	old := g.leader()
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 4, 32, 50, stop)
	for range 3 {
		before := h.ackedCount()
		require.Eventually(t, func() bool { return h.ackedCount() > before+300 }, 20*time.Second, time.Millisecond)
		// All members must have answered lately and stand close behind.
		require.Eventually(t, func() bool { return len(old.node.successors()) == 2 }, 10*time.Second, time.Millisecond)
		require.NoError(t, old.node.TransferLeadership(t.Context()))
		var next *member
		require.Eventually(t, func() bool {
			for _, m := range g.members {
				if m != old && m.node.Status().Ready {
					next = m
				}
			}
			return next != nil
		}, 20*time.Second, time.Millisecond)
		require.False(t, old.node.Status().Ready)
		old = next
	}
	close(stop)
	senders.Wait()
	require.Empty(t, h.unknown)
	for id, err := range h.refused {
		require.ErrorIs(t, err, ErrNotLeader, "message %d", id)
	}
	g.settle()
	h.check(g)
}

func TestLeaderWithoutMajorityAnswersUnknown(t *testing.T) {
	g := newGroup(t, groupOptions{})
	leader, rest := g.followers()
	g.settle()
	rest[0].crash()
	rest[1].crash()
	// In the log, but nobody else will have it.
	_, err := leader.node.Do(t.Context(), command(1), 1)
	if !errors.Is(err, ErrNotLeader) { // the lease may have ended before
		require.ErrorIs(t, err, ErrUnknown)
	}
	require.Eventually(t, func() bool { return !leader.node.Status().Ready }, 10*time.Second, time.Millisecond)
	_, err = leader.node.Do(t.Context(), command(2), 1)
	require.ErrorIs(t, err, ErrNotLeader)
	require.NotErrorIs(t, err, ErrUnknown)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = leader.node.Do(ctx, command(3), 1)
	require.ErrorIs(t, err, context.Canceled)

	rest[0].start(nil)
	rest[1].start(nil)
	g.settle()
	g.requireSameBytes()
	for _, m := range g.members {
		require.LessOrEqual(t, m.machine.seen[1], 1)
		require.Zero(t, m.machine.seen[2])
		require.Zero(t, m.machine.seen[3])
	}
}

func TestManyProposalsTravelInFewEntries(t *testing.T) {
	g := newGroup(t, groupOptions{sync: true})
	leader := g.leader()
	before := leader.node.Status().Counters.Entries
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range 512 {
		wg.Add(1)
		leader.node.Propose(leader.proposal(t, 0, uint64(i), 128, func(p *Proposal) {
			if p.Err != nil {
				failed.Add(1)
			}
			wg.Done()
		}))
	}
	wg.Wait()
	require.Zero(t, failed.Load())
	entries := leader.node.Status().Counters.Entries - before
	t.Logf("512 proposals in %d entries", entries)
	require.Less(t, entries, uint64(256))
}

func TestWipedFollowerIsRefilled(t *testing.T) {
	g := newGroup(t, groupOptions{segment: 128 << 10})
	leader, rest := g.followers()
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 4, 64, 100, stop)
	require.Eventually(t, func() bool { return h.ackedCount() > 2000 && leader.node.Status().Counters.Checkpoints > 0 },
		20*time.Second, time.Millisecond)
	wiped := rest[0]
	wiped.crash()
	wiped.empty()
	wiped.start(nil)
	before := h.ackedCount()
	require.Eventually(t, func() bool { return h.ackedCount() > before+500 }, 20*time.Second, time.Millisecond)
	close(stop)
	senders.Wait()
	g.settle()
	h.check(g)
	g.requireSameBytes()
	first, err := wiped.node.logs.FirstIndex()
	require.NoError(t, err)
	require.EqualValues(t, 1, first)
}

// hashicorp/raft issues 611 and 612: with pipelining (MaxRPCsInFlight above 1),
// a follower that answers appends with failures under load may never be sent
// another entry, while heartbeats keep everybody quiet. We run with 1, which
// keeps Raft out of that code.
//
// Measured with rpcInFlight 2 on two cores, 75 to 120 s a run: none of 8 runs
// passed. In one the follower was sent nothing for 40 s; in the others that
// were looked at, netPipeline.AppendEntries and decodeResponses waited for each
// other for ever, so that raft could not even be shut down. With 1 all of
// 14 runs passed.
func TestFollowerThatFailedCatchesUp(t *testing.T) {
	const failures = 200
	var failing atomic.Pointer[string]
	var failed atomic.Int64
	g := newGroup(t, groupOptions{node: func(id string, n *Node) {
		n.wrapLogs = func(inner raft.LogStore) raft.LogStore {
			var calls int
			return &faultyLogs{LogStore: inner, fail: func() error {
				if f := failing.Load(); f == nil || *f != id || failed.Load() >= failures {
					return nil
				}
				if calls++; calls%2 == 0 { // one at a time, between successes
					return nil
				}
				failed.Add(1)
				return syscall.ENOSPC
			}}
		}
	}})
	leader, rest := g.followers()
	victim := rest[0]
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 16, 4, 50, stop)
	require.Eventually(t, func() bool { return h.ackedCount() > 500 }, 20*time.Second, time.Millisecond)
	failing.Store(&victim.id)
	require.Eventually(t, func() bool { return failed.Load() >= failures }, 40*time.Second, 5*time.Millisecond,
		"the follower was sent no more entries after %d failures", failed.Load())
	close(stop)
	senders.Wait()
	g.settle()
	require.Equal(t, leader.id, g.leader().id, "a failing follower must not cost the leader")
	h.check(g)
	g.requireSameBytes()
}

func TestIncomingSnapshotIsRefused(t *testing.T) {
	out := &logSink{}
	g := newGroup(t, groupOptions{logger: logTo(out)})
	leader, rest := g.followers()
	_, err := leader.node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	g.settle()
	victim := rest[0]
	before := victim.store.Log().LastIndex()

	sink, err := victim.node.snaps.Create(1, 99, 9, genesisOf(g.peers), 1, nil)
	require.NoError(t, err)
	_, err = sink.Write([]byte("state"))
	require.ErrorIs(t, err, errInstallRefused)
	require.NoError(t, sink.Cancel())
	sink, err = victim.node.snaps.Create(1, 99, 9, genesisOf(g.peers), 1, nil)
	require.NoError(t, err)
	require.ErrorIs(t, sink.Close(), errInstallRefused)
	require.Contains(t, out.String(), "refused a snapshot from the leader")

	require.Equal(t, before, victim.store.Log().LastIndex())
	if m := victim.node.snaps.latest(); m != nil {
		require.NotEqualValues(t, 99, m.Index)
	}
	_, err = leader.node.Do(t.Context(), command(2), 1)
	require.NoError(t, err)
	g.settle()
	g.requireSameBytes()
}

func TestLogStoreIsNotMonotonic(t *testing.T) {
	var s raft.LogStore = &logStore{}
	_, ok := s.(raft.MonotonicLogStore)
	require.False(t, ok, "raft would delete the whole log after an install, see docs/adr/0003")
}

func TestLogStoreDeletesTheConflictingEndOnly(t *testing.T) {
	g := newGroup(t, groupOptions{})
	leader, rest := g.followers()
	for i := range 5 {
		_, err := leader.node.Do(t.Context(), command(uint64(i)), 1)
		require.NoError(t, err)
	}
	g.settle()
	follower := rest[0]
	logs := follower.node.logs.(*logStore)
	first, last := follower.store.Log().FirstIndex(), follower.store.Log().LastIndex()
	for _, r := range [][2]uint64{{first, last}, {first, last - 1}, {2, last - 1}, {last, last + 1}, {last, last}, {3, 2}} {
		require.ErrorContains(t, logs.DeleteRange(r[0], r[1]), "refusing", "%v", r)
	}
	require.Equal(t, last, follower.store.Log().LastIndex())
	require.Equal(t, first, follower.store.Log().FirstIndex())

	// The end beyond what is applied may go.
	for _, m := range g.members {
		m.crash()
	}
	st, err := store.Open(store.Config{FS: follower.fs, Dir: follower.storeDir(), SegmentSize: g.options.segment, OpenKV: follower.kv.Open})
	require.NoError(t, err)
	defer st.Close()
	var fatal error
	logs = &logStore{log: st.Log(), applied: func() uint64 { return last }, watch: &watch{}, fatal: func(err error) { fatal = err }, logger: hclog.NewNullLogger()}
	last = st.Log().LastIndex()
	term := lastTerm(t, logs)
	for i := uint64(1); i <= 3; i++ {
		require.NoError(t, logs.StoreLog(&raft.Log{Index: last + i, Term: term, Type: raft.LogCommand, Data: command(1)}))
	}
	require.NoError(t, logs.DeleteRange(last+2, last+3))
	require.Equal(t, last+1, st.Log().LastIndex())
	require.ErrorIs(t, logs.GetLog(last+2, &raft.Log{}), raft.ErrLogNotFound)
	require.True(t, raft.ErrLogNotFound == logs.GetLog(last+2, &raft.Log{}), "raft compares with ==") //nolint:errorlint // the point
	// An append that fails now leaves raft with a wrong last index.
	require.Error(t, logs.StoreLog(&raft.Log{Index: last + 9, Term: term, Data: command(1)}))
	require.ErrorContains(t, fatal, "conflicting entries")
}

// A member that meets damage in its log must not go on voting with it.
func TestDamageEndsTheMember(t *testing.T) {
	disk := vfs.NewMem()
	log, err := commitlog.Open(commitlog.Config{FS: disk, Dir: "log", SegmentSize: 4096, Sync: true, CacheEntries: 1})
	require.NoError(t, err)
	defer log.Close()
	var fatal error
	logs := &logStore{log: log, applied: log.LastIndex, watch: &watch{}, damaged: func(err error) { fatal = err }, logger: hclog.NewNullLogger()}
	for i := uint64(1); i <= 3; i++ {
		require.NoError(t, logs.StoreLog(&raft.Log{Index: i, Term: 1, Type: raft.LogCommand, Data: command(i)}))
	}
	f, err := disk.OpenFile("log/00000000000000000000", os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, 44)
	require.NoError(t, err)
	require.NoError(t, logs.GetLog(2, &raft.Log{}))
	require.NoError(t, fatal)
	require.Error(t, logs.GetLog(1, &raft.Log{}))
	var bad *commitlog.CorruptError
	require.ErrorAs(t, fatal, &bad)
	require.ErrorContains(t, fatal, "must not vote")
}

func lastTerm(t *testing.T, s *logStore) uint64 {
	t.Helper()
	last, err := s.LastIndex()
	require.NoError(t, err)
	var l raft.Log
	require.NoError(t, s.GetLog(last, &l))
	return l.Term
}
