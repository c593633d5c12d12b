package dledger

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store"
	"github.com/cometmq/cometmq/store/segment"
)

// openStore opens the member's store and repairs one in doubt as the broker does.
func (m *member) openStore(sc store.Config, cfg Config) (*store.Store, error) {
	sc.OnDamage = func(err error) {
		if n := m.current.Load(); n != nil {
			n.Withdraw(err)
		}
	}
	st, err := store.Open(sc)
	var doubt *store.InDoubtError
	if !errors.As(err, &doubt) || len(m.group.peers) < 2 {
		return st, err
	}
	err = Repair(m.group.t.Context(), cfg, doubt.Error(), func() error {
		_, err := store.SetAside(sc)
		if m.kv != nil {
			m.kv = store.NewMemKV() // no file, which SetAside would have removed
			sc.OpenKV = m.kv.Open
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return store.Open(sc)
}

// again waits until the member gives up and starts it as its process would, until
// it votes.
func (m *member) again() {
	t := m.group.t
	t.Helper()
	select {
	case err := <-m.exited:
		var doubt *store.InDoubtError
		if !errors.Is(err, ErrReplaced) {
			require.ErrorAs(t, err, &doubt)
		}
	case <-time.After(30 * time.Second):
		require.Fail(t, "the member goes on", "%s: %+v", m.id, m.node.Status())
	}
	m.crash()
	m.start(nil)
}

// healed waits until the member votes again, starting it when it asks for that.
func (m *member) healed() {
	t := m.group.t
	t.Helper()
	require.Eventually(t, func() bool {
		if len(m.exited) > 0 {
			m.again()
		}
		return m.node.Status().Doubt == nil && !m.node.isBlank()
	}, 30*time.Second, 5*time.Millisecond, "%s stays in doubt", m.id)
}

// flipBit changes a bit of a file of the member's store.
func (m *member) flipBit(name string, at int64) {
	t := m.group.t
	t.Helper()
	f, err := m.fs.OpenFile(filepath.Join(m.storeDir(), name), os.O_RDWR, 0)
	require.NoError(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	require.NoError(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b[:], at)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// readAll reads the member's whole log from its disk, as a scrubber would.
func (m *member) readAll() {
	log := m.store.Log()
	_, _ = log.Digest(log.FirstIndex(), log.LastIndex(), nil)
}

// Rows 26, 27 and 29 of the fault matrix: whatever is damaged or missing on one
// member, it comes back by itself as a voter, with everything that was acknowledged.
func TestDamagedMemberComesBackAsAVoter(t *testing.T) {
	old := filepath.Join("commitlog", segment.Name(0))
	for what, damage := range map[string]func(m *member, bases []int64){
		"old segment while it runs": func(m *member, _ []int64) {
			m.flipBit(old, 1000)
			m.readAll()
			m.again()
		},
		"old segment of the stopped member": func(m *member, _ []int64) {
			m.crash()
			m.flipBit(old, 20)
			m.start(nil)
			m.readAll()
			m.again()
		},
		"tail of the stopped member": func(m *member, _ []int64) {
			log := m.store.Log()
			m.stop()
			// Of the log as it was closed: the last entry is what a start reads.
			at, base := log.MaxOffset()-3, int64(0)
			for _, s := range log.Segments() {
				if s.Base <= at {
					base = s.Base
				}
			}
			m.flipBit(filepath.Join("commitlog", segment.Name(base)), at-base)
			m.start(nil)
		},
		"cut segment": func(m *member, bases []int64) {
			m.stop()
			f, err := m.fs.OpenFile(filepath.Join(m.storeDir(), "commitlog", segment.Name(bases[len(bases)-1])), os.O_RDWR, 0)
			require.NoError(m.group.t, err)
			require.NoError(m.group.t, f.Truncate(10))
			require.NoError(m.group.t, f.Close())
			m.start(nil)
		},
		"missing segment": func(m *member, bases []int64) {
			m.stop()
			require.NoError(m.group.t, m.fs.Remove(filepath.Join(m.storeDir(), "commitlog", segment.Name(bases[1]))))
			m.start(nil)
		},
		"missing log": func(m *member, _ []int64) {
			m.stop()
			require.NoError(m.group.t, m.fs.RemoveAll(filepath.Join(m.storeDir(), "commitlog")))
			m.start(nil)
		},
		"missing vote": func(m *member, _ []int64) {
			m.stop()
			require.NoError(m.group.t, os.Remove(filepath.Join(m.dir, stableFile)))
			m.start(nil)
		},
		"damaged vote": func(m *member, _ []int64) {
			m.stop()
			b, err := os.ReadFile(filepath.Join(m.dir, stableFile))
			require.NoError(m.group.t, err)
			// The term as it is written, wherever that is.
			at := strings.Index(string(b), keyTerm)
			require.Positive(m.group.t, at)
			for ; at >= 0; at = nextIndex(b, keyTerm, at+1) {
				b[at+len(keyTerm)+7] ^= 8
			}
			require.NoError(m.group.t, os.WriteFile(filepath.Join(m.dir, stableFile), b, 0o600))
			m.start(nil)
			require.NotNil(m.group.t, m.node.Status().Doubt)
			require.FileExists(m.group.t, filepath.Join(m.dir, stableFile+damagedStableExt))
		},
		"empty disk": func(m *member, _ []int64) {
			m.crash()
			m.empty()
			m.start(nil)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, groupOptions{segment: 32 << 10})
			h := newHistory()
			stop := make(chan struct{})
			senders := g.load(h, 2, 16, 200, stop)
			g.grow(h, 400)
			leader, rest := g.followers()
			victim := rest[0]
			if strings.Contains(what, "while it runs") {
				victim = leader
			}
			var bases []int64
			for _, s := range victim.store.Log().Segments() {
				bases = append(bases, s.Base)
			}
			require.Greater(t, len(bases), 2)
			damage(victim, bases)
			victim.healed()
			close(stop)
			senders.Wait()
			g.settle()
			g.requireSameBytes()
			h.requireSameMessages(g)

			// It counts again: with it and without the others' help there is a leader.
			g.leader()
			other := rest[1]
			other.crash()
			_, err := g.leaderAmong(leader, rest[0]).node.Do(t.Context(), command(1), 1)
			require.NoError(t, err)
		})
	}
}

func nextIndex(b []byte, of string, from int) int {
	if i := strings.Index(string(b[from:]), of); i >= 0 {
		return from + i
	}
	return -1
}

// A message is acknowledged by the leader and one follower, and the other one
// was away. The follower loses it; if it voted now, the one that was away would
// lead and the message be gone. Rows 29 and 30.
func TestMemberThatForgotDoesNotHelpAStaleOneIntoOffice(t *testing.T) {
	for what, forget := range map[string]func(m *member){
		"the vote": func(m *member) { require.NoError(m.group.t, os.Remove(filepath.Join(m.dir, stableFile))) },
		"the log":  func(m *member) { m.fs, m.kv = vfs.NewMem(), store.NewMemKV() },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, groupOptions{})
			leader, rest := g.followers()
			forgetful, stale := rest[0], rest[1]
			g.settle()
			stale.crash()
			for i := range 5 {
				_, err := leader.node.Do(t.Context(), command(uint64(i)), 1)
				require.NoError(t, err)
			}
			forgetful.crash()
			leader.crash()
			forget(forgetful)
			forgetful.start(nil)
			stale.start(nil)

			// The stale one asks for votes again and again, and gets none.
			refused := func(n uint64) {
				t.Helper()
				from := forgetful.node.Status().Counters.Withheld
				require.Eventually(t, func() bool { return forgetful.node.Status().Counters.Withheld >= from+n }, 20*time.Second, time.Millisecond)
				require.Empty(t, stale.node.LeaderID())
				require.NotNil(t, forgetful.node.Status().Doubt)
			}
			refused(4)
			// So it is after a crash.
			forgetful.crash()
			forgetful.start(nil)
			refused(2)

			leader.start(nil)
			require.Equal(t, leader.id, g.leader().id, "nobody else has all that was acknowledged")
			forgetful.healed()
			g.settle()
			for _, m := range g.members {
				require.Len(t, m.machine.seen, 5, m.id)
			}
			// And now its vote counts.
			leader.crash()
			g.leader()
		})
	}
}

