package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// boltKV is a KVFile in a bbolt file. A transaction costs two syncs, which only
// checkpoints pay.
type boltKV struct{ db *bolt.DB }

func openBolt(path string) (_ KVFile, err error) {
	if err := CheckBolt(path); err != nil {
		return nil, err
	}
	var db *bolt.DB
	defer guard(path, &err)()
	db, err = bolt.Open(path, 0o644, &bolt.Options{
		Timeout: time.Second,
		// The free list is rebuilt at open; writing it with each checkpoint would
		// cost more than that.
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
	})
	if err != nil {
		return nil, openError(path, err)
	}
	b := &boltKV{db: db}
	if err = db.View(checkSums); err != nil {
		_ = db.Close() // only read so far
		return nil, &MetadataError{Path: path, Cause: err}
	}
	return b, nil
}

// openBoltReadOnly is for tools: it makes no file and changes none. A missing
// file satisfies errors.Is with fs.ErrNotExist.
func openBoltReadOnly(path string) (_ KVFile, err error) {
	defer guard(path, &err)()
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	if err := CheckBolt(path); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o644, &bolt.Options{Timeout: time.Second, ReadOnly: true, PreLoadFreelist: false})
	if err != nil {
		return nil, openError(path, err)
	}
	return &boltKV{db: db}, nil
}

// MetadataError says that the metadata file is not what was written.
type MetadataError struct {
	Path  string
	Cause error
}

// Error names the file.
func (e *MetadataError) Error() string {
	return fmt.Sprintf("the metadata file %s is damaged: %v", e.Path, e.Cause)
}

func (e *MetadataError) Unwrap() error { return e.Cause }

func openError(path string, err error) error {
	for _, damage := range []error{bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum, bolterrors.ErrInvalidMapping} {
		if errors.Is(err, damage) {
			return &MetadataError{Path: path, Cause: err}
		}
	}
	return fmt.Errorf("open metadata file %s: %w", path, err)
}

// guard makes errors of bbolt's panics: it trusts its pages, and one that points
// beyond the end of the file is even a fault of the memory map. Call what it
// returns at the end.
func guard(path string, err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			*err = &MetadataError{Path: path, Cause: fmt.Errorf("%v", p)}
		}
	}
}

// bbolt has checksums for its two heads only. So the bucket sums keeps, for each
// other bucket, the combined checksum of its keys and values, which each Update
// carries on and each start compares: u64, the xor of one crc64 per key. The key
// "tx" holds the number of the transaction that wrote them; if the file's last one
// is another, an earlier version wrote it, and they say nothing.
const (
	bucketSums = "sums"
	keySumsTx  = "tx"
)

var sumTable = crc64.MakeTable(crc64.ECMA)

func sumOf(k, v []byte) uint64 {
	n := binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(len(k)))
	return crc64.Update(crc64.Update(crc64.Update(0, sumTable, n), sumTable, k), sumTable, v)
}

func sumBucket(bk *bolt.Bucket) (sum uint64, err error) {
	err = bk.ForEach(func(k, v []byte) error {
		sum ^= sumOf(k, v)
		return nil
	})
	return sum, err
}

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func checkSums(tx *bolt.Tx) error {
	sums := tx.Bucket([]byte(bucketSums))
	if sums == nil || !bytes.Equal(sums.Get([]byte(keySumsTx)), u64(uint64(tx.ID()))) {
		return nil
	}
	return sums.ForEach(func(name, want []byte) error {
		if string(name) == keySumsTx {
			return nil
		}
		bk := tx.Bucket(name)
		if bk == nil {
			return fmt.Errorf("bucket %q is missing", name)
		}
		sum, err := sumBucket(bk)
		if err == nil && !bytes.Equal(want, u64(sum)) {
			err = fmt.Errorf("the checksum of bucket %q does not match", name)
		}
		return err
	})
}

// beginSums returns the sums as they were before an Update, and says that they are
// this transaction's.
func beginSums(tx *bolt.Tx) (*bolt.Bucket, error) {
	sums, err := tx.CreateBucketIfNotExists([]byte(bucketSums))
	if err != nil {
		return nil, err
	}
	if id := uint64(tx.ID()); !bytes.Equal(sums.Get([]byte(keySumsTx)), u64(id-1)) {
		if err := tx.DeleteBucket([]byte(bucketSums)); err != nil {
			return nil, err
		}
		if sums, err = tx.CreateBucket([]byte(bucketSums)); err != nil {
			return nil, err
		}
	}
	return sums, sums.Put([]byte(keySumsTx), u64(uint64(tx.ID())))
}

