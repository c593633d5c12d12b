package stats

import (
	"sync"
	"sync/atomic"
	"time"
)

// Interval is how often Sample wants to be called.
const Interval = 10 * time.Second

// Config configures Stats. The zero value is usable.
type Config struct {
	// Cluster is the key of BROKER_PUT_NUMS and BROKER_GET_NUMS.
	Cluster string
	// ItemsMax bounds the items; 0 = 20,000, at most 36 MiB.
	ItemsMax int
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// Stats are the statistics of one broker since it started.
type Stats struct {
	cfg   Config
	start time.Time

	totals  totals
	puts    Latency
	gets    atomic.Int64 // longest read, ms
	dropped atomic.Int64
	ticks   atomic.Int64 // s.tick for those who do not hold sampling

	// mu guards the maps. Items are changed without it.
	mu     sync.RWMutex
	topics map[string]*item
	groups map[groupKey]*item
	queues map[queueKey]*item
	put    item
	get    item

	// sampling guards the past of everything; it is taken before mu.
	sampling sync.Mutex
	tick     int64 // samples taken
	times    [pastLen]time.Time
	past     []totalSample // the last totalSamples, oldest first
	morning  dayTotals
}

// New returns empty statistics that begin now.
func New(cfg Config) *Stats {
	if cfg.ItemsMax <= 0 {
		cfg.ItemsMax = 20_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Stats{
		cfg: cfg, start: cfg.Now(),
		topics: map[string]*item{}, groups: map[groupKey]*item{}, queues: map[queueKey]*item{},
	}
	s.put.born, s.get.born = s.start, s.start
	s.morning.day = dayOf(s.start)
	return s
}

// Start is when the statistics began.
func (s *Stats) Start() time.Time { return s.start }

// Put counts messages of one topic that were stored, and their bytes.
func (s *Stats) Put(topic string, messages, bytes int) {
	s.totals.putMessages.Add(int64(messages))
	s.totals.putBytes.Add(int64(bytes))
	count(&s.put, messages, 0)
	if it := lookup(s, s.topics, topic, s.cfg.ItemsMax); it != nil {
		count(it, messages, bytes)
	}
}

// PutFailed counts a send that was refused after it was found good.
func (s *Stats) PutFailed() { s.totals.putFailed.Add(1) }

// PutTook counts how long a send took from its arrival to its answer.
func (s *Stats) PutTook(d time.Duration) { s.puts.Observe(d) }

// Get counts a pull that found messages up to the offset before next, and how
// long it read.
func (s *Stats) Get(topic, group string, queue int32, next int64, messages, bytes int, took time.Duration) {
	ms := took.Milliseconds()
	s.totals.getFound.Add(1)
	s.totals.getMessages.Add(int64(messages))
	s.totals.getBytes.Add(int64(bytes))
	raise(&s.gets, ms)
	count(&s.get, messages, 0)
	if it := lookup(s, s.groups, groupKey{topic, group}, s.cfg.ItemsMax); it != nil {
		count(it, messages, bytes)
		it.now[valLatency].Add(ms)
		it.now[valReads].Add(1)
	}
	// Queues are many, and nothing but their latency is kept: they may not
	// crowd out what tools ask for.
	if it := lookup(s, s.queues, queueKey{topic, group, queue}, s.cfg.ItemsMax/2); it != nil {
		it.now[valLatency].Add(ms)
		it.now[valReads].Add(1)
		it.next.Store(next)
	}
}

// GetMissed counts a pull that found nothing.
func (s *Stats) GetMissed() { s.totals.getMissed.Add(1) }

// SendBack counts a message that a group gave back.
func (s *Stats) SendBack(topic, group string) {
	if it := lookup(s, s.groups, groupKey{topic, group}, s.cfg.ItemsMax); it != nil {
		it.now[valBacks].Add(1)
	}
}

func count(it *item, messages, bytes int) {
	it.now[valNums].Add(int64(messages))
	it.now[valSize].Add(int64(bytes))
	it.now[valTimes].Add(1)
}

// Items is how many items there are, Dropped how often one more was wanted and
// there was no room.
func (s *Stats) Items() (items int, dropped int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.topics) + len(s.groups) + len(s.queues), s.dropped.Load()
}

// Sample remembers the present values as the past. It is called every Interval.
func (s *Stats) Sample() {
	now := s.cfg.Now()
	s.sampling.Lock()
	defer s.sampling.Unlock()
	s.tick++
	s.ticks.Store(s.tick)
	start := int64(0)
	for _, r := range rings {
		if s.tick%r.stride == 0 {
			s.times[start+s.tick/r.stride%r.length] = now
		}
		start += r.length
	}
	s.sampleItems()
	s.sampleTotals(now)
	s.puts.turn()
}

// raise lifts a maximum.
func raise(m *atomic.Int64, v int64) {
	for {
		old := m.Load()
		if v <= old || m.CompareAndSwap(old, v) {
			return
		}
	}
}
