package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/consumequeue"
	"github.com/cometmq/cometmq/store/index"
)

var (
	// ErrNotFound says that no message begins at a position, or that it is not
	// in the log any more, or not yet applied.
	ErrNotFound = errors.New("no such message")
	// ErrClosed says that the store is closed.
	ErrClosed = errors.New("store is closed")
	// ErrLogBehind says that the log ends before the checkpoint that was made of
	// it, so that acknowledged messages are missing here.
	ErrLogBehind = errors.New("commit log ends before the checkpoint")

	errNoCheckpoint = errors.New("there is no checkpoint")
)

// KindRecords is the kind of log entries whose data is records. The others are
// Raft's own and pass by the store.
const KindRecords uint8 = 0

// Buckets of metadata.db, see doc.go.
const (
	bucketMeta    = "meta"
	bucketMachine = "machine"
	bucketQueues  = "queues"
	bucketActions = "actions"
	bucketRaft    = "raft"
	bucketIndex   = "index"
	bucketSuspect = "suspect"
)

// Keys of the meta bucket.
const (
	keyFormat     = "format"
	keyIndex      = "applied-index"
	keyTerm       = "applied-term"
	keyTime       = "applied-time"
	keyRebuilding = "rebuilding"
)

// logReserve is what the commit log keeps for a full disk: hours of what the
// group writes without messages, such as elections and consumer offsets.
const logReserve = 16 << 20

const formatVersion = 1

// Store is the storage engine. Apply and Capture belong to one goroutine, all
// other methods to any.
type Store struct {
	cfg    Config
	log    hclog.Logger
	lock   io.Closer
	commit *commitlog.Log
	queues *consumequeue.Set
	keys   *index.Index // nil when switched off
	kv     KVFile

	index atomic.Uint64
	term  atomic.Uint64
	time  atomic.Int64 // the group's, unix ms
	// saved is the index of the last checkpoint that is on disk: what a start
	// applies again comes after it.
	saved atomic.Uint64

	// Of the applying goroutine alone.
	ctx      ApplyContext
	arrivals []Arrival
	actions  []KV // decisions to be kept by the next checkpoint

	background sync.WaitGroup // a rebuild of keys, the scrubber
	stopping   atomic.Bool

	reads    sync.Pool // *readBuffer
	damageAt atomic.Pointer[time.Time]
	health   health

	scrubEvery time.Duration
	stop       context.CancelFunc // ends the scrubber

	// persistMu lets one checkpoint be written at a time, and Close wait for it.
	persistMu  sync.Mutex
	closed     bool
	actionKeys [][]byte // what lies in the actions bucket, oldest first
	keysFrom   int64    // where the log began at the last checkpoint, for the key index
	cleaning   cleaning

	// mu is taken inside persistMu.
	mu      sync.Mutex
	pending []*Checkpoint // captured, not yet on disk, oldest first
	raft    map[string][]byte
}

// Open opens or creates a store and brings it to the state of its last
// checkpoint; the caller then applies the log from AppliedIndex()+1 on.
func Open(cfg Config) (_ *Store, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Store{
		cfg:   cfg,
		log:   cfg.Logger,
		reads: sync.Pool{New: func() any { return new(readBuffer) }},
		raft:  make(map[string][]byte),

		scrubEvery: cfg.scrubEvery,
		stop:       func() {},
	}
	s.health.scrub.At = -1
	s.ctx.store = s
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the store directory: %w", err)
	}
	if s.lock, err = cfg.FS.Lock(filepath.Join(cfg.Dir, "lock")); err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	if err := checkIdentity(cfg); err != nil {
		return nil, err
	}
	if err := finishInstall(cfg); err != nil {
		return nil, s.damagedAtOpen(err)
	}
	if err := checkDoubt(cfg); err != nil {
		return nil, err
	}
	if s.commit, err = commitlog.Open(commitlog.Config{
		FS:            cfg.FS,
		Dir:           filepath.Join(cfg.Dir, "commitlog"),
		SegmentSize:   cfg.SegmentSize,
		Sync:          cfg.Sync,
		FlushInterval: cfg.FlushInterval,
		Logger:        cfg.Logger.Named("commitlog"),
		OnFailure:     cfg.OnFailure,
		Reserve:       min(logReserve, cfg.SegmentSize),
		OnCorrupt:     func(bad *commitlog.CorruptError) { s.corrupt(bad, "read") },
	}); err != nil {
		return nil, s.damagedAtOpen(err)
	}
	if err := s.openMetadata(); err != nil {
		return nil, s.damagedAtOpen(err)
	}
	if err := s.load(); err != nil {
		return nil, s.damagedAtOpen(err)
	}
	if cfg.ScrubRate > 0 {
		var ctx context.Context
		ctx, s.stop = context.WithCancel(context.Background())
		s.background.Go(func() { s.scrubber(ctx) })
	}
	s.log.Info("store opened", "dir", cfg.Dir, "applied-index", s.AppliedIndex(), "last-index", s.commit.LastIndex())
	return s, nil
}

