package dledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// fakeClock returns a clock whose wall (ms) and monotonic time the test moves.
func fakeClock(wall int64) (c *clock, setWall func(int64), advance func(time.Duration)) {
	var mono time.Duration
	c = &clock{
		wall: func() int64 { return wall * int64(time.Millisecond) },
		mono: func() time.Duration { return mono },
	}
	c.reset()
	return c, func(w int64) { wall = w }, func(d time.Duration) { mono += d }
}

func TestClockFollowsMonotonicTimeNotTheWall(t *testing.T) {
	c, setWall, advance := fakeClock(1_000_000)
	require.EqualValues(t, 1_000_000, c.now())
	advance(250 * time.Millisecond)
	setWall(5_000_000) // a jump ahead
	require.EqualValues(t, 1_000_250, c.now())
	setWall(1) // a jump back
	advance(250 * time.Millisecond)
	require.EqualValues(t, 1_000_500, c.now())

	setWall(2_000_000)
	c.reset() // leadership gained: now the wall counts
	require.EqualValues(t, 2_000_000, c.now())
}

// Whoever reads the same wall clock before the group's never sees a later time.
func TestClockLosesNoPartOfAMillisecond(t *testing.T) {
	c, _, advance := fakeClock(1_000)
	c.wall = func() int64 { return int64(1_000_900 * time.Microsecond) }
	c.reset()
	require.EqualValues(t, 1_000, c.now())
	advance(200 * time.Microsecond)
	require.EqualValues(t, 1_001, c.now())
}

func TestClockNeverStartsBelowTheLog(t *testing.T) {
	c, setWall, advance := fakeClock(1_000)
	c.seen(9_000) // applied from a leader whose clock was ahead
	require.EqualValues(t, 9_000, c.now())
	setWall(2_000)
	c.reset()
	require.EqualValues(t, 9_000, c.now())
	advance(time.Second) // and it goes on from there instead of standing still
	require.EqualValues(t, 10_000, c.stamp())
	c.seen(5)
	require.EqualValues(t, 10_000, c.now())
}

func TestClockStampsNeverStepBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, setWall, advance := fakeClock(rapid.Int64Range(0, 1<<40).Draw(t, "wall"))
		last := c.stamp()
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				setWall(rapid.Int64Range(0, 1<<40).Draw(t, "jump"))
			case 1:
				advance(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "pass")))
			case 2:
				c.reset()
			case 3:
				c.seen(rapid.Int64Range(0, 1<<40).Draw(t, "applied"))
			}
			now := c.stamp()
			if now < last {
				t.Fatalf("stamp %d after %d", now, last)
			}
			last = now
		}
	})
}
