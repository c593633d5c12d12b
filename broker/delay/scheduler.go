package delay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/message"
)

// Bounds of one mature command: what a Raft entry should hold. One larger
// message goes alone.
const (
	BatchBytesMax    = 256 << 10
	BatchMessagesMax = 1000
)

// readMax is how many messages are read at a time. It is small because all but
// the due ones are read again later.
const readMax = 32

// Entry is one message of a level's queue.
type Entry struct {
	// Offset in the level's queue.
	Offset message.QueueOffset
	// DeliverAt is the tags code of the queue entry: the delivery time, group
	// clock, ms.
	DeliverAt int64
	// Record is the stored message; valid until the next Read of the level.
	Record message.Stored
}

// Log is what the scheduler needs of the replicated state. Methods may be
// called from several goroutines, one per level (1-based).
type Log interface {
	// Now is the group's clock, ms.
	Now() int64
	// Progress is the offset up to which a level was delivered.
	Progress(level int32) message.QueueOffset
	// Read returns up to max consecutive messages of a level's queue from
	// an offset on, and the offset after them. An offset below the
	// queue's begin reads from the begin; nothing there is no error: then
	// next is the larger of from and the queue's begin.
	Read(level int32, from message.QueueOffset, max int) (entries []Entry, next message.QueueOffset, err error)
	// ProposeMature proposes the command that publishes nested and moves the
	// level's progress from `from` to `to` if it is `from`. It must not block,
	// must have copied nested when it returns, and must call done exactly
	// once: applied says whether the progress was `from`; an error means
	// refused or unknown.
	ProposeMature(level int32, from, to message.QueueOffset, nested [][]byte, done func(applied bool, err error))
}

// Config configures a Scheduler. Log and Levels are required.
type Config struct {
	Log    Log
	Levels Levels
	// StoreHost is the store host of delivered messages: where clients look
	// them up by id. Zero keeps that of the delayed message.
	StoreHost netip.AddrPort
	// Deliverable says whether a topic still exists; a message whose topic
	// was deleted goes with it. It is asked here, by the leader, so that
	// replicas cannot differ about it. Nil = all are deliverable.
	Deliverable func(topic []byte) bool
	// Properties may add to the properties of a message on its way to a topic;
	// nil = they stay as they are.
	Properties func(topic, props []byte) []byte
	// Logger; nil = no logging.
	Logger hclog.Logger
}

// Scheduler delivers the delayed messages of a broker group while its broker
// leads.
type Scheduler struct {
	cfg    Config
	log    hclog.Logger
	levels []*level

	mu     sync.Mutex
	cancel context.CancelFunc // nil while stopped
	wg     sync.WaitGroup
}

// New checks the config; it starts nothing.
func New(cfg Config) (*Scheduler, error) {
	if cfg.Log == nil || len(cfg.Levels) == 0 {
		return nil, errors.New("delay: Config.Log and Config.Levels are required")
	}
	if len(cfg.Levels) > LevelsMax {
		return nil, fmt.Errorf("delay: %d levels, at most %d", len(cfg.Levels), LevelsMax)
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	s := &Scheduler{cfg: cfg, log: cfg.Logger.Named("delay")}
	for i := range cfg.Levels {
		s.levels = append(s.levels, &level{s: s, number: int32(i + 1), arrived: make(chan struct{}, 1)})
	}
	return s, nil
}

// Start begins to deliver; the broker calls it when it became leader and its
// state is complete. One goroutine per level runs until Stop, or until ctx
// ends. Starting a running scheduler does nothing.
func (s *Scheduler) Start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		return
	}
	ctx, s.cancel = context.WithCancel(ctx)
	for _, l := range s.levels {
		s.wg.Go(func() { l.run(ctx) })
	}
}

// Stop ends delivering and returns when its goroutines are gone. A proposal in
// flight may still be applied. The scheduler can be started again.
func (s *Scheduler) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.wg.Wait()
	s.cancel = nil
}

// Arrived tells that a message was added to a queue of the schedule topic. It
// never blocks.
func (s *Scheduler) Arrived(queueID int32) {
	if queueID < 0 || int(queueID) >= len(s.levels) {
		return
	}
	select {
	case s.levels[queueID].arrived <- struct{}{}:
	default:
	}
}

