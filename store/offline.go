package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/cometmq/cometmq/store/commitlog"
)

// SavedRaftMeta reads what RaftMeta returned after the last checkpoint, from a
// store that no process uses; nil if there is none. Nothing is changed.
func SavedRaftMeta(cfg Config, key string) (value []byte, err error) {
	if cfg.OpenKV == nil {
		cfg.OpenKV = openBoltReadOnly
	}
	cfg = cfg.withDefaults()
	lock, err := lockForReading(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	kv, err := cfg.OpenKV(filepath.Join(cfg.Dir, "metadata.db"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = kv.Each(bucketRaft, func(k, v []byte) error {
		if string(k) == key {
			value = bytes.Clone(v)
		}
		return nil
	})
	return value, errors.Join(err, kv.Close())
}

// AppendOffline appends an entry to the log of a store that no process uses, and
// returns when it is durable. It must be the next one. Only what repairs a group
// has a reason to: the log belongs to Raft. Config.SegmentSize is required.
func AppendOffline(cfg Config, e commitlog.Entry) (err error) {
	if cfg.SegmentSize == 0 {
		return errors.New("the segment size must be given: it cannot be changed")
	}
	cfg = cfg.withDefaults()
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return fmt.Errorf("the store is in use: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	log, err := commitlog.Open(commitlog.Config{FS: cfg.FS, Dir: filepath.Join(cfg.Dir, "commitlog"), SegmentSize: cfg.SegmentSize, Sync: true, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	if last := log.LastIndex(); last+1 != e.Index {
		err = fmt.Errorf("the log ends at entry %d, the new one is entry %d", last, e.Index)
	} else {
		err = log.Append([]commitlog.Entry{e})
	}
	return errors.Join(err, log.Close())
}
