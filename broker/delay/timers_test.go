package delay

import (
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
)

// fakeTimerLog is the replicated state of a group in the time of a synctest
// bubble.
type fakeTimerLog struct {
	t testing.TB

	mu        sync.Mutex
	jump      int64 // of the group's clock, ms
	queues    map[int64][]Entry
	done      map[int64]map[message.QueueOffset]bool
	first     map[int64]message.QueueOffset // of the queue files
	gone      map[string]bool               // messages the log lost
	broken    map[string]bool               // that cannot be read
	delivered []delivery
	closed    []int64
	proposals int
	fates     func() fate
	settle    []func()
}

func newFakeTimerLog(t testing.TB) *fakeTimerLog {
	return &fakeTimerLog{
		t: t, queues: map[int64][]Entry{}, done: map[int64]map[message.QueueOffset]bool{}, first: map[int64]message.QueueOffset{},
		gone: map[string]bool{}, broken: map[string]bool{}, fates: func() fate { return applied },
	}
}

func (l *fakeTimerLog) Now() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nowLocked()
}

func (l *fakeTimerLog) nowLocked() int64 { return time.Now().UnixMilli() + l.jump }

// send stores a waiting message that is due at a time; topic "" makes it
// undeliverable.
func (l *fakeTimerLog) send(topic, body string, at int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	m := message.Message{Topic: message.TimerTopic(message.TimerSlot(at)), Body: []byte(body), BornHost: host, StoreHost: host}
	m.Properties = message.AppendProperty(nil, message.PropertyRealQueueID, "1")
	if topic != "" {
		m.Properties = message.AppendProperty(m.Properties, message.PropertyRealTopic, topic)
	}
	rec, err := m.AppendStored(nil)
	require.NoError(l.t, err)
	slot := message.TimerSlot(at)
	q := l.queues[slot]
	l.queues[slot] = append(q, Entry{Offset: message.QueueOffset(len(q)), DeliverAt: at, Record: rec})
	return slot
}

func (l *fakeTimerLog) Slots() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []int64
	for s := range l.queues {
		out = append(out, s)
	}
	return out
}

func (l *fakeTimerLog) Range(slot int64) (first, end message.QueueOffset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first[slot], message.QueueOffset(len(l.queues[slot]))
}

func (l *fakeTimerLog) Times(dst []int64, slot int64, from message.QueueOffset, n int) ([]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[slot]
	for i := int(from); i < min(len(q), int(from)+min(n, 7)); i++ {
		dst = append(dst, q[i].DeliverAt)
	}
	return dst, nil
}

func (l *fakeTimerLog) Done(slot int64, off message.QueueOffset) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done[slot][off]
}

func (l *fakeTimerLog) DoneCount(slot int64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done[slot])
}

func (l *fakeTimerLog) Read(slot int64, off message.QueueOffset) (message.Stored, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rec := l.queues[slot][off].Record
	switch {
	case l.gone[string(rec.Body())] || off < l.first[slot]:
		return nil, ErrGone
	case l.broken[string(rec.Body())]:
		return nil, fmt.Errorf("bad sector")
	}
	return rec, nil
}

func (l *fakeTimerLog) propose(apply func(), done func(error)) {
	l.proposals++
	switch l.fates() {
	case applied:
		apply()
		done(nil)
	case refused, unknownLost:
		done(errUnknown)
	case unknownDone:
		apply()
		done(errUnknown)
	case late:
		l.settle = append(l.settle, func() {
			apply()
			done(nil)
		})
	}
}

