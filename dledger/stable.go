package dledger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/cometmq/cometmq/store"
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
// bbolt checks its two heads and trusts everything else, so each value carries a
// checksum; see sealValue.
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

// stableDamage says that stable.db is not what was written.
type stableDamage struct {
	path  string
	cause error
}

func (e *stableDamage) Error() string {
	return fmt.Sprintf("dledger: %s, which holds this member's term and vote, is damaged: %v", e.path, e.cause)
}

func (e *stableDamage) Unwrap() error { return e.cause }

// openStable opens or creates the file. A *stableDamage means that nothing in it
// may be believed.
func openStable(dir string, w *watch, fatal func(error)) (*stableStore, error) {
	return openStableAs(dir, w, fatal, false)
}

// openStableAs is openStable, also for tools that must not change the file.
func openStableAs(dir string, w *watch, fatal func(error), readOnly bool) (*stableStore, error) {
	path := filepath.Join(dir, stableFile)
	if err := checkStable(path); err != nil {
		return nil, err
	}
	db, err := raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{Timeout: stableOpenTimeout, ReadOnly: readOnly},
	})
	if err != nil {
		return nil, stableOpenError(path, err)
	}
	return &stableStore{db: db, watch: w, fatal: fatal, path: path}, nil
}

func stableOpenError(path string, err error) error {
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return fmt.Errorf("dledger: open %s: another process holds it; stop that process or choose another folder: %w", path, err)
	}
	return fmt.Errorf("dledger: open %s: %w", path, err)
}

// checkStable reads everything in the file. A file of no length is what a crash
// leaves of the first start, and as good as none.
func checkStable(path string) (err error) {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err := store.CheckBolt(path); err != nil {
		return &stableDamage{path, err}
	}
	// A page number that points beyond the file is a fault of the memory map.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var db *bbolt.DB
	defer func() {
		if p := recover(); p != nil {
			err = &stableDamage{path, fmt.Errorf("%v", p)}
		}
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: stableOpenTimeout, ReadOnly: true}); err != nil {
		for _, kind := range []error{bbolterrors.ErrInvalid, bbolterrors.ErrVersionMismatch, bbolterrors.ErrChecksum, bbolterrors.ErrInvalidMapping} {
			if errors.Is(err, kind) {
				return &stableDamage{path, err}
			}
		}
		return stableOpenError(path, err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		conf := tx.Bucket([]byte("conf"))
		if conf == nil {
			return nil // a crash in the first start
		}
		return conf.ForEach(func(k, v []byte) error {
			_, err := openValue(k, v)
			return err
		})
	})
	if err != nil {
		return &stableDamage{path, err}
	}
	return nil
}

// A value in stable.db is followed by a zero byte, 's', and four bytes crc32c of
// key and value, big-endian. Earlier versions wrote numbers of 8 bytes and
// addresses without them; numbers still begin with the same 8 bytes.
const sealBytes = 6

func sealValue(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	out := append(append(make([]byte, 0, len(value)+sealBytes), value...), 0, 's')
	return binary.BigEndian.AppendUint32(out, sum)
}

func openValue(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - sealBytes
	if n < 0 || sealed[n] != 0 || sealed[n+1] != 's' {
		old := len(sealed) == 8 || !bytes.ContainsRune(sealed, 0)
		if !old {
			return nil, fmt.Errorf("the value of %q is not one that was written", key)
		}
		return sealed, nil
	}
	if !bytes.Equal(sealValue(key, sealed[:n]), sealed) {
		return nil, fmt.Errorf("the checksum of %q does not match", key)
	}
	return sealed[:n], nil
}

// Get reads one value. Raft knows a missing key by the text of the error.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	v, err := s.db.Get(key)
	if err != nil {
		return nil, err
	}
	return openValue(key, v)
}

// GetUint64 reads one number.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("the number %q has %d bytes", key, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// Close closes the file.
func (s *stableStore) Close() error { return s.db.Close() }

// Set saves one value durably.
func (s *stableStore) Set(key, value []byte) error {
	return s.write(string(key), func() error { return s.db.Set(key, sealValue(key, value)) })
}

// SetUint64 saves one number durably.
func (s *stableStore) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
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
	v, err := s.GetUint64([]byte(key))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("dledger: read %s from %s: %w", key, s.path, err)
	}
	return v, nil
}

// doubt reads the doubt, nil when there is none.
func (s *stableStore) doubt() (*Doubt, error) {
	v, err := s.Get([]byte(keyDoubt))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) || err == nil && len(v) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dledger: read %s from %s: %w", keyDoubt, s.path, err)
	}
	d := new(Doubt)
	if err := json.Unmarshal(v, d); err != nil {
		// There is one, so the worst is assumed.
		d = &Doubt{Reason: fmt.Sprintf("why it is in doubt cannot be read: %v", err), Since: time.Now().UTC(), Forgot: true}
	}
	return d, nil
}

// setDoubt keeps a doubt, or that there is none.
func (s *stableStore) setDoubt(d *Doubt) error {
	var v []byte
	if d != nil {
		var err error
		if v, err = json.Marshal(d); err != nil {
			return err
		}
	}
	return s.Set([]byte(keyDoubt), v)
}

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*stableStore)(nil)
)
