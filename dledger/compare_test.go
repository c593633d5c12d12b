package dledger

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/segment"
)

// forge changes an entry on the member's disk so that its checksum is sound.
func (m *member) forge(index uint64) {
	t := m.group.t
	t.Helper()
	e, at, err := m.store.Log().Read(index)
	require.NoError(t, err)
	e.Data = append([]byte{}, e.Data...)
	e.Data[len(e.Data)-1] ^= 1
	raw := e.AppendTo(nil)
	off := at - int64(len(raw)-len(e.Data))
	base := off / m.group.options.segment * m.group.options.segment
	f, err := m.fs.OpenFile(filepath.Join(m.storeDir(), "commitlog", segment.Name(base)), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(raw, off-base)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// compared runs a comparison from the first entry on and returns what it came to.
func (m *member) compared() CompareStatus {
	t := m.group.t
	t.Helper()
	number, err := m.node.Compare()
	require.NoError(t, err)
	var s CompareStatus
	require.Eventually(t, func() bool {
		s = m.node.Status().Compare
		return s.Number >= number && s.Complete
	}, 20*time.Second, time.Millisecond)
	return s
}

// Entries that differ between members, each with a sound checksum, are found, and
// the one who differs is repaired: a follower, and then the leader.
func TestDifferentLogsAreFoundAndRepaired(t *testing.T) {
	g := newGroup(t, groupOptions{segment: 32 << 10})
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 2, 8, 200, stop)
	g.grow(h, 300)
	leader, rest := g.followers()
	close(stop)
	senders.Wait()
	g.settle()
	last := leader.store.AppliedIndex()

	s := leader.compared()
	require.EqualValues(t, 1, s.From)
	require.GreaterOrEqual(t, s.At, last)
	require.Zero(t, s.Differences)
	require.Zero(t, s.Skipped, "%v", s.Missing)
	require.Equal(t, s.Ranges, s.Compared[rest[0].id])
	require.Equal(t, s.Ranges, s.Compared[rest[1].id])
	_, err := rest[0].node.Compare()
	require.ErrorIs(t, err, ErrNotLeader)

	odd := rest[0]
	odd.forge(last / 2)
	_, _, err = odd.store.Log().Read(last / 2)
	require.NoError(t, err, "its checksum is sound")
	s = leader.compared()
	require.EqualValues(t, 1, s.Differences)
	d := s.Found[0]
	require.Equal(t, odd.id, d.Member)
	require.LessOrEqual(t, d.From, last/2)
	require.GreaterOrEqual(t, d.To, last/2)
	require.Equal(t, filepath.Join("commitlog", segment.Name(0)), d.File)
	require.True(t, d.Repaired)
	odd.again()
	odd.healed()
	g.settle()
	g.requireSameBytes()
	h.requireSameMessages(g)
	require.Zero(t, g.leader().compared().Differences-1, "it is as the others again")

	// The leader itself is the odd one.
	leader = g.leader()
	leader.forge(last / 2)
	_, err = leader.node.Compare()
	require.NoError(t, err)
	leader.again()
	leader.healed()
	g.settle()
	g.requireSameBytes()
	h.requireSameMessages(g)
}

// What a follower refuses to compare, and whom it believes.
func TestDigestsAndVerdictsThatAreRefused(t *testing.T) {
	g := newGroup(t, groupOptions{})
	leader, rest := g.followers()
	_, err := leader.node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	g.settle()
	n, to := leader.node, rest[0]
	size, last := to.store.SegmentSize(), to.store.AppliedIndex()
	addr := n.transport.address("", "")
	for _, p := range g.peers {
		if p.ID == to.id {
			addr = n.transport.address("", raft.ServerAddress(p.Addr))
		}
	}
	var d commitlog.Digest
	require.NoError(t, n.ask(addr, opDigest, digestAsk{1, last, size}, &d))
	own, err := leader.store.Log().Digest(1, last, nil)
	require.NoError(t, err)
	require.Equal(t, own, d)
	require.ErrorContains(t, n.ask(addr, opDigest, digestAsk{1, last, size + 1}, &d), "segments of")
	require.ErrorContains(t, n.ask(addr, opDigest, digestAsk{1, last + 1, size}, &d), "has applied entries up to")
	require.ErrorContains(t, n.ask(addr, opDigest, digestAsk{0, last, size}, &d), "entries 0 to")

	for _, wrong := range []Difference{{Member: leader.id}, {Member: to.id, Offset: -1}, {Member: to.id, Offset: 1 << 40}} {
		require.ErrorContains(t, n.ask(addr, opCondemn, wrong, new(struct{})), "from its leader only")
	}
	require.ErrorContains(t, rest[1].node.ask(addr, opCondemn, Difference{Member: to.id}, new(struct{})), "from its leader only")
	require.Nil(t, to.store.Doubt())
}
