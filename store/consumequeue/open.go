package consumequeue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cometmq/cometmq/message"
)

// Damage is a queue whose files do not hold what the checkpoint says.
type Damage struct {
	State  State
	Reason string
}

// Open opens the queues a checkpoint knows, cuts off what they hold beyond it
// and removes files it does not know. Queues with missing or short files are
// returned; they must be rebuilt (Reset, then Append) before use.
func Open(cfg Config, states []State) (*Set, []Damage, error) {
	s := newSet(cfg)
	if err := s.cfg.FS.MkdirAll(s.cfg.Dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("make the consume queue directory: %w", err)
	}
	known := make(map[string]struct{}, len(states))
	var damaged []Damage
	for _, st := range states {
		q, err := s.restore(st)
		if err != nil {
			return nil, nil, err
		}
		reason, err := q.cut(known)
		if err != nil {
			return nil, nil, err
		}
		if reason != "" {
			damaged = append(damaged, Damage{st, reason})
		}
	}
	if err := s.removeUnknown(known); err != nil {
		return nil, nil, err
	}
	return s, damaged, nil
}

// Inspect opens the queues a checkpoint knows for reading and changes nothing. Of
// the Set only Queue, Close and the queues' readers may be used, and not of the
// queues returned as damaged.
func Inspect(cfg Config, states []State) (*Set, []Damage, error) {
	cfg.readOnly = true
	s := newSet(cfg)
	var damaged []Damage
	for _, st := range states {
		q, err := s.restore(st)
		if err != nil {
			return nil, nil, err
		}
		reason, err := q.cut(make(map[string]struct{}))
		if err != nil {
			return nil, nil, err
		}
		if reason != "" {
			damaged = append(damaged, Damage{st, reason})
		}
	}
	return s, damaged, nil
}

// restore makes a queue as the checkpoint knows it. Names become paths, so they
// are checked again.
func (s *Set) restore(st State) (*Queue, error) {
	if message.ValidTopic(st.Topic) != nil || st.QueueID < 0 || st.First < 0 || st.Next < st.First {
		return nil, fmt.Errorf("%w in the checkpoint: %+v", ErrName, st)
	}
	t := s.topics[st.Topic]
	if t == nil {
		t = &topic{name: st.Topic, gen: st.Gen}
	}
	if t.gen != st.Gen || t.find(st.QueueID) != nil {
		return nil, fmt.Errorf("%w in the checkpoint: %+v is there twice", ErrName, st)
	}
	q := &Queue{
		set: s, topic: t, id: st.QueueID,
		first: int64(st.First), next: int64(st.Next), flushed: int64(st.Next),
	}
	s.insert(t, q)
	return q, nil
}

// cut compares the files with the checkpoint, adds their names to known and
// removes what is beyond. The reason is empty when nothing is missing.
func (q *Queue) cut(known map[string]struct{}) (reason string, err error) {
	if q.first == q.next {
		return "", nil
	}
	end := q.next * EntrySize
	for base := q.first / EntriesPerFile * fileSize; base < end; base += fileSize {
		key := fileKey{q, base}
		name := q.set.files.path(key)
		known[filepath.Base(name)] = struct{}{}
		want := min(fileSize, end-base)
		info, err := q.set.cfg.FS.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return name + " is missing", nil
		case err != nil:
			return "", fmt.Errorf("look at consume queue file %s: %w", name, err)
		case info.Size() < want:
			return fmt.Sprintf("%s has %d bytes, the checkpoint knows %d", name, info.Size(), want), nil
		case info.Size() > want && !q.set.cfg.readOnly:
			if err := q.set.truncate(name, want); err != nil {
				return "", err
			}
		}
	}
	return "", nil
}

func (s *Set) truncate(name string, size int64) error {
	f, err := s.cfg.FS.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open consume queue file %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("cut consume queue file %s to %d bytes: %w", name, size, err)
	}
	return nil
}

// removeUnknown removes files of queues that were made after the checkpoint, or
// deleted before it, and files beyond its end. The log makes them again if they
// belong.
func (s *Set) removeUnknown(known map[string]struct{}) error {
	names, err := s.cfg.FS.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("list the consume queues: %w", err)
	}
	for _, name := range names {
		if _, ok := known[name]; ok {
			continue
		}
		if err := s.cfg.FS.RemoveAll(filepath.Join(s.cfg.Dir, name)); err != nil {
			return fmt.Errorf("remove the unknown consume queue file %s: %w", name, err)
		}
	}
	return nil
}

// Reset empties a damaged queue, which then begins at first; Append builds it
// again. Before the applier starts.
func (s *Set) Reset(name string, id int32, first message.QueueOffset) error {
	q := s.Queue(name, id)
	if q == nil {
		return fmt.Errorf("%w: no queue %q, %d", ErrName, name, id)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.removeFiles(q.first, q.next); err != nil {
		return fmt.Errorf("remove a damaged consume queue: %w", err)
	}
	q.tail = nil
	q.first, q.next, q.flushed = int64(first), int64(first), int64(first)
	q.low, q.lowAt = 0, 0
	return nil
}
