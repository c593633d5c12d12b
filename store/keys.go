package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/index"
)

var (
	// ErrNoKeyIndex says that the store was opened without a key index.
	ErrNoKeyIndex = errors.New("the key index is switched off")
	// ErrKeyIndexIncomplete says that the key index is being built again, so that
	// a message that is not found may be there.
	ErrKeyIndexIncomplete = errors.New("the key index is being built from the log; ask again later")
)

// keysPerMessage bounds the words of KEYS that are indexed: a client could put
// sixteen thousand into one message.
const keysPerMessage = 1000

// keyStateKey is the one key of bucketIndex.
const keyStateKey = "state"

// openKeys opens the key index, or removes it when it is switched off: one that
// was not kept up to date would be believed later. An index that lacks
// something is emptied and built again beside the applying goroutine.
func (s *Store) openKeys() error {
	dir := filepath.Join(s.cfg.Dir, "index")
	var state []byte
	err := s.kv.Each(bucketIndex, func(_, v []byte) error {
		state = slices.Clone(v)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the state of the key index: %w", err)
	}
	if !s.cfg.KeyIndex {
		if err := s.forgetKeys(); err != nil {
			return err
		}
		return s.cfg.FS.RemoveAll(dir)
	}
	cfg := index.Config{FS: s.cfg.FS, Dir: dir, RunEntries: s.cfg.indexEntries, Logger: s.log.Named("index")}
	s.keys, err = index.Open(cfg, state)
	if errors.Is(err, index.ErrIncomplete) && s.keys == nil {
		s.keys, err = index.Open(cfg, nil)
	}
	if err != nil && !errors.Is(err, index.ErrIncomplete) {
		return err
	}
	switch to := s.index.Load(); {
	case s.keys.Complete():
	case to == 0:
		s.keys.Completed()
	default:
		if err := s.keys.Reset(); err != nil {
			return fmt.Errorf("empty the key index: %w", err)
		}
		s.background.Go(func() { s.rebuildKeys(to) })
	}
	return nil
}

// forgetKeys makes sure that no checkpoint knows a key index.
func (s *Store) forgetKeys() error {
	if err := s.kv.Update(map[string][]KV{bucketIndex: {{Key: []byte(keyStateKey)}}}); err != nil {
		return fmt.Errorf("forget the key index: %w", err)
	}
	return nil
}

// rebuildKeys adds the log up to the index at which the store was opened; what
// is applied later adds itself.
func (s *Store) rebuildKeys(to uint64) {
	began := time.Now()
	s.log.Warn("building the key index from the commit log", "to-index", to)
	err := s.walk(to, func(m message.Stored, phy message.PhyOffset) error {
		if s.stopping.Load() {
			return ErrClosed
		}
		var err error
		_, unique, keys := m.Marks()
		eachKey(m, unique, keys, func(key []byte) {
			if err == nil {
				err = s.keys.AddOld(keyEntry(m, phy, key))
			}
		})
		return err
	}, func(string) {})
	switch {
	case errors.Is(err, ErrClosed):
	case err != nil:
		s.log.Error("the key index stays incomplete until the next start; queries by key are refused", "error", err)
	default:
		s.keys.Completed()
		s.log.Info("built the key index", "took", time.Since(began))
	}
}

// indexMessage adds a published message with these properties to the key index.
func (s *Store) indexMessage(m message.Stored, phy message.PhyOffset, unique, keys []byte) {
	eachKey(m, unique, keys, func(key []byte) { s.keys.Add(keyEntry(m, phy, key)) })
}

func keyEntry(m message.Stored, phy message.PhyOffset, key []byte) index.Entry {
	return index.Entry{Hash: index.Hash(m.Topic(), key), Phy: int64(phy), Time: m.StoreTimestamp()}
}

// eachKey shows the keys a message is found by: its unique id and the words of
// KEYS. A rolled-back transaction has none, as in RocketMQ.
func eachKey(m message.Stored, unique, keys []byte, fn func(key []byte)) {
	if m.SysFlag()&message.SysFlagTransactionMask == message.SysFlagTransactionRollback {
		return
	}
	if len(unique) > 0 {
		fn(unique)
	}
	for n := 0; len(keys) > 0 && n < keysPerMessage; {
		var word []byte
		if word, keys, _ = bytes.Cut(keys, space); len(word) > 0 {
			fn(word)
			n++
		}
	}
}

var space = []byte(" ")

// hasKey tells whether a message is one of a topic with a key: hashes collide,
// and what lies at an offset may have another topic than the entry says.
func hasKey(m message.Stored, topic string, key []byte) bool {
	found := false
	if string(m.Topic()) == topic {
		_, unique, keys := m.Marks()
		eachKey(m, unique, keys, func(k []byte) { found = found || bytes.Equal(k, key) })
	}
	return found
}

// KeyQuery asks for the messages of a topic that have a key.
type KeyQuery struct {
	Topic, Key string
	// Begin and End bound the store time, unix ms, both included.
	Begin, End int64
	// Max messages are returned, the newest; MaxBytes ends the answer earlier,
	// though not before the first.
	Max, MaxBytes int
}

// QueryKey returns messages by unique id or key, in the order of the log. It
// reads the disk. Errors: ErrNoKeyIndex; ErrKeyIndexIncomplete, instead of an
// answer that may lack messages.
func (s *Store) QueryKey(q KeyQuery) ([]message.Stored, error) {
	if s.keys == nil {
		return nil, ErrNoKeyIndex
	}
	if !s.keys.Complete() {
		return nil, ErrKeyIndexIncomplete
	}
	if q.Max <= 0 {
		return nil, nil
	}
	key := []byte(q.Key)
	hash := index.Hash([]byte(q.Topic), key)
	for limit := q.Max; ; limit *= 2 {
		entries, err := s.keys.Query(index.Query{Hash: hash, Begin: q.Begin, End: q.End, Max: limit})
		if err != nil {
			return nil, err
		}
		found, full := s.readKeyed(entries, &q, key)
		// Only entries of another key with the same hash make a second look worth it.
		if full || len(entries) < limit || limit > 16*q.Max {
			slices.Reverse(found)
			return found, nil
		}
	}
}

// readKeyed reads entries, newest first, and keeps the messages that are what
// was asked for; full tells that a bound of the query ended it.
func (s *Store) readKeyed(entries []index.Entry, q *KeyQuery, key []byte) (found []message.Stored, full bool) {
	bytes := 0
	for _, e := range entries {
		m, err := s.MessageAt(message.PhyOffset(e.Phy))
		if err != nil {
			if !errors.Is(err, ErrNotFound) { // cut from the log meanwhile
				s.reportDamage(err)
			}
			continue
		}
		if !hasKey(m, q.Topic, key) {
			continue
		}
		if bytes += len(m); len(found) > 0 && q.MaxBytes > 0 && bytes > q.MaxBytes {
			return found, true
		}
		if found = append(found, m); len(found) == q.Max {
			return found, true
		}
	}
	return found, false
}

// keyLookMax bounds the messages that FindKey looks at: a client may give any
// number of them one id.
const keyLookMax = 1024

// ErrManyKeyed says that more messages have a key than are looked at.
var ErrManyKeyed = fmt.Errorf("more than %d messages have this key", keyLookMax)

// FindKey returns the newest message of a topic with a key that was stored at the
// group time since or later and is the one that match takes; nil when there is
// none. Unlike QueryKey it leaves nothing out that it cannot read: whenever it
// does not know, it returns an error. It reads the disk.
func (s *Store) FindKey(topic string, key []byte, since int64, match func(message.Stored) bool) (message.Stored, error) {
	if s.keys == nil {
		return nil, ErrNoKeyIndex
	}
	entries, err := s.keys.Query(index.Query{Hash: index.Hash([]byte(topic), key), Begin: since, End: math.MaxInt64, Max: keyLookMax})
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		m, err := s.MessageAt(message.PhyOffset(e.Phy))
		if err != nil {
			return nil, err
		}
		if hasKey(m, topic, key) && match(m) {
			return m, nil
		}
	}
	switch {
	case len(entries) == keyLookMax:
		return nil, ErrManyKeyed
	case !s.keys.Complete(): // asked last: an index may give keys up at any time
		return nil, ErrKeyIndexIncomplete
	}
	return nil, nil
}

// dropKeys removes the files of the key index whose messages left the log, and
// which the checkpoint that was just written does not ask for any more.
func (s *Store) dropKeys() {
	if err := s.keys.Drop(s.keysFrom); err != nil {
		s.log.Warn("old files of the key index not removed", "error", err)
	}
}

// isCut tells whether an index was cut from the log's begin while it was walked.
func (s *Store) isCut(at uint64, err error) bool {
	return errors.Is(err, commitlog.ErrNotFound) && at < s.commit.FirstIndex()
}
