package consumequeue

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cometmq/cometmq/message"
)

// topic is what the queues of one topic share.
type topic struct {
	name string
	// gen tells the files of a topic from those of an earlier one of the same
	// name that are not removed yet.
	gen uint32
	// queues is sorted by id; changed by the applier under Set.mu.
	queues  []*Queue
	deleted atomic.Bool
	// forgotten: the checkpoint that knows of the deletion is durable, nothing
	// needs the files any more.
	forgotten atomic.Bool
	// readers keeps the files of a deleted topic in place while it is read.
	readers atomic.Int32
}

// find returns the queue with the id. Ids are dense almost always, so that the
// first guess hits.
func (t *topic) find(id int32) *Queue {
	if i := int(id); i >= 0 && i < len(t.queues) && t.queues[i].id == id {
		return t.queues[i]
	}
	lo, hi := 0, len(t.queues)
	for lo < hi {
		mid := (lo + hi) / 2
		switch q := t.queues[mid]; {
		case q.id == id:
			return q
		case q.id < id:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil
}

// Queue is the list of messages of one queue of a topic. Its methods may be
// called from any goroutine.
type Queue struct {
	set   *Set
	topic *topic
	id    int32

	// Of the applier alone.
	changed bool // in Set.changed: a checkpoint must write its state
	waiting bool // in Set.order: its tail may hold entries

	mu sync.Mutex
	// first is the oldest entry the files hold, next the one to come; entries
	// from flushed on are in tail.
	first, next, flushed int64
	tail                 []byte
	// low is the first entry at or above lowAt in the log, found last time.
	low, lowAt int64
}

// Topic returns the topic's name.
func (q *Queue) Topic() string { return q.topic.name }

// ID returns the queue id.
func (q *Queue) ID() int32 { return q.id }

// Next returns the offset the next message will get.
func (q *Queue) Next() message.QueueOffset {
	q.mu.Lock()
	defer q.mu.Unlock()
	return message.QueueOffset(q.next)
}

// append adds an entry and tells how many bytes the tail grew by and holds.
func (q *Queue) append(e Entry) (off int64, held int) {
	q.mu.Lock()
	n := len(q.tail)
	if cap(q.tail)-n < EntrySize {
		q.growLocked()
	}
	q.tail = q.tail[:n+EntrySize]
	e.put(q.tail[n:])
	off = q.next
	q.next++
	held = n + EntrySize
	q.mu.Unlock()
	return off, held
}

// growLocked doubles the tail from a handful of entries on, so that a queue with
// one message a minute does not hold the buffer of a busy one.
func (q *Queue) growLocked() {
	size := max(2*cap(q.tail), tailMin)
	tail := make([]byte, len(q.tail), size)
	copy(tail, q.tail)
	q.tail = tail
}

// Range returns the first offset whose message is still in the log, given where
// the log begins, and the offset after the last.
func (q *Queue) Range(logMin message.PhyOffset) (low, next message.QueueOffset, err error) {
	q.mu.Lock()
	first, end, lowAt := q.first, q.next, q.lowAt
	low = message.QueueOffset(max(q.low, first))
	q.mu.Unlock()
	if int64(logMin) <= lowAt || first == end {
		return low, message.QueueOffset(end), nil
	}
	found, err := q.search(int64(low), end, func(e Entry) bool { return e.Phy >= logMin })
	if errors.Is(err, ErrRange) && q.trimmed(int64(low)) {
		return q.Range(logMin)
	}
	if err != nil {
		return low, message.QueueOffset(end), err
	}
	q.mu.Lock()
	if int64(logMin) > q.lowAt {
		q.low, q.lowAt = found, int64(logMin)
	}
	q.mu.Unlock()
	return message.QueueOffset(found), message.QueueOffset(end), nil
}

// Search returns the first offset in [from, to) whose entry satisfies ok, or to.
// ok must hold for all entries after one that it holds for.
func (q *Queue) Search(from, to message.QueueOffset, ok func(Entry) bool) (message.QueueOffset, error) {
	off, err := q.search(int64(from), int64(to), ok)
	return message.QueueOffset(off), err
}

func (q *Queue) search(lo, hi int64, ok func(Entry) bool) (int64, error) {
	var one [1]Entry
	for lo < hi {
		mid := lo + (hi-lo)/2
		got, err := q.Read(one[:0], message.QueueOffset(mid), 1)
		if err != nil {
			return 0, err
		}
		if ok(got[0]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// At returns one entry.
func (q *Queue) At(off message.QueueOffset) (Entry, error) {
	var one [1]Entry
	got, err := q.Read(one[:0], off, 1)
	if err != nil {
		return Entry{}, err
	}
	return got[0], nil
}

// Read appends the entries from the given offset on to dst, at most n and at
// least one. Errors: ErrRange, ErrDeleted, and whatever reading a file gives;
// what was read before the error is in dst.
func (q *Queue) Read(dst []Entry, from message.QueueOffset, n int) ([]Entry, error) {
	q.topic.readers.Add(1)
	defer q.topic.readers.Add(-1)

	lo := int64(from)
	q.mu.Lock()
	if lo < q.first || lo >= q.next {
		err := fmt.Errorf("%w: %d of [%d, %d) in %s-%d", ErrRange, lo, q.first, q.next, q.topic.name, q.id)
		q.mu.Unlock()
		return dst, err
	}
	hi := min(q.next, lo+int64(n))
	if lo >= q.flushed {
		at := (lo - q.flushed) * EntrySize
		dst = appendDecoded(dst, q.tail[at:at+(hi-lo)*EntrySize])
		q.mu.Unlock()
		return dst, nil
	}
	// Bytes below flushed never change, so the file is read without the lock;
	// the tail is not, because a flush reuses its buffer.
	flushed := q.flushed
	q.mu.Unlock()

	dst, err := q.readFiles(dst, lo, min(hi, flushed))
	if err != nil && q.trimmed(lo) {
		err = fmt.Errorf("%w: %d of %s-%d was removed", ErrRange, lo, q.topic.name, q.id)
	}
	if err != nil || hi <= flushed {
		return dst, err
	}
	return q.Read(dst, message.QueueOffset(flushed), int(hi-flushed))
}

// trimmed says whether the queue's beginning has moved beyond an entry.
func (q *Queue) trimmed(off int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return off < q.first
}

func (q *Queue) readFiles(dst []Entry, lo, hi int64) ([]Entry, error) {
	buf := q.set.buffers.Get().(*[readChunk]byte)
	defer q.set.buffers.Put(buf)
	for lo < hi {
		base := lo / EntriesPerFile * EntriesPerFile
		n := min(hi, base+EntriesPerFile, lo+readChunk/EntrySize) - lo
		b := buf[:n*EntrySize]
		if err := q.readFile(b, base*EntrySize, (lo-base)*EntrySize); err != nil {
			return dst, err
		}
		dst = appendDecoded(dst, b)
		lo += n
	}
	return dst, nil
}

func (q *Queue) readFile(b []byte, base, at int64) error {
	h, _, err := q.set.files.acquire(fileKey{q, base}, false)
	if err == nil {
		var n int
		n, err = h.ReadAt(b, at)
		if n == len(b) && errors.Is(err, io.EOF) {
			err = nil
		}
		q.set.files.release(h)
	}
	if err != nil && q.topic.deleted.Load() {
		return fmt.Errorf("%w: %s", ErrDeleted, q.topic.name)
	}
	if err != nil {
		return fmt.Errorf("read %s-%d at byte %d: %w", q.topic.name, q.id, base+at, err)
	}
	return nil
}

// flush writes the tail to its file. keep leaves the buffer with the queue; a
// queue that is not kept busy gives it back.
func (q *Queue) flush(keep bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.tail) == 0 {
		return nil
	}
	if q.topic.forgotten.Load() {
		q.dropTailLocked()
		return nil
	}
	written := 0
	for written < len(q.tail) {
		base := q.flushed / EntriesPerFile * EntriesPerFile
		at := (q.flushed - base) * EntrySize
		part := q.tail[written:min(len(q.tail), written+int(fileSize-at))]
		if err := q.set.write(fileKey{q, base * EntrySize}, part, at); err != nil {
			// What is in files already leaves the tail, so that a later try
			// continues behind it.
			q.tail = append(q.tail[:0], q.tail[written:]...)
			q.set.held.Add(int64(-written))
			return err
		}
		written += len(part)
		q.flushed += int64(len(part) / EntrySize)
	}
	q.set.held.Add(int64(-written))
	q.tail = q.tail[:0]
	if !keep {
		q.tail = nil
	}
	return nil
}

// dropTailLocked frees the unwritten entries of a topic that is gone for good.
// Readers
// that still hold the queue see it end there.
func (q *Queue) dropTailLocked() {
	q.set.held.Add(int64(-len(q.tail)))
	q.next, q.tail = q.flushed, nil
}
