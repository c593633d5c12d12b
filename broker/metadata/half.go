package metadata

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// Bounds of the transaction state, constants for the reason given at the other
// bounds of this package.
const (
	// HalvesMax bounds the half messages that wait for their end, about 100 bytes
	// each and one copy of each group's name. Beyond it prepares are refused.
	HalvesMax = 1_000_000
	// endedKept is how many committed and rolled back transactions are
	// remembered, so that a repeated end gets the answer of the first.
	endedKept = 10_000
	// givenUpKept is how many transactions that nobody ended are remembered:
	// what is forgotten cannot be resumed.
	givenUpKept = 100_000
)

// HalfState is where a transaction stands.
type HalfState uint8

// The states of a transaction. They are part of the stored form.
const (
	// HalfUnknown: there never was such a half message, or its end is forgotten.
	HalfUnknown HalfState = 0
	// HalfPending: it waits for its end.
	HalfPending HalfState = 1
	// HalfCommitted: its message was published.
	HalfCommitted HalfState = 2
	// HalfRolledBack: it will never be published.
	HalfRolledBack HalfState = 3
	// HalfGivenUp: nobody ended it in time; a copy of it was put aside.
	HalfGivenUp HalfState = 4
)

var halfStateNames = [...]string{"unknown", "pending", "committed", "rolled back", "given up"}

// String is a word for logs and remarks.
func (s HalfState) String() string {
	if int(s) < len(halfStateNames) {
		return halfStateNames[s]
	}
	return "state " + strconv.Itoa(int(s))
}

// Half is a half message that waits for its end.
type Half struct {
	// Offset in queue 0 of RMQ_SYS_TRANS_HALF_TOPIC; the key.
	Offset message.QueueOffset
	// Phy is where the half message lies in the commit log.
	Phy message.PhyOffset
	// StoreTime and LastCheck are group times in ms; LastCheck is 0 before the
	// first check-back.
	StoreTime, LastCheck int64
	// Group is the producer group that may end it and is asked about it.
	Group string
	// Checks counts the check-backs so far.
	Checks int32
	// ImmunitySeconds is the message's own time before its first check-back, -1
	// when it has none.
	ImmunitySeconds int32
}

// Ended is the result of an end command.
type Ended struct {
	// Applied says that this command ended the transaction. Otherwise nothing
	// was published by it.
	Applied bool
	// State of the transaction after the command.
	State HalfState
	// Result is the place of the published message, if there is one.
	Result store.Result
}

// Sent is the result of a command that carries sent messages.
type Sent struct {
	// Duplicate says that the same was sent before; the rest is that send's.
	Duplicate bool
	// Queue is the queue to be told to the producer.
	Queue int32
	// Host is the broker that stored them, as their ids name it.
	Host netip.AddrPort
	// Results are the places of the messages, in order.
	Results []store.Result
}

// AppendPrepare stores a half message, nested, which is a message of queue 0 of
// RMQ_SYS_TRANS_HALF_TOPIC with the property PGROUP, and makes its transaction
// pending. queue is echoed. Result value: a Sent with one place, or an error.
func AppendPrepare(dst []byte, queue int32, half []byte) []byte {
	return store.AppendCommand(dst, OpPrepare, AppendPreparePayload(nil, queue), half)
}

// AppendPreparePayload is AppendPrepare for who encodes the command in place.
func AppendPreparePayload(dst []byte, queue int32) []byte {
	return appendI32(append(dst, formatVersion), queue)
}

// AppendEnd ends a pending transaction. For HalfCommitted and HalfGivenUp one
// nested message is published, the final message and the copy that is put
// aside; for HalfRolledBack there is none. A transaction that is not pending
// stays what it is. Result value: an Ended, or an error.
func AppendEnd(dst []byte, offset message.QueueOffset, phy message.PhyOffset, state HalfState, nested ...[]byte) []byte {
	p := binary.BigEndian.AppendUint64([]byte{formatVersion}, uint64(offset))
	p = append(binary.BigEndian.AppendUint64(p, uint64(phy)), byte(state))
	return store.AppendCommand(dst, OpEnd, p, nested...)
}

// HalfCheck says that a half message is about to be checked, after Checks
// check-backs before.
type HalfCheck struct {
	Offset message.QueueOffset
	Checks int32
}

// AppendCheck counts check-backs. An item whose half message is not pending or
// was checked since is passed over, so that a command whose fate was unknown
// can be proposed again. Result value: a []bool, whether each was counted, or an
// error.
func AppendCheck(dst []byte, checks []HalfCheck) []byte {
	p := binary.AppendUvarint([]byte{formatVersion}, uint64(len(checks)))
	for _, c := range checks {
		p = appendI32(binary.AppendUvarint(p, uint64(c.Offset)), c.Checks)
	}
	return store.AppendCommand(dst, OpCheck, p)
}

