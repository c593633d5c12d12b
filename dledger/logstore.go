package dledger

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/internal/histogram"
	"github.com/cometmq/cometmq/internal/logging"
	"github.com/cometmq/cometmq/store/commitlog"
)

// logStore is raft.LogStore over the commit log: Raft's log and the messages
// are the same bytes.
//
// Raft's main goroutine alone calls StoreLogs and DeleteRange; GetLog comes
// from the replication goroutines at any time.
//
// It is not a raft.MonotonicLogStore on purpose: with that ability Raft answers
// an installed snapshot by deleting the whole log, which for us is every
// message. See docs/adr/0003.
type logStore struct {
	log     *commitlog.Log
	writing sync.Mutex    // held while the log is changed
	frozen  bool          // it must not be changed any more; guarded by writing
	applied func() uint64 // highest index in the state; never truncated
	watch   *watch
	fatal   func(error)
	damaged func(error) // may keep its caller; see Node.damaged
	logger  hclog.Logger
	appends *histogram.Histogram
	slow    *logging.Limited

	// scratch carries the entries of one StoreLogs call to the commit log. It
	// keeps its capacity and drops its references after each call.
	scratch []commitlog.Entry

	// truncated is true between the removal of a conflicting suffix and the
	// next successful append. Raft then still believes in the old last index
	// (a known gap in raft's appendEntries), so an append that fails in this
	// state leaves memory and disk in disagreement.
	truncated bool
}

// FirstIndex returns the first index in the log, 0 when it is empty.
func (s *logStore) FirstIndex() (uint64, error) { return s.log.FirstIndex(), nil }

// LastIndex returns the last index in the log, 0 when it is empty.
func (s *logStore) LastIndex() (uint64, error) { return s.log.LastIndex(), nil }

// GetLog reads one entry. With damage this member withdraws. Raft compares the error with
// ErrLogNotFound by ==. The slices handed out are shared with the log's cache; raft only reads them.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	e, _, err := s.log.Read(index)
	if errors.Is(err, commitlog.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		err = fmt.Errorf("read entry %d of the commit log: %w", index, err)
		if corruptEntry(err) {
			s.damaged(fmt.Errorf("dledger: %w; a damaged log must not vote", err))
		}
		return err
	}
	*l = raft.Log{
		Index:      e.Index,
		Term:       e.Term,
		Type:       raft.LogType(e.Kind),
		Data:       e.Data,
		Extensions: e.Extensions,
	}
	if e.AppendedAt != 0 {
		l.AppendedAt = time.Unix(0, e.AppendedAt).UTC()
	}
	return nil
}

// StoreLog appends one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// freeze returns when nothing is being written any more, and lets nothing be
// written until it is taken back.
func (s *logStore) freeze(on bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.frozen = on
}

// StoreLogs appends entries, all or none, with one fsync when the log syncs.
//
// A full disk is returned: a leader then steps down, a follower is retried, and
// both go on when there is room. Any other failure leaves unknown bytes on the
// disk and ends the process.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.frozen {
		return errReplaced
	}
	for _, l := range logs {
		s.scratch = append(s.scratch, entryOf(l))
	}
	first, last := logs[0].Index, logs[len(logs)-1].Index
	s.waitForApplier()
	s.watch.begin(func() string {
		return fmt.Sprintf("writing entries %d to %d to the commit log", first, last)
	})
	began := time.Now()
	err := s.log.Append(s.scratch)
	s.watch.end()
	if took := s.appends.Since(began); took > slowAppend {
		s.slow.Warn("slow write to the commit log", "took", took.Round(time.Millisecond), "entries", len(logs), "first-index", first, "last-index", last)
	}
	clear(s.scratch)
	s.scratch = s.scratch[:0]
	if err == nil {
		s.truncated = false
		return nil
	}

	err = fmt.Errorf("append entries %d to %d to the commit log: %w", first, last, err)
	switch {
	case s.truncated:
		s.fatal(fmt.Errorf("dledger: %w; the conflicting entries before them were just removed, "+
			"so Raft's view of the log no longer matches the disk: this process must start again", err))
	case !recoverable(err):
		s.fatal(fmt.Errorf("dledger: %w; what is on the disk is unknown: this process must start again and read it back", err))
	}
	return err
}

