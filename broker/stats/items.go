package stats

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Names of statistics, as VIEW_BROKER_STATS_DATA has them.
const (
	TopicPutNums    = "TOPIC_PUT_NUMS"    // key topic
	TopicPutSize    = "TOPIC_PUT_SIZE"    // key topic
	GroupGetNums    = "GROUP_GET_NUMS"    // key topic@group
	GroupGetSize    = "GROUP_GET_SIZE"    // key topic@group
	GroupGetLatency = "GROUP_GET_LATENCY" // key topic@group or queue@topic@group, ms
	SendBackNums    = "SNDBCK_PUT_NUMS"   // key topic@group
	BrokerPutNums   = "BROKER_PUT_NUMS"   // key cluster
	BrokerGetNums   = "BROKER_GET_NUMS"   // key cluster
)

// Window is what one statistic gained in some time.
type Window struct {
	Sum     int64
	PerSec  float64
	Average float64 // per event: Sum divided by the number of times it was counted
}

// Windows are the three that RocketMQ shows. Each reaches back at most as far as
// its name says and at least to the last but one sample before that; a young
// item's windows begin when it was made.
type Windows struct{ Minute, Hour, Day Window }

// The values of an item, all of which every item has: an array is looked up
// faster than it is explained who has which.
const (
	valNums = iota
	valSize
	valTimes
	valBacks
	valLatency // ms
	valReads
	vals
)

// A ring keeps samples of an item, taken every stride samples of the whole.
var rings = [...]struct{ stride, length int64 }{
	{1, 6},    // every 10 s: a minute
	{60, 6},   // every 10 min: an hour
	{360, 24}, // every hour: a day
}

const pastLen = 6 + 6 + 24

// item is what is known of one key.
type item struct {
	now [vals]atomic.Int64
	// next is the offset behind the last message that was read, of queues only.
	next atomic.Int64

	// What follows is guarded by Stats.sampling. past holds the rings, one
	// behind the other; it is made at the first sample, so that an item that
	// comes and goes costs little.
	past     *[pastLen][vals]int64
	bornTick int64
	born     time.Time
	quiet    int64 // samples since a value last changed
	last     [vals]int64
}

type groupKey struct{ topic, group string }

type queueKey struct {
	topic, group string
	queue        int32
}

// sample writes the values into the rings that are due at this tick.
func (it *item) sample(tick int64) {
	var v [vals]int64
	for i := range v {
		v[i] = it.now[i].Load()
	}
	if v == it.last {
		it.quiet++
	} else {
		it.quiet, it.last = 0, v
	}
	if it.past == nil {
		it.past = new([pastLen][vals]int64)
	}
	start := int64(0)
	for _, r := range rings {
		if tick%r.stride == 0 {
			it.past[start+tick/r.stride%r.length] = v
		}
		start += r.length
	}
}

// window computes value `sum`, counted `times` times, over a ring.
func (it *item) window(s *Stats, ring, sum, times int, now time.Time) Window {
	r := rings[ring]
	start := int64(0)
	for _, before := range rings[:ring] {
		start += before.length
	}
	base, since := [vals]int64{}, it.born
	// Of the samples m-length+1 … m the oldest is the base, unless the item is
	// younger than that.
	m := s.tick / r.stride
	if oldest := m - r.length + 1; it.past != nil && oldest*r.stride > it.bornTick {
		base = it.past[start+oldest%r.length]
		since = s.times[start+oldest%r.length]
	}
	w := Window{Sum: it.now[sum].Load() - base[sum]}
	w.PerSec = float64(w.Sum) / max(now.Sub(since).Seconds(), 1)
	if n := it.now[times].Load() - base[times]; n > 0 {
		w.Average = float64(w.Sum) / float64(n)
	}
	return w
}

func (it *item) windows(s *Stats, sum, times int, now time.Time) Windows {
	return Windows{
		Minute: it.window(s, 0, sum, times, now),
		Hour:   it.window(s, 1, sum, times, now),
		Day:    it.window(s, 2, sum, times, now),
	}
}

// View returns a statistic by RocketMQ's name and key; false when there is none.
func (s *Stats) View(name, key string) (Windows, bool) {
	s.sampling.Lock()
	defer s.sampling.Unlock()
	it, sum, times := s.find(name, key)
	if it == nil {
		return Windows{}, false
	}
	return it.windows(s, sum, times, s.cfg.Now()), true
}

