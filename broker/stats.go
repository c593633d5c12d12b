package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// stats counts what the runtime table shows.
type stats struct {
	start time.Time

	putMessages, putBytes atomic.Int64
	getMessages, getBytes atomic.Int64

	mu      sync.Mutex
	samples []statSample // the last statSamples, oldest first
}

type statSample struct {
	at       time.Time
	put, get int64
}

const (
	statInterval = 10 * time.Second
	statSamples  = 61 // ten minutes and the sample before
)

func (s *stats) sent(messages, bytes int) {
	s.putMessages.Add(int64(messages))
	s.putBytes.Add(int64(bytes))
}

func (s *stats) pulled(messages, bytes int) {
	s.getMessages.Add(int64(messages))
	s.getBytes.Add(int64(bytes))
}

// sample is called every statInterval.
func (s *stats) sample(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.samples) == statSamples {
		s.samples = append(s.samples[:0], s.samples[1:]...)
	}
	s.samples = append(s.samples, statSample{now, s.putMessages.Load(), s.getMessages.Load()})
}

// rates returns "10s 60s 600s" message rates of puts and gets, as RocketMQ's
// tools expect three numbers.
func (s *stats) rates(now time.Time) (put, get string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := statSample{now, s.putMessages.Load(), s.getMessages.Load()}
	for i, back := range []int{1, 6, 60} {
		base := statSample{at: s.start}
		if n := len(s.samples); n > 0 {
			base = s.samples[max(0, n-back)]
		}
		seconds := max(current.at.Sub(base.at).Seconds(), 1)
		if i > 0 {
			put, get = put+" ", get+" "
		}
		put += fmt.Sprintf("%.2f", float64(current.put-base.put)/seconds)
		get += fmt.Sprintf("%.2f", float64(current.get-base.get)/seconds)
	}
	return put, get
}
