package dledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/wall"
)

// A member whose clock is an hour ahead becomes leader: the group's time goes on as
// it was.
func TestLeaderWhoseClockIsAheadKeepsTheGroupsTime(t *testing.T) {
	wrong := ""
	g := newGroup(t, groupOptions{node: func(id string, n *Node) {
		if id == wrong {
			n.wall = func() int64 { return wall.Now().Add(time.Hour).UnixNano() }
		}
	}})
	leader, rest := g.followers()
	next := rest[0]
	wrong = next.id
	next.crash()
	next.start(nil)
	g.settle()
	require.Eventually(t, func() bool { return next.node.clock.ahead().Round(time.Minute) == time.Hour },
		10*time.Second, 5*time.Millisecond, "it does not notice that its clock is ahead")
	require.Zero(t, leader.node.clock.ahead().Round(time.Minute), "the others' are right")

	require.Eventually(t, func() bool {
		n := g.anyLeader()
		return n != nil && (n == next.node || n.TransferLeadershipTo(t.Context(), next.id) == nil) && next.node.ready.Load()
	}, 20*time.Second, 10*time.Millisecond)
	require.InDelta(t, wall.UnixMilli(), next.node.Now(), 10_000)
	next.node.clock.others.keep(nil)
	next.node.clock.reset()
	require.Greater(t, next.node.Now(), wall.UnixMilli()+59*60_000, "without the others it would be ahead")
}