// A member that forgot its term listens to nobody before the others told it which
// terms are over, and to no leader of those: it could have helped to depose him.
func TestMemberThatForgotItsTermIsDeafToOldLeaders(t *testing.T) {
	g := newGroup(t, groupOptions{})
	_, rest := g.followers()
	g.settle()
	n := rest[0].node
	ask := func(command any) raft.RPCResponse {
		t.Helper()
		c := make(chan raft.RPCResponse, 1)
		require.True(t, n.withhold(raft.RPC{Command: command, RespChan: c}), "%T", command)
		return <-c
	}
	passes := func(command any) {
		t.Helper()
		require.False(t, n.withhold(raft.RPC{Command: command}), "%T", command)
	}
	passes(&raft.AppendEntriesRequest{Term: 1})
	passes(&raft.RequestVoteRequest{Term: 9})

	d := Doubt{Reason: "a test", Forgot: true}
	put := func(d *Doubt) {
		n.doubting.mu.Lock()
		n.doubting.now = d // nobody resolves it: nothing was woken
		n.doubting.mu.Unlock()
	}
	put(&d)
	require.ErrorContains(t, ask(&raft.AppendEntriesRequest{Term: 100}).Error, "in doubt about its log: a test")
	require.False(t, ask(&raft.RequestVoteRequest{Term: 100}).Response.(*raft.RequestVoteResponse).Granted)
	require.False(t, ask(&raft.RequestPreVoteRequest{Term: 100}).Response.(*raft.RequestPreVoteResponse).Granted)
	require.Error(t, ask(&raft.TimeoutNowRequest{}).Error)
	require.True(t, n.state().Deaf)
	require.ErrorContains(t, n.transport.RequestVote("n1", "", nil, nil), "in doubt")
	refused := raft.RequestPreVoteResponse{Granted: true}
	require.NoError(t, n.transport.RequestPreVote("n1", "", &raft.RequestPreVoteRequest{Term: 7}, &refused))
	require.False(t, refused.Granted)
	require.False(t, n.mayFollow(n.raft.CurrentTerm()))

	put(&Doubt{Reason: "a test", Forgot: true, Floor: 100})
	require.Error(t, ask(&raft.AppendEntriesRequest{Term: 99}).Error)
	passes(&raft.AppendEntriesRequest{Term: 100})
	require.False(t, n.state().Deaf)
	require.False(t, ask(&raft.RequestVoteRequest{Term: 101}).Response.(*raft.RequestVoteResponse).Granted)

	// One that knows its term takes entries.
	put(&Doubt{Reason: "a test"})
	passes(&raft.AppendEntriesRequest{Term: 1})
	require.False(t, ask(&raft.RequestVoteRequest{Term: 101}).Response.(*raft.RequestVoteResponse).Granted)
	put(nil)
}