// AppendResume makes a transaction that was given up pending again, by a new
// half message, nested, as in AppendPrepare. offset is that of the old one. A
// transaction can be resumed once. Result value: a Sent, or an error:
// ErrNotFound when it was not given up, or so long ago that it is forgotten.
func AppendResume(dst []byte, offset message.QueueOffset, half []byte) []byte {
	p := binary.BigEndian.AppendUint64([]byte{formatVersion}, uint64(offset))
	return store.AppendCommand(dst, OpResume, p, half)
}

// halfTable holds the transactions that wait for their end. RocketMQ finds them
// by reading half and op messages side by side and appends a renewed half
// message for each check-back; here the end removes the entry and publishes the
// message in one command, so that a message is published once however often its
// end arrives, and whoever leads.
type halfTable struct {
	mu sync.RWMutex
	// halves is in the order of offsets. Ended ones stay as gaps, without a
	// group, until they are the greater part.
	halves  []Half
	live    int
	names   map[string]*internedName
	ends    map[message.QueueOffset]ending
	ended   endQueue // committed and rolled back
	givenUp endQueue
	seq     uint64 // of the next ending

	dirty dirty // applying goroutine only; keys are offsets, "" is seq
}

// internedName lets all halves of a group share one string.
type internedName struct {
	name string
	uses int
}

// ending is how a transaction ended, numbered by when.
type ending struct {
	state HalfState
	seq   uint64
}

// endQueue is the order in which endings are forgotten.
type endQueue struct {
	queue []numbered
	live  int // those whose number is still the one of the ending
}

type numbered struct {
	seq    uint64
	offset message.QueueOffset
}

func newHalfTable() *halfTable {
	t := &halfTable{dirty: dirty{}}
	t.reset()
	return t
}

func (t *halfTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.halves, t.live, t.names = nil, 0, map[string]*internedName{}
	t.ends, t.ended, t.givenUp, t.seq = map[message.QueueOffset]ending{}, endQueue{}, endQueue{}, 0
	clear(t.dirty)
}

func (t *halfTable) apply(ctx *store.ApplyContext, verb byte, r *reader) (any, error) {
	switch uint16(tableHalf)<<8 | uint16(verb) {
	case OpPrepare:
		queue := r.i32()
		if err := r.done(); err != nil {
			return nil, err
		}
		return t.prepare(ctx, queue)
	case OpEnd:
		offset, phy, state := message.QueueOffset(r.i64()), message.PhyOffset(r.i64()), HalfState(r.u8())
		if err := r.done(); err != nil {
			return nil, err
		}
		return t.end(ctx, offset, phy, state)
	case OpCheck:
		checks := make([]HalfCheck, r.count(2))
		for i := range checks {
			checks[i] = HalfCheck{Offset: message.QueueOffset(r.offset()), Checks: r.i32()}
		}
		if err := r.done(); err != nil {
			return nil, err
		}
		return t.check(ctx, checks), nil
	case OpResume:
		offset := message.QueueOffset(r.i64())
		if err := r.done(); err != nil {
			return nil, err
		}
		return t.resume(ctx, offset)
	}
	return nil, unknownVerb("half", verb)
}

// admit says whether the command's nested message can become a pending half,
// and of which group. It changes nothing.
func (t *halfTable) admit(ctx *store.ApplyContext) (group []byte, err error) {
	if ctx.NestedCount() != 1 {
		return nil, fmt.Errorf("%w: a prepare with %d messages", ErrInvalid, ctx.NestedCount())
	}
	m := ctx.Nested(0)
	if string(m.Topic()) != message.TopicTransHalf || m.QueueID() != 0 {
		return nil, fmt.Errorf("%w: half message for %.200q queue %d", ErrInvalid, m.Topic(), m.QueueID())
	}
	group, _ = m.Property(message.PropertyProducerGroup)
	if err := validGroup(string(group)); err != nil {
		return nil, err
	}
	if t.live >= HalvesMax {
		return nil, fmt.Errorf("%w: %d transactions wait for their end", ErrFull, HalvesMax)
	}
	return group, nil
}

func (t *halfTable) prepare(ctx *store.ApplyContext, queue int32) (any, error) {
	group, err := t.admit(ctx)
	if err != nil {
		return nil, err
	}
	return Sent{Queue: queue, Host: ctx.Nested(0).StoreHost(), Results: []store.Result{t.add(ctx, group)}}, nil
}

// add publishes the admitted half message and makes it pending.
func (t *halfTable) add(ctx *store.ApplyContext, group []byte) store.Result {
	res := ctx.Publish(0)
	m := ctx.Nested(0)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.insertLocked(Half{
		Offset: res.Queue, Phy: res.Phy, StoreTime: ctx.Time, Group: string(group), ImmunitySeconds: immunityOf(m.Properties()),
	})
	t.mark(res.Queue)
	return res
}

