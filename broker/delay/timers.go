package delay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/message"
)

// ErrGone says that a waiting message is not in the log any more.
var ErrGone = errors.New("delay: the message is gone")

// Timer is a message of a slot that a command is done with: published, or passed
// over because nothing can be delivered.
type Timer struct {
	Offset      message.QueueOffset
	Deliverable bool
}

// TimerLog is what Timers needs of the replicated state. Its methods are called
// from one goroutine.
type TimerLog interface {
	// Now is the group's clock, ms.
	Now() int64
	// Slots returns the slots with a queue, in any order.
	Slots() []int64
	// Range returns the first readable offset of a slot's queue and the one after
	// the last; both 0 without a queue.
	Range(slot int64) (first, end message.QueueOffset)
	// Times appends the delivery times (ms) of up to n messages from an offset on.
	Times(dst []int64, slot int64, from message.QueueOffset, n int) ([]int64, error)
	// Done reports whether a message was delivered or passed over, DoneCount how
	// many of a slot were.
	Done(slot int64, off message.QueueOffset) bool
	DoneCount(slot int64) int
	// Read returns a message, valid until the next Read. Errors: ErrGone.
	Read(slot int64, off message.QueueOffset) (message.Stored, error)
	// ProposeFire proposes the command that publishes nested, one for each
	// deliverable timer, unless that was done before. It must not block, must have
	// copied nested when it returns, and must call done exactly once; an error
	// means refused or unknown.
	ProposeFire(slot int64, timers []Timer, nested [][]byte, done func(error))
	// ProposeClose proposes the command that deletes a slot whose messages are all
	// done with; closed says whether they were.
	ProposeClose(slot int64, done func(closed bool, err error))
}

// TimersConfig configures Timers. Log is required; the others are as in Config.
type TimersConfig struct {
	Log         TimerLog
	StoreHost   netip.AddrPort
	Deliverable func(topic []byte) bool
	Properties  func(topic, props []byte) []byte
	Logger      hclog.Logger

	// Of tests: entries of a slot held in memory, 0 = heldMax.
	held int
}

// heldMax bounds the waiting messages of one slot that are held in memory, 16
// bytes each. Of a slot with more the earliest are, and the others are looked
// up again when those are through.
const heldMax = 256 << 10

// timesMax is how many delivery times are read at a time.
const timesMax = 4096

// Timers delivers messages at any time, while its broker leads. It holds those
// of this minute and the next one, and of one overdue minute at a time.
type Timers struct {
	cfg TimersConfig
	log hclog.Logger

	mu     sync.Mutex
	cancel context.CancelFunc // nil while stopped
	wg     sync.WaitGroup

	// horizon is the last slot that is held; news of later ones is not needed.
	horizon atomic.Int64
	newsMu  sync.Mutex
	news    map[int64]struct{}
	wake    chan struct{} // holds one token
}

// NewTimers checks the config; it starts nothing.
func NewTimers(cfg TimersConfig) (*Timers, error) {
	if cfg.Log == nil {
		return nil, errors.New("delay: TimersConfig.Log is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.held == 0 {
		cfg.held = heldMax
	}
	return &Timers{cfg: cfg, log: cfg.Logger.Named("timers"), news: map[int64]struct{}{}, wake: make(chan struct{}, 1)}, nil
}

// Start begins to deliver, on one goroutine that runs until Stop or until ctx
// ends; the broker calls it when it became leader and its state is complete.
// Starting what runs does nothing.
func (t *Timers) Start(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel != nil {
		return
	}
	ctx, t.cancel = context.WithCancel(ctx)
	r := &timerRun{t: t, log: t.cfg.Log, slots: map[int64]*slot{}}
	t.wg.Go(func() { r.run(ctx) })
}

// Stop ends delivering and returns when the goroutine is gone. A proposal in
// flight may still be applied. It can be started again.
func (t *Timers) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel == nil {
		return
	}
	t.cancel()
	t.wg.Wait()
	t.cancel = nil
	t.horizon.Store(0)
	t.takeNews()
}

// Arrived tells that a message was added to a slot's queue. It never blocks.
func (t *Timers) Arrived(slot int64) {
	// The queue has the message by now, so that a slot beyond the horizon is
	// found with it when the horizon gets there.
	if slot > t.horizon.Load() {
		return
	}
	t.newsMu.Lock()
	t.news[slot] = struct{}{}
	t.newsMu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *Timers) takeNews() []int64 {
	t.newsMu.Lock()
	defer t.newsMu.Unlock()
	if len(t.news) == 0 {
		return nil
	}
	slots := make([]int64, 0, len(t.news))
	for s := range t.news {
		slots = append(slots, s)
	}
	clear(t.news)
	return slots
}

