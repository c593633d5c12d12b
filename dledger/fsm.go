package dledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/internal/histogram"
	"github.com/cometmq/cometmq/internal/logging"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// stampBytes is the size of an entry's Extensions: the group time, unix
// milliseconds, big-endian.
const stampBytes = 8

// fsm hands committed entries to the store. All methods run on Raft's one FSM
// goroutine.
type fsm struct {
	store   *store.Store
	clock   *clock
	fatal   func(error)
	logger  hclog.Logger
	applies *histogram.Histogram
	slow    *logging.Limited

	// failed is set when an entry could not be applied. Nothing is applied or
	// checkpointed after it, because the state would then miss that entry on
	// this member only.
	failed error

	// config is the last committed configuration.
	config atomic.Pointer[configuration]
	// onConfig is told of each one, and of the one before.
	onConfig func(index uint64, conf, before raft.Configuration)
}

// configuration is the group's members from an entry of the log on.
type configuration struct {
	index uint64
	conf  raft.Configuration
}

// configuration returns the last committed one; the zero value before the first.
func (f *fsm) configuration() configuration {
	if c := f.config.Load(); c != nil {
		return *c
	}
	return configuration{}
}

// Apply applies one entry and returns its []store.Result, or an error when this
// member cannot apply it and is about to end.
func (f *fsm) Apply(l *raft.Log) any {
	if f.failed != nil {
		return f.failed
	}
	offset, err := f.store.Log().Locate(l.Index)
	if err != nil {
		f.failed = fmt.Errorf("dledger: locate committed entry %d in the commit log: %w", l.Index, err)
		f.fatal(f.failed)
		return f.failed
	}
	at, began := stampOf(l.Extensions), time.Now()
	results := f.store.Apply(store.Entry{
		Index:  l.Index,
		Term:   l.Term,
		Time:   at,
		Offset: message.PhyOffset(offset),
		Data:   l.Data,
	})
	f.clock.seen(at)
	if took := f.applies.Since(began); took > slowApply {
		f.slow.Warn("slow entry in the state machine", "took", took.Round(time.Millisecond), "index", l.Index, "records", len(results), "bytes", len(l.Data))
	}
	return results
}

// stampOf reads the group time of an entry, 0 when it has none.
func stampOf(extensions []byte) int64 {
	if len(extensions) != stampBytes {
		return 0
	}
	return int64(binary.BigEndian.Uint64(extensions))
}

// StoreConfiguration takes part in raft.ConfigurationStore. The configuration
// is kept with the checkpoint, not here; without this method Raft would not
// count configuration entries as applied and would refuse every checkpoint
// between a membership change and the next message.
func (f *fsm) StoreConfiguration(index uint64, conf raft.Configuration) {
	before := f.configuration()
	if index <= before.index {
		return // of the checkpoint, which was newer
	}
	// In this order: who says that it knows a configuration has acted on it.
	f.onConfig(index, conf, before.conf)
	f.config.Store(&configuration{index, conf})
}

// Snapshot captures a checkpoint: metadata, applied index and queue positions.
// The messages stay where they are.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.failed != nil {
		return nil, f.failed
	}
	cp, err := f.store.Capture()
	if err != nil {
		return nil, fmt.Errorf("capture a checkpoint: %w", err)
	}
	return &fsmSnapshot{cp: cp}, nil
}

// errInstallRefused is what a member answers to a snapshot from its leader.
var errInstallRefused = errors.New("dledger: a snapshot in Raft's own way is not taken: members send their logs in another")

// Restore is called after an incoming snapshot was stored, which never succeeds
// here; at a start the store recovers by itself (NoSnapshotRestoreOnStart).
func (f *fsm) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	return errInstallRefused
}

var (
	_ raft.FSM                = (*fsm)(nil)
	_ raft.ConfigurationStore = (*fsm)(nil)
)
