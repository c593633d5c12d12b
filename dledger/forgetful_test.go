package dledger

import (
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

// A member gets an old copy of its disk, and the leader dies before it has caught
// up: it does not help one into office that lacks what it had acknowledged.
func TestOldDiskDoesNotHelpAStaleOneIntoOffice(t *testing.T) {
	t.Parallel()
	var full atomic.Bool // the disk of the one that forgot takes nothing
	var forgot atomic.Pointer[string]
	g := newGroup(t, groupOptions{node: func(id string, n *Node) {
		n.wrapLogs = func(inner raft.LogStore) raft.LogStore {
			return &faultyLogs{LogStore: inner, fail: func() error {
				if who := forgot.Load(); full.Load() && who != nil && *who == id {
					return syscall.ENOSPC
				}
				return nil
			}}
		}
	}})
	leader, rest := g.followers()
	forgetful, stale := rest[0], rest[1]
	forgot.Store(&forgetful.id)
	g.settle()

	// The copy.
	forgetful.crash()
	disk, kv, dir := forgetful.fs.(*vfs.Mem).CrashClone(vfs.CrashOptions{}), forgetful.kv.Clone(), t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(forgetful.dir)))
	forgetful.start(nil)
	g.settle()
	stale.crash()
	for i := range 5 {
		_, err := leader.node.Do(t.Context(), command(uint64(i)), 1)
		require.NoError(t, err)
	}
	require.Equal(t, leader, g.leader(), "the one whose term it is")

	full.Store(true)
	forgetful.crash()
	forgetful.fs, forgetful.kv = disk, kv
	require.NoError(t, os.RemoveAll(forgetful.dir))
	require.NoError(t, os.CopyFS(forgetful.dir, os.DirFS(dir)))
	forgetful.start(nil)
	require.Eventually(t, func() bool { return forgetful.node.Status().Doubt != nil }, 20*time.Second, time.Millisecond, "it votes")
	require.Contains(t, forgetful.node.Status().Doubt.Reason, "an old copy of its disk")

	// A crash of it does not end the doubt, and the stale one gets no vote.
	leader.crash()
	forgetful.crash()
	forgetful.start(nil)
	stale.start(nil)
	require.Eventually(t, func() bool { return forgetful.node.Status().Counters.Withheld >= 4 }, 20*time.Second, time.Millisecond)
	require.Empty(t, stale.node.LeaderID())

	full.Store(false)
	leader.start(nil)
	require.Equal(t, leader.id, g.leader().id, "nobody else has all that was acknowledged")
	forgetful.healed()
	g.settle()
	for _, m := range g.members {
		require.Len(t, m.machine.seen, 5, m.id)
	}
}

// What a member is told of another term, of another's, or of what it has is no
// reason to doubt.
func TestLossThatIsNone(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{})
	leader, rest := g.followers()
	g.settle()
	n := rest[0].node
	term, last := n.raft.CurrentTerm(), n.cfg.Store.Log().LastIndex()
	for name, l := range map[string]loss{
		"there":              {Leader: leader.id, Term: term, Index: last},
		"an older term":      {Leader: leader.id, Term: term - 1, Index: last + 9},
		"from somebody else": {Leader: rest[1].id, Term: term, Index: last + 9},
	} {
		require.NoError(t, leader.node.tellLoss(nodeID(n), l), name)
		require.Nil(t, n.Status().Doubt, name)
	}
	require.ErrorIs(t, n.lacks([]byte("x"), leader.id), errStranger)
}

func nodeID(n *Node) raft.ServerID { return raft.ServerID(n.cfg.SelfID) }
