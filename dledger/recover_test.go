package dledger

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func (m *member) plan() (*Recovery, error) { return PlanRecovery(m.storeDir(), m.dir, m.id) }

// One disk of three is left, and not the newest. The group goes on with what it
// has, and grows again.
func TestRecoverGroupFromOneDisk(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{disk: true, config: calm})
	leader, rest := g.followers()
	g.settle()
	kept, lost := rest[0], []*member{leader, rest[1]}
	store := func(from, to uint64) {
		for id := from; id <= to; id++ {
			done := make(chan *Proposal, 1)
			leader.node.Propose(leader.proposal(t, 0, id, 8, func(p *Proposal) { done <- p }))
			require.NoError(t, (<-done).Err)
		}
	}
	store(1, 30)
	g.settle()
	_, err := kept.plan()
	require.ErrorContains(t, err, "in use")
	kept.crash()
	store(31, 40)
	for _, m := range lost {
		m.crash()
	}

	before, err := os.ReadFile(filepath.Join(kept.dir, stableFile))
	require.NoError(t, err)
	plan, err := kept.plan()
	require.NoError(t, err)
	require.False(t, plan.Done)
	require.True(t, plan.Voter)
	require.Len(t, plan.Members, 3)
	require.EqualValues(t, 1, plan.First)
	require.GreaterOrEqual(t, plan.Last, uint64(31))
	require.LessOrEqual(t, plan.Committed, plan.Last)
	require.Equal(t, plan.Last-plan.Committed, plan.Uncertain)
	require.LessOrEqual(t, plan.Messages, plan.Uncertain)
	require.Contains(t, plan.Text(), "What is lost")
	after, err := os.ReadFile(filepath.Join(kept.dir, stableFile))
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "a plan changes nothing")
	_, err = PlanRecovery(kept.storeDir(), kept.dir, "n9")
	require.ErrorContains(t, err, "none of the group's members")
	_, err = PlanRecovery(kept.storeDir(), t.TempDir(), kept.id)
	require.ErrorIs(t, err, ErrNotRecoverable)

	// It dies between the term and the entry.
	s, err := openStable(kept.dir, &watch{}, func(error) {})
	require.NoError(t, err)
	require.NoError(t, s.SetUint64([]byte(keyTerm), plan.Term+1))
	require.NoError(t, s.Close())
	again, err := kept.plan()
	require.NoError(t, err)
	require.False(t, again.Done)
	require.Equal(t, plan.Last, again.Last)
	require.NoError(t, again.CarryOut())
	done, err := kept.plan()
	require.NoError(t, err)
	require.True(t, done.Done)
	require.Equal(t, plan.Last+1, done.Last)
	require.NoError(t, done.CarryOut(), "it may be repeated")

	// Alone, with the list of the old group in its file.
	kept.start(nil)
	require.Equal(t, kept.id, g.leaderAmong(kept).id)
	require.Equal(t, kept.id, kept.list())
	var want []uint64
	for id := range uint64(30) {
		want = append(want, id+1)
	}
	require.Equal(t, want, kept.drain(0), "what this disk had is there, what it had not is lost")
	_, err = kept.node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)

	// The others join, empty.
	for _, m := range lost {
		m.empty()
		m.join = true
		m.start(nil)
		g.change(func(n *Node) error { return n.AddMember(t.Context(), m.peer()) })
		g.change(func(n *Node) error { return n.PromoteMember(t.Context(), m.id) })
		m.awaitStanding(Voting)
	}
	g.settle()
	require.Equal(t, want, lost[0].drain(0))
	g.requireSameBytes()
	g.leader().crash()
	running := slices.DeleteFunc(slices.Clone(g.members), func(m *member) bool { return !m.running() })
	_, err = g.leaderAmong(running...).node.Do(t.Context(), command(2), 1)
	require.NoError(t, err)
}
