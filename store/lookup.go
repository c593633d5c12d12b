package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/consumequeue"
)

// QueueRange returns the first readable offset of a queue and the offset the next
// message will get: 0 and 0 for a queue that never had one.
func (s *Store) QueueRange(topic string, queue int32) (min, max message.QueueOffset) {
	q := s.queues.Queue(topic, queue)
	if q == nil {
		return 0, 0
	}
	min, max, err := q.Range(s.minOffset())
	s.reportDamage(err)
	return min, max
}

// Boundary says which message a search by time means.
type Boundary int

// Nearest is RocketMQ 4's search: the message whose store time is nearest to the
// time, the earlier of two that are equally near, the first of several that hit
// it. The other two are those of 5.x. AtOrAfter is the first message stored at
// the time or later, and the end of the queue when all are earlier. AtOrBefore is
// the last one stored at the time or before, and the first message when all are
// later.
const (
	Nearest Boundary = iota
	AtOrAfter
	AtOrBefore
)

// OffsetByTime returns the offset of the message that a store time (unix ms)
// means, and 0 for a queue that never had one.
func (s *Store) OffsetByTime(topic string, queue int32, ms int64, which Boundary) message.QueueOffset {
	q := s.queues.Queue(topic, queue)
	if q == nil {
		return 0
	}
	off, err := s.byTime(q, ms, which)
	s.reportDamage(err)
	return off
}

func (s *Store) byTime(q *consumequeue.Queue, ms int64, which Boundary) (message.QueueOffset, error) {
	low, next, err := q.Range(s.minOffset())
	if err != nil || low == next {
		return low, err
	}
	right, err := q.Search(low, next, func(e consumequeue.Entry) bool {
		return e.StoreTime > ms || e.StoreTime == ms && which != AtOrBefore
	})
	switch {
	case err != nil:
		return low, err
	case which == AtOrAfter:
		return right, nil
	case right == low:
		return low, nil
	case right == next || which == AtOrBefore:
		return right - 1, nil
	}
	above, err := q.At(right)
	if err != nil || above.StoreTime == ms {
		return right, err
	}
	below, err := q.At(right - 1)
	if err != nil {
		return right, err
	}
	// Written so that no difference of two wild times can wrap.
	if uint64(ms)-uint64(below.StoreTime) <= uint64(above.StoreTime)-uint64(ms) {
		return right - 1, nil
	}
	return right, nil
}

// StoreTimeAt returns the store time (unix ms) of a message; false if the offset
// holds none.
func (s *Store) StoreTimeAt(topic string, queue int32, off message.QueueOffset) (int64, bool) {
	e, ok := s.entryAt(topic, queue, off)
	return e.StoreTime, ok
}

// TagsCodeAt returns the tags code of a message, which for delayed ones is the
// time of delivery (unix ms); false if the offset holds none.
func (s *Store) TagsCodeAt(topic string, queue int32, off message.QueueOffset) (int64, bool) {
	e, ok := s.entryAt(topic, queue, off)
	return e.TagsCode, ok
}