// Delays between attempts of a level that meets errors.
const (
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// level delivers the messages of one level.
type level struct {
	s       *Scheduler
	number  int32
	arrived chan struct{} // holds one token
	batch   batch
}

// run delivers until ctx ends. Each round either proposes what is due or waits.
func (l *level) run(ctx context.Context) {
	retry := retryMin
	for ctx.Err() == nil {
		wait, err := l.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.s.log.Warn("cannot deliver delayed messages, will try again", "level", l.number, "in", retry, "error", err)
			l.sleep(ctx, retry, nil)
			retry = min(2*retry, retryMax)
			continue
		case wait > 0:
			l.sleep(ctx, wait, nil)
		case wait < 0:
			l.sleep(ctx, 0, l.arrived)
		}
		retry = retryMin
	}
}

// sleep waits for a duration, or for a token if wake is given.
func (l *level) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	var fire <-chan time.Time
	if wake == nil {
		timer := time.NewTimer(d)
		defer timer.Stop()
		fire = timer.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-fire:
	}
}

// round delivers one batch. It returns how long to wait before the next: 0 not
// at all, less than 0 until something arrives.
func (l *level) round(ctx context.Context) (time.Duration, error) {
	from := l.s.cfg.Log.Progress(l.number)
	wait, err := l.collect(from)
	if err != nil {
		return 0, err
	}
	if l.batch.to == from {
		return wait, nil
	}
	return 0, l.propose(ctx, from)
}

// collect fills the batch with what is due from the offset on. When nothing
// is, it returns how long to wait, as round does.
func (l *level) collect(from message.QueueOffset) (time.Duration, error) {
	l.batch.reset(from)
	for next := from; ; {
		entries, end, err := l.s.cfg.Log.Read(l.number, next, readMax)
		if err != nil && l.batch.to > from {
			return 0, nil // what stands before the trouble is delivered first
		}
		if err != nil {
			return 0, fmt.Errorf("read level %d from %d: %w", l.number, next, err)
		}
		now := l.s.cfg.Log.Now()
		for i := range entries {
			if wait := l.wait(now, entries[i].DeliverAt); wait > 0 {
				l.batch.pass(entries[i].Offset)
				return wait, nil
			}
			if !l.add(&entries[i]) {
				return 0, nil
			}
		}
		// Also without entries: the queue may begin later than the progress.
		l.batch.pass(end)
		if len(entries) == 0 {
			return -1, nil
		}
		next = end
	}
}

// wait returns how long a message must wait. A delivery time that lies more
// than the level's delay ahead was set when the level was longer; the message
// waited long enough by what is configured now.
func (l *level) wait(now, deliverAt int64) time.Duration {
	ahead := time.Duration(deliverAt-now) * time.Millisecond
	if ahead <= 0 || ahead > l.s.cfg.Levels.Delay(int(l.number)) {
		return 0
	}
	return ahead
}

// add puts a due message into the batch; false when the batch is full.
func (l *level) add(e *Entry) bool {
	if l.batch.full(e.Record.Size()) {
		l.batch.pass(e.Offset)
		return false
	}
	if err := l.batch.add(e, l.s.cfg.StoreHost, l.s.cfg.Deliverable, l.s.cfg.Properties); err != nil {
		l.s.log.Error("passed over a delayed message", "level", l.number, "offset", e.Offset, "error", err)
	}
	return true
}

// propose makes the batch's command and waits for its fate. Whether it was
// applied does not matter: the next round begins at the progress of then.
func (l *level) propose(ctx context.Context, from message.QueueOffset) error {
	type outcome struct {
		applied bool
		err     error
	}
	result := make(chan outcome, 1) // done never blocks, even when nobody waits any more
	l.s.cfg.Log.ProposeMature(l.number, from, l.batch.to, l.batch.records(), func(applied bool, err error) {
		result <- outcome{applied, err}
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r := <-result:
		if r.err != nil {
			return fmt.Errorf("propose level %d from %d to %d: %w", l.number, from, l.batch.to, r.err)
		}
		if !r.applied && l.s.cfg.Log.Progress(l.number) == from {
			return fmt.Errorf("level %d: progress is %d and a command from there was refused", l.number, from)
		}
		return nil
	}
}
