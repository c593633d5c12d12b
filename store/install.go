package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/commitlog"
)

// A member that is too far behind, or new, gets the log of another one and the
// checkpoint that belongs to its end. Both are received into a directory of
// their own, beside the store in use:
//
//	<dir>/incoming/commitlog/  a commit log like any other, see store/commitlog
//	<dir>/incoming/state       the checkpoint, drawn at State
//	<dir>/incoming/ready       there when both are complete: "1", "2" or "3"
//
// What arrives is checked entry by entry and survives a crash as appended
// entries do, so that a cut stream goes on where it ended, from whichever member
// leads then: committed entries are the same everywhere.
//
// Open makes a complete one the store. Each step can be repeated, and ready says
// which is next: 1 the files of the old log are removed; 2 those of the new one
// are moved into their place; 3 the metadata is replaced, in one transaction, and
// ready is removed. Consume queues and key index are derived and built again.
const (
	incomingDir = "incoming"
	stateName   = "state"
	readyName   = "ready"

	stateMagic      = 0x434D5453 // "CMTS"
	stateVersion    = 1
	checkpointBytes = 1 << 32 // bound of the file

	phaseRemove = "1"
	phaseMove   = "2"
	phaseState  = "3"
)

// errBadState says that a received checkpoint is not what was received.
var errBadState = errors.New("the received checkpoint is damaged")

// exported are the buckets that make a checkpoint; the others are derived, or
// about this member's files.
var exported = []string{bucketMeta, bucketMachine, bucketQueues, bucketActions, bucketRaft}

// Export is what another member needs to become like this one, but for the
// entries themselves.
type Export struct {
	// The log begins with entry FirstIndex at physical offset Base, and the state
	// is that after entry Index, which ends at End.
	FirstIndex uint64
	Base       int64
	Index      uint64
	Term       uint64
	End        int64
	// State is the checkpoint, for Intake.Complete.
	State []byte
}

// Export returns the last checkpoint on disk and the part of the log that belongs
// to it. It waits for a checkpoint being written.
func (s *Store) Export() (*Export, error) {
	s.persistMu.Lock()
	defer s.persistMu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	x := &Export{FirstIndex: s.commit.FirstIndex(), Base: s.commit.MinOffset(), Index: s.saved.Load()}
	if x.Index == 0 {
		return nil, errors.New("there is no checkpoint to export yet")
	}
	e, at, err := s.commit.Read(x.Index)
	if err != nil {
		return nil, fmt.Errorf("export the checkpoint at index %d: %w", x.Index, err)
	}
	x.Term, x.End = e.Term, at+int64(len(e.Data))
	if x.State, err = encodeCheckpoint(s.kv); err != nil {
		return nil, fmt.Errorf("export the checkpoint at index %d: %w", x.Index, err)
	}
	return x, nil
}

// SegmentSize is the configured one.
func (s *Store) SegmentSize() int64 { return s.cfg.SegmentSize }

// State, all integers big-endian:
//
//	u32 magic "CMTS" | u8 version=1 |
//	for each key: u8 n | n bytes bucket | u32 n | n bytes key | u32 n | n bytes value |
//	u32 crc32c of all before it
func encodeCheckpoint(kv KVFile) ([]byte, error) {
	b := binary.BigEndian.AppendUint32(nil, stateMagic)
	b = append(b, stateVersion)
	for _, bucket := range exported {
		err := kv.Each(bucket, func(k, v []byte) error {
			b = append(append(b, byte(len(bucket))), bucket...)
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(k))), k...)
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read bucket %s: %w", bucket, err)
		}
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// decodeCheckpoint returns the keys by bucket; they share b's bytes.
func decodeCheckpoint(b []byte) (map[string][]KV, error) {
	if len(b) < 9 || binary.BigEndian.Uint32(b) != stateMagic {
		return nil, fmt.Errorf("%w: it is not the state of a member", ErrMalformed)
	}
	if b[4] != stateVersion {
		return nil, fmt.Errorf("%w: the state has version %d, this program knows %d", ErrMalformed, b[4], stateVersion)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, fmt.Errorf("%w: the checksum of the state does not match", ErrMalformed)
	}
	out := make(map[string][]KV)
	rest := body[5:]
	take := func(n int) []byte {
		if n > len(rest) {
			rest = nil
			return nil
		}
		p := rest[:n:n]
		rest = rest[n:]
		return p
	}
	length := func() int {
		if p := take(4); p != nil {
			return int(binary.BigEndian.Uint32(p))
		}
		return 0
	}
	for len(rest) > 0 {
		bucket := string(take(1 + int(rest[0])))
		k := take(length())
		v := take(length())
		if bucket == "" || k == nil || v == nil {
			return nil, fmt.Errorf("%w: the state ends early", ErrMalformed)
		}
		out[bucket[1:]] = append(out[bucket[1:]], KV{Key: k, Value: v})
	}
	return out, nil
}

