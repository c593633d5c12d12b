package commitlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/histogram"
	"github.com/cometmq/cometmq/internal/logging"
	"github.com/cometmq/cometmq/store/segment"
)

// Log is an open commit log. All methods may be called from any goroutine.
//
// Locks, outermost first: write, upkeep, gone, then state or hints. None but
// gone (for reading) is held by a reader while it reads from disk.
type Log struct {
	cfg   Config
	log   hclog.Logger
	slow  *logging.Limited
	syncs *histogram.Histogram
	set   *segment.Set

	// write admits one Append, TruncateSuffix or Close at a time.
	write sync.Mutex
	// cur is the segment the next entry goes to, buf what is not yet written
	// of it and at the offset of buf[0]; touched are the segments to sync.
	// Guarded by write.
	cur     *segment.File
	buf     []byte
	at      int64
	touched []*segment.File
	// bornEmpty: the log had no entries when it was opened (see ErrTruncateAll).
	bornEmpty bool

	// upkeep admits one at a time of those who create and remove files or
	// write mark and sidecars. Append takes it only to roll into a segment
	// that was not prepared, so a slow background sync does not hold it up.
	upkeep  sync.Mutex
	mark    mark    // the mark on disk; guarded by upkeep
	partial sidecar // newest sidecar of the newest segment, without waypoints; guarded by upkeep
	// markDue is the durable offset from which a new mark is worth it;
	// spareTried the end of the segment whose successor could not be prepared,
	// so that a full disk is tried again only when the space is needed.
	markDue    atomic.Int64
	spareTried atomic.Int64
	// short: see Short.
	short      atomic.Bool
	kick       chan struct{}
	stop       context.CancelFunc
	background sync.WaitGroup
	failure    atomic.Pointer[error]
	reportOnce sync.Once

	// gone is held for reading while bytes are read from segments, and for
	// writing by those who take segments or bytes away.
	gone   sync.RWMutex
	closed bool // guarded by gone; also written only under write

	state  sync.RWMutex
	st     state    // guarded by state; only holders of write change it
	synced position // guarded by state; at most the end
	cache  cache    // guarded by state
	loaded []*part  // sealed parts with waypoints in memory; guarded by state
	clock  atomic.Uint64

	load sync.Mutex // one reader at a time loads waypoints

	hints hints
}

// position is the place after an entry.
type position struct {
	offset int64
	index  uint64 // 0 = before the first entry
	term   uint64
}

// state is what readers see. It is copied out under the lock; the slice in it
// is replaced, never changed.
type state struct {
	first, last uint64 // 0 when empty
	next        uint64 // index the next append must have, 0 = any
	term        uint64 // of last
	base, end   int64
	parts       []*part // segments with entries, oldest first
}

// part is a segment that has entries.
type part struct {
	file  *segment.File
	first uint64     // index of the entry at the segment's base
	ways  []waypoint // guarded by Log.state; nil = not in memory
	// stored: the sidecar covers every entry. Of sealed parts only; guarded
	// by Log.state.
	stored bool
	used   atomic.Uint64 // clock of the last use of ways
}

// Open opens or creates the log in cfg.Dir and brings it to the state described
// in the package comment. A *CorruptError means that the log must not be used.
func Open(cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{
		cfg:   cfg,
		log:   cfg.Logger,
		slow:  logging.NewLimited(cfg.Logger, slowEvery),
		syncs: histogram.Durations(),
		kick:  make(chan struct{}, 1),
		cache: newCache(cfg.CacheEntries, cacheBytesMax),
	}
	if err := l.recover(); err != nil {
		if l.set != nil {
			_ = l.set.Close()
		}
		return nil, fmt.Errorf("open commit log %s: %w", cfg.Dir, err)
	}
	l.bornEmpty = l.st.last == 0
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	if !cfg.inline {
		l.kick <- struct{}{} // sidecars that recovery found missing
		l.background.Go(func() { l.maintain(ctx) })
	} else if cfg.Reserve > 0 {
		l.maintainOnce()
	}
	l.log.Info("commit log opened", "dir", cfg.Dir, "first", l.st.first, "last", l.st.last,
		"min-offset", l.st.base, "max-offset", l.st.end)
	return l, nil
}

// SyncTimes are the durations of the log's syncs since it was opened, in
// nanoseconds.
func (l *Log) SyncTimes() histogram.Snapshot { return l.syncs.Snapshot() }

// view copies what readers need.
func (l *Log) view() state {
	l.state.RLock()
	defer l.state.RUnlock()
	return l.st
}

// FirstIndex is the index of the first entry, 0 when there is none.
func (l *Log) FirstIndex() uint64 { return l.view().first }

// LastIndex is the index of the last entry, 0 when there is none.
func (l *Log) LastIndex() uint64 { return l.view().last }

// MinOffset is the physical offset of the first byte of the log.
func (l *Log) MinOffset() int64 { return l.view().base }

// MaxOffset is the physical offset after the last entry.
func (l *Log) MaxOffset() int64 { return l.view().end }

// DurableOffset is the physical offset up to which a power failure takes nothing.
func (l *Log) DurableOffset() int64 { return l.durable().offset }

// Close makes everything durable, marks the log as cleanly closed so that the
// next Open scans nothing, and closes the files. It is idempotent. Readers in
// flight finish first.
func (l *Log) Close() error {
	defer l.report()
	l.write.Lock()
	defer l.write.Unlock()
	if l.closed {
		return nil
	}
	l.stop()
	l.background.Wait()
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	err := l.checkpointLocked(true)
	if isFull(err) && l.cfg.Reserve > 0 {
		err = errors.Join(l.releaseReserveLocked(), l.checkpointLocked(true))
	}
	l.gone.Lock()
	l.closed = true
	l.gone.Unlock()
	if cerr := l.set.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close commit log: %w", cerr)
	}
	return err
}

// usable is nil as long as the log can be changed. Caller holds write.
func (l *Log) usable() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed()
}

func (l *Log) failed() error {
	if cause := l.failure.Load(); cause != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *cause)
	}
	return nil
}

// fail puts the log into the state it never leaves: what is on disk is not
// known any more, so nothing more may be acknowledged.
func (l *Log) fail(cause error) error {
	l.failure.CompareAndSwap(nil, &cause)
	return l.failed()
}

// report tells the owner about a failure, once and without locks held.
func (l *Log) report() {
	cause := l.failed()
	if cause == nil {
		return
	}
	l.reportOnce.Do(func() {
		l.log.Error("commit log failed", "dir", l.cfg.Dir, "error", cause)
		if l.cfg.OnFailure != nil {
			l.cfg.OnFailure(cause)
		}
	})
}
