package group

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

var (
	// ErrOffsetsFull says that commits for too many queues wait to be written.
	ErrOffsetsFull = errors.New("group: too many pending offset commits")
	// ErrOffsetsDropped says that a commit was given up because this broker
	// stopped leading or closed. It may or may not have been written.
	ErrOffsetsDropped = errors.New("group: offset commit dropped, its fate is unknown")
)

// Commit is one consumer's progress in one queue: the next offset it will
// read.
type Commit struct {
	Group, Topic string
	Queue        int32
	Offset       int64
}

// Proposer writes commits to the replicated table. It must not block and must
// call done exactly once, from any goroutine, when the commits are in the
// table or will not be known to be. Commits arrive sorted by group, topic and
// queue.
type Proposer interface {
	ProposeOffsets(commits []Commit, done func(error))
}

// OffsetsConfig configures Offsets. Proposer is required.
type OffsetsConfig struct {
	Proposer Proposer
	// FlushInterval is how long a one-way commit may wait for company; 0 =
	// 100 ms. It bounds what a crash of the leader can take back: consumers
	// then repeat at most the messages of this interval or of the flush before,
	// whichever is longer, and of one flush.
	FlushInterval time.Duration
	// PendingMax bounds the queues with a commit not yet written; 0 = 200,000.
	PendingMax int
	// FlushMax bounds the commits in one proposal; 0 = 2,000 (about 64 KiB).
	FlushMax int
	// StopTimeout is how long Close waits for the last flush; 0 = 2 s.
	StopTimeout time.Duration
	// Logger; nil = no logging.
	Logger hclog.Logger
}

func (c OffsetsConfig) withDefaults() OffsetsConfig {
	setDefault(&c.FlushInterval, 100*time.Millisecond)
	setDefault(&c.PendingMax, 200_000)
	setDefault(&c.FlushMax, 2_000)
	setDefault(&c.StopTimeout, 2*time.Second)
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

type offsetKey struct {
	group, topic string
	queue        int32
}

func (k offsetKey) compare(o offsetKey) int {
	if c := strings.Compare(k.group, o.group); c != 0 {
		return c
	}
	if c := strings.Compare(k.topic, o.topic); c != 0 {
		return c
	}
	return int(k.queue) - int(o.queue)
}

// pendingOffset is the newest commit of one queue, and who waits for it. A
// newer commit takes over the waiters of the one it replaces: once it is
// written, theirs is as good as written.
type pendingOffset struct {
	offset  int64
	waiters []func(error)
}

// Offsets collects commits and writes them in batches, one batch at a time.
//
// A leader that dies takes the commits of the last FlushInterval, and those of
// the batch in flight, with it; one that is deposed while it cannot write, all
// since then. Consumers commit again every five seconds and whoever takes over a
// queue repeats the messages in between: nothing is skipped. Nobody may be shown
// what can be lost like this, see Settle.
type Offsets struct {
	cfg OffsetsConfig
	log hclog.Logger

	mu      sync.Mutex
	pending map[offsetKey]pendingOffset
	since   time.Time                   // the oldest pending commit waits, or longer
	flight  map[offsetKey]pendingOffset // the batch being written, or empty
	epoch   uint64                      // moved by Drop: the answer to an older batch is ignored
	closed  bool
	failing bool // the last batch failed; logged once

	// Both hold one token. wake: something is pending. kick: somebody waits,
	// do not wait for company.
	wake, kick chan struct{}

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewOffsets checks the config; it starts nothing.
func NewOffsets(cfg OffsetsConfig) (*Offsets, error) {
	if cfg.Proposer == nil {
		return nil, errors.New("group: OffsetsConfig.Proposer is required")
	}
	cfg = cfg.withDefaults()
	return &Offsets{
		cfg: cfg, log: cfg.Logger.Named("offsets"),
		pending: map[offsetKey]pendingOffset{}, flight: map[offsetKey]pendingOffset{},
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1),
	}, nil
}

// Start begins to write, until ctx ends or Close is called.
func (o *Offsets) Start(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.cancel != nil {
		return errors.New("group: offsets can be started once")
	}
	ctx, o.cancel = context.WithCancel(ctx)
	o.wg.Go(func() { o.run(ctx) })
	return nil
}

// Close refuses further commits, writes what is pending, waits for it up to
// StopTimeout, and stops. What could not be written is dropped and counted in
// the log.
func (o *Offsets) Close() error {
	o.mu.Lock()
	o.closed = true
	cancel := o.cancel
	o.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	o.wg.Wait()
	o.Drop("closed")
	return nil
}

// Commit stores a one-way commit. It is visible to Pending at once and written
// within FlushInterval, or at once when somebody asks for it (Settle). The error wraps ErrOffsetsFull or ErrOffsetsDropped.
func (o *Offsets) Commit(c Commit) error { return o.add(c, nil) }

// CommitWait stores a commit and calls done, from any goroutine, once it is
// written or given up. It does not wait for company, only for the batch in
// flight. When CommitWait returns an error, done is never called.
func (o *Offsets) CommitWait(c Commit, done func(error)) error {
	err := o.add(c, done)
	if err == nil {
		signal(o.kick)
	}
	return err
}

func (o *Offsets) add(c Commit, done func(error)) error {
	key := offsetKey{c.Group, c.Topic, c.Queue}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return fmt.Errorf("%w: closed", ErrOffsetsDropped)
	}
	p, known := o.pending[key]
	if !known && len(o.pending)+len(o.flight) >= o.cfg.PendingMax {
		return fmt.Errorf("%w: %d queues, try again", ErrOffsetsFull, o.cfg.PendingMax)
	}
	if len(o.pending) == 0 {
		o.since = time.Now()
	}
	p.offset = c.Offset
	if done != nil {
		p.waiters = append(p.waiters, done)
	}
	o.pending[key] = p
	signal(o.wake)
	return nil
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Drop forgets everything not written yet, because this broker does not lead
// any more or does so anew: the log alone knows what holds. Those who wait get
// ErrOffsetsDropped.
func (o *Offsets) Drop(reason string) {
	n := o.forget(func(offsetKey) bool { return true }, true)
	if n > 0 {
		o.log.Warn("dropped consumer offsets that were not written", "reason", reason, "queues", n)
	}
}

// ForgetTopic drops the pending commits of a topic that is about to be
// deleted, lest they make its offsets anew.
func (o *Offsets) ForgetTopic(topic string) {
	o.forget(func(k offsetKey) bool { return k.topic == topic }, false)
}

// ForgetGroup does for a group what ForgetTopic does for a topic.
func (o *Offsets) ForgetGroup(group string) {
	o.forget(func(k offsetKey) bool { return k.group == group }, false)
}

// forget removes matching pending commits; with flight set also those in
// flight, whose answer is then ignored.
func (o *Offsets) forget(match func(offsetKey) bool, flight bool) int {
	var gone []pendingOffset
	take := func(m map[offsetKey]pendingOffset) {
		for key, p := range m {
			if match(key) {
				gone = append(gone, p)
				delete(m, key)
			}
		}
	}
	o.mu.Lock()
	take(o.pending)
	if flight {
		take(o.flight)
		o.epoch++
	}
	o.mu.Unlock()
	finish(gone, ErrOffsetsDropped)
	return len(gone)
}

func finish(ps []pendingOffset, err error) {
	for _, p := range ps {
		for _, done := range p.waiters {
			done(err)
		}
	}
}

// PendingLen returns how many queues have a commit not yet written.
func (o *Offsets) PendingLen() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending) + len(o.flight)
}
