package consumequeue

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
)

// State is what a checkpoint keeps of a queue.
type State struct {
	Topic   string
	QueueID int32
	// Gen is part of the files' names, see doc.go.
	Gen uint32
	// First is the oldest entry in the files, Next the offset the next message
	// gets.
	First, Next message.QueueOffset
}

// Key names a queue.
type Key struct {
	Topic   string
	QueueID int32
}

// Capture is the state of the queues at one moment, as far as it changed since
// the capture before.
type Capture struct {
	set *Set
	// Deleted are queues to forget; they come before States, since a queue may
	// have been made again.
	Deleted []Key
	States  []State

	queues []*Queue
	doomed []*topic
	trims  []trim
}

// Capture notes which queues changed and how far they reach. It is quick: no
// bytes are written. Applier only. Every capture must be given to Flush and then
// Forget, in the order they were made, before what it says is on disk.
func (s *Set) Capture() *Capture {
	c := &Capture{set: s, doomed: s.doomed, trims: s.take()}
	changed := s.changed
	s.changed, s.doomed = nil, nil
	for _, t := range c.doomed {
		for _, q := range t.queues {
			c.Deleted = append(c.Deleted, Key{t.name, q.id})
		}
	}
	c.queues = changed[:0]
	c.States = make([]State, 0, len(changed))
	for _, q := range changed {
		q.changed = false
		if !q.topic.deleted.Load() {
			c.queues = append(c.queues, q)
			c.States = append(c.States, q.state())
		}
	}
	return c
}

func (q *Queue) state() State {
	q.mu.Lock()
	defer q.mu.Unlock()
	return State{
		Topic: q.topic.name, QueueID: q.id, Gen: q.topic.gen,
		First: message.QueueOffset(q.first), Next: message.QueueOffset(q.next),
	}
}

// Flush writes the captured entries (and perhaps later ones, which do no harm)
// and makes them durable. Any goroutine, one at a time. It may be called again
// after an error.
func (c *Capture) Flush() error {
	for _, q := range c.queues {
		if err := q.flush(false); err != nil {
			return err
		}
	}
	return c.set.sync()
}

// syncBatch is how many files one SyncFiles gets: enough to be one syncfs, few
// enough for the descriptors.
const syncBatch = 256

// sync makes everything written so far durable.
func (s *Set) sync() error {
	s.syncMu.Lock()
	keys, created := s.unsynced, s.newFiles
	s.unsynced, s.newFiles = make(map[fileKey]struct{}), false
	s.syncMu.Unlock()

	err := s.syncFiles(keys)
	if err == nil && created {
		if err = s.cfg.FS.SyncDir(s.cfg.Dir); err != nil {
			err = fmt.Errorf("sync the consume queue directory: %w", err)
		}
	}
	if err != nil {
		s.syncMu.Lock()
		maps.Copy(s.unsynced, keys)
		s.newFiles = s.newFiles || created
		s.syncMu.Unlock()
	}
	return err
}

func (s *Set) syncFiles(keys map[fileKey]struct{}) error {
	held := make([]*handle, 0, min(len(keys), syncBatch))
	batch := make([]vfs.File, 0, cap(held))
	syncHeld := func() error {
		err := s.cfg.FS.SyncFiles(batch)
		for _, h := range held {
			s.files.release(h)
		}
		held, batch = held[:0], batch[:0]
		return err
	}
	for key := range keys {
		if key.q.topic.forgotten.Load() {
			continue
		}
		h, _, err := s.files.acquire(key, false)
		if err != nil {
			_ = syncHeld()
			return err
		}
		held, batch = append(held, h), append(batch, h.File)
		if len(batch) < syncBatch {
			continue
		}
		if err := syncHeld(); err != nil {
			return fmt.Errorf("sync consume queues: %w", err)
		}
	}
	if len(batch) == 0 {
		return nil
	}
	if err := syncHeld(); err != nil {
		return fmt.Errorf("sync consume queues: %w", err)
	}
	return nil
}

// Forget removes the files of topics deleted before the capture, and those that
// Trim found before it. It is called
// once the checkpoint that says so is durable: until then a crash would bring
// the topics back, and with them the need for their files. Files that are being
// read wait for the next Forget.
func (c *Capture) Forget() {
	s := c.set
	for _, t := range c.doomed {
		t.forgotten.Store(true)
	}
	s.syncMu.Lock()
	var ready []*topic
	for _, t := range s.dying {
		if t.forgotten.Load() && t.readers.Load() == 0 {
			ready = append(ready, t)
		}
	}
	s.syncMu.Unlock()
	for _, t := range ready {
		s.remove(t)
	}
	s.removeTrimmed(c.trims)
	c.trims = nil
}

// remove deletes the files of a forgotten topic.
func (s *Set) remove(t *topic) {
	var failed error
	s.files.drop(func(k fileKey) bool { return k.q.topic != t })
	for _, q := range t.queues {
		// Taking the lock also waits for a write that began before the topic was
		// forgotten.
		q.mu.Lock()
		q.dropTailLocked()
		first, end := q.first, q.flushed
		q.mu.Unlock()
		failed = errors.Join(failed, q.removeFiles(first, end))
	}
	if failed != nil {
		s.log.Warn("cannot remove the consume queues of a deleted topic, trying again at the next checkpoint", "topic", t.name, "error", failed)
		return
	}
	s.files.drop(func(k fileKey) bool { return k.q.topic != t })
	s.syncMu.Lock()
	delete(s.dying, generation{t.name, t.gen})
	maps.DeleteFunc(s.unsynced, func(k fileKey, _ struct{}) bool { return k.q.topic == t })
	s.syncMu.Unlock()
}

// removeFiles removes the files that hold the entries in [first, end).
func (q *Queue) removeFiles(first, end int64) error {
	var failed error
	for base := first / EntriesPerFile * fileSize; base < end*EntrySize; base += fileSize {
		if err := q.set.cfg.FS.Remove(q.set.files.path(fileKey{q, base})); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
