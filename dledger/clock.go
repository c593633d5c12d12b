package dledger

import (
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/internal/wall"
)

// clock is the group's clock, in unix milliseconds.
//
// The leader reads the wall clock once, when it gains leadership (or takes the
// time that most members' clocks show, if its own differs: clocks.go), and from
// there follows the monotonic clock; so a wall clock that is stepped while it
// leads moves the group's time neither back nor forward. It never starts below
// the highest time it has seen in the log: delays and retention are differences
// of these times and must not become negative when leadership passes to a
// machine whose wall clock is behind. Such a leader goes on from the highest
// time at normal speed, counted from when it saw it, because standing still until
// its wall clock has caught up would hold back every delayed message for that long.
//
// On a follower the time is an estimate and may step back once, when the member
// becomes leader.
type clock struct {
	wall   func() int64         // unix ns
	mono   func() time.Duration // since some fixed moment
	others peerClocks
	anchor atomic.Pointer[clockAnchor]
	last   atomic.Int64 // highest time stamped or applied
	lastAt atomic.Int64 // when, by mono, or a little later
}

// clockAnchor says that the group time was base (ns) when mono read at. In ms it
// would lag the wall clock by up to one: a message would come that much too early
// for whoever asked for a delay.
type clockAnchor struct {
	base int64
	at   time.Duration
}

// newClock returns a clock that starts at the wall clock or at last, whichever
// is later.
func newClock(last int64) *clock {
	start := time.Now()
	c := &clock{
		wall: func() int64 { return wall.Now().UnixNano() },
		mono: func() time.Duration { return time.Since(start) },
	}
	c.last.Store(last)
	c.reset()
	return c
}

// reset anchors the clock anew. It is called when leadership is gained and
// nothing is in flight from this node.
func (c *clock) reset() {
	base := c.wall()
	last := c.last.Load() * int64(time.Millisecond)
	goesOn := last + max(0, int64(c.mono())-c.lastAt.Load()) // the group's time as this member saw it
	wrong := false
	if ahead := c.ahead(); ahead.Abs() > clockSlack {
		base, wrong = base-int64(ahead), true
	}
	// With a wrong clock the others' say only whether the group's time is right, to
	// within clockSlack: a step to them would shorten what is delayed.
	if base < last || wrong && base < goesOn+int64(clockSlack) {
		base = goesOn
	}
	// Read last: a pause in here makes the group's time late, and never early.
	c.anchor.Store(&clockAnchor{base: base, at: c.mono()})
}

// ahead is by how much this machine's wall clock is ahead of the one in the middle
// of all members', as far as they are known.
func (c *clock) ahead() time.Duration {
	own := c.wall()
	return time.Duration(own - c.others.middle(own, c.mono()))
}

// now is the group time.
func (c *clock) now() int64 {
	a := c.anchor.Load()
	return max(c.last.Load(), (a.base+int64(c.mono()-a.at))/int64(time.Millisecond))
}

// stamp is now for an entry that is about to be proposed: no later stamp will
// be below it.
func (c *clock) stamp() int64 {
	t := c.now()
	c.seen(t)
	return t
}

// seen tells the clock a time found in the log.
func (c *clock) seen(t int64) {
	for {
		last := c.last.Load()
		if t <= last {
			return
		}
		c.lastAt.Store(int64(c.mono())) // first: a time that goes on from here must not be ahead
		if c.last.CompareAndSwap(last, t) {
			return
		}
	}
}
