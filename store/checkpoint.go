package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/consumequeue"
	"github.com/cometmq/cometmq/store/index"
)

// Checkpoint is the state at one index as far as it changed since the capture
// before. It stays with the store until it is persisted, by its own Persist or
// that of a later one.
type Checkpoint struct {
	store   *Store
	index   uint64
	term    uint64
	time    int64
	machine []KV
	actions []KV
	queues  *consumequeue.Capture
	keys    *index.Capture // nil without a key index
}

// Index is the last applied index the checkpoint holds.
func (c *Checkpoint) Index() uint64 { return c.index }

// Term is the term of that entry.
func (c *Checkpoint) Term() uint64 { return c.term }

// Capture takes a checkpoint in memory. It is quick, since it copies only what
// changed and writes nothing. It belongs to the applying goroutine.
func (s *Store) Capture() (*Checkpoint, error) {
	c := &Checkpoint{
		store:   s,
		index:   s.index.Load(),
		term:    s.term.Load(),
		time:    s.time.Load(),
		actions: s.actions,
		queues:  s.queues.Capture(),
	}
	s.actions = nil
	if s.keys != nil {
		c.keys = s.keys.Capture()
	}
	if s.cfg.Machine != nil {
		c.machine = s.cfg.Machine.Changes()
	}
	s.mu.Lock()
	s.pending = append(s.pending, c)
	s.mu.Unlock()
	return c, nil
}

// Persist makes the checkpoint durable, together with those captured before it
// that are not, and with extra, which RaftMeta returns from then on. The log and
// the queue files are synced first and the metadata is written in one
// transaction, so that a crash leaves this checkpoint or the one before. After
// an error nothing is lost: the next Persist writes it too.
func (c *Checkpoint) Persist(extra []KV) error {
	s := c.store
	s.persistMu.Lock()
	defer s.persistMu.Unlock()
	if s.closed {
		return fmt.Errorf("write the checkpoint at index %d: %w", c.index, ErrClosed)
	}
	s.mu.Lock()
	batch := s.pending[:slices.Index(s.pending, c)+1]
	s.mu.Unlock()
	if err := s.persist(batch, extra); err != nil {
		return fmt.Errorf("write the checkpoint at index %d: %w", c.index, err)
	}
	s.mu.Lock()
	s.pending = slices.Delete(s.pending, 0, len(batch))
	for _, kv := range extra {
		if kv.Value == nil {
			delete(s.raft, string(kv.Key))
		} else {
			s.raft[string(kv.Key)] = slices.Clone(kv.Value)
		}
	}
	s.mu.Unlock()
	return nil
}

func (s *Store) persist(batch []*Checkpoint, extra []KV) error {
	changes := make(map[string][]KV)
	if len(extra) > 0 {
		changes[bucketRaft] = extra
	}
	if len(batch) > 0 {
		if err := s.commit.Sync(); err != nil {
			return err
		}
		if err := s.commit.Checkpoint(); err != nil {
			return err
		}
	}
	for _, c := range batch {
		if err := c.queues.Flush(); err != nil {
			return err
		}
		c.addTo(changes)
	}
	if err := s.persistKeys(batch, changes); err != nil {
		return err
	}
	stale := s.staleActions()
	for _, key := range s.actionKeys[:stale] {
		changes[bucketActions] = append(changes[bucketActions], KV{Key: key})
	}
	if len(changes) == 0 {
		return nil
	}
	if err := s.kv.Update(changes); err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	if s.keys != nil {
		s.dropKeys()
	}
	s.actionKeys = s.actionKeys[stale:]
	for _, c := range batch {
		s.saved.Store(c.index)
		for _, kv := range c.actions {
			s.actionKeys = append(s.actionKeys, kv.Key)
		}
		c.queues.Forget()
	}
	return nil
}

// persistKeys writes the newest capture of the key index.
func (s *Store) persistKeys(batch []*Checkpoint, changes map[string][]KV) error {
	if s.keys == nil || len(batch) == 0 || batch[len(batch)-1].keys == nil {
		return nil
	}
	s.keysFrom = s.commit.MinOffset()
	state, err := batch[len(batch)-1].keys.Flush(s.keysFrom)
	if err != nil {
		return err
	}
	changes[bucketIndex] = []KV{{Key: []byte(keyStateKey), Value: state}}
	return nil
}

// staleActions counts the kept decisions whose commands left the log.
func (s *Store) staleActions() int {
	first := s.commit.FirstIndex()
	n := 0
	for n < len(s.actionKeys) && binary.BigEndian.Uint64(s.actionKeys[n]) < first {
		n++
	}
	return n
}

func (c *Checkpoint) addTo(changes map[string][]KV) {
	changes[bucketMeta] = []KV{
		number(keyFormat, formatVersion),
		number(keyIndex, c.index),
		number(keyTerm, c.term),
		number(keyTime, uint64(c.time)),
		number(keyRebuilding, 0),
	}
	if len(c.machine) > 0 {
		changes[bucketMachine] = append(changes[bucketMachine], c.machine...)
	}
	if len(c.actions) > 0 {
		changes[bucketActions] = append(changes[bucketActions], c.actions...)
	}
	for _, k := range c.queues.Deleted {
		changes[bucketQueues] = append(changes[bucketQueues], KV{Key: stateKey(k.Topic, k.QueueID)})
	}
	for _, st := range c.queues.States {
		changes[bucketQueues] = append(changes[bucketQueues], encodeState(st))
	}
}

func number(key string, v uint64) KV {
	return KV{Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, v)}
}

// stateKey is topic, a zero byte, queue id: in the order of topics and ids.
func stateKey(topic string, id int32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(topic), 0), uint32(id))
}

// encodeState's value is first offset, next offset, generation of the files.
func encodeState(st consumequeue.State) KV {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, stateBytes), uint64(st.First))
	v = binary.BigEndian.AppendUint64(v, uint64(st.Next))
	return KV{Key: stateKey(st.Topic, st.QueueID), Value: binary.BigEndian.AppendUint32(v, st.Gen)}
}

const stateBytes = 8 + 8 + 4

func decodeState(k, v []byte) (consumequeue.State, error) {
	topic, id, ok := strings.Cut(string(k), "\x00")
	if !ok || len(id) != 4 || len(v) != stateBytes {
		return consumequeue.State{}, fmt.Errorf("%w: queue state %q with %d bytes", ErrMalformed, k, len(v))
	}
	return consumequeue.State{
		Topic:   topic,
		QueueID: int32(binary.BigEndian.Uint32([]byte(id))),
		First:   message.QueueOffset(binary.BigEndian.Uint64(v)),
		Next:    message.QueueOffset(binary.BigEndian.Uint64(v[8:])),
		Gen:     binary.BigEndian.Uint32(v[16:]),
	}, nil
}