// immunityOf reads the time a message wants before its first check-back, in
// seconds; -1 when it names none that makes sense.
func immunityOf(props []byte) int32 {
	text, ok := message.Property(props, message.PropertyCheckImmunityTime)
	if !ok {
		return -1
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return int32(min(n, math.MaxInt32))
}

func (t *halfTable) end(ctx *store.ApplyContext, offset message.QueueOffset, phy message.PhyOffset, state HalfState) (any, error) {
	want := 1
	switch state {
	case HalfCommitted, HalfGivenUp:
	case HalfRolledBack:
		want = 0
	default:
		return nil, fmt.Errorf("%w: a transaction cannot become %v", ErrInvalid, state)
	}
	if ctx.NestedCount() != want {
		return nil, fmt.Errorf("%w: %d messages for a transaction that is %v", ErrInvalid, ctx.NestedCount(), state)
	}
	i, ok := t.find(offset)
	if !ok {
		return Ended{State: t.ends[offset].state}, nil
	}
	if t.halves[i].Phy != phy {
		return nil, fmt.Errorf("%w: half message %d lies at %d, not at %d", ErrInvalid, offset, t.halves[i].Phy, phy)
	}
	ended := Ended{Applied: true, State: state}
	if want > 0 {
		ended.Result = ctx.Publish(0)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(i)
	t.mark(offset)
	t.rememberLocked(offset, ending{state, t.seq})
	t.seq++
	t.dirty.mark("")
	return ended, nil
}

func (t *halfTable) check(ctx *store.ApplyContext, checks []HalfCheck) []bool {
	counted := make([]bool, len(checks))
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, c := range checks {
		i, ok := t.find(c.Offset)
		if !ok || t.halves[i].Checks != c.Checks || c.Checks == math.MaxInt32 {
			continue
		}
		t.halves[i].Checks++
		t.halves[i].LastCheck = ctx.Time
		t.mark(c.Offset)
		counted[n] = true
	}
	return counted
}

func (t *halfTable) resume(ctx *store.ApplyContext, offset message.QueueOffset) (any, error) {
	if t.ends[offset].state != HalfGivenUp {
		return nil, fmt.Errorf("%w: half message %d is not among the last %d that were given up", ErrNotFound, offset, givenUpKept)
	}
	group, err := t.admit(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	delete(t.ends, offset)
	t.givenUp.live--
	t.mark(offset)
	t.mu.Unlock()
	return Sent{Host: ctx.Nested(0).StoreHost(), Results: []store.Result{t.add(ctx, group)}}, nil
}

// find returns the place of a pending half message.
func (t *halfTable) find(offset message.QueueOffset) (int, bool) {
	i, ok := t.search(offset)
	return i, ok && t.halves[i].Group != ""
}

func (t *halfTable) search(offset message.QueueOffset) (int, bool) {
	return slices.BinarySearchFunc(t.halves, offset, func(h Half, o message.QueueOffset) int {
		switch {
		case h.Offset < o:
			return -1
		case h.Offset > o:
			return 1
		}
		return 0
	})
}

// insertLocked adds a pending half message: at the end but for stored pairs
// that are loaded in another order.
func (t *halfTable) insertLocked(h Half) {
	name := t.names[h.Group]
	if name == nil {
		name = &internedName{name: h.Group}
		t.names[h.Group] = name
	}
	name.uses++
	h.Group = name.name
	i, found := t.search(h.Offset)
	if found {
		t.halves[i] = h
	} else {
		t.halves = slices.Insert(t.halves, i, h)
	}
	t.live++
}

func (t *halfTable) removeLocked(i int) {
	name := t.names[t.halves[i].Group]
	if name.uses--; name.uses == 0 {
		delete(t.names, name.name)
	}
	t.halves[i].Group = ""
	t.live--
	switch gaps := len(t.halves) - t.live; {
	case t.live == 0 && cap(t.halves) > halvesSlack:
		t.halves = nil
	case gaps > t.live && gaps > halvesSlack:
		kept := make([]Half, 0, t.live+t.live/4)
		for _, h := range t.halves {
			if h.Group != "" {
				kept = append(kept, h)
			}
		}
		t.halves = kept
	}
}

// halvesSlack is how many gaps are not worth a copy.
const halvesSlack = 1024

// rememberLocked keeps how a transaction ended and forgets the oldest of its
// kind beyond the bound.
func (t *halfTable) rememberLocked(offset message.QueueOffset, e ending) {
	t.ends[offset] = e
	q, kept := &t.ended, endedKept
	if e.state == HalfGivenUp {
		q, kept = &t.givenUp, givenUpKept
	}
	q.queue = append(q.queue, numbered{e.seq, offset})
	q.live++
	for q.live > kept {
		oldest := q.queue[0]
		q.queue = q.queue[1:]
		if t.stands(oldest) {
			delete(t.ends, oldest.offset)
			t.mark(oldest.offset)
			q.live--
		}
	}
	if len(q.queue) > 2*q.live+halvesSlack {
		q.queue = slices.DeleteFunc(q.queue, func(n numbered) bool { return !t.stands(n) })
	}
}

// stands says that a transaction is still ended by that ending: it was not
// resumed since.
func (t *halfTable) stands(n numbered) bool {
	e, ok := t.ends[n.offset]
	return ok && e.seq == n.seq
}

func (t *halfTable) mark(offset message.QueueOffset) { t.dirty.mark(halfKey(offset)) }

func halfKey(offset message.QueueOffset) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(offset)))
}