// timerRun is the delivery between a Start and a Stop.
type timerRun struct {
	t   *Timers
	log TimerLog

	began   bool
	slots   map[int64]*slot // held in memory
	backlog []int64         // overdue and not held, ascending
	turn    int64           // the slot that delivered last

	batch  batch
	timers []Timer
	taken  []entry
	times  []int64
}

func (r *timerRun) run(ctx context.Context) {
	retry := retryMin
	for ctx.Err() == nil {
		wait, err := r.round(ctx)
		if err != nil && ctx.Err() == nil {
			r.t.log.Warn("cannot deliver timed messages, will try again", "in", retry, "error", err)
			r.sleep(ctx, retry, nil)
			retry = min(2*retry, retryMax)
			continue
		}
		retry = retryMin
		if wait > 0 {
			r.sleep(ctx, wait, r.t.wake)
		}
	}
}

func (r *timerRun) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}

// round delivers one batch, closes one slot, or returns how long nothing is to
// be done.
func (r *timerRun) round(ctx context.Context) (time.Duration, error) {
	now := r.log.Now()
	if err := r.hold(now); err != nil {
		return 0, err
	}
	if s := r.due(now); s != nil {
		r.turn = s.number
		return 0, r.fire(ctx, s, now)
	}
	for _, s := range r.slots {
		if s.number < message.TimerSlot(now) && s.empty() {
			return 0, r.close(ctx, s)
		}
	}
	return r.wait(now), nil
}

// hold takes the slots of this minute and the next into memory, those of which
// there is news, and an overdue one when none is held.
func (r *timerRun) hold(now int64) error {
	this := message.TimerSlot(now)
	from := r.t.horizon.Load()
	// Before the queues are looked at, see Arrived.
	r.t.horizon.Store(max(from, this+1))
	if !r.began {
		r.began = true
		from = this + 1
		for _, n := range r.log.Slots() {
			if n <= from {
				r.t.Arrived(n)
			}
		}
	}
	for n := from + 1; n <= this+1; n++ {
		if _, end := r.log.Range(n); end > 0 {
			r.t.Arrived(n)
		}
	}
	for _, n := range r.t.takeNews() {
		if _, held := r.slots[n]; held || n >= this {
			if err := r.look(n); err != nil {
				r.t.Arrived(n)
				return err
			}
		} else if i, known := slices.BinarySearch(r.backlog, n); !known {
			r.backlog = slices.Insert(r.backlog, i, n)
		}
	}
	for len(r.backlog) > 0 && !r.overdue(now) {
		n := r.backlog[0]
		if err := r.look(n); err != nil {
			return err
		}
		r.backlog = r.backlog[1:]
	}
	return nil
}

// overdue tells whether a slot of the past is held that has something to
// deliver. One that only waits for a message that cannot be read holds nobody up.
func (r *timerRun) overdue(now int64) bool {
	for n, s := range r.slots {
		if n < message.TimerSlot(now) && (s.left || len(s.heap) > 0 && s.heap[0].at <= now) {
			return true
		}
	}
	return false
}

// look brings a slot in memory up to date with its queue.
func (r *timerRun) look(number int64) error {
	first, end := r.log.Range(number)
	s := r.slots[number]
	if s == nil {
		if end == 0 {
			return nil
		}
		s = &slot{number: number}
		r.slots[number] = s
	}
	if s.next > end {
		*s = slot{number: number} // its queue began again
	}
	for ; s.next < min(first, end); s.next++ {
		// Its message left the log, as will be found out: it is passed over.
		if !r.log.Done(number, s.next) {
			s.push(entry{0, s.next}, r.t.cfg.held)
		}
	}
	for s.next < end {
		var err error
		r.times, err = r.log.Times(r.times[:0], number, s.next, min(timesMax, int(end-s.next)))
		if err != nil {
			return fmt.Errorf("read slot %d from %d: %w", number, s.next, err)
		}
		if len(r.times) == 0 {
			return nil
		}
		for _, at := range r.times {
			if !r.log.Done(number, s.next) {
				s.push(entry{at, s.next}, r.t.cfg.held)
			}
			s.next++
		}
	}
	return nil
}

