package dledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

const (
	stableFile = "stable.db"

	// keyTerm is the key under which raft keeps the current term.
	keyTerm = "CurrentTerm"
	// keyGenesis keeps the fingerprint of the first configuration (see
	// genesisOf) for members whose log no longer starts at index 1.
	keyGenesis = "cometmq.genesis"

	// stableOpenTimeout bounds the wait for the file's lock.
	stableOpenTimeout = time.Second
)

// stableStore is Raft's term and vote in a small bbolt file of its own. It is
// written at elections only, and each write is synced before Raft answers. What
// else a member must not forget about itself lies there too: see blank.go and
// addresses.go.
//
// raft panics when it cannot save its term: a member that forgets a term can
// vote twice. The node's fatal path runs first and gives the reason.
type stableStore struct {
	db      *raftboltdb.BoltStore
	writing sync.Mutex // one write at a time, because of watch
	watch   *watch
	fatal   func(error)
	path    string
}

func openStable(dir string, w *watch, fatal func(error)) (*stableStore, error) {
	return openStableAs(dir, w, fatal, false)
}

// openStableAs is openStable, also for tools that must not change the file.
func openStableAs(dir string, w *watch, fatal func(error), readOnly bool) (*stableStore, error) {
	path := filepath.Join(dir, stableFile)
	db, err := raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{Timeout: stableOpenTimeout, ReadOnly: readOnly},
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("dledger: open %s: another process holds it; stop that process or choose another folder: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("dledger: open %s: %w", path, err)
	}
	return &stableStore{db: db, watch: w, fatal: fatal, path: path}, nil
}

// Get reads one value. Raft knows a missing key by the text of the error.
func (s *stableStore) Get(key []byte) ([]byte, error) { return s.db.Get(key) }

// GetUint64 reads one number.
func (s *stableStore) GetUint64(key []byte) (uint64, error) { return s.db.GetUint64(key) }

// Close closes the file.
func (s *stableStore) Close() error { return s.db.Close() }

// Set saves one value durably.
func (s *stableStore) Set(key, value []byte) error {
	return s.write(string(key), func() error { return s.db.Set(key, value) })
}

// SetUint64 saves one number durably.
func (s *stableStore) SetUint64(key []byte, value uint64) error {
	return s.write(string(key), func() error { return s.db.SetUint64(key, value) })
}

func (s *stableStore) write(key string, set func() error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.watch.begin(func() string { return fmt.Sprintf("saving %s to %s", key, s.path) })
	err := set()
	s.watch.end()
	if err != nil {
		err = fmt.Errorf("dledger: save %s to %s: %w", key, s.path, err)
		s.fatal(err)
	}
	return err
}

// number reads a number that may not be there yet.
func (s *stableStore) number(key string) (uint64, error) {
	v, err := s.db.GetUint64([]byte(key))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("dledger: read %s from %s: %w", key, s.path, err)
	}
	return v, nil
}

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*stableStore)(nil)
)
