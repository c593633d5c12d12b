package transaction

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/message"
)

// Half is a transaction that waits for its end.
type Half struct {
	// Offset in the half queue and Phy in the commit log.
	Offset message.QueueOffset
	Phy    message.PhyOffset
	// StoreTime and LastCheck are group times in ms; LastCheck is 0 before the
	// first check-back.
	StoreTime, LastCheck int64
	// Group is the producer group to be asked.
	Group string
	// Checks counts the check-backs so far.
	Checks int32
	// ImmunitySeconds is the message's own time before its first check-back, -1
	// when it has none.
	ImmunitySeconds int32
}

// ErrGone says that a half message is not in the commit log any more.
var ErrGone = errors.New("transaction: half message is gone from the commit log")

// Log is what the checker needs of the replicated state.
type Log interface {
	// Now is the group's clock, ms.
	Now() int64
	// Halves returns up to limit pending half messages that keep accepts, from
	// an offset on and in order, and where to go on; done says that nothing is
	// behind them. keep must not call back.
	Halves(from message.QueueOffset, limit int, keep func(*Half) bool) (halves []Half, next message.QueueOffset, done bool)
	// Pending returns a half message if it still waits for its end.
	Pending(offset message.QueueOffset) (Half, bool)
	// Message reads a half message, with its offsets. ErrGone when it was
	// deleted with its part of the log.
	Message(h *Half) (message.Stored, error)
	// Count adds a check-back to each half message that is pending and has as
	// many as said, in one command, and says to which it did.
	Count(ctx context.Context, halves []Half) ([]bool, error)
	// GiveUp moves a half message to TRANS_CHECK_MAX_TIME_TOPIC and ends its
	// transaction in one command, unless it has ended. A nil message only ends
	// it.
	GiveUp(ctx context.Context, h *Half, m message.Stored) error
}

// Producers is what the checker needs of the table of clients.
type Producers interface {
	// Live says whether a producer of the group could be asked.
	Live(group string) bool
	// Ask sends a check-back to one live producer of the half message's group,
	// to another one each time; false when there is none. m is the half message
	// and checks the number of this check.
	Ask(h *Half, m message.Stored, checks int32) bool
}

// Settings may change while the checker runs.
type Settings struct {
	// Timeout is how old a half message is when its first check-back is due
	// (transactionTimeOut), Interval how long after a check-back the next is
	// (transactionCheckInterval).
	Timeout, Interval time.Duration
	// CheckMax is after how many check-backs it is given up (transactionCheckMax).
	CheckMax int32
}

// Config configures a Checker. Log, Producers and Settings are required.
type Config struct {
	Log       Log
	Producers Producers
	Settings  func() Settings
	// Logger; nil = no logging.
	Logger hclog.Logger
}

// Bounds of one round, so that a pile of half messages can neither fill the
// memory here nor flood the producers that are asked about it.
const (
	RoundHalvesMax = 2_000
	RoundBytesMax  = 4 << 20
)

// Rounds follow each other after pollMax, or sooner when the settings are
// shorter than RocketMQ's.
const (
	pollMin = 10 * time.Millisecond
	pollMax = time.Second
)

// Checker asks producers about transactions while its broker leads.
type Checker struct {
	cfg Config
	log hclog.Logger

	mu     sync.Mutex
	cancel context.CancelFunc // nil while stopped
	done   sync.WaitGroup
}

// New checks the config; it starts nothing.
func New(cfg Config) (*Checker, error) {
	if cfg.Log == nil || cfg.Producers == nil || cfg.Settings == nil {
		return nil, errors.New("transaction: Config.Log, Config.Producers and Config.Settings are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return &Checker{cfg: cfg, log: cfg.Logger.Named("transaction")}, nil
}

// Start begins to check; the broker calls it when it became leader and its state
// is complete. It runs until Stop, or until ctx ends. Starting a running checker
// does nothing.
func (c *Checker) Start(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		return
	}
	ctx, c.cancel = context.WithCancel(ctx)
	c.done.Go(func() { c.run(ctx) })
}

// Stop ends checking and returns when its goroutine is gone. The checker can be
// started again.
func (c *Checker) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel == nil {
		return
	}
	c.cancel()
	c.done.Wait()
	c.cancel = nil
}

// session is one leadership.
type session struct {
	c *Checker
	// next is where the next round begins.
	next message.QueueOffset
	// unasked are half messages whose last check found no producer, by group;
	// unaskedMax is how many there may be before the ended ones are sorted out.
	unasked    map[string]map[message.QueueOffset]struct{}
	unaskedMax int
	failing    bool
}

func (c *Checker) run(ctx context.Context) {
	s := session{c: c, unasked: map[string]map[message.QueueOffset]struct{}{}, unaskedMax: RoundHalvesMax}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		set := c.cfg.Settings()
		err := s.round(ctx, set)
		if ctx.Err() != nil {
			return
		}
		// One line when it begins and one when it ends, not one a second.
		if failing := err != nil; failing != s.failing {
			s.failing = failing
			if failing {
				c.log.Warn("cannot check transactions, will try again", "error", err)
			} else {
				c.log.Info("checking transactions again")
			}
		}
		timer.Reset(min(max(min(set.Interval, set.Timeout)/4, pollMin), pollMax))
	}
}

