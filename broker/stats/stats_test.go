package stats

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newAt(hour int) (*Stats, *clock) {
	c := &clock{time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC)}
	return New(Config{Cluster: "c", Now: c.now}), c
}

// run lets time pass, calling each before every sample.
func (c *clock) run(s *Stats, d time.Duration, each func()) {
	for range d / Interval {
		if each != nil {
			each()
		}
		c.t = c.t.Add(Interval)
		s.Sample()
	}
}

func TestWindowsForgetWhatIsOlder(t *testing.T) {
	t.Parallel()
	s, c := newAt(1)
	put := func() { s.Put("t", 10, 1000) }
	c.run(s, 30*time.Minute, put)
	w, ok := s.View(TopicPutNums, "t")
	require.True(t, ok)
	// Six samples are kept and the base is the oldest: fifty seconds of puts.
	require.EqualValues(t, 50, w.Minute.Sum)
	require.InDelta(t, 1, w.Minute.PerSec, 0.01)
	require.InDelta(t, 10, w.Minute.Average, 0.01)
	require.EqualValues(t, 1800, w.Hour.Sum)
	require.EqualValues(t, 1800, w.Day.Sum)
	size, _ := s.View(TopicPutSize, "t")
	require.EqualValues(t, 180_000, size.Day.Sum)
	require.InDelta(t, 1000, size.Day.Average, 0.01)

	c.run(s, 2*time.Hour, nil)
	w, _ = s.View(TopicPutNums, "t")
	require.Zero(t, w.Minute)
	require.Zero(t, w.Hour)
	require.EqualValues(t, 1800, w.Day.Sum)
	s.Put("t", 7, 1)
	w, _ = s.View(TopicPutNums, "t")
	require.EqualValues(t, 7, w.Minute.Sum, "what was not sampled yet counts")
	require.EqualValues(t, 7, w.Hour.Sum)
	c.run(s, 24*time.Hour, nil)
	w, ok = s.View(TopicPutNums, "t")
	require.True(t, ok)
	require.Zero(t, w.Day)
}

// The windows of any item, whenever it was made, say what was counted between
// their base and now.
func TestWindowsAgainstPlainSums(t *testing.T) {
	t.Parallel()
	for _, begin := range []time.Duration{0, Interval, 50 * time.Second, 9*time.Minute + 50*time.Second, time.Hour, 61 * time.Minute} {
		s, c := newAt(1)
		c.run(s, begin, nil)
		born := c.t
		type put struct {
			at time.Time
			n  int64
		}
		var puts []put
		n := int64(0)
		for range 400 {
			n++
			s.Put("t", int(n), 0)
			puts = append(puts, put{c.t, n})
			c.run(s, Interval, nil)
			w, _ := s.View(TopicPutNums, "t")
			for i, got := range []Window{w.Minute, w.Hour, w.Day} {
				stride := time.Duration(rings[i].stride) * Interval
				// The base is the oldest kept sample, or the birth.
				last := c.t.Sub(s.start) / stride
				since := s.start.Add(time.Duration(int64(last)-rings[i].length+1) * stride)
				if !since.After(born) {
					since = born
				}
				want := int64(0)
				for _, p := range puts {
					if !p.at.Before(since) {
						want += p.n
					}
				}
				require.Equal(t, want, got.Sum, "ring %d, begun after %v, at %v", i, begin, c.t.Sub(s.start))
			}
		}
	}
}

func TestKeysOfAllStatistics(t *testing.T) {
	t.Parallel()
	s, _ := newAt(1)
	s.Put("t", 2, 300)
	s.Get("t", "g", 3, 0, 5, 500, 40*time.Millisecond)
	s.Get("t", "g", 4, 0, 5, 500, 20*time.Millisecond)
	s.SendBack("t", "g")
	for _, c := range []struct {
		name, key string
		sum       int64
		average   float64
	}{
		{TopicPutNums, "t", 2, 2},
		{TopicPutSize, "t", 300, 300},
		{GroupGetNums, "t@g", 10, 5},
		{GroupGetSize, "t@g", 1000, 500},
		{GroupGetLatency, "t@g", 60, 30},
		{GroupGetLatency, "3@t@g", 40, 40},
		{SendBackNums, "t@g", 1, 1},
		{BrokerPutNums, "c", 2, 2},
		{BrokerGetNums, "c", 10, 5},
	} {
		w, ok := s.View(c.name, c.key)
		require.True(t, ok, c.name)
		require.Equal(t, c.sum, w.Minute.Sum, c.name)
		require.InDelta(t, c.average, w.Day.Average, 0.001, c.name)
	}
	s.Get("t", "quiet", 0, 0, 1, 1, 0)
	for _, c := range [][2]string{
		{TopicPutNums, "other"}, {GroupGetNums, "t"}, {GroupGetNums, "t@other"}, {GroupGetLatency, "9@t@g"}, {GroupGetLatency, "x@t@g"},
		{SendBackNums, "t@quiet"}, {BrokerPutNums, "other"}, {"NO_SUCH", "t"}, {"", ""},
	} {
		_, ok := s.View(c[0], c[1])
		require.False(t, ok, c)
	}
	s.DeleteGroup("g")
	_, ok := s.View(GroupGetNums, "t@g")
	require.False(t, ok)
	_, ok = s.View(TopicPutNums, "t")
	require.True(t, ok)
	s.DeleteTopic("t")
	n, _ := s.Items()
	require.Zero(t, n)
}