func (l *fakeTimerLog) ProposeFire(slot int64, timers []Timer, nested [][]byte, done func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	require.LessOrEqual(l.t, len(timers), BatchMessagesMax)
	timers = append([]Timer(nil), timers...)
	var bodies []string
	for _, b := range nested {
		s, err := message.ParseStored(b)
		require.NoError(l.t, err)
		require.Equal(l.t, "T", string(s.Topic()))
		require.EqualValues(l.t, 1, s.QueueID())
		bodies = append(bodies, string(s.Body()))
	}
	life := l.queues[slot] // a command about a slot that was closed meanwhile finds it gone
	l.propose(func() {
		if len(l.queues[slot]) < len(life) {
			return
		}
		if l.done[slot] == nil {
			l.done[slot] = map[message.QueueOffset]bool{}
		}
		rest := bodies
		for _, timer := range timers {
			body := ""
			if timer.Deliverable {
				body, rest = rest[0], rest[1:]
			}
			if l.done[slot][timer.Offset] {
				continue
			}
			l.done[slot][timer.Offset] = true
			if timer.Deliverable {
				l.delivered = append(l.delivered, delivery{body: body, at: l.nowLocked()})
			}
		}
		require.Empty(l.t, rest)
	}, done)
}

func (l *fakeTimerLog) ProposeClose(slot int64, done func(bool, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	closed := false
	l.propose(func() {
		if n := len(l.done[slot]); n > 0 && n == len(l.queues[slot]) {
			delete(l.done, slot)
			delete(l.queues, slot)
			l.closed = append(l.closed, slot)
			closed = true
		}
	}, func(err error) { done(closed, err) })
}

func (l *fakeTimerLog) settleAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.settle {
		f()
	}
	l.settle = nil
}

func (l *fakeTimerLog) bodies() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, d := range l.delivered {
		out = append(out, d.body)
	}
	return out
}

func startTimers(t testing.TB, l *fakeTimerLog, held int) *Timers {
	t.Helper()
	s, err := NewTimers(TimersConfig{Log: l, held: held})
	require.NoError(t, err)
	s.Start(t.Context())
	t.Cleanup(s.Stop)
	return s
}

func TestTimersOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeTimerLog(t)
		s := startTimers(t, l, 0)
		due := map[string]int64{}
		for i := range 500 {
			body := fmt.Sprint(i)
			at := l.Now() + int64(i*i%200_000)
			due[body] = at
			s.Arrived(l.send("T", body, at))
			time.Sleep(time.Duration(i%5) * time.Millisecond)
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		require.Len(t, l.delivered, len(due))
		for _, d := range l.delivered {
			require.GreaterOrEqual(t, d.at, due[d.body])
			require.LessOrEqual(t, d.at, due[d.body]+1, d.body)
		}
		require.Empty(t, l.queues, "slots that are over are closed")
		before := l.proposals
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		require.Equal(t, before, l.proposals, "nothing to do, nothing is done")
	})
}

// What was waiting before the start, overdue or far away, is found.
func TestTimersAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeTimerLog(t)
		now := l.Now()
		for i := range 300 {
			l.send("T", fmt.Sprint(i), now+int64(i-150)*20_000)
		}
		startTimers(t, l, 3)
		synctest.Wait()
		require.GreaterOrEqual(t, len(l.bodies()), 150)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Len(t, l.bodies(), 300)
		require.Empty(t, l.queues)
	})
}

// Of many in one minute only some are held.
func TestTimersHoldTheEarliest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeTimerLog(t)
		s := startTimers(t, l, 10)
		base := (message.TimerSlot(l.Now()) + 2) * message.TimerSlotMillis
		for i := range 1000 {
			s.Arrived(l.send("T", fmt.Sprint(i), base+int64(i*7919%1000)*59))
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.Len(t, l.delivered, 1000)
		for _, d := range l.delivered {
			i, err := strconv.Atoi(d.body)
			require.NoError(t, err)
			require.LessOrEqual(t, d.at-(base+int64(i*7919%1000)*59), int64(1))
			require.GreaterOrEqual(t, d.at, base+int64(i*7919%1000)*59)
		}
	})
}

