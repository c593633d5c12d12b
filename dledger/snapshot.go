package dledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/store"
)

// What Raft calls a snapshot is here a checkpoint of the store: metadata,
// applied index and queue positions, never messages. Raft's own part of it
// (index, term, configuration) goes into the same transaction, so that after a
// crash the two cannot disagree.
//
// Raft's SnapshotStore has two callers that look alike: a local checkpoint and
// a snapshot that arrives from the leader. Both begin with Create. They differ
// in what comes next: fsmSnapshot.Persist finds out that the sink is ours and
// gives it the checkpoint, while an arriving snapshot is written as bytes. The
// second way is refused: logs come in the way of install.go.

// snapshotKey is where Raft's part of a checkpoint lies in the store.
const snapshotKey = "raft.snapshot"

// snapshotStore is raft.SnapshotStore over the store's checkpoints. It lists at
// most one snapshot, the latest checkpoint.
type snapshotStore struct {
	watch  *watch
	logger hclog.Logger

	mu   sync.Mutex
	last *raft.SnapshotMeta // nil before the first checkpoint
}

// openSnapshots reads Raft's part of the store's last checkpoint.
func openSnapshots(s *store.Store, w *watch, logger hclog.Logger) (*snapshotStore, error) {
	ss := &snapshotStore{watch: w, logger: logger}
	raw, ok := s.RaftMeta(snapshotKey)
	if !ok {
		if at := s.AppliedIndex(); at > 0 {
			return nil, fmt.Errorf("%w: the store is at index %d but holds no record of Raft's configuration: "+
				"it was not written by this group; restore the folder from a copy or start this member empty", ErrStateDamaged, at)
		}
		return ss, nil
	}
	meta, err := decodeSnapshotMeta(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: Raft's part of it: %w", ErrStateDamaged, err)
	}
	if at := s.AppliedIndex(); at > meta.Index {
		return nil, fmt.Errorf("%w: the store is at index %d but Raft's part of its checkpoint at %d: "+
			"they were not written together; start this member empty", ErrStateDamaged, at, meta.Index)
	}
	ss.last = meta
	return ss, nil
}

// latest returns the last checkpoint's meta, or nil.
func (ss *snapshotStore) latest() *raft.SnapshotMeta {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.last
}

// List returns the latest checkpoint.
func (ss *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	if m := ss.latest(); m != nil {
		return []*raft.SnapshotMeta{m}, nil
	}
	return nil, nil
}

// Open returns the latest checkpoint's meta and no bytes. A leader asks for it
// when a member needs entries that are gone; what that member is sent is at least
// as new and comes from sendLog.
func (ss *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m := ss.latest()
	if m == nil {
		return nil, nil, fmt.Errorf("dledger: there is no snapshot %q", id)
	}
	return m, noBytes{}, nil
}

// Create begins a snapshot of either kind.
func (ss *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration,
	confIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	return &sink{owner: ss, meta: newSnapshotMeta(version, index, term, conf, confIndex)}, nil
}

func newSnapshotMeta(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version:            version,
		ID:                 fmt.Sprintf("%d-%d", term, index),
		Index:              index,
		Term:               term,
		Configuration:      conf,
		ConfigurationIndex: confIndex,
	}
}

// sink receives one snapshot.
type sink struct {
	owner   *snapshotStore
	meta    *raft.SnapshotMeta
	durable bool // a checkpoint was persisted into it
}

// ID names the snapshot.
func (s *sink) ID() string { return s.meta.ID }

// Cancel gives the snapshot up. A checkpoint is one transaction, so there is
// nothing to clean.
func (s *sink) Cancel() error { return nil }

// Write is the arriving kind.
func (s *sink) Write([]byte) (int, error) {
	s.owner.logger.Error("refused a snapshot from the leader", "snapshot", s.meta.ID, "error", errInstallRefused)
	return 0, errInstallRefused
}

// Close makes the snapshot the latest one.
func (s *sink) Close() error {
	if !s.durable {
		s.owner.logger.Error("refused a snapshot from the leader", "snapshot", s.meta.ID, "error", errInstallRefused)
		return errInstallRefused
	}
	s.owner.mu.Lock()
	s.owner.last = s.meta
	s.owner.mu.Unlock()
	return nil
}

// checkpoint is the local kind: state and meta become durable together.
func (s *sink) checkpoint(cp *store.Checkpoint) error {
	if cp.Index() > s.meta.Index {
		return fmt.Errorf("dledger: the checkpoint is at index %d but Raft's snapshot at %d", cp.Index(), s.meta.Index)
	}
	index := s.meta.Index
	s.owner.watch.begin(func() string { return fmt.Sprintf("saving the checkpoint at index %d", index) })
	err := cp.Persist([]store.KV{{Key: []byte(snapshotKey), Value: encodeSnapshotMeta(s.meta)}})
	s.owner.watch.end()
	if err != nil {
		return fmt.Errorf("save the checkpoint at index %d: %w", index, err)
	}
	s.durable = true
	return nil
}

// fsmSnapshot is a captured checkpoint on its way to the disk.
type fsmSnapshot struct{ cp *store.Checkpoint }

// Persist runs beside Apply, on Raft's snapshot goroutine.
func (f *fsmSnapshot) Persist(to raft.SnapshotSink) error {
	s, ok := to.(*sink)
	if !ok {
		return fmt.Errorf("dledger: a checkpoint can only go to the store's own sink, not to %T", to)
	}
	return s.checkpoint(f.cp)
}

// Release has nothing to give back.
func (f *fsmSnapshot) Release() {}

// Raft's part of a checkpoint, big-endian:
//
//	u8 version=1 | u8 snapshotVersion | u64 index | u64 term | u64 configurationIndex |
//	u32 n | n bytes configuration (raft's msgpack) | u32 crc32c of all before it
//
// The checksum also protects the process: raft's decoder panics on bytes it
// does not know.
const (
	snapshotMetaVersion = 1
	snapshotMetaFixed   = 1 + 1 + 8 + 8 + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeSnapshotMeta(m *raft.SnapshotMeta) []byte {
	conf := raft.EncodeConfiguration(m.Configuration)
	b := make([]byte, 0, snapshotMetaFixed+len(conf)+4)
	b = append(b, snapshotMetaVersion, byte(m.Version))
	b = binary.BigEndian.AppendUint64(b, m.Index)
	b = binary.BigEndian.AppendUint64(b, m.Term)
	b = binary.BigEndian.AppendUint64(b, m.ConfigurationIndex)
	b = binary.BigEndian.AppendUint32(b, uint32(len(conf)))
	b = append(b, conf...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeSnapshotMeta(b []byte) (*raft.SnapshotMeta, error) {
	if len(b) < snapshotMetaFixed+4 {
		return nil, fmt.Errorf("%d bytes are too few", len(b))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errors.New("checksum does not match")
	}
	if body[0] != snapshotMetaVersion {
		return nil, fmt.Errorf("version %d is newer than this program knows (%d)", body[0], snapshotMetaVersion)
	}
	conf := body[snapshotMetaFixed:]
	if n := binary.BigEndian.Uint32(body[26:]); uint64(n) != uint64(len(conf)) {
		return nil, fmt.Errorf("configuration of %d bytes where %d are announced", len(conf), n)
	}
	return newSnapshotMeta(
		raft.SnapshotVersion(body[1]),
		binary.BigEndian.Uint64(body[2:]),
		binary.BigEndian.Uint64(body[10:]),
		raft.DecodeConfiguration(conf),
		binary.BigEndian.Uint64(body[18:]),
	), nil
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)