// openMetadata opens the last checkpoint. A damaged one is no loss as long as the
// log is whole: it is put aside, and everything is applied again.
func (s *Store) openMetadata() (err error) {
	path := filepath.Join(s.cfg.Dir, "metadata.db")
	s.kv, err = s.cfg.OpenKV(path)
	var damage *MetadataError
	if !errors.As(err, &damage) || s.commit.FirstIndex() != 1 {
		return err
	}
	s.log.Error("the checkpoint is damaged; it is made again from the whole log", "file", path, "error", damage.Cause)
	d := Damage{Findings: []Finding{finding(s.cfg, &commitlog.CorruptError{File: path}, "open")}}
	if err := keepEvidence(s.cfg, d); err != nil {
		return err
	}
	for _, name := range []string{"consumequeue", "index"} {
		if err := s.cfg.FS.RemoveAll(filepath.Join(s.cfg.Dir, name)); err != nil {
			return fmt.Errorf("remove what was derived from the damaged checkpoint: %w", err)
		}
	}
	s.kv, err = s.cfg.OpenKV(path)
	return err
}

// load brings queues and machine to the last checkpoint.
func (s *Store) load() error {
	meta, err := readMeta(s.kv)
	if err != nil {
		return err
	}
	if f := meta[keyFormat]; f > formatVersion {
		return fmt.Errorf("metadata has format %d, this version reads up to %d; use the newer version", f, formatVersion)
	}
	s.index.Store(meta[keyIndex])
	s.saved.Store(meta[keyIndex])
	s.term.Store(meta[keyTerm])
	s.time.Store(int64(meta[keyTime]))
	if first := s.commit.FirstIndex(); meta[keyIndex] == 0 && first > 1 {
		return fmt.Errorf("%w: the log begins with entry %d, so what came before is in no other place", errNoCheckpoint, first)
	}
	if last := s.commit.LastIndex(); last < meta[keyIndex] {
		return fmt.Errorf("%w: the log ends at index %d, the checkpoint was made at %d; restore the commitlog directory, or remove the whole store so that the group brings this member up again",
			ErrLogBehind, last, meta[keyIndex])
	}
	if err := s.loadRaft(); err != nil {
		return err
	}
	if err := s.loadQueues(meta[keyRebuilding] != 0); err != nil {
		return err
	}
	if err := s.loadMachine(); err != nil {
		return err
	}
	return s.openKeys()
}

