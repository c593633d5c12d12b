package commitlog

import "sync"

// cache holds the newest entries, so that sending them to followers and
// applying them does not go to disk. It keeps the slices given to Append
// without a copy. Slot index%len belongs to an index; entries in the cache
// follow each other without a gap.
type cache struct {
	slots  []cached
	oldest uint64 // smallest index held; meaningless when count is 0
	count  int
	bytes  int64
	limit  int64
}

type cached struct {
	entry   Entry
	dataOff int64
}

func newCache(entries int, limit int64) cache {
	return cache{slots: make([]cached, entries), limit: limit}
}

func (c *cache) slot(index uint64) *cached { return &c.slots[index%uint64(len(c.slots))] }

func weight(e *Entry) int64 { return int64(len(e.Data) + len(e.Extensions)) }

// add appends the entry that follows the newest one.
func (c *cache) add(e Entry, dataOff int64) {
	if weight(&e) > c.limit {
		c.clear()
		return
	}
	if c.count == 0 {
		c.oldest = e.Index
	}
	for c.count == len(c.slots) || c.count > 0 && c.bytes+weight(&e) > c.limit {
		c.evict()
	}
	if c.count == 0 {
		c.oldest = e.Index
	}
	*c.slot(e.Index) = cached{e, dataOff}
	c.count++
	c.bytes += weight(&e)
}

func (c *cache) evict() {
	s := c.slot(c.oldest)
	c.bytes -= weight(&s.entry)
	*s = cached{}
	c.oldest++
	c.count--
}

func (c *cache) clear() {
	for c.count > 0 {
		c.evict()
	}
}

// forget drops the entries before index.
func (c *cache) forget(before uint64) {
	for c.count > 0 && c.oldest < before {
		c.evict()
	}
}

// truncate forgets the entries from index on.
func (c *cache) truncate(from uint64) {
	for c.count > 0 && c.oldest+uint64(c.count)-1 >= from {
		c.count--
		s := c.slot(c.oldest + uint64(c.count))
		c.bytes -= weight(&s.entry)
		*s = cached{}
	}
}

func (c *cache) get(index uint64) (cached, bool) {
	if index < c.oldest || index-c.oldest >= uint64(c.count) {
		return cached{}, false
	}
	return *c.slot(index), true
}

// hints remember where the entry after a recently read one starts, so that
// reading in order needs no search. A reader at index i leaves its hint in the
// slot of i+1, and readers at different places rarely share one.
type hints struct {
	mu    sync.Mutex
	slots [16]waypoint
}

func (h *hints) get(index uint64) (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.slots[index%uint64(len(h.slots))]
	return w.offset, w.index == index
}

func (h *hints) put(index uint64, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slots[index%uint64(len(h.slots))] = waypoint{index, offset}
}

func (h *hints) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.slots[:])
}