// Neither what is lost nor what cannot be read holds up the others.
func TestTimersPassOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeTimerLog(t)
		now := l.Now()
		for i := range 10 {
			l.send("T", fmt.Sprint(i), now-200_000)
		}
		l.first[message.TimerSlot(now-200_000)] = 2 // with their queue file
		l.gone["3"], l.broken["4"] = true, true
		l.send("", "nowhere", now-200_000)
		l.send(message.TopicTransHalf, "half", now-200_000)
		l.send("T", "later", now-100_000)
		startTimers(t, l, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		require.ElementsMatch(t, []string{"2", "5", "6", "7", "8", "9", "later"}, l.bodies())
		l.mu.Lock()
		l.broken = map[string]bool{}
		l.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Contains(t, l.bodies(), "4")
		require.Empty(t, l.queues)
	})
}

func TestTimersClockJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeTimerLog(t)
		s := startTimers(t, l, 0)
		now := l.Now()
		for i := range 48 {
			s.Arrived(l.send("T", fmt.Sprint(i), now+int64(i+1)*3_600_000))
		}
		synctest.Wait()
		require.Empty(t, l.bodies())
		l.mu.Lock()
		l.jump = 24 * 3_600_000 // the next leader's clock is a day ahead
		l.mu.Unlock()
		s.Stop()
		s.Start(t.Context())
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, l.bodies(), 24)
	})
}

type timerStep struct {
	after    time.Duration
	due      time.Duration // from now, 0: nothing is sent
	failover bool
	settle   bool
}

// TestEachTimerOnceNeverEarly is TestEachMessageOnceNeverEarly for times of their
// own, some of which lie in the past when the message arrives.
func TestEachTimerOnceNeverEarly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) timerStep {
			return timerStep{
				after:    time.Duration(rapid.IntRange(0, 40_000).Draw(rt, "after")) * time.Millisecond,
				due:      time.Duration(rapid.IntRange(-150_000, 200_000).Draw(rt, "due")) * time.Millisecond,
				failover: rapid.IntRange(0, 4).Draw(rt, "failover") == 0,
				settle:   rapid.IntRange(0, 3).Draw(rt, "settle") == 0,
			}
		}), 1, 40).Draw(rt, "steps")
		fates := rapid.SliceOfN(rapid.SampledFrom([]fate{applied, applied, refused, unknownLost, unknownDone, late}), 1, 30).Draw(rt, "fates")
		held := rapid.IntRange(1, 20).Draw(rt, "held")
		due := map[string]int64{}
		var got []delivery
		open := -1
		synctest.Test(t, func(t *testing.T) {
			l := newFakeTimerLog(t)
			n := 0
			l.fates = func() fate { n++; return fates[n%len(fates)] }
			s := startTimers(t, l, held)
			for i, st := range steps {
				time.Sleep(st.after)
				if st.due != 0 {
					body := fmt.Sprint(i)
					due[body] = l.Now() + st.due.Milliseconds()
					s.Arrived(l.send("T", body, due[body]))
				}
				if st.settle {
					l.settleAll()
				}
				if st.failover {
					s.Stop()
					s = startTimers(t, l, held)
				}
			}
			l.mu.Lock()
			l.fates = func() fate { return applied }
			l.mu.Unlock()
			for range 3 {
				l.settleAll()
				time.Sleep(5 * time.Minute)
			}
			s.Stop()
			got, open = l.delivered, len(l.queues)
		})
		require.Len(rt, got, len(due), "each message once")
		for _, d := range got {
			at, ok := due[d.body]
			require.True(rt, ok)
			require.GreaterOrEqual(rt, d.at, at, "%s came early", d.body)
			delete(due, d.body)
		}
		require.Empty(rt, due)
		require.Zero(rt, open, "slots left open")
	})
}

func BenchmarkSlot(b *testing.B) {
	b.ReportAllocs()
	s := &slot{}
	for i := 0; b.Loop(); i++ {
		s.push(entry{int64(i * 7919 % 60_000), message.QueueOffset(i)}, heldMax)
		if len(s.heap) > 100_000 {
			s.pop()
		}
	}
}
