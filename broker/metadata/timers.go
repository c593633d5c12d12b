package metadata

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// TimersPerSlotMax bounds the messages that may wait for one minute: a bit each
// is held in memory once the first of them is delivered.
const TimersPerSlotMax = 1 << 26

// Timer is one message of a fire command: its offset in the slot's queue, and
// whether it has a deliverable form. One without is passed over for good.
type Timer struct {
	Offset      message.QueueOffset
	Deliverable bool
}

// Fired is the result of a fire command.
type Fired struct {
	// Published messages, and those of the command that another one had dealt
	// with before.
	Published, Repeated int
}

// timerTable holds, per slot of the timed messages (see message.TimerTopic),
// which of its messages were delivered. They come due in another order than they
// came in, so that a position would not say it.
//
// A message is published by the command that sets its bit, and by none when the
// bit is set: it is delivered once however often it is proposed. When a slot's
// time is over and all bits are set, its queue is deleted together with them; a
// message that comes even later starts a new queue and new bits, both from
// offset 0.
type timerTable struct {
	mu    sync.RWMutex
	slots map[int64]*timerSlot

	dirty dirty // applying goroutine only
}

type timerSlot struct {
	bits  []uint64
	count int
}

func (s *timerSlot) has(off message.QueueOffset) bool {
	word := int(off >> 6)
	return word < len(s.bits) && s.bits[word]&(1<<(off&63)) != 0
}

func (s *timerSlot) set(off message.QueueOffset) {
	word := int(off >> 6)
	if word >= len(s.bits) {
		s.bits = append(s.bits, make([]uint64, word+1-len(s.bits))...)
	}
	s.bits[word] |= 1 << (off & 63)
	s.count++
}

func newTimerTable() *timerTable {
	t := &timerTable{dirty: dirty{}}
	t.reset()
	return t
}

func (t *timerTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slots = map[int64]*timerSlot{}
	clear(t.dirty)
}

func (t *timerTable) apply(ctx *store.ApplyContext, verb byte, r *reader) (any, error) {
	switch uint16(tableTimers)<<8 | uint16(verb) {
	case OpFire:
		return t.fire(ctx, r)
	case OpCloseSlot:
		return t.close(ctx, r)
	}
	return nil, unknownVerb("timers", verb)
}

func readSlot(r *reader) int64 {
	slot := r.uvarint()
	if slot < 1 || slot > message.TimerSlotMax {
		r.fail(fmt.Sprintf("slot %d", slot))
	}
	return int64(slot)
}

func (t *timerTable) fire(ctx *store.ApplyContext, r *reader) (any, error) {
	slot := readSlot(r)
	timers := make([]Timer, r.count(1))
	deliverable := 0
	for i := range timers {
		v := r.uvarint()
		if v>>1 >= TimersPerSlotMax {
			r.fail(fmt.Sprintf("timer %d of a slot", v>>1))
		}
		timers[i] = Timer{Offset: message.QueueOffset(v >> 1), Deliverable: v&1 != 0}
		if timers[i].Deliverable {
			deliverable++
		}
	}
	if len(timers) == 0 {
		r.fail("no timers")
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	if deliverable != ctx.NestedCount() {
		return nil, fmt.Errorf("%w: %d messages for %d timers", ErrInvalid, ctx.NestedCount(), deliverable)
	}
	// What does not wait cannot be delivered: its bit would outlive the slot.
	end := ctx.QueueEnd(message.TimerTopic(slot), 0)
	for _, timer := range timers {
		if timer.Offset >= end {
			return nil, fmt.Errorf("%w: timer %d of slot %d, which ends at %d", ErrInvalid, timer.Offset, slot, end)
		}
	}
	t.mu.Lock()
	s := t.slots[slot]
	if s == nil {
		s = &timerSlot{}
		t.slots[slot] = s
	}
	t.mu.Unlock()
	var fired Fired
	nested := 0
	for _, timer := range timers {
		at := nested
		if timer.Deliverable {
			nested++
		}
		if s.has(timer.Offset) {
			fired.Repeated++
			continue
		}
		// Readers that see the bit must find the message published.
		if timer.Deliverable {
			ctx.Publish(at)
			fired.Published++
		}
		t.mu.Lock()
		s.set(timer.Offset)
		t.mu.Unlock()
	}
	t.dirty.mark(slotKey(slot))
	return fired, nil
}

func (t *timerTable) close(ctx *store.ApplyContext, r *reader) (any, error) {
	slot := readSlot(r)
	if err := r.done(); err != nil {
		return nil, err
	}
	topic := message.TimerTopic(slot)
	done, end := t.done(slot), ctx.QueueEnd(topic, 0)
	if done == 0 || message.QueueOffset(done) != end {
		return false, nil
	}
	ctx.DeleteTopic(topic)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.slots, slot)
	t.dirty.mark(slotKey(slot))
	return true, nil
}

