package dledger

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/store"
)

func TestAllowance(t *testing.T) {
	t.Parallel()
	const rate = 4 * catchupPiece
	now := time.Unix(1, 0)
	a := &allowance{}
	require.Equal(t, time.Second/4, a.take(catchupPiece, rate, 100, now), "nothing was saved up before")
	now = now.Add(time.Second / 4)
	require.Equal(t, time.Second/4, a.take(catchupPiece, rate, 100, now))
	now = now.Add(time.Second / 4)
	require.Zero(t, a.take(catchupPiece, rate, 100+catchupPiece, now), "the log grew by as much")
	now = now.Add(time.Hour)
	require.Zero(t, a.take(catchupPiece, rate, 100+catchupPiece, now))
	require.Equal(t, time.Second/4, a.take(catchupPiece, rate, 100+catchupPiece, now), "an hour is not made up for")
	now = now.Add(time.Second / 4)
	require.Equal(t, time.Second/4, a.take(catchupPiece, rate, 100, now), "a log that was cut gives and takes nothing")
}

// A member that was away is sent what it lacks at InstallRate, in pieces, as long as the group commits without it, and at once
// when it does not.
func TestCatchUpKeepsToTheRateUnlessNeeded(t *testing.T) {
	t.Parallel()
	const size, entries, rate = 64 << 10, 2 * maxAppendEntries, 16 << 20
	for _, needed := range []bool{false, true} {
		g := newGroup(t, groupOptions{config: func(_ string, c *Config) {
			c.InstallRate = rate
			c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Second, time.Second, time.Second // 16 MiB keep a busy machine busy
		}})
		leader, rest := g.followers()
		away, other := rest[0], rest[1]
		away.crash()
		for range entries {
			_, err := leader.node.Do(t.Context(), store.AppendCommand(nil, 1, make([]byte, size)), 1)
			require.NoError(t, err)
		}
		if needed {
			other.crash()
			require.Eventually(t, func() bool {
				return leader.node.missing(raft.Server{ID: raft.ServerID(other.id)}, 0) != ""
			}, 20*time.Second, time.Millisecond)
		}
		spent := func() allowance {
			c := &leader.node.transport.catchups
			c.mu.Lock()
			defer c.mu.Unlock()
			if a := c.peers[raft.ServerID(away.id)]; a != nil {
				return *a
			}
			return allowance{}
		}
		asked, began := spent(), time.Now() // the leader tries to send to a dead member as well
		away.start(nil)
		require.Eventually(t, func() bool { return away.store.Log().LastIndex() >= entries }, 20*time.Second, time.Millisecond)
		took := time.Since(began)
		require.Equal(t, leader.id, g.leader().id, "only it can lead")
		require.Equal(t, needed, asked == spent(), "nothing is held back")
		if needed {
			other.start(nil)
		} else {
			require.Greater(t, took, time.Duration(maxAppendEntries)*size*time.Second/rate, "the first 64 entries at least are committed already")
		}
		g.settle()
		g.requireSameBytes()
	}
}
