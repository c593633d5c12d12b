package delay

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cometmq/cometmq/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errUnknown = errors.New("leadership lost, fate unknown")

// fate is what happens to a proposal.
type fate int

const (
	applied     fate = iota
	refused          // never entered the log
	unknownLost      // the proposer does not know; it was lost
	unknownDone      // the proposer does not know; it was applied
	late             // the proposer is told nothing before fakeLog.settle, and it is applied then
)

// delivery is one message that reached its topic.
type delivery struct {
	level int32
	body  string
	at    int64
}

// fakeLog is the replicated state of a group in the time of a synctest bubble.
type fakeLog struct {
	t      testing.TB
	levels Levels

	mu        sync.Mutex
	queues    map[int32][]Entry
	begin     map[int32]message.QueueOffset
	progress  map[int32]message.QueueOffset
	delivered []delivery
	proposals int
	reads     int
	readErr   error
	readErrAt message.QueueOffset
	inFlight  map[int32]int
	fates     func(level int32) fate
	settle    []func()
}

func newFakeLog(t testing.TB, levels Levels) *fakeLog {
	return &fakeLog{
		t: t, levels: levels, queues: map[int32][]Entry{}, begin: map[int32]message.QueueOffset{},
		progress: map[int32]message.QueueOffset{}, inFlight: map[int32]int{},
		fates: func(int32) fate { return applied },
	}
}

func (l *fakeLog) Now() int64 { return time.Now().UnixMilli() }

// send stores a delayed message as the broker and the store would.
func (l *fakeLog) send(level int32, rec message.Stored) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.Now() + l.levels.Millis(int(level))
	q := l.queues[level]
	l.queues[level] = append(q, Entry{Offset: message.QueueOffset(len(q)), DeliverAt: at, Record: rec})
	return at
}

func (l *fakeLog) Progress(level int32) message.QueueOffset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.progress[level]
}

func (l *fakeLog) Read(level int32, from message.QueueOffset, max int) ([]Entry, message.QueueOffset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if l.readErr != nil && from >= l.readErrAt {
		return nil, 0, l.readErr
	}
	if from < l.begin[level] {
		from = l.begin[level]
	}
	q := l.queues[level]
	end := min(int(from)+max, len(q))
	if int(from) >= end {
		return nil, from, nil
	}
	return q[from:end], message.QueueOffset(end), nil
}

func (l *fakeLog) ProposeMature(level int32, from, to message.QueueOffset, nested [][]byte, done func(bool, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proposals++
	var bodies []string
	size := 0
	for _, b := range nested {
		s, err := message.ParseStored(b)
		require.NoError(l.t, err)
		bodies = append(bodies, string(s.Body()))
		size += len(b)
	}
	require.LessOrEqual(l.t, len(nested), BatchMessagesMax)
	if len(nested) > 1 {
		require.LessOrEqual(l.t, size, BatchBytesMax)
	}
	apply := func() bool {
		if l.progress[level] != from {
			return false
		}
		l.progress[level] = to
		for _, b := range bodies {
			l.delivered = append(l.delivered, delivery{level, b, l.Now()})
		}
		return true
	}
	switch l.fates(level) {
	case applied:
		done(apply(), nil)
	case refused, unknownLost:
		done(false, errUnknown)
	case unknownDone:
		apply()
		done(false, errUnknown)
	case late:
		require.Zero(l.t, l.inFlight[level], "one proposal in flight per level")
		l.inFlight[level]++
		l.settle = append(l.settle, func() {
			l.inFlight[level]--
			done(apply(), nil)
		})
	}
}

// settleAll applies the late proposals.
func (l *fakeLog) settleAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.settle {
		f()
	}
	l.settle = nil
}

func (l *fakeLog) proposed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proposals
}

func (l *fakeLog) looked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

func (l *fakeLog) got() []delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]delivery(nil), l.delivered...)
}

func startScheduler(t testing.TB, l *fakeLog, change ...func(*Config)) *Scheduler {
	t.Helper()
	cfg := Config{Log: l, Levels: l.levels}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	require.NoError(t, err)
	s.Start(t.Context())
	t.Cleanup(s.Stop)
	return s
}

func parse(t testing.TB, text string) Levels {
	t.Helper()
	l, err := ParseLevels(text)
	require.NoError(t, err)
	return l
}

func TestDeliversOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(t, parse(t, "1s 5s"))
		s := startScheduler(t, l)
		var want []delivery
		for i := range 5 {
			body := fmt.Sprint("m", i)
			at := l.send(1, delayed(t, "T", "0", body))
			s.Arrived(0)
			want = append(want, delivery{1, body, at})
			time.Sleep(300 * time.Millisecond)
		}
		at := l.send(2, delayed(t, "T", "0", "far"))
		s.Arrived(1)
		want = append(want, delivery{2, "far", at})
		s.Arrived(-1)
		s.Arrived(2)
		time.Sleep(10 * time.Second)
		require.Equal(t, want, l.got(), "each at its millisecond")
		require.Equal(t, message.QueueOffset(5), l.Progress(1))
		require.Less(t, l.looked(), 40, "nothing polls")
	})
}

func TestIdleSchedulerDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(t, parse(t, DefaultLevels))
		startScheduler(t, l)
		time.Sleep(24 * time.Hour)
		require.Equal(t, 18, l.looked(), "one look per level at the start")
		require.Zero(t, l.proposed())
	})
}

func TestBatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(t, parse(t, "1s 2s"))
		for i := range 2500 {
			l.send(1, delayed(t, "T", "0", fmt.Sprint(i)))
		}
		large := make([]byte, BatchBytesMax+1)
		for range 3 {
			l.send(2, delayed(t, "T", "0", "small"))
			l.send(2, delayed(t, "T", "0", string(large)))
		}
		startScheduler(t, l)
		time.Sleep(time.Minute)
		require.Equal(t, 3+6, l.proposed(), "1000+1000+500, and the large ones alone")
		got := l.got()
		require.Len(t, got, 2506)
		for i := range 2500 {
			require.Equal(t, fmt.Sprint(i), got[i].body)
		}
	})
}

func TestLongerDelayThanConfiguredIsDueNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(t, parse(t, "1h"))
		l.send(1, delayed(t, "T", "0", "from the time of longer levels"))
		l.levels = parse(t, "10s")
		start := l.Now()
		l.send(1, delayed(t, "T", "0", "new"))
		startScheduler(t, l)
		time.Sleep(time.Minute)
		require.Equal(t, []delivery{{1, "from the time of longer levels", start}, {1, "new", start + 10_000}}, l.got())
	})
}

func TestPassesOverWhatCannotBeDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(t, parse(t, "1s"))
		l.send(1, delayed(t, "T", "0", "retained no more"))
		l.send(1, delayed(t, message.TopicTransHalf, "0", "half"))
		l.send(1, delayed(t, "Deleted", "0", "deleted"))
		l.send(1, delayed(t, "T", "0", "good"))
		l.begin[1] = 1
		startScheduler(t, l, func(c *Config) {
			c.Deliverable = func(topic []byte) bool { return string(topic) != "Deleted" }
		})
		time.Sleep(2 * time.Second)
		got := l.got()
		require.Len(t, got, 1)
		require.Equal(t, "good", got[0].body)
		require.Equal(t, message.QueueOffset(4), l.Progress(1))

		l.mu.Lock()
		l.begin[1] = 9
		l.mu.Unlock()
		s2 := startScheduler(t, l)
		s2.Stop()
		startScheduler(t, l)
		time.Sleep(time.Second)
		require.Equal(t, message.QueueOffset(9), l.Progress(1), "an emptied queue is caught up with")
	})
}

func TestErrorsAreRetriedWithoutHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(t, parse(t, "1s"))
		l.fates = func(int32) fate { return refused }
		at := l.send(1, delayed(t, "T", "0", "m"))
		startScheduler(t, l)
		time.Sleep(time.Minute)
		require.Empty(t, l.got())
		require.Less(t, l.proposed(), 25)
		require.Greater(t, l.proposed(), 10)
		l.mu.Lock()
		l.fates = func(int32) fate { return applied }
		l.readErr = errors.New("disk")
		l.mu.Unlock()
		time.Sleep(time.Minute)
		require.Empty(t, l.got())
		l.mu.Lock()
		l.readErr = nil
		l.mu.Unlock()
		time.Sleep(6 * time.Second)
		require.Len(t, l.got(), 1)
		require.Greater(t, l.got()[0].at, at)
	})
}

func TestDeliversWhatStandsBeforeDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(t, parse(t, "1s"))
		for i := range 40 {
			l.send(1, delayed(t, "T", "0", fmt.Sprint(i)))
		}
		l.readErr, l.readErrAt = errors.New("damaged"), 32
		startScheduler(t, l)
		time.Sleep(time.Minute)
		require.Len(t, l.got(), 32)
		require.Equal(t, message.QueueOffset(32), l.Progress(1))
	})
}

func TestStopWithAProposalInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(t, parse(t, "1s"))
		l.fates = func(int32) fate { return late }
		l.send(1, delayed(t, "T", "0", "m"))
		s := startScheduler(t, l)
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, l.proposed())
		s.Stop()
		s.Stop()
		l.settleAll()
		require.Len(t, l.got(), 1, "it is applied although nobody waits")
		s.Start(t.Context())
		s.Start(t.Context())
		time.Sleep(2 * time.Second)
		require.Len(t, l.got(), 1, "and not again")
	})
}

func TestNewRefuses(t *testing.T) {
	_, err := New(Config{})
	require.Error(t, err)
	_, err = New(Config{Log: newFakeLog(t, nil), Levels: make(Levels, LevelsMax+1)})
	require.Error(t, err)
}
