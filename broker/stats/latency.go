package stats

import (
	"fmt"
	"math/bits"
	"strings"
	"sync/atomic"
	"time"
)

// Latency is a histogram of the last minute. RocketMQ empties its own each
// minute, so that a dashboard sees a saw; this one loses its oldest ten seconds
// at a time.
type Latency struct {
	slots   [7]latencySlot // a minute and the ten seconds being filled
	current atomic.Int32
	max     atomic.Int64 // ms, since the start
}

type latencySlot struct {
	coarse [len(bounds) + 2]atomic.Int64
	fine   [fineBuckets]atomic.Int64
}

// bounds are the upper ends, in ms and exclusive, of RocketMQ's ranges behind
// the first one, which is "less than a millisecond".
var bounds = [...]int64{10, 50, 100, 200, 500, 1000, 2000, 3000, 4000, 5000, 10000}

var boundNames = [len(bounds) + 2]string{
	"[<=0ms]", "[0~10ms]", "[10~50ms]", "[50~100ms]", "[100~200ms]", "[200~500ms]", "[500ms~1s]",
	"[1~2s]", "[2~3s]", "[3~4s]", "[4~5s]", "[5~10s]", "[10s~]",
}

// fineBuckets has eight buckets to each power of two of microseconds, so that a
// quantile is at most an eighth too high.
const fineBuckets = 8 * 30

func fineBucket(us uint64) int {
	if us < 8 {
		return int(us)
	}
	shift := bits.Len64(us) - 4
	return min(8*shift+int(us>>shift), fineBuckets-1)
}

// fineEnd is the longest time that falls into a bucket.
func fineEnd(bucket int) time.Duration {
	if bucket < 8 {
		return time.Duration(bucket) * time.Microsecond
	}
	shift := bucket/8 - 1
	return time.Duration((uint64(bucket%8+8+1)<<shift)-1) * time.Microsecond
}

// Observe counts one duration.
func (l *Latency) Observe(d time.Duration) {
	d = max(d, 0)
	ms := d.Milliseconds()
	slot := &l.slots[l.current.Load()]
	slot.coarse[coarseBucket(ms)].Add(1)
	slot.fine[fineBucket(uint64(d.Microseconds()))].Add(1)
	if ms > l.max.Load() {
		raise(&l.max, ms)
	}
}

func coarseBucket(ms int64) int {
	if ms <= 0 {
		return 0
	}
	for i, end := range bounds {
		if ms < end {
			return i + 1
		}
	}
	return len(bounds) + 1
}

// turn empties the oldest slot and makes it the current one.
func (l *Latency) turn() {
	next := (l.current.Load() + 1) % int32(len(l.slots))
	slot := &l.slots[next]
	for i := range slot.coarse {
		slot.coarse[i].Store(0)
	}
	for i := range slot.fine {
		slot.fine[i].Store(0)
	}
	l.current.Store(next)
}

// Distribution is putMessageDistributeTime: thirteen ranges, of which tools
// parse each as "name:number".
func (l *Latency) Distribution() string {
	var b strings.Builder
	for i, name := range boundNames {
		n := int64(0)
		for s := range l.slots {
			n += l.slots[s].coarse[i].Load()
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s:%d", name, n)
	}
	return b.String()
}

// Quantile returns the time that the share q of the last minute's durations did
// not pass; 0 when there were none.
func (l *Latency) Quantile(q float64) time.Duration {
	var counts [fineBuckets]int64
	total := int64(0)
	for s := range l.slots {
		for i := range counts {
			n := l.slots[s].fine[i].Load()
			counts[i] += n
			total += n
		}
	}
	if total == 0 {
		return 0
	}
	rest := int64(float64(total) * (1 - q))
	for i := len(counts) - 1; i >= 0; i-- {
		if rest -= counts[i]; rest < 0 {
			return fineEnd(i)
		}
	}
	return 0
}

// Max is the longest duration since the start, in whole milliseconds.
func (l *Latency) Max() int64 { return l.max.Load() }

// Puts is the histogram of sends.
func (s *Stats) Puts() *Latency { return &s.puts }

// GetMax is the longest read of a pull since the start, in whole milliseconds.
func (s *Stats) GetMax() int64 { return s.gets.Load() }