// dueAt is the group time of a half message's next check-back.
func dueAt(h *Half, set Settings) int64 {
	switch {
	case h.Checks > 0:
		return h.LastCheck + set.Interval.Milliseconds()
	case h.ImmunitySeconds >= 0:
		return h.StoreTime + int64(h.ImmunitySeconds)*1000
	default:
		return h.StoreTime + set.Timeout.Milliseconds()
	}
}

// round checks what is due, as far as the bounds of a round allow.
func (s *session) round(ctx context.Context, set Settings) error {
	b := &budget{halves: RoundHalvesMax, bytes: RoundBytesMax}
	if err := s.makeUp(b); err != nil {
		return err
	}
	now := s.c.cfg.Log.Now()
	due := func(h *Half) bool { return dueAt(h, set) <= now }
	for wrapped := s.next == 0; b.left(); {
		halves, next, done := s.c.cfg.Log.Halves(s.next, min(b.halves, countMax), due)
		rest, err := s.check(ctx, halves, set, b)
		if err != nil {
			return err
		}
		switch {
		case rest > 0:
			s.next = halves[len(halves)-rest].Offset // the budget ended there
			return nil
		case !done:
			s.next = next
		case wrapped:
			s.next = 0
			return nil
		default:
			s.next, wrapped = 0, true
		}
	}
	return nil
}

// countMax is how many checks one command counts.
const countMax = 500

// budget is what a round may still do.
type budget struct{ halves, bytes int }

func (b *budget) left() bool { return b.halves > 0 && b.bytes > 0 }

func (b *budget) take(size int) {
	b.halves--
	b.bytes -= size
}

// check gives up or asks about half messages until the budget ends, and returns
// how many it did not get to.
func (s *session) check(ctx context.Context, halves []Half, set Settings, b *budget) (rest int, err error) {
	var ask []Half
	var messages []message.Stored
	for rest = len(halves); rest > 0 && b.left(); rest-- {
		h := &halves[len(halves)-rest]
		m, err := s.c.cfg.Log.Message(h)
		if errors.Is(err, ErrGone) {
			s.c.log.Error("dropping a transaction, its half message was deleted by retention",
				"offset", h.Offset, "producer-group", h.Group)
			if err := s.c.cfg.Log.GiveUp(ctx, h, nil); err != nil {
				return rest, fmt.Errorf("drop transaction %d: %w", h.Offset, err)
			}
			continue
		}
		if err != nil {
			// It stays pending, and is tried again in its turn; the others must
			// not wait for it.
			s.c.log.Error("cannot read a half message", "offset", h.Offset, "error", err)
			b.take(0)
			continue
		}
		b.take(len(m))
		if h.Checks >= set.CheckMax {
			s.c.log.Warn("giving up a transaction that nobody ended", "offset", h.Offset, "producer-group", h.Group, "checks", h.Checks)
			if err := s.c.cfg.Log.GiveUp(ctx, h, m); err != nil {
				return rest, fmt.Errorf("give up transaction %d: %w", h.Offset, err)
			}
			s.forget(h)
			continue
		}
		ask, messages = append(ask, *h), append(messages, m)
	}
	if len(ask) == 0 {
		return rest, nil
	}
	// The count first: a check that was not counted could go on for ever.
	counted, err := s.c.cfg.Log.Count(ctx, ask)
	if err != nil {
		return rest, fmt.Errorf("count %d checks: %w", len(ask), err)
	}
	for i := range ask {
		if counted[i] {
			s.ask(&ask[i], messages[i], ask[i].Checks+1)
		}
	}
	return rest, nil
}

func (s *session) ask(h *Half, m message.Stored, checks int32) {
	if s.c.cfg.Producers.Ask(h, m, checks) {
		s.forget(h)
		return
	}
	s.c.log.Debug("no live producer to ask about a transaction", "offset", h.Offset, "producer-group", h.Group)
	group := s.unasked[h.Group]
	if group == nil {
		group = map[message.QueueOffset]struct{}{}
		s.unasked[h.Group] = group
	}
	group[h.Offset] = struct{}{}
}

func (s *session) forget(h *Half) {
	group := s.unasked[h.Group]
	delete(group, h.Offset)
	if len(group) == 0 {
		delete(s.unasked, h.Group)
	}
}

// makeUp asks about half messages whose check found no producer, now that there
// is one. The check is counted already.
func (s *session) makeUp(b *budget) error {
	s.sortOut()
	for name, group := range s.unasked {
		if !s.c.cfg.Producers.Live(name) {
			continue
		}
		for offset := range group {
			if !b.left() {
				return nil
			}
			h, ok := s.c.cfg.Log.Pending(offset)
			if !ok {
				s.forget(&Half{Offset: offset, Group: name})
				continue
			}
			m, err := s.c.cfg.Log.Message(&h)
			if err != nil {
				s.forget(&h)
				return fmt.Errorf("read half message %d: %w", offset, err)
			}
			b.take(len(m))
			s.ask(&h, m, h.Checks)
		}
	}
	return nil
}

// sortOut forgets unasked half messages that have ended meanwhile, when there are
// many: those of a group without producers are not looked at otherwise.
func (s *session) sortOut() {
	total := 0
	for _, group := range s.unasked {
		total += len(group)
	}
	if total < s.unaskedMax {
		return
	}
	for name, group := range s.unasked {
		for offset := range group {
			if _, ok := s.c.cfg.Log.Pending(offset); !ok {
				s.forget(&Half{Offset: offset, Group: name})
				total--
			}
		}
	}
	s.unaskedMax = max(2*total, RoundHalvesMax)
}
