package histogram

import (
	"sync/atomic"
	"time"
)

// Histogram counts values by range. Make it with New; any goroutine may use it. A
// nil one counts nothing.
type Histogram struct {
	bounds []int64 // upper ends, inclusive, ascending
	counts []atomic.Uint64
	sum    atomic.Int64
}

// New returns a histogram whose ranges end at the given values, which must rise;
// what is larger goes into one more range.
func New(bounds ...int64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// durations end the ranges of Durations. A flash disk syncs in a few hundred
// microseconds, a busy one in tens of milliseconds, and elections and clients'
// timeouts lie in the seconds.
var durations = func() (ns []int64) {
	for _, us := range []int64{50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000} {
		ns = append(ns, us*int64(time.Microsecond))
	}
	return ns
}()

// Durations returns a histogram of durations from microseconds to seconds, in
// nanoseconds.
func Durations() *Histogram { return New(durations...) }

// Observe counts one value.
func (h *Histogram) Observe(v int64) { h.ObserveMany(v, 1) }

// ObserveMany counts n values that sum up to n times v.
func (h *Histogram) ObserveMany(v int64, n uint64) {
	if h == nil {
		return
	}
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i].Add(n)
	h.sum.Add(v * int64(n))
}

// Since counts the time since t.
func (h *Histogram) Since(t time.Time) time.Duration {
	d := time.Since(t)
	h.Observe(int64(d))
	return d
}

// Snapshot is a histogram at one moment, nearly: values observed meanwhile may be
// in the counts and not yet in the sum.
type Snapshot struct {
	Bounds []int64  // shared, not to be changed
	Counts []uint64 // of each range alone; one more than Bounds
	Sum    int64
}

// Snapshot returns the counts.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Bounds: h.bounds, Counts: make([]uint64, len(h.counts)), Sum: h.sum.Load()}
	for i := range h.counts {
		s.Counts[i] = h.counts[i].Load()
	}
	return s
}

// Count is the number of values.
func (s Snapshot) Count() (n uint64) {
	for _, c := range s.Counts {
		n += c
	}
	return n
}