func (t *halfTable) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	be := binary.BigEndian
	return t.dirty.drain(dst, tableHalf, func(key string) []byte {
		if key == "" {
			return be.AppendUint64([]byte{formatVersion}, t.seq)
		}
		offset := message.QueueOffset(be.Uint64([]byte(key)))
		if i, ok := t.find(offset); ok {
			h := &t.halves[i]
			v := be.AppendUint64([]byte{formatVersion, byte(HalfPending)}, uint64(h.Phy))
			v = be.AppendUint64(be.AppendUint64(v, uint64(h.StoreTime)), uint64(h.LastCheck))
			v = binary.AppendVarint(appendI32(v, h.Checks), int64(h.ImmunitySeconds))
			return appendString(v, h.Group)
		}
		if e, ok := t.ends[offset]; ok {
			return be.AppendUint64([]byte{formatVersion, byte(e.state)}, e.seq)
		}
		return nil
	})
}

func (t *halfTable) load(key, value []byte) error {
	r := newReader(value)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(key) == 0 {
		t.seq = r.u64()
		return r.done()
	}
	if len(key) != 8 {
		return fmt.Errorf("%w: half key of %d bytes", ErrFormat, len(key))
	}
	offset := message.QueueOffset(binary.BigEndian.Uint64(key))
	switch state := HalfState(r.u8()); state {
	case HalfPending:
		h := Half{Offset: offset, Phy: message.PhyOffset(r.i64()), StoreTime: r.i64(), LastCheck: r.i64()}
		h.Checks, h.ImmunitySeconds, h.Group = r.i32(), r.varint32(), r.string()
		if h.Group == "" {
			r.fail("half message without a group")
		}
		if err := r.done(); err != nil {
			return err
		}
		t.insertLocked(h)
	case HalfCommitted, HalfRolledBack, HalfGivenUp:
		e := ending{state, r.u64()}
		if err := r.done(); err != nil {
			return err
		}
		t.loadEnding(offset, e)
	default:
		return fmt.Errorf("%w: half message in state %d", ErrFormat, state)
	}
	return nil
}

// loadEnding puts an ending where its number says; pairs come in the order of
// offsets.
func (t *halfTable) loadEnding(offset message.QueueOffset, e ending) {
	t.ends[offset] = e
	q := &t.ended
	if e.state == HalfGivenUp {
		q = &t.givenUp
	}
	i, _ := slices.BinarySearchFunc(q.queue, e.seq, func(n numbered, seq uint64) int {
		if n.seq < seq {
			return -1
		}
		return 1
	})
	q.queue = slices.Insert(q.queue, i, numbered{e.seq, offset})
	q.live++
}

// Half returns a half message that waits for its end.
func (s *State) Half(offset message.QueueOffset) (Half, bool) {
	t := s.half
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, ok := t.find(offset)
	if !ok {
		return Half{}, false
	}
	return t.halves[i], true
}

// HalfState returns where a transaction stands.
func (s *State) HalfState(offset message.QueueOffset) HalfState {
	t := s.half
	t.mu.RLock()
	defer t.mu.RUnlock()
	if _, ok := t.find(offset); ok {
		return HalfPending
	}
	return t.ends[offset].state
}

// Halves appends to dst up to limit pending half messages that keep accepts,
// from an offset on and in order, and returns the offset to go on from; done
// says that there is nothing behind it. keep is called with a lock held.
func (s *State) Halves(dst []Half, from message.QueueOffset, limit int, keep func(*Half) bool) (_ []Half, next message.QueueOffset, done bool) {
	t := s.half
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, _ := t.search(from)
	for ; i < len(t.halves); i++ {
		h := &t.halves[i]
		if h.Group == "" || !keep(h) {
			continue
		}
		if len(dst) >= limit {
			return dst, h.Offset, false
		}
		dst = append(dst, *h)
	}
	return dst, 0, true
}

// HalfCount is the number of transactions that wait for their end.
func (s *State) HalfCount() int {
	s.half.mu.RLock()
	defer s.half.mu.RUnlock()
	return s.half.live
}
