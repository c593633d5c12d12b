package stats

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// totals only grow.
type totals struct {
	putMessages, putBytes, putFailed           atomic.Int64
	getFound, getMissed, getMessages, getBytes atomic.Int64
}

// Totals are counts since the start.
type Totals struct {
	PutMessages, PutBytes, PutFailed int64
	GetFound, GetMissed              int64 // pulls
	GetMessages, GetBytes            int64
}

// Totals returns the counts.
func (s *Stats) Totals() Totals {
	t := &s.totals
	return Totals{
		PutMessages: t.putMessages.Load(), PutBytes: t.putBytes.Load(), PutFailed: t.putFailed.Load(),
		GetFound: t.getFound.Load(), GetMissed: t.getMissed.Load(),
		GetMessages: t.getMessages.Load(), GetBytes: t.getBytes.Load(),
	}
}

type totalSample struct {
	at time.Time
	Totals
}

// totalSamples is ten minutes, the sample before, and the newest one, which may
// be of this moment and then says nothing about the last ten seconds.
const totalSamples = 62

// Rates are messages or pulls a second over the last 10, 60 and 600 seconds.
type Rates [3]float64

// String is RocketMQ's form: three numbers with spaces between.
func (r Rates) String() string {
	parts := make([]string, len(r))
	for i, v := range r {
		parts[i] = fmt.Sprintf("%.2f", v)
	}
	return strings.Join(parts, " ")
}

// AllRates are the rates of the runtime table.
type AllRates struct {
	Put         Rates // messages stored
	Found       Rates // pulls that found messages
	Missed      Rates // pulls that did not
	Total       Rates // pulls
	Transferred Rates // messages given out
}

// Rates returns the rates up to now.
func (s *Stats) Rates() AllRates {
	s.sampling.Lock()
	defer s.sampling.Unlock()
	current := totalSample{s.cfg.Now(), s.Totals()}
	var out AllRates
	for i, back := range []int{1, 6, 60} {
		base := totalSample{at: s.start}
		if n := len(s.past); n > back {
			base = s.past[n-1-back]
		}
		seconds := max(current.at.Sub(base.at).Seconds(), 1)
		rate := func(now, then int64) float64 { return float64(now-then) / seconds }
		out.Put[i] = rate(current.PutMessages, base.PutMessages)
		out.Found[i] = rate(current.GetFound, base.GetFound)
		out.Missed[i] = rate(current.GetMissed, base.GetMissed)
		out.Total[i] = rate(current.GetFound+current.GetMissed, base.GetFound+base.GetMissed)
		out.Transferred[i] = rate(current.GetMessages, base.GetMessages)
	}
	return out
}

// dayTotals are the totals as they were at the last two midnights.
type dayTotals struct {
	day              int // of this morning
	today, yesterday Totals
}

func dayOf(t time.Time) int { return t.Year()*1000 + t.YearDay() }

// Mornings returns the totals as they were last midnight, by this machine's
// clock and zone, and the midnight before; zero for a time before the start.
func (s *Stats) Mornings() (today, yesterday Totals) {
	s.sampling.Lock()
	defer s.sampling.Unlock()
	return s.morning.today, s.morning.yesterday
}

func (s *Stats) sampleTotals(now time.Time) {
	t := s.Totals()
	if len(s.past) == totalSamples {
		s.past = append(s.past[:0], s.past[1:]...)
	}
	s.past = append(s.past, totalSample{now, t})
	if day := dayOf(now); day != s.morning.day {
		s.morning = dayTotals{day: day, today: t, yesterday: s.morning.today}
	}
}