// Intake receives another member's log and checkpoint. It belongs to one
// goroutine.
type Intake struct {
	s   *Store
	dir string
	log *commitlog.Log
}

// OpenIntake begins to receive what from describes, or goes on where an earlier
// one was cut: LastIndex tells. The store stays in use meanwhile.
func (s *Store) OpenIntake(from *Export) (*Intake, error) {
	i := &Intake{s: s, dir: filepath.Join(s.cfg.Dir, incomingDir)}
	err := i.open(from)
	if err == nil && !i.fits(from) {
		err = errors.Join(i.log.Close(), errors.New("it is another part of the log"))
	}
	if err == nil {
		return i, nil
	}
	s.log.Info("beginning to receive a log", "instead-of", err)
	if err := i.empty(); err != nil {
		return nil, err
	}
	if err := i.open(from); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *Intake) open(from *Export) (err error) {
	cfg := i.s.cfg
	// Without syncs: nobody believes it before it was closed.
	i.log, err = commitlog.Open(commitlog.Config{
		FS: cfg.FS, Dir: filepath.Join(i.dir, "commitlog"), SegmentSize: cfg.SegmentSize,
		FlushInterval: cfg.FlushInterval, Logger: cfg.Logger.Named("incoming"), Base: from.Base, FirstIndex: from.FirstIndex,
	})
	return err
}

// fits makes sure that what is to come can follow what is here. Each member
// removes old segments on its own: those that the sender has not got any more go
// here too, since his state says nothing about the commands in them; if he has
// older ones than were received, this member does without.
func (i *Intake) fits(from *Export) bool {
	l := i.log
	if l.MinOffset() < from.Base {
		if _, err := l.TrimPrefix(from.FirstIndex); err != nil {
			return false
		}
	}
	if last := l.LastIndex(); last > 0 {
		return l.MinOffset() >= from.Base && l.FirstIndex() >= from.FirstIndex && last <= from.Index
	}
	return l.MinOffset() == from.Base
}

// empty forgets what was received.
func (i *Intake) empty() error {
	if err := i.s.cfg.FS.RemoveAll(i.dir); err != nil {
		return fmt.Errorf("remove what was received before: %w", err)
	}
	return nil
}

// LastIndex is the last entry received so far and its term, 0 before the first.
func (i *Intake) LastIndex() (index, term uint64) {
	if index = i.log.LastIndex(); index == 0 {
		return 0, 0
	}
	e, _, err := i.log.Read(index)
	if err != nil {
		return 0, 0
	}
	return index, e.Term
}

// Append adds the next entries. It keeps their slices.
func (i *Intake) Append(entries []commitlog.Entry) error { return i.log.Append(entries) }

// MaxOffset is the physical offset after the last entry received.
func (i *Intake) MaxOffset() int64 { return i.log.MaxOffset() }

// Close ends the intake and keeps what was received for the next one.
func (i *Intake) Close() error { return i.log.Close() }

// Discard ends the intake and forgets what was received.
func (i *Intake) Discard() error { return errors.Join(i.log.Close(), i.empty()) }