func TestItemsAreBoundedAndQuietOnesGo(t *testing.T) {
	t.Parallel()
	c := &clock{time.Date(2026, 3, 1, 1, 0, 0, 0, time.UTC)}
	s := New(Config{ItemsMax: 10, Now: c.now})
	for i := range 30 {
		s.Put(fmt.Sprint("t", i), 1, 1)
		s.Get(fmt.Sprint("t", i), "g", 0, 0, 1, 1, 0)
		s.SendBack(fmt.Sprint("t", i), "g")
	}
	n, dropped := s.Items()
	require.Equal(t, 10, n)
	require.Positive(t, dropped)
	require.EqualValues(t, 30, s.Totals().PutMessages, "the totals have everything")
	c.run(s, 25*time.Hour, func() { s.Put("t0", 1, 1) })
	n, _ = s.Items()
	require.Equal(t, 1, n, "only what is in use is left")
	s.Put("new", 1, 1)
	_, ok := s.View(TopicPutNums, "new")
	require.True(t, ok)
}

func TestRates(t *testing.T) {
	t.Parallel()
	s, c := newAt(1)
	c.run(s, 10*time.Minute, func() {
		s.Put("t", 100, 1)
		s.Get("t", "g", 0, 0, 50, 1, 0)
		s.GetMissed()
		s.GetMissed()
	})
	r := s.Rates()
	require.Equal(t, "10.00 10.00 10.00", r.Put.String())
	require.Equal(t, "5.00 5.00 5.00", r.Transferred.String())
	require.Equal(t, "0.10 0.10 0.10", r.Found.String())
	require.Equal(t, "0.20 0.20 0.20", r.Missed.String())
	require.Equal(t, "0.30 0.30 0.30", r.Total.String())
	c.run(s, time.Minute, nil)
	require.Equal(t, "0.00 0.00 9.00", s.Rates().Put.String())
	young, c := newAt(1)
	young.Put("t", 30, 1)
	c.t = c.t.Add(3 * time.Second)
	require.Equal(t, "10.00 10.00 10.00", young.Rates().Put.String(), "a young broker divides by its age")
}

func TestMorningsAreTakenAtMidnight(t *testing.T) {
	t.Parallel()
	s, c := newAt(23)
	s.Put("t", 5, 1)
	today, yesterday := s.Mornings()
	require.Zero(t, today)
	require.Zero(t, yesterday)
	c.run(s, 2*time.Hour, nil)
	s.Put("t", 3, 1)
	today, yesterday = s.Mornings()
	require.EqualValues(t, 5, today.PutMessages)
	require.Zero(t, yesterday.PutMessages)
	c.run(s, 24*time.Hour, nil)
	today, yesterday = s.Mornings()
	require.EqualValues(t, 8, today.PutMessages)
	require.EqualValues(t, 5, yesterday.PutMessages)
}

func TestDistribution(t *testing.T) {
	t.Parallel()
	s, c := newAt(1)
	at := []time.Duration{900 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 99 * time.Millisecond, 199 * time.Millisecond,
		499 * time.Millisecond, 999 * time.Millisecond, 1999 * time.Millisecond, 2 * time.Second, 3 * time.Second, 4 * time.Second,
		5 * time.Second, 10 * time.Second}
	for _, d := range at {
		s.PutTook(d)
	}
	want := "[<=0ms]:1 [0~10ms]:1 [10~50ms]:1 [50~100ms]:1 [100~200ms]:1 [200~500ms]:1 [500ms~1s]:1 [1~2s]:1 [2~3s]:1 [3~4s]:1 [4~5s]:1 [5~10s]:1 [10s~]:1"
	require.Equal(t, want, s.Puts().Distribution())
	c.run(s, time.Minute, nil)
	require.Equal(t, want, s.Puts().Distribution())
	c.run(s, Interval, nil)
	require.NotContains(t, s.Puts().Distribution(), ":1 ", "forgotten after a minute")
	require.Len(t, strings.Fields(s.Puts().Distribution()), 13)
	require.EqualValues(t, 10_000, s.Puts().Max())
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var l Latency
	require.Zero(t, l.Quantile(0.99))
	for i := 1; i <= 10_000; i++ {
		l.Observe(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		got, want := float64(l.Quantile(q).Microseconds()), q*10_000
		require.GreaterOrEqual(t, got, want*0.999, q)
		require.LessOrEqual(t, got, want*1.13, q)
	}
	// Each bucket ends where the next begins.
	for us := range uint64(1 << 14) {
		b := fineBucket(us)
		require.LessOrEqual(t, time.Duration(us)*time.Microsecond, fineEnd(b))
		if us > 0 {
			require.Contains(t, []int{b, b - 1}, fineBucket(us-1))
		}
	}
	l.Observe(time.Hour)
	l.Observe(-time.Hour)
}

func TestCountingAllocatesNothing(t *testing.T) {
	s := New(Config{})
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		s.Put("topic", 1, 100)
		s.PutTook(time.Millisecond)
		s.Get("topic", "group", 1, 0, 1, 100, time.Millisecond)
		s.GetMissed()
		s.SendBack("topic", "group")
	}))
}

// With -race: counting, sampling, looking and forgetting at the same time.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	s := New(Config{Cluster: "c", ItemsMax: 50})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				topic := fmt.Sprint("t", i%40)
				s.Put(topic, 1, 1)
				s.Get(topic, "g", int32(g), 0, 1, 1, 1)
				s.PutTook(time.Duration(i))
			}
		})
	}
	wg.Go(func() {
		for i := range 200 {
			s.Sample()
			s.View(TopicPutNums, fmt.Sprint("t", i%40))
			s.Rates()
			s.Puts().Quantile(0.99)
			s.DeleteTopic(fmt.Sprint("t", i%40))
		}
	})
	wg.Wait()
	require.EqualValues(t, 8000, s.Totals().PutMessages)
}

func BenchmarkPut(b *testing.B) {
	s := New(Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Put("topic", 1, 100)
		}
	})
}