// backlogMax is how many bytes of entries may be stored and not applied before a
// member that is still applying stops to store more, and applierPause is how
// long it must have applied nothing to count as done.
const (
	backlogMax   = 64 << 20
	applierPause = 20 * time.Millisecond
)

// waitForApplier keeps a member that is catching up from holding its whole
// backlog in memory. Raft hands committed entries to the FSM through a queue of
// 128 batches, each of up to 64 entries of 256 KiB: 2 GiB when entries arrive
// faster than they are applied, as on a returning member. Only Raft's main
// goroutine waits here; heartbeats have a way of their own, so the leader stays
// known. Entries that are not committed yet are never applied while we wait,
// hence the pause and no strict bound.
func (s *logStore) waitForApplier() {
	for s.backlog() > backlogMax {
		before, progress := s.applied(), false
		for end := time.Now().Add(applierPause); !progress && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // a poll: the FSM must not pay for telling
			progress = s.applied() != before
		}
		if !progress {
			return
		}
	}
}

// backlog is how many bytes are stored and not applied. Up to one full
// AppendEntries it does not count: that is what every busy follower has.
func (s *logStore) backlog() int64 {
	applied := s.applied()
	if s.log.LastIndex() < applied+maxAppendEntries {
		return 0
	}
	from, err := s.log.Locate(applied + 1)
	if err != nil {
		return 0 // Reading is not this function's task; whoever needs the entry reports it.
	}
	return s.log.MaxOffset() - from
}

// recoverable says whether a failed append left the log exactly as it was:
// there was no room, or the entry was refused before anything was written. A
// log whose sync failed for want of room is not: what it holds is unknown.
func recoverable(err error) bool {
	if errors.Is(err, commitlog.ErrFailed) {
		return false
	}
	for _, harmless := range []error{syscall.ENOSPC, syscall.EDQUOT, commitlog.ErrTooLarge, commitlog.ErrClosed} {
		if errors.Is(err, harmless) {
			return true
		}
	}
	return false
}

// DeleteRange removes the conflicting suffix of a follower's log, which is the
// one deletion Raft has a right to here: the head is never compacted (our
// TrailingLogs is endless), and emptying the log would delete every message.
func (s *logStore) DeleteRange(from, to uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.frozen {
		return errReplaced
	}
	first, last := s.log.FirstIndex(), s.log.LastIndex()
	switch {
	case from > to || to != last:
		return fmt.Errorf("dledger: refusing to delete entries %d to %d: the log is %d to %d and only its end may be cut",
			from, to, first, last)
	case from <= first:
		return fmt.Errorf("dledger: refusing to delete entries %d to %d: that is the whole log and every message in it", from, to)
	case from <= s.applied():
		return fmt.Errorf("dledger: refusing to delete entries %d to %d: entries up to %d are applied and therefore committed; "+
			"two leaders must have disagreed, compare the members' logs", from, to, s.applied())
	}
	s.watch.begin(func() string {
		return fmt.Sprintf("cutting the commit log before entry %d", from)
	})
	err := s.log.TruncateSuffix(from)
	s.watch.end()
	if err != nil {
		err = fmt.Errorf("cut the commit log before entry %d: %w", from, err)
		s.fatal(fmt.Errorf("dledger: %w; where the log ends is unknown: this process must start again and read it back", err))
		return err
	}
	s.truncated = true
	s.logger.Info("removed conflicting end of the log", "from-index", from, "to-index", to)
	return nil
}

// entryOf turns Raft's entry into the commit log's. The time is kept as
// nanoseconds and a missing time as 0, because time.Time has no stable bytes
// and the log must be the same on every member.
func entryOf(l *raft.Log) commitlog.Entry {
	e := commitlog.Entry{
		Index:      l.Index,
		Term:       l.Term,
		Kind:       uint8(l.Type),
		Extensions: l.Extensions,
		Data:       l.Data,
	}
	if !l.AppendedAt.IsZero() {
		e.AppendedAt = l.AppendedAt.UnixNano()
	}
	return e
}
