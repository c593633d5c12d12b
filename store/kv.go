package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// boltKV is a KVFile in a bbolt file. A transaction costs two syncs, which only
// checkpoints pay.
type boltKV struct{ db *bolt.DB }

func openBolt(path string) (KVFile, error) {
	db, err := bolt.Open(path, 0o644, &bolt.Options{
		Timeout: time.Second,
		// The free list is rebuilt at open; writing it with each checkpoint would
		// cost more than that.
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
	})
	if err != nil {
		return nil, fmt.Errorf("open metadata file %s: %w", path, err)
	}
	return &boltKV{db: db}, nil
}

// openBoltReadOnly is for tools: it makes no file and changes none. A missing
// file satisfies errors.Is with fs.ErrNotExist.
func openBoltReadOnly(path string) (KVFile, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o644, &bolt.Options{Timeout: time.Second, ReadOnly: true, PreLoadFreelist: false})
	if err != nil {
		return nil, fmt.Errorf("open metadata file %s: %w", path, err)
	}
	return &boltKV{db: db}, nil
}

// Check looks for pages of the file that are damaged or belong to nothing.
func (b *boltKV) Check() error {
	return b.db.View(func(tx *bolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
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
		for name, kvs := range changes {
			bk, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
			for _, kv := range kvs {
				if kv.Value == nil {
					err = bk.Delete(kv.Key)
				} else {
					err = bk.Put(kv.Key, kv.Value)
				}
				if err != nil {
					return fmt.Errorf("bucket %s, key %q: %w", name, kv.Key, err)
				}
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