// due chooses a slot with a message whose time has come: the next one after the
// slot that delivered last, so that a flood in one does not hold up another.
func (r *timerRun) due(now int64) *slot {
	var first, next *slot
	for n, s := range r.slots {
		if len(s.heap) == 0 || s.heap[0].at > now {
			continue
		}
		if first == nil || n < first.number {
			first = s
		}
		if n > r.turn && (next == nil || n < next.number) {
			next = s
		}
	}
	if next != nil {
		return next
	}
	return first
}

// wait is how long nothing comes due that is known now.
func (r *timerRun) wait(now int64) time.Duration {
	until := (message.TimerSlot(now) + 1) * message.TimerSlotMillis // then the horizon moves
	for _, s := range r.slots {
		if len(s.heap) > 0 {
			until = min(until, s.heap[0].at)
		}
	}
	return time.Duration(max(until-now, 1)) * time.Millisecond
}

// fire delivers what is due in a slot, as much as one command takes.
func (r *timerRun) fire(ctx context.Context, s *slot, now int64) error {
	r.collect(s, now)
	if len(r.timers) > 0 {
		err := r.propose(ctx, func(done func(error)) { r.log.ProposeFire(s.number, r.timers, r.batch.records(), done) })
		if err != nil {
			// What was done nevertheless is noticed when its turn comes again.
			for _, e := range r.taken {
				s.push(e, r.t.cfg.held)
			}
			return fmt.Errorf("deliver %d messages of slot %d: %w", len(r.timers), s.number, err)
		}
	}
	if len(s.heap) > 0 || !s.left {
		return nil
	}
	s.next, s.left = 0, false
	return r.look(s.number)
}

// collect takes due messages into the batch.
func (r *timerRun) collect(s *slot, now int64) {
	r.batch.reset(0)
	r.timers, r.taken = r.timers[:0], r.taken[:0]
	lost, why := 0, error(nil)
	for len(s.heap) > 0 && s.heap[0].at <= now && len(r.timers) < BatchMessagesMax {
		e := s.pop()
		if r.log.Done(s.number, e.off) {
			continue
		}
		rec, err := r.log.Read(s.number, e.off)
		if err != nil && !errors.Is(err, ErrGone) {
			// Another member may be able to; the others need not wait for it.
			r.t.log.Error("cannot read a timed message", "slot", s.number, "offset", e.off, "error", err)
			s.push(entry{now + retryMax.Milliseconds(), e.off}, r.t.cfg.held)
			continue
		}
		if err == nil && r.batch.full(rec.Size()) {
			s.push(e, r.t.cfg.held)
			break
		}
		if err == nil {
			err = r.batch.add(&Entry{Offset: e.off, Record: rec}, r.t.cfg.StoreHost, r.t.cfg.Deliverable, r.t.cfg.Properties)
		}
		if err != nil {
			lost, why = lost+1, fmt.Errorf("offset %d: %w", e.off, err)
		}
		r.timers = append(r.timers, Timer{Offset: e.off, Deliverable: err == nil})
		r.taken = append(r.taken, e)
	}
	if lost > 0 {
		r.t.log.Error("passing over timed messages", "slot", s.number, "count", lost, "error", why)
	}
}

// close deletes a slot that is through, or looks at what came late.
func (r *timerRun) close(ctx context.Context, s *slot) error {
	_, end := r.log.Range(s.number)
	if end == 0 {
		delete(r.slots, s.number)
		return nil
	}
	if int(end) == r.log.DoneCount(s.number) {
		closed := false
		err := r.propose(ctx, func(done func(error)) {
			r.log.ProposeClose(s.number, func(ok bool, err error) {
				closed = ok
				done(err)
			})
		})
		if err != nil {
			return fmt.Errorf("close slot %d: %w", s.number, err)
		}
		if closed {
			delete(r.slots, s.number)
			return nil
		}
	}
	s.next = 0
	if err := r.look(s.number); err != nil {
		return err
	}
	if s.empty() {
		return fmt.Errorf("slot %d has nothing left, but %d of %d messages are done with", s.number, r.log.DoneCount(s.number), end)
	}
	return nil
}

// propose makes a proposal and waits for its fate.
func (r *timerRun) propose(ctx context.Context, start func(done func(error))) error {
	result := make(chan error, 1) // done never blocks, even when nobody waits any more
	start(func(err error) { result <- err })
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-result:
		return err
	}
}