// TagsCodes appends the tags codes of up to n messages of a queue to dst, from
// an offset on, without reading them. It reports what QueueRange would say for
// an offset that holds none: nothing. Errors: a queue file that cannot be read.
func (s *Store) TagsCodes(dst []int64, topic string, queue int32, from message.QueueOffset, n int) ([]int64, error) {
	q := s.queues.Queue(topic, queue)
	if q == nil {
		return dst, nil
	}
	buf := s.reads.Get().(*readBuffer)
	defer s.reads.Put(buf)
	for n > 0 {
		entries, err := q.Read(buf.entries[:0], from, min(n, len(buf.entries)))
		for i := range entries {
			dst = append(dst, entries[i].TagsCode)
		}
		from, n = from+message.QueueOffset(len(entries)), n-len(entries)
		if errors.Is(err, consumequeue.ErrRange) || errors.Is(err, consumequeue.ErrDeleted) {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// PhyAt returns the physical offset of a message, whether the log still has it
// or not; false if the queue has no such offset or cannot be read.
func (s *Store) PhyAt(topic string, queue int32, off message.QueueOffset) (message.PhyOffset, bool) {
	q := s.queues.Queue(topic, queue)
	if q == nil {
		return 0, false
	}
	e, err := q.At(off)
	return e.Phy, err == nil
}

// IndexAt returns the index of the entry of the log that holds a position; false
// if the log does not reach there any more.
func (s *Store) IndexAt(p message.PhyOffset) (uint64, bool) {
	index, _, _, err := s.commit.EntryAt(int64(p))
	return index, err == nil
}

// Topics returns the names of the topics that have a queue and begin so, sorted;
// some may have been deleted and made again by a message that was late.
func (s *Store) Topics(prefix string) []string {
	names := s.queues.Topics(prefix)
	slices.Sort(names)
	return names
}

func (s *Store) entryAt(topic string, queue int32, off message.QueueOffset) (consumequeue.Entry, bool) {
	q := s.queues.Queue(topic, queue)
	if q == nil {
		return consumequeue.Entry{}, false
	}
	e, err := q.At(off)
	if err != nil || e.Phy < s.minOffset() {
		return consumequeue.Entry{}, false
	}
	return e, true
}

// MessageAt returns a copy of the message that begins at a physical offset, with
// its offsets patched. The queue offset is 0 if no queue points at it: its topic
// was deleted, or it lies in a command that did not publish it. Errors:
// ErrNotFound when no applied message begins there, *commitlog.CorruptError.
func (s *Store) MessageAt(p message.PhyOffset) (message.Stored, error) {
	index, _, _, err := s.commit.EntryAt(int64(p))
	if errors.Is(err, commitlog.ErrNotFound) || err == nil && index > s.AppliedIndex() {
		// What is not applied may yet be replaced by another leader's entry.
		return nil, fmt.Errorf("physical offset %d: %w", p, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("find the message at %d: %w", p, err)
	}
	e, dataOff, err := s.commit.Read(index)
	if errors.Is(err, commitlog.ErrNotFound) {
		return nil, fmt.Errorf("physical offset %d: %w", p, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read the message at %d: %w", p, err)
	}
	var found message.Stored
	if e.Kind == KindRecords {
		found = messageIn(e.Data, int64(p)-dataOff)
	}
	if found == nil {
		return nil, fmt.Errorf("physical offset %d: no message begins there: %w", p, ErrNotFound)
	}
	found = found.Clone()
	message.PatchOffsets(found, s.queueOffsetOf(found, p), p)
	s.patchLight(found, p)
	return found, nil
}

// messageIn returns the message that begins at a position of an entry's data,
// alone or inside a command; nil if none does.
func messageIn(data []byte, at int64) message.Stored {
	var found message.Stored
	stop := errors.New("stop")
	// An entry that is not made of records was not applied either, so that what
	// EachRecord finds wrong means "none".
	_ = EachRecord(data, func(r Record) error {
		if int64(r.Pos+len(r.Bytes)) <= at {
			return nil
		}
		if !r.IsCommand() {
			if int64(r.Pos) == at {
				found = r.Message()
			}
			return stop
		}
		_ = r.EachNested(func(pos int, m message.Stored) error {
			if int64(pos) == at {
				found = m
			}
			return nil
		})
		return stop
	})
	return found
}

// queueOffsetOf finds the message's place in its queue by its position, which
// grows with the offset.
func (s *Store) queueOffsetOf(m message.Stored, p message.PhyOffset) message.QueueOffset {
	off, e, ok := s.entryOf(string(m.Topic()), m.QueueID(), p)
	if !ok || e.CRC != crc32.Checksum(m, castagnoli) {
		return 0
	}
	return off
}

// entryOf finds the entry of a queue that points at a position.
func (s *Store) entryOf(topic string, queue int32, p message.PhyOffset) (message.QueueOffset, consumequeue.Entry, bool) {
	q := s.queues.Queue(topic, queue)
	if q == nil {
		return 0, consumequeue.Entry{}, false
	}
	low, next, err := q.Range(s.minOffset())
	if err != nil {
		return 0, consumequeue.Entry{}, false
	}
	off, err := q.Search(low, next, func(e consumequeue.Entry) bool { return e.Phy >= p })
	if err != nil || off == next {
		return 0, consumequeue.Entry{}, false
	}
	e, err := q.At(off)
	return off, e, err == nil && e.Phy == p
}
