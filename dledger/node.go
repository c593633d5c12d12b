package dledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/internal/logging"
	"github.com/cometmq/cometmq/internal/wall"
	"github.com/cometmq/cometmq/store"
)

const (
	// maxAppendEntries bounds one AppendEntries: Raft has no limit in bytes, so
	// 64 entries of 256 KiB are 16 MiB that must be sent, written and synced
	// within rpcTimeout.
	maxAppendEntries = 64

	// never is long enough for Raft's own snapshot timer, which draws a random
	// time of up to twice this. Snapshots are taken by checkpointer.
	never = time.Duration(1 << 61)

	// checkpointSlack is how many times WatchdogTimeout a checkpoint may take.
	// It syncs whole files and waits behind the appends.
	checkpointSlack = 6
)

// Node is one member of a replicated group. Propose, Do, Status, Now and
// TransferLeadership may be called from any goroutine between Start and Close,
// and outside that time answer with ErrClosed or zero values.
type Node struct {
	cfg    Config
	logger hclog.Logger

	clock     *clock
	collector *collector
	reporter  *reporter
	callbacks []func(RoleChange)

	raft      *raft.Raft
	running   atomic.Pointer[raft.Raft] // raft again, for calls of others, which may come while Start runs
	logs      raft.LogStore
	logStore  *logStore
	fsm       *fsm
	installs  installs
	doubting  doubting
	losses    losses
	comparing comparing
	stable    *stableStore
	snaps     *snapshotStore
	streams   *streams
	silence   atomic.Pointer[streams] // streams again, for fail, which may come while Start runs
	transport *transport
	watches   []*watch
	timings   timings

	notify     chan bool
	observed   chan raft.Observation
	lost       chan struct{}  // capacity 1: leadership was lost and reported
	stop       chan struct{}  // closed when the node begins to end
	unwatch    chan struct{}  // closed when the watchdog may end
	operations operations     // barriers and transfers: Raft must answer them before it ends
	background sync.WaitGroup // watchRole, checkpointer, watchPeers, watchMembers, resolveDoubt, compareLogs, watchClocks, tellForgetful
	watchdog   sync.WaitGroup

	started     atomic.Bool
	closing     sync.Once
	closeErr    error
	ready       atomic.Bool
	failed      atomic.Bool
	withdrawing atomic.Bool
	closed      atomic.Bool
	elections   atomic.Uint64
	early       atomic.Uint64
	checkpoints atomic.Uint64
	terms       terms                     // what the others told a blank member
	blank       atomic.Pointer[blankness] // nil unless this member is blank
	admitted    atomic.Pointer[admitted]  // what the leader told it last
	blankMu     sync.Mutex                // held while blank and founders change
	founders    founders

	changing sync.Mutex // held by the running change of the members
	members  memberNews
	onMember func() // see OnMember
	speeds   speeds

	transfers atomic.Int32 // running
	transfer  sync.Mutex   // held by the running transfer
	refusing  refusing     // see transferRefused

	// Seams of the tests.
	wrapLogs    func(raft.LogStore) raft.LogStore
	rpcInFlight int
	earlyPause  time.Duration
	wall        func() int64 // unix ns
}

// New checks the configuration. It starts nothing and touches no file.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Node{
		cfg:         cfg,
		logger:      cfg.Logger.Named("dledger").With("group", cfg.Group, "member", cfg.SelfID),
		notify:      make(chan bool, 16),
		observed:    make(chan raft.Observation, 16),
		lost:        make(chan struct{}, 1),
		stop:        make(chan struct{}),
		unwatch:     make(chan struct{}),
		timings:     newTimings(),
		installs:    installs{sending: map[string]*installing{}},
		doubting:    doubting{wake: make(chan struct{}, 1)},
		losses:      losses{open: map[raft.ServerID]loss{}, wake: make(chan struct{}, 1)},
		comparing:   comparing{demand: make(chan struct{}, 1)},
		rpcInFlight: 1,
		earlyPause:  earlyPause * cfg.HeartbeatTimeout,
		members:     memberNews{wake: make(chan struct{}, 1)},
	}, nil
}

// OnRole registers a callback for role changes. It must be called before Start.
// Callbacks run one after the other on a goroutine of their own, in order of
// events; one that blocks delays later news and Close, nothing else. A callback
// may propose but must not call Close.
func (n *Node) OnRole(fn func(RoleChange)) { n.callbacks = append(n.callbacks, fn) }

// Start opens Raft's files and the port and joins the group. It returns when
// this member runs, which may be long before the group has a leader. A node
// that failed to start must not be started again.
func (n *Node) Start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := n.start(); err != nil {
		n.abandon()
		return err
	}
	n.started.Store(true)
	return nil
}