// carriedSum is the sum of a bucket before an Update. One without is read as a
// whole.
func carriedSum(sums *bolt.Bucket, name string, bk *bolt.Bucket) (uint64, error) {
	if v := sums.Get([]byte(name)); len(v) == 8 {
		return binary.BigEndian.Uint64(v), nil
	}
	return sumBucket(bk)
}

// Check looks for pages of the file that are damaged or belong to nothing, and
// compares the checksums.
func (b *boltKV) Check() error {
	return b.db.View(func(tx *bolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		if len(errs) == 0 {
			errs = append(errs, checkSums(tx))
		}
		return errors.Join(errs...)
	})
}

func (b *boltKV) Each(bucket string, fn func(k, v []byte) error) error {
	return b.db.View(func(tx *bolt.Tx) error {
		if bk := tx.Bucket([]byte(bucket)); bk != nil {
			return bk.ForEach(fn)
		}
		return nil
	})
}

func (b *boltKV) Update(changes map[string][]KV) error {
	return b.db.Update(func(tx *bolt.Tx) error {
		sums, err := beginSums(tx)
		if err != nil {
			return fmt.Errorf("bucket %s: %w", bucketSums, err)
		}
		for name, kvs := range changes {
			bk, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
			sum, err := carriedSum(sums, name, bk)
			if err != nil {
				return fmt.Errorf("checksum of bucket %s: %w", name, err)
			}
			for _, kv := range kvs {
				if old := bk.Get(kv.Key); old != nil {
					sum ^= sumOf(kv.Key, old)
				}
				if kv.Value != nil {
					sum ^= sumOf(kv.Key, kv.Value)
				}
				if kv.Value == nil {
					err = bk.Delete(kv.Key)
				} else {
					err = bk.Put(kv.Key, kv.Value)
				}
				if err != nil {
					return fmt.Errorf("bucket %s, key %q: %w", name, kv.Key, err)
				}
			}
			err = sums.Put([]byte(name), u64(sum))
			if err != nil {
				return fmt.Errorf("checksum of bucket %s: %w", name, err)
			}
		}
		return nil
	})
}

func (b *boltKV) Close() error { return b.db.Close() }

// MemKV is a KVFile in memory, for tests on a memory disk. An Update that
// returned is what a crash leaves: take a Clone where the disk is cloned.
type MemKV struct {
	// OnUpdate may fail an Update before it changes anything. Set before use.
	OnUpdate func() error

	mu      sync.Mutex
	buckets map[string]map[string][]byte
}

// NewMemKV returns an empty one.
func NewMemKV() *MemKV { return &MemKV{buckets: make(map[string]map[string][]byte)} }

// Open is for Config.OpenKV. The content outlives Close.
func (m *MemKV) Open(string) (KVFile, error) { return m, nil }

// Clone returns an independent copy of the content.
func (m *MemKV) Clone() *MemKV {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMemKV()
	for name, bk := range m.buckets {
		c.buckets[name] = maps.Clone(bk)
	}
	return c
}

// Each implements KVFile.
func (m *MemKV) Each(bucket string, fn func(k, v []byte) error) error {
	m.mu.Lock()
	bk := maps.Clone(m.buckets[bucket])
	m.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(bk)) {
		if err := fn([]byte(k), bk[k]); err != nil {
			return err
		}
	}
	return nil
}

// Update implements KVFile.
func (m *MemKV) Update(changes map[string][]KV) error {
	if m.OnUpdate != nil {
		if err := m.OnUpdate(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, kvs := range changes {
		bk := m.buckets[name]
		if bk == nil {
			bk = make(map[string][]byte)
			m.buckets[name] = bk
		}
		for _, kv := range kvs {
			if kv.Value == nil {
				delete(bk, string(kv.Key))
			} else {
				bk[string(kv.Key)] = append([]byte{}, bytes.Clone(kv.Value)...)
			}
		}
	}
	return nil
}

// Close implements KVFile.
func (m *MemKV) Close() error { return nil }
