package consumequeue

import (
	"errors"
	"fmt"

	"github.com/cometmq/cometmq/message"
)

// trim is whole files at the head of a queue that point at nothing any more.
type trim struct {
	q        *Queue
	from, to int64 // entries
}

// Trim finds the files of which every entry points below logMin, where the log
// now begins. The next Capture takes them out of their queues and its Forget,
// when the checkpoint that says so is durable, removes them: before that a crash
// brings back a state that needs them. The newest file of a queue stays. Any
// goroutine; it reads one entry per queue that has more than one file, and one
// for each file it finds.
func (s *Set) Trim(logMin message.PhyOffset) (files int, err error) {
	var failed []error
	for _, q := range s.all() {
		t, err := q.expired(logMin)
		if err != nil && !errors.Is(err, ErrDeleted) && !errors.Is(err, ErrRange) {
			failed = append(failed, fmt.Errorf("look for the expired entries of %s-%d: %w", q.topic.name, q.id, err))
		}
		if t.from == t.to {
			continue
		}
		files += int((t.to - t.from + EntriesPerFile - 1) / EntriesPerFile)
		s.trimMu.Lock()
		s.trims = append(s.trims, t)
		s.trimMu.Unlock()
	}
	return files, errors.Join(failed...)
}

// all lists the queues of all topics.
func (s *Set) all() []*Queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*Queue
	for _, t := range s.topics {
		out = append(out, t.queues...)
	}
	return out
}

// expired is what of the queue's files may go.
func (q *Queue) expired(logMin message.PhyOffset) (t trim, err error) {
	q.mu.Lock()
	t = trim{q, q.first, q.first}
	flushed := q.flushed
	q.mu.Unlock()
	for {
		end := t.to/EntriesPerFile*EntriesPerFile + EntriesPerFile
		if end >= flushed {
			return t, nil
		}
		last, err := q.At(message.QueueOffset(end - 1))
		if err != nil || last.Phy >= logMin {
			return t, err
		}
		t.to = end
	}
}

// take moves the beginning of the queues that Trim found. Applier only.
func (s *Set) take() []trim {
	s.trimMu.Lock()
	found := s.trims
	s.trims = nil
	s.trimMu.Unlock()
	taken := found[:0]
	for _, t := range found {
		q := t.q
		if q.topic.deleted.Load() {
			continue // its files all go
		}
		q.mu.Lock()
		ok := t.from == q.first && t.to <= q.flushed // else it was found twice
		if ok {
			q.first = t.to
		}
		q.mu.Unlock()
		if !ok {
			continue
		}
		taken = append(taken, t)
		if !q.changed {
			q.changed = true
			s.changed = append(s.changed, q)
		}
	}
	return taken
}

// removeTrimmed removes the files; the checkpoint does not count on them.
func (s *Set) removeTrimmed(trims []trim) {
	if len(trims) == 0 {
		return
	}
	var failed error
	for _, t := range trims {
		gone := func(k fileKey) bool { return k.q == t.q && k.base < t.to*EntrySize }
		s.syncMu.Lock()
		for k := range s.unsynced {
			if gone(k) {
				delete(s.unsynced, k)
			}
		}
		s.syncMu.Unlock()
		s.files.drop(func(k fileKey) bool { return !gone(k) })
		failed = errors.Join(failed, t.q.removeFiles(t.from, t.to))
	}
	if failed != nil {
		// Open removes what it does not know.
		s.log.Warn("cannot remove expired consume queue files", "error", failed)
	}
}