// readMeta reads the numbers of a checkpoint.
func readMeta(kv KVFile) (map[string]uint64, error) {
	meta := make(map[string]uint64)
	err := kv.Each(bucketMeta, func(k, v []byte) error {
		if len(v) != 8 {
			return fmt.Errorf("metadata key %q has %d bytes instead of 8", k, len(v))
		}
		meta[string(k)] = binary.BigEndian.Uint64(v)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	return meta, nil
}

func (s *Store) loadRaft() error {
	err := s.kv.Each(bucketRaft, func(k, v []byte) error {
		s.raft[string(k)] = append([]byte{}, v...)
		return nil
	})
	if err == nil {
		err = s.kv.Each(bucketActions, func(k, _ []byte) error {
			s.actionKeys = append(s.actionKeys, append([]byte{}, k...))
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	return nil
}

func (s *Store) loadQueues(all bool) error {
	var states []consumequeue.State
	err := s.kv.Each(bucketQueues, func(k, v []byte) error {
		st, err := decodeState(k, v)
		states = append(states, st)
		return err
	})
	if err != nil {
		return fmt.Errorf("read queue states: %w", err)
	}
	var damaged []consumequeue.Damage
	s.queues, damaged, err = consumequeue.Open(consumequeue.Config{
		FS:        s.cfg.FS,
		Dir:       filepath.Join(s.cfg.Dir, "consumequeue"),
		Logger:    s.cfg.Logger.Named("consumequeue"),
		OnFailure: s.cfg.OnFailure,
		TailBytes: s.cfg.tailBytes,
		OpenFiles: s.cfg.openFiles,
	}, states)
	if err != nil {
		return err
	}
	if all {
		// A rebuild was cut short, so that even files of the right size may hold
		// bytes that never reached the disk.
		damaged = damaged[:0]
		for _, st := range states {
			damaged = append(damaged, consumequeue.Damage{State: st, Reason: "an earlier rebuild did not finish"})
		}
	}
	suspects, err := s.loadSuspects(states, &damaged)
	if err != nil || len(damaged) == 0 {
		return err
	}
	return s.rebuild(damaged, suspects)
}

// loadSuspects adds the queues in which a reader found an entry that does not fit
// the log; forget takes the notes about them back.
func (s *Store) loadSuspects(states []consumequeue.State, damaged *[]consumequeue.Damage) (forget []KV, err error) {
	err = s.kv.Each(bucketSuspect, func(k, _ []byte) error {
		forget = append(forget, KV{Key: slices.Clone(k)})
		for _, st := range states {
			same := func(d consumequeue.Damage) bool { return d.State == st }
			if bytes.Equal(k, stateKey(st.Topic, st.QueueID)) && !slices.ContainsFunc(*damaged, same) {
				*damaged = append(*damaged, consumequeue.Damage{State: st, Reason: "an entry did not fit the commit log"})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which queues are suspect: %w", err)
	}
	return forget, nil
}

func (s *Store) loadMachine() error {
	if s.cfg.Machine == nil {
		return nil
	}
	var readErr error
	err := s.cfg.Machine.Load(func(yield func(k, v []byte) bool) {
		stop := errors.New("stop")
		readErr = s.kv.Each(bucketMachine, func(k, v []byte) error {
			if !yield(k, v) {
				return stop
			}
			return nil
		})
		if errors.Is(readErr, stop) {
			readErr = nil
		}
	})
	if err = errors.Join(err, readErr); err != nil {
		return fmt.Errorf("load the metadata of the checkpoint: %w", err)
	}
	return nil
}

// Dir is the store's directory.
func (s *Store) Dir() string { return s.cfg.Dir }

// MetadataFile is where the checkpoints are.
func (s *Store) MetadataFile() string { return filepath.Join(s.cfg.Dir, "metadata.db") }

// Log returns the commit log. Entries are appended to it below the store's feet:
// what is not applied yet is invisible to the store's readers.
func (s *Store) Log() *commitlog.Log { return s.commit }

// AppliedIndex is the index of the last entry given to Apply.
func (s *Store) AppliedIndex() uint64 { return s.index.Load() }

// AppliedTerm is that entry's term.
func (s *Store) AppliedTerm() uint64 { return s.term.Load() }

// AppliedTime is the group time in unix ms: the latest time of any applied
// entry, so that it never steps back. 0 before the first.
func (s *Store) AppliedTime() int64 { return s.time.Load() }

// RaftMeta returns what the last checkpoint kept under a key of Persist's extra.
func (s *Store) RaftMeta(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.raft[key]
	return v, ok
}

// Close closes everything and waits for a checkpoint being written. It makes no
// checkpoint: what came after the last one is applied again from the log.
func (s *Store) Close() error {
	s.persistMu.Lock()
	defer s.persistMu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.release()
}

func (s *Store) release() error {
	s.stopping.Store(true)
	s.stop()
	s.background.Wait()
	var errs []error
	if s.keys != nil {
		errs = append(errs, s.keys.Close())
	}
	if s.queues != nil {
		errs = append(errs, s.queues.Close())
	}
	if s.commit != nil {
		errs = append(errs, s.commit.Close())
	}
	if s.kv != nil {
		errs = append(errs, s.kv.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