func (n *Node) start() error {
	cfg := n.cfg
	logWatch := &watch{limit: cfg.WatchdogTimeout}
	stableWatch := &watch{limit: cfg.WatchdogTimeout}
	snapWatch := &watch{limit: checkpointSlack * cfg.WatchdogTimeout}
	n.watches = []*watch{logWatch, stableWatch, snapWatch}
	n.watchdog.Go(func() { runWatchdog(n.watches, n.unwatch, n.fail) })

	var err error
	var forgot bool
	if n.stable, forgot, err = openOrReplaceStable(cfg, stableWatch, n.fail); err != nil {
		return err
	}
	if err := n.loadDoubt(forgot); err != nil {
		return err
	}
	if n.snaps, err = openSnapshots(cfg.Store, snapWatch, n.logger); err != nil {
		return err
	}
	if meta, last := n.snaps.latest(), cfg.Store.Log().LastIndex(); meta != nil && last < meta.Index {
		return fmt.Errorf("%w: it is at index %d but the log ends at %d: files of the commit log are missing; "+
			"put them back, or empty this member to let the group refill it", ErrStateDamaged, meta.Index, last)
	}
	n.logStore = &logStore{
		log:     cfg.Store.Log(),
		applied: cfg.Store.AppliedIndex,
		watch:   logWatch,
		fatal:   n.fail,
		damaged: n.damaged,
		logger:  n.logger,
		appends: n.timings.appends,
		slow:    logging.NewLimited(n.logger, slowEvery),
	}
	n.logs = n.logStore
	if n.wrapLogs != nil {
		n.logs = n.wrapLogs(n.logs)
	}
	genesis, err := n.begin()
	if err != nil {
		return err
	}
	book, err := openAddresses(cfg.Peers, n.stable)
	if err != nil {
		return err
	}
	n.clock = newClock(cfg.Store.AppliedTime())
	if n.wall != nil {
		n.clock.wall = n.wall
		n.clock.reset()
	}
	n.fsm = &fsm{store: cfg.Store, clock: n.clock, fatal: n.fail, logger: n.logger, onConfig: n.sawConfiguration}
	n.fsm.applies, n.fsm.slow = n.timings.applies, logging.NewLimited(n.logger, slowEvery)
	if meta := n.snaps.latest(); meta != nil {
		n.fsm.config.Store(&configuration{meta.ConfigurationIndex, meta.Configuration})
		book.logs(meta.Configuration)
	}
	if err := n.listen(genesis, book); err != nil {
		return err
	}
	if n.raft, err = n.newRaft(n.fsm); err != nil {
		return err
	}
	n.reporter = newReporter(n.callbacks)
	n.collector = newCollector(cfg, n.clock, func(l raft.Log) raft.ApplyFuture { return n.raft.ApplyLog(l, 0) }, n.transferRefused)
	n.background.Go(n.watchRole)
	n.background.Go(n.checkpointer)
	n.background.Go(n.watchPeers)
	n.background.Go(n.watchMembers)
	n.background.Go(n.resolveDoubt)
	n.background.Go(n.compareLogs)
	n.background.Go(n.watchClocks)
	n.background.Go(n.tellForgetful)
	return nil
}

// listen opens the port and Raft's transport on it.
func (n *Node) listen(genesis uint32, book *addresses) error {
	self := n.cfg.self()
	l := n.cfg.Listen
	if l == nil {
		bind := n.cfg.Bind
		if bind == "" {
			_, port, err := net.SplitHostPort(self.Addr)
			if err != nil {
				return fmt.Errorf("dledger: address of member %q: %w", self.ID, err)
			}
			bind = net.JoinHostPort("0.0.0.0", port)
		}
		var err error
		if l, err = net.Listen("tcp", bind); err != nil {
			return fmt.Errorf("dledger: open the raft port of member %q: %w; is another broker running, or is the port in dLegerPeers wrong?", self.ID, err)
		}
	}
	h := hello{cluster: n.cfg.Cluster, group: n.cfg.Group, id: self.ID, genesis: genesis}
	n.streams = newStreams(l, self.Addr, h, n.answer, n.stop, n.logger)
	n.silence.Store(n.streams)
	n.transport = newTransport(n.streams, book, n.rpcInFlight, n.isBlank, n.sendLog, n.withhold, n.mayStand, n.logger.Named("net"))
	n.transport.forgetful = func(id raft.ServerID, term, index uint64) {
		n.losses.note(id, loss{Leader: n.cfg.SelfID, Term: term, Index: index})
	}
	n.transport.catchups = catchups{rate: n.cfg.InstallRate, end: n.cfg.Store.Log().MaxOffset, spare: n.commitsWithout}
	return nil
}

// raftConfig is where each decision about the library is written down.
func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.cfg.SelfID)
	c.Logger = raftLogger{n.logger.Named("raft")}
	c.HeartbeatTimeout = n.cfg.HeartbeatTimeout
	c.ElectionTimeout = n.cfg.ElectionTimeout
	c.LeaderLeaseTimeout = n.cfg.LeaderLeaseTimeout
	c.MaxAppendEntries = maxAppendEntries
	c.NotifyCh = n.notify
	c.TrailingLogs = math.MaxUint64 // or Raft deletes messages after its first snapshot
	c.SnapshotInterval = never      // checkpointer decides
	c.SnapshotThreshold = math.MaxUint64
	c.NoSnapshotRestoreOnStart = true // the store has restored itself
	c.NoLegacyTelemetry = true
	c.ShutdownOnRemove = false     // a removed member keeps answering reads until it is stopped
	c.PreVoteDisabled = false      // a member that was cut off must not disturb the term
	c.BatchApplyCh = false         // loses waiters at shutdown, and the collector batches
	c.RestoreCommittedLogs = false // hangs NewRaft when more than 128 batches wait
	return c
}

