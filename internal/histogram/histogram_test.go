package histogram

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRangesEndInclusively(t *testing.T) {
	t.Parallel()
	h := New(10, 100)
	for _, v := range []int64{0, 10, 11, 100, 101, 1 << 40} {
		h.Observe(v)
	}
	h.ObserveMany(50, 3)
	s := h.Snapshot()
	require.Equal(t, []uint64{2, 5, 2}, s.Counts)
	require.EqualValues(t, 9, s.Count())
	require.EqualValues(t, 0+10+11+100+101+1<<40+150, s.Sum)
}

func TestDurationsRise(t *testing.T) {
	t.Parallel()
	require.IsIncreasing(t, durations)
	h := Durations()
	require.GreaterOrEqual(t, h.Since(time.Now().Add(-3*time.Second)), 3*time.Second)
	s := h.Snapshot()
	require.EqualValues(t, 1, s.Counts[len(s.Counts)-2], "between 2.5 and 10 s")
}

func TestCountsFromManyGoroutines(t *testing.T) {
	t.Parallel()
	h := New(1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range int64(1000) {
				h.Observe(i % 3)
			}
		})
	}
	wg.Wait()
	s := h.Snapshot()
	require.EqualValues(t, 8000, s.Count())
	require.EqualValues(t, 8*999, s.Sum)
}

func BenchmarkObserve(b *testing.B) {
	h := Durations()
	b.ReportAllocs()
	for b.Loop() {
		h.Observe(int64(3 * time.Millisecond))
	}
}
