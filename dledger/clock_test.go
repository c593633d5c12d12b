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

	advance(50 * time.Millisecond) // an election
	c.reset()
	require.EqualValues(t, 10_050, c.now(), "the time without a leader counts")
}

// A new leader whose clock differs from most members' begins with theirs.
func TestClockBeginsInTheMiddle(t *testing.T) {
	hour := int64(time.Hour / time.Millisecond)
	for name, test := range map[string]struct {
		own    int64 // ms
		others []int64
		want   int64
	}{
		"ahead":                      {10*hour + hour, []int64{10 * hour, 10*hour + 3}, 10*hour + 3},
		"behind":                     {9 * hour, []int64{10 * hour, 10*hour + 3}, 10 * hour},
		"one of the others is ahead": {10 * hour, []int64{11 * hour, 10*hour + 3}, 10 * hour},
		"nearly right":               {10*hour + 900, []int64{10 * hour, 10 * hour}, 10*hour + 900},
		"two, the earlier one":       {10 * hour, []int64{9 * hour}, 9 * hour},
		"five, two of them wrong":    {12 * hour, []int64{12 * hour, 10 * hour, 10 * hour, 10*hour + 1}, 10*hour + 1},
		"nobody known":               {11 * hour, nil, 11 * hour},
	} {
		c, setWall, advance := fakeClock(5 * hour)
		for i, at := range test.others {
			c.others.put(string(rune('a'+i)), clockOffset{wall: (at - 1_000) * int64(time.Millisecond), at: c.mono()})
		}
		advance(time.Second)
		setWall(test.own)
		c.reset()
		require.Equal(t, test.want, c.now(), name)
		c.seen(20 * hour)
		c.reset()
		require.Equal(t, 20*hour, c.now(), "%s: never below the log", name)
	}
	c, setWall, advance := fakeClock(5 * hour)
	c.others.put("a", clockOffset{wall: 5 * int64(time.Hour), at: c.mono()})
	c.others.put("b", clockOffset{wall: 5 * int64(time.Hour), at: c.mono()})
	advance(time.Second)
	c.seen(5*hour + 900) // of a leader that was late by 100 ms
	setWall(9 * hour)
	advance(time.Second)
	c.reset()
	require.Equal(t, 5*hour+1_900, c.now(), "no step where the group's time is nearly right")

	c, setWall, advance = fakeClock(5 * hour)
	c.others.put("a", clockOffset{wall: 1, at: c.mono()})
	advance(clockKept + time.Nanosecond)
	setWall(6 * hour)
	c.reset()
	require.Equal(t, 6*hour, c.now(), "an old reading counts no more")
}

func TestClockStampsNeverStepBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, setWall, advance := fakeClock(rapid.Int64Range(0, 1<<40).Draw(t, "wall"))
		last := c.stamp()
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				setWall(rapid.Int64Range(0, 1<<40).Draw(t, "jump"))
			case 1:
				advance(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "pass")))
			case 2:
				c.reset()
			case 3:
				c.seen(rapid.Int64Range(0, 1<<40).Draw(t, "applied"))
			case 4:
				c.others.put(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "peer"), clockOffset{wall: rapid.Int64Range(0, 1<<60).Draw(t, "shows"), at: c.mono()})
			}
			now := c.stamp()
			if now < last {
				t.Fatalf("stamp %d after %d", now, last)
			}
			last = now
		}
	})
}