// find returns the item and which of its values are meant.
func (s *Stats) find(name, key string) (it *item, sum, times int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	topic, group, _ := strings.Cut(key, "@")
	pair := s.groups[groupKey{topic, group}]
	switch name {
	case TopicPutNums:
		return s.topics[key], valNums, valTimes
	case TopicPutSize:
		return s.topics[key], valSize, valTimes
	case GroupGetNums:
		return pair, valNums, valTimes
	case GroupGetSize:
		return pair, valSize, valTimes
	case SendBackNums:
		if pair != nil && pair.now[valBacks].Load() == 0 {
			return nil, 0, 0 // it was made by a pull
		}
		return pair, valBacks, valBacks
	case GroupGetLatency:
		if pair != nil {
			return pair, valLatency, valReads
		}
		queue, err := strconv.ParseInt(topic, 10, 32)
		if err != nil {
			return nil, 0, 0
		}
		topic, group, _ = strings.Cut(group, "@")
		return s.queues[queueKey{topic, group, int32(queue)}], valLatency, valReads
	case BrokerPutNums:
		if key == s.cfg.Cluster {
			return &s.put, valNums, valTimes
		}
	case BrokerGetNums:
		if key == s.cfg.Cluster {
			return &s.get, valNums, valTimes
		}
	}
	return nil, 0, 0
}

// GroupGetRate is how many messages a second a group took from a topic in the
// last minute (tpsGroupGetNums).
func (s *Stats) GroupGetRate(topic, group string) float64 {
	w, _ := s.View(GroupGetNums, topic+"@"+group)
	return w.Minute.PerSec
}

// Pulled is the offset behind the last message that a group was given of a queue
// by this broker; false when it was given none.
func (s *Stats) Pulled(topic, group string, queue int32) (next int64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := s.queues[queueKey{topic, group, queue}]
	if it == nil {
		return 0, false
	}
	return it.next.Load(), true
}

// Flow is what one group took from one topic since the broker knows of it.
type Flow struct {
	Topic, Group    string
	Messages, Bytes int64
}

// Flows returns those of all groups that took something.
func (s *Stats) Flows() []Flow {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Flow, 0, len(s.groups))
	for k, it := range s.groups {
		if n := it.now[valNums].Load(); n > 0 {
			out = append(out, Flow{k.topic, k.group, n, it.now[valSize].Load()})
		}
	}
	return out
}

// lookup finds an item, or makes it while there is room; nil when there is none.
func lookup[K comparable](s *Stats, m map[K]*item, key K, limit int) *item {
	s.mu.RLock()
	it := m[key]
	s.mu.RUnlock()
	if it != nil {
		return it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if it = m[key]; it != nil {
		return it
	}
	if len(s.topics)+len(s.groups)+len(s.queues) >= limit {
		s.dropped.Add(1)
		return nil
	}
	it = &item{bornTick: s.ticks.Load(), born: s.cfg.Now()}
	m[key] = it
	return it
}

// DeleteTopic forgets the items of a topic.
func (s *Stats) DeleteTopic(topic string) {
	s.remove(func(t, _ string) bool { return t == topic })
}

// DeleteGroup forgets the items of a group.
func (s *Stats) DeleteGroup(group string) {
	s.remove(func(_, g string) bool { return g == group && g != "" })
}

func (s *Stats) remove(match func(topic, group string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.topics {
		if match(t, "") {
			delete(s.topics, t)
		}
	}
	for k := range s.groups {
		if match(k.topic, k.group) {
			delete(s.groups, k)
		}
	}
	for k := range s.queues {
		if match(k.topic, k.group) {
			delete(s.queues, k)
		}
	}
}

// sampleItems samples all items and drops those that were quiet for a day.
// Counting goes on meanwhile: only making and dropping items needs the lock.
func (s *Stats) sampleItems() {
	stale := false
	one := func(it *item) {
		it.sample(s.tick)
		stale = stale || it.quiet > quietMax
	}
	one(&s.put)
	one(&s.get)
	s.mu.RLock()
	for _, it := range s.topics {
		one(it)
	}
	for _, it := range s.groups {
		one(it)
	}
	for _, it := range s.queues {
		one(it)
	}
	s.mu.RUnlock()
	if !stale {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dropQuiet(s.topics)
	dropQuiet(s.groups)
	dropQuiet(s.queues)
}

// quietMax is a day of samples.
const quietMax = int64(24 * time.Hour / Interval)

func dropQuiet[K comparable](m map[K]*item) {
	for k, it := range m {
		if it.quiet > quietMax {
			delete(m, k)
		}
	}
}