func (t *timerTable) done(slot int64) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := t.slots[slot]; s != nil {
		return s.count
	}
	return 0
}

func slotKey(slot int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(slot)))
}

func (t *timerTable) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty.drain(dst, tableTimers, func(key string) []byte {
		s := t.slots[int64(binary.BigEndian.Uint64([]byte(key)))]
		if s == nil {
			return nil
		}
		v := make([]byte, 1, 1+8*len(s.bits))
		v[0] = formatVersion
		for _, word := range s.bits {
			v = binary.BigEndian.AppendUint64(v, word)
		}
		return v
	})
}

func (t *timerTable) load(key, value []byte) error {
	if len(key) != 8 {
		return fmt.Errorf("%w: timer key of %d bytes", ErrFormat, len(key))
	}
	r := newReader(value)
	s := &timerSlot{}
	for r.err == nil && len(r.b) > 0 {
		word := r.u64()
		s.bits = append(s.bits, word)
		s.count += bits.OnesCount64(word)
	}
	if err := r.done(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slots[int64(binary.BigEndian.Uint64(key))] = s
	return nil
}

// TimerDone reports whether a message of a slot was delivered or passed over.
func (s *State) TimerDone(slot int64, off message.QueueOffset) bool {
	s.timers.mu.RLock()
	defer s.timers.mu.RUnlock()
	t := s.timers.slots[slot]
	return t != nil && t.has(off)
}

// TimersDone is how many messages of a slot were.
func (s *State) TimersDone(slot int64) int { return s.timers.done(slot) }

// FirstTimer returns the first offset of a slot that was not.
func (s *State) FirstTimer(slot int64) message.QueueOffset {
	s.timers.mu.RLock()
	defer s.timers.mu.RUnlock()
	t := s.timers.slots[slot]
	if t == nil {
		return 0
	}
	for i, word := range t.bits {
		if word != 1<<64-1 {
			return message.QueueOffset(64*i + bits.TrailingZeros64(^word))
		}
	}
	return message.QueueOffset(64 * len(t.bits))
}

// AppendFire publishes nested, the deliverable forms of messages that wait in a
// slot, and notes that they and those without such a form are done with. timers
// names them, in the order of nested; one that was done before is left alone.
// Result value: a Fired, or an error.
func AppendFire(dst []byte, slot int64, timers []Timer, nested ...[]byte) []byte {
	p := make([]byte, 1, 16+4*len(timers))
	p[0] = formatVersion
	p = binary.AppendUvarint(p, uint64(slot))
	p = binary.AppendUvarint(p, uint64(len(timers)))
	for _, t := range timers {
		v := uint64(t.Offset) << 1
		if t.Deliverable {
			v |= 1
		}
		p = binary.AppendUvarint(p, v)
	}
	return store.AppendCommand(dst, OpFire, p, nested...)
}

// AppendCloseSlot deletes a slot with its queue if all its messages are done
// with. Result value: a bool, whether they were, or an error.
func AppendCloseSlot(dst []byte, slot int64) []byte {
	return store.AppendCommand(dst, OpCloseSlot, binary.AppendUvarint([]byte{formatVersion}, uint64(slot)))
}
