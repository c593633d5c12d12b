package metadata

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// Matured is the result of a mature command.
type Matured struct {
	// Applied is true when the command's `from` was the level's progress: its
	// messages are published and the progress is its `to`. False means that
	// another command was first; nothing was published by this one.
	Applied bool
	// Progress of the level after the command.
	Progress message.QueueOffset
	// Results are the positions of the published messages, in order; nil when
	// not applied.
	Results []store.Result
}

// delayTable holds, per delay level, the offset in the level's queue of
// SCHEDULE_TOPIC_XXXX up to which messages were delivered (RocketMQ's
// delayOffset.json). Delivery and progress are one command, and the command
// says which progress it starts from. Therefore a message is delivered once,
// however often a scheduler that does not know the fate of its proposal
// proposes again, and whichever broker it runs on.
type delayTable struct {
	mu       sync.RWMutex
	progress map[int32]message.QueueOffset

	dirty dirty // applying goroutine only
}

func newDelayTable() *delayTable {
	t := &delayTable{dirty: dirty{}}
	t.reset()
	return t
}

func (t *delayTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress = map[int32]message.QueueOffset{}
	clear(t.dirty)
}

func (t *delayTable) apply(ctx *store.ApplyContext, verb byte, r *reader) (any, error) {
	if uint16(tableDelay)<<8|uint16(verb) != OpMature {
		return nil, unknownVerb("delay", verb)
	}
	level, from, to := r.i32(), message.QueueOffset(r.i64()), message.QueueOffset(r.i64())
	if err := r.done(); err != nil {
		return nil, err
	}
	if level < 1 || level > LevelsMax {
		return nil, fmt.Errorf("%w: delay level %d", ErrInvalid, level)
	}
	if from < 0 || to <= from {
		return nil, fmt.Errorf("%w: delay level %d from %d to %d", ErrInvalid, level, from, to)
	}
	if p := t.get(level); p != from {
		return Matured{Progress: p}, nil
	}
	// Readers that see the new progress must find the messages published.
	results := make([]store.Result, ctx.NestedCount())
	for i := range results {
		results[i] = ctx.Publish(i)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress[level] = to
	t.dirty.mark(levelKey(level))
	return Matured{Applied: true, Progress: to, Results: results}, nil
}

func (t *delayTable) get(level int32) message.QueueOffset {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.progress[level]
}

func levelKey(level int32) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(level)))
}

func (t *delayTable) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty.drain(dst, tableDelay, func(key string) []byte {
		p, ok := t.progress[int32(binary.BigEndian.Uint32([]byte(key)))]
		if !ok {
			return nil
		}
		return binary.BigEndian.AppendUint64([]byte{formatVersion}, uint64(p))
	})
}

func (t *delayTable) load(key, value []byte) error {
	if len(key) != 4 {
		return fmt.Errorf("%w: delay key of %d bytes", ErrFormat, len(key))
	}
	r := newReader(value)
	p := message.QueueOffset(r.i64())
	if err := r.done(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress[int32(binary.BigEndian.Uint32(key))] = p
	return nil
}

// DelayProgress returns the queue offset up to which a delay level (1-based)
// was delivered; 0 when nothing was.
func (s *State) DelayProgress(level int32) message.QueueOffset { return s.delay.get(level) }