// Complete makes the received log and this state the ones that the next Open
// finds, durably: after a nil this store must only be closed any more. After an
// error it is as before.
func (i *Intake) Complete(state []byte) error {
	kvs, err := decodeCheckpoint(state)
	if err != nil {
		return err
	}
	var index uint64
	for _, kv := range kvs[bucketMeta] {
		if string(kv.Key) == keyIndex && len(kv.Value) == 8 {
			index = binary.BigEndian.Uint64(kv.Value)
		}
	}
	if last := i.log.LastIndex(); index == 0 || index != last {
		return fmt.Errorf("%w: the state is that at index %d, the log ends at %d", ErrMalformed, index, last)
	}
	if err := i.log.Close(); err != nil { // syncs it
		return fmt.Errorf("finish the received log: %w", err)
	}
	fsys := i.s.cfg.FS
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(i.dir, stateName), state); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, filepath.Join(i.dir, readyName), []byte(phaseRemove))
}

// finishInstall makes what an Intake completed the store in cfg.Dir.
func finishInstall(cfg Config) error {
	dir := filepath.Join(cfg.Dir, incomingDir)
	ready := filepath.Join(dir, readyName)
	phase, err := vfs.ReadFile(cfg.FS, ready, 16)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read how far the taking over of a received log is: %w", err)
	}
	cfg.Logger.Info("taking over the log that was received from the group", "phase", string(phase))
	old, fresh := filepath.Join(cfg.Dir, "commitlog"), filepath.Join(dir, "commitlog")
	switch string(phase) {
	case phaseRemove:
		if err := removeFiles(cfg.FS, old); err != nil {
			return fmt.Errorf("remove the old log: %w", err)
		}
		if err := vfs.WriteFileAtomic(cfg.FS, ready, []byte(phaseMove)); err != nil {
			return err
		}
		fallthrough
	case phaseMove:
		if err := moveFiles(cfg.FS, fresh, old); err != nil {
			return fmt.Errorf("move the received log into its place: %w", err)
		}
		if err := vfs.WriteFileAtomic(cfg.FS, ready, []byte(phaseState)); err != nil {
			return err
		}
		fallthrough
	case phaseState:
		if err := takeState(cfg, filepath.Join(dir, stateName)); err != nil {
			return fmt.Errorf("take over the received state: %w", err)
		}
	default:
		return fmt.Errorf("%s says %q, which this version does not know; use the newer version", ready, phase)
	}
	// A report of damage was about the log that is gone.
	if err := dropReport(cfg); err != nil {
		return err
	}
	if err := cfg.FS.Remove(ready); err != nil {
		return fmt.Errorf("finish taking over a received log: %w", err)
	}
	if err := cfg.FS.SyncDir(dir); err != nil {
		return fmt.Errorf("finish taking over a received log: %w", err)
	}
	return cfg.FS.RemoveAll(dir)
}

// removeFiles empties a directory, durably.
func removeFiles(fsys vfs.FS, dir string) error {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := fsys.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

// moveFiles moves what a directory holds into another, durably.
func moveFiles(fsys vfs.FS, from, to string) error {
	if err := fsys.MkdirAll(to, 0o755); err != nil {
		return err
	}
	names, err := fsys.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			continue
		}
		if err := fsys.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return errors.Join(fsys.SyncDir(to), fsys.SyncDir(from))
}

// takeState replaces the metadata by that in a file and removes what is derived.
func takeState(cfg Config, file string) (err error) {
	raw, err := vfs.ReadFile(cfg.FS, file, checkpointBytes)
	if err != nil {
		return err
	}
	changes, err := decodeCheckpoint(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadState, err)
	}
	changes[bucketMeta] = append(changes[bucketMeta], number(keyRebuilding, 1))
	for _, name := range []string{"consumequeue", "index"} {
		if err := cfg.FS.RemoveAll(filepath.Join(cfg.Dir, name)); err != nil {
			return err
		}
	}
	kv, err := cfg.OpenKV(filepath.Join(cfg.Dir, "metadata.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kv.Close()) }()
	for _, bucket := range append([]string{bucketIndex, bucketSuspect}, exported...) {
		keep := make(map[string]bool)
		for _, kv := range changes[bucket] {
			keep[string(kv.Key)] = true
		}
		err := kv.Each(bucket, func(k, _ []byte) error {
			if !keep[string(k)] {
				changes[bucket] = append(changes[bucket], KV{Key: append([]byte{}, k...)})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return kv.Update(changes)
}
