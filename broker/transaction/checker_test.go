package transaction

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errUnknown = errors.New("leadership lost, fate unknown")

// fate is what happens to a proposal.
type fate int

const (
	applied fate = iota
	refused
	unknownDone // applied, but the proposer is told otherwise
)

// asked is one check-back that a producer got.
type asked struct {
	body   string
	checks int32
	at     time.Duration // since the group began
}

// group is the replicated state and the clients of a group in the time of a
// synctest bubble.
type fakeGroup struct {
	t     testing.TB
	start time.Time

	mu       sync.Mutex
	halves   []Half // pending, by offset
	messages map[message.QueueOffset]message.Stored
	next     message.QueueOffset
	givenUp  map[string]int32 // body to checks
	live     map[string]int   // producers by group
	asked    []asked
	fates    func() fate
	readErr  map[message.QueueOffset]error
	settings Settings
}

func newFakeGroup(t testing.TB) *fakeGroup {
	return &fakeGroup{
		t: t, start: time.Now(), messages: map[message.QueueOffset]message.Stored{}, givenUp: map[string]int32{},
		live: map[string]int{"pg": 1}, fates: func() fate { return applied }, readErr: map[message.QueueOffset]error{},
		settings: Settings{Timeout: 6 * time.Second, Interval: time.Minute, CheckMax: 15},
	}
}

func (g *fakeGroup) checker() *Checker {
	c, err := New(Config{Log: g, Producers: g, Settings: func() Settings { return g.settings }})
	require.NoError(g.t, err)
	c.Start(context.Background())
	return c
}

func (g *fakeGroup) prepare(body string, immunity int32) message.QueueOffset {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.next
	g.next++
	m := half(g.t, body)
	g.messages[o] = m
	g.halves = append(g.halves, Half{Offset: o, Phy: message.PhyOffset(o), StoreTime: g.Now(), Group: "pg", ImmunitySeconds: immunity})
	return o
}

func (g *fakeGroup) end(o message.QueueOffset) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.removeLocked(o)
}

func (g *fakeGroup) removeLocked(o message.QueueOffset) bool {
	for i, h := range g.halves {
		if h.Offset == o {
			g.halves = append(g.halves[:i:i], g.halves[i+1:]...)
			return true
		}
	}
	return false
}

func (g *fakeGroup) Now() int64 { return time.Now().UnixMilli() }

func (g *fakeGroup) Halves(from message.QueueOffset, limit int, keep func(*Half) bool) (out []Half, next message.QueueOffset, done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.halves {
		h := g.halves[i]
		if h.Offset < from || !keep(&h) {
			continue
		}
		if len(out) == limit {
			return out, h.Offset, false
		}
		out = append(out, h)
	}
	return out, 0, true
}

func (g *fakeGroup) Pending(o message.QueueOffset) (Half, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.halves {
		if h.Offset == o {
			return h, true
		}
	}
	return Half{}, false
}

func (g *fakeGroup) Message(h *Half) (message.Stored, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.messages[h.Offset], g.readErr[h.Offset]
}

func (g *fakeGroup) Count(_ context.Context, halves []Half) ([]bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.fates()
	if f == refused {
		return nil, errUnknown
	}
	counted := make([]bool, len(halves))
	for i, want := range halves {
		for j := range g.halves {
			if h := &g.halves[j]; h.Offset == want.Offset && h.Checks == want.Checks {
				h.Checks++
				h.LastCheck = g.Now()
				counted[i] = true
			}
		}
	}
	if f == unknownDone {
		return nil, errUnknown
	}
	return counted, nil
}

func (g *fakeGroup) GiveUp(_ context.Context, h *Half, m message.Stored) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.fates()
	if f == refused {
		return errUnknown
	}
	if g.removeLocked(h.Offset) && m != nil {
		body := string(m.Body())
		_, twice := g.givenUp[body]
		require.False(g.t, twice, "%s was given up twice", body)
		g.givenUp[body] = h.Checks
	}
	if f == unknownDone {
		return errUnknown
	}
	return nil
}

func (g *fakeGroup) Live(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.live[name] > 0
}

func (g *fakeGroup) Ask(h *Half, m message.Stored, checks int32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.live[h.Group] == 0 {
		return false
	}
	g.asked = append(g.asked, asked{string(m.Body()), checks, time.Since(g.start)})
	return true
}

// seen returns the check-backs so far.
func (g *fakeGroup) seen() []asked {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]asked(nil), g.asked...)
}

// slack is how much later than due a check may come: the time between rounds.
const slack = pollMax + time.Millisecond

func TestChecksUntilGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup(t)
		g.settings.CheckMax = 3
		c := g.checker()
		defer c.Stop()
		g.prepare("a", -1)
		time.Sleep(10 * time.Minute)
		got := g.seen()
		require.Len(t, got, 3)
		due := 6 * time.Second
		for i, a := range got {
			require.EqualValues(t, i+1, a.checks)
			require.GreaterOrEqual(t, a.at, due)
			require.Less(t, a.at, due+slack)
			due = a.at + time.Minute
		}
		require.Equal(t, map[string]int32{"a": 3}, g.givenUp)
	})
}

func TestImmunityTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup(t)
		c := g.checker()
		defer c.Stop()
		g.prepare("long", 30)
		g.prepare("short", 2)
		time.Sleep(40 * time.Second)
		got := g.seen()
		require.Len(t, got, 2)
		require.Equal(t, "short", got[0].body)
		require.GreaterOrEqual(t, got[0].at, 2*time.Second)
		require.Less(t, got[0].at, 2*time.Second+slack)
		require.GreaterOrEqual(t, got[1].at, 30*time.Second)
		require.Less(t, got[1].at, 30*time.Second+slack)
	})
}

func TestEndedIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup(t)
		c := g.checker()
		defer c.Stop()
		o := g.prepare("a", -1)
		time.Sleep(5 * time.Second)
		g.end(o)
		time.Sleep(10 * time.Minute)
		require.Empty(t, g.seen())
	})
}

func TestMissedCheckIsMadeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup(t)
		g.live["pg"] = 0
		c := g.checker()
		defer c.Stop()
		g.prepare("a", -1)
		ended := g.prepare("b", -1)
		time.Sleep(20 * time.Second)
		require.Empty(t, g.seen())
		g.end(ended)
		g.mu.Lock()
		g.live["pg"] = 1
		g.mu.Unlock()
		time.Sleep(slack)
		got := g.seen()
		require.Len(t, got, 1, "at once, and only what is pending")
		require.EqualValues(t, 1, got[0].checks, "it was counted before")
		time.Sleep(30 * time.Second)
		require.Len(t, g.seen(), 1)
		time.Sleep(time.Minute)
		require.Len(t, g.seen(), 2)
	})
}

func TestFailoverContinuesCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup(t)
		c := g.checker()
		g.prepare("a", -1)
		for range 5 {
			time.Sleep(33 * time.Second)
			c.Stop()
			c = g.checker()
		}
		c.Stop()
		for i, a := range g.seen() {
			require.EqualValues(t, i+1, a.checks)
		}
		require.Len(t, g.seen(), 3, "leaders come and go; the interval stays")
	})
}

func TestUnreadableDoesNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup(t)
		c := g.checker()
		defer c.Stop()
		bad, gone := g.prepare("bad", -1), g.prepare("gone", -1)
		g.readErr[bad], g.readErr[gone] = errors.New("damaged"), fmt.Errorf("%w: cut", ErrGone)
		g.prepare("good", -1)
		time.Sleep(10 * time.Second)
		require.Equal(t, "good", g.seen()[0].body)
		_, ok := g.Pending(gone)
		require.False(t, ok, "it can never be committed")
		_, ok = g.Pending(bad)
		require.True(t, ok)
	})
}

func TestRoundIsBoundedAndFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup(t)
		g.settings.Interval = 3 * time.Second // shorter than it takes to get round
		for i := range 4 * RoundHalvesMax {
			g.prepare(fmt.Sprint("m", i), 0)
		}
		c := g.checker()
		defer c.Stop()
		time.Sleep(2 * time.Millisecond)
		require.Len(t, g.seen(), RoundHalvesMax)
		time.Sleep(12 * time.Second)
		seen := map[string]int{}
		for _, a := range g.seen() {
			seen[a.body]++
		}
		require.Len(t, seen, 4*RoundHalvesMax, "nobody waits for ever")
	})
}

// TestRandomFates runs random transactions over changes of leader, producers
// that come and go and proposals of every fate. Whatever happens, nothing is
// asked before its time or more often than allowed, nobody is asked after the
// end, and what nobody ends is given up once.
func TestRandomFates(t *testing.T) {
	type step struct {
		after    time.Duration
		prepare  bool
		end      int // the n-th transaction; -1 none
		live     int
		failover bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				after:    time.Duration(rapid.IntRange(0, 40_000).Draw(rt, "after")) * time.Millisecond,
				prepare:  rapid.Bool().Draw(rt, "prepare"),
				end:      rapid.IntRange(-3, 20).Draw(rt, "end"),
				live:     rapid.IntRange(0, 1).Draw(rt, "live"),
				failover: rapid.IntRange(0, 3).Draw(rt, "failover") == 0,
			}
		}), 1, 40).Draw(rt, "steps")
		fates := rapid.SliceOfN(rapid.SampledFrom([]fate{applied, applied, refused, unknownDone}), 1, 20).Draw(rt, "fates")
		synctest.Test(t, func(t *testing.T) {
			g := newFakeGroup(t)
			g.settings = Settings{Timeout: 6 * time.Second, Interval: 20 * time.Second, CheckMax: 4}
			n := 0
			g.fates = func() fate { n++; return fates[n%len(fates)] }
			c := g.checker()
			prepared, ended := map[string]time.Duration{}, map[string]time.Duration{}
			for i, st := range steps {
				time.Sleep(st.after)
				if st.prepare {
					body := fmt.Sprint(g.prepare(fmt.Sprint(len(prepared)), -1))
					prepared[body] = time.Since(g.start)
				}
				if body := fmt.Sprint(st.end); st.end >= 0 && st.end < len(prepared) && ended[body] == 0 {
					g.end(message.QueueOffset(st.end))
					synctest.Wait()
					ended[body] = time.Since(g.start)
				}
				g.mu.Lock()
				g.live["pg"] = st.live
				g.mu.Unlock()
				if st.failover || i == len(steps)-1 {
					c.Stop()
					c = g.checker()
				}
			}
			g.mu.Lock()
			g.fates = func() fate { return applied }
			g.mu.Unlock()
			time.Sleep(10 * time.Minute)
			c.Stop()
			count, last := map[string]int32{}, map[string]time.Duration{}
			for _, a := range g.seen() {
				require.GreaterOrEqual(t, a.at, prepared[a.body]+6*time.Second)
				require.LessOrEqual(t, a.checks, int32(4))
				require.Greater(t, a.checks, count[a.body], "a count is told once")
				if e, ok := ended[a.body]; ok {
					require.LessOrEqual(t, a.at, e)
				}
				count[a.body], last[a.body] = a.checks, a.at
			}
			require.Empty(t, g.halves, "nothing waits for ever")
			for body := range prepared {
				_, gaveUp := g.givenUp[body]
				if e, ok := ended[body]; !ok {
					require.True(t, gaveUp, body)
				} else if gaveUp {
					require.Less(t, last[body], e, "it was given up before")
				}
			}
		})
	})
}