// newRaft starts Raft. NewRaft reads every entry after the checkpoint and
// panics at one it cannot read; nothing runs yet at that point, so the panic
// becomes the error it should have been.
func (n *Node) newRaft(state raft.FSM) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("dledger: raft cannot start from this log: %v", p)
		}
	}()
	r, err = raft.NewRaft(n.raftConfig(), state, n.logs, n.stable, n.snaps, n.transport)
	if err != nil {
		return nil, fmt.Errorf("dledger: start raft: %w", err)
	}
	n.running.Store(r)
	r.RegisterObserver(raft.NewObserver(n.observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	return r, nil
}

// Propose hands records to the group. It never blocks; every outcome, refusal
// included, comes through p.Done.
func (n *Node) Propose(p *Proposal) {
	switch {
	case !n.started.Load() || n.failed.Load() || n.closed.Load():
		p.finish(nil, ErrClosed)
	default:
		n.collector.propose(p)
	}
}

// Do proposes records and waits for the outcome. When ctx ends first it returns
// ErrUnknown: the records may still commit. Do keeps its own copy of data.
func (n *Node) Do(ctx context.Context, data []byte, records int) ([]store.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // nothing was proposed
	}
	done := make(chan struct{})
	p := &Proposal{
		Data:    slices.Clone(data),
		Records: records,
		Done:    func(*Proposal) { close(done) },
	}
	n.Propose(p)
	select {
	case <-done:
		return p.Results, p.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

// Now is the group clock in unix milliseconds (see clock).
func (n *Node) Now() int64 {
	if !n.started.Load() {
		return wall.UnixMilli()
	}
	return n.clock.now()
}

// fail ends the process: it falls silent towards the group first, so that the
// others elect a leader even if this process takes long to die.
func (n *Node) fail(err error) {
	if n.failed.Swap(true) {
		return
	}
	if !errors.Is(err, ErrReplaced) {
		n.logger.Error("this member gives up", "error", err)
	}
	go func() {
		if s := n.silence.Load(); s != nil {
			_ = s.Close() // the listener's error says nothing new here
		}
		n.cfg.Exit(err)
	}()
}

// Close leaves the group gracefully: it hands leadership over, refuses what
// still waits, saves a checkpoint and stops. It is idempotent.
func (n *Node) Close() error {
	n.closing.Do(func() {
		if !n.started.Load() {
			return
		}
		n.handOver()
		n.closeErr = n.shutdown(true)
	})
	return n.closeErr
}

// halt ends the node as a crash would: it falls silent first and saves nothing.
func (n *Node) halt() {
	n.closing.Do(func() {
		if n.started.Load() {
			_ = n.streams.Close()
			_ = n.shutdown(false)
		}
	})
}

// handOver tries to make another member leader before Close.
func (n *Node) handOver() {
	if !n.ready.Load() || n.cfg.CloseTransferTimeout < 0 || len(n.successors()) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.CloseTransferTimeout)
	defer cancel()
	if err := n.TransferLeadership(ctx); err != nil {
		n.logger.Warn("leadership was not handed over before closing: the others will elect a leader", "error", err)
	}
}

// shutdown stops everything. The order matters: Raft forgets the futures it has
// handed to its FSM goroutine when it is shut down, so the collector and the
// barriers end first, while it can still answer. A leader that has lost its
// group answers them too, when its lease ends.
func (n *Node) shutdown(graceful bool) error {
	n.closed.Store(true)
	close(n.stop)
	n.background.Wait() // nothing opens the collector again
	n.collector.shut(ErrClosed)
	n.operations.end()
	n.collector.close()
	if n.ready.Swap(false) {
		n.reporter.report(RoleChange{Term: n.raft.CurrentTerm()})
	}
	var errs []error
	if graceful && n.dirty() {
		if err := n.checkpoint(); err != nil {
			errs = append(errs, err)
		}
	}
	// Calls to members that do not answer would hold Raft up for rpcTimeout.
	_ = n.streams.Close()
	if err := n.raft.Shutdown().Error(); err != nil {
		errs = append(errs, fmt.Errorf("dledger: stop raft: %w", err))
	}
	if err := n.stable.Close(); err != nil {
		errs = append(errs, fmt.Errorf("dledger: close %s: %w", n.stable.path, err))
	}
	close(n.unwatch)
	n.watchdog.Wait()
	n.reporter.close()
	return errors.Join(errs...)
}

// abandon undoes a start that failed half way.
func (n *Node) abandon() {
	if n.raft != nil {
		_ = n.streams.Close()
		_ = n.raft.Shutdown().Error()
	} else if n.transport != nil {
		_ = n.transport.Close()
	} else if n.cfg.Listen != nil {
		_ = n.cfg.Listen.Close()
	}
	if n.stable != nil {
		_ = n.stable.Close()
	}
	close(n.unwatch)
	n.watchdog.Wait()
}
