package metadata

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// PutMode says what a put command does when the name exists already.
type PutMode uint8

const (
	// Upsert replaces the configuration.
	Upsert PutMode = 0
	// IfAbsent keeps it. Concurrent first sends to a topic all propose its
	// creation; the first one in the log decides.
	IfAbsent PutMode = 1
)

// named is what the tables of topics and of groups have in common:
// configurations by name with RocketMQ's data version. Those that are built in
// are neither counted nor stored.
type named[C any] struct {
	table byte   // of the checkpoint
	what  string // for people: "topics"
	limit int
	// encode appends a configuration without its name.
	encode func(dst []byte, c *C) []byte

	mu      sync.RWMutex
	byName  map[string]*C // values are never changed
	stored  int           // those that are not built in
	version protocol.DataVersion

	dirty dirty // applying goroutine only
}

// restart empties the table but for what is built in.
func (t *named[C]) restart(builtIn map[string]*C) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName = maps.Clone(builtIn)
	t.stored, t.version, t.dirty = 0, protocol.DataVersion{}, dirty{}
}

// putChecked stores a configuration and returns the one that holds now.
func (t *named[C]) putChecked(ctx *store.ApplyContext, name string, c *C, mode PutMode) (*C, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.byName[name]
	if ok && mode == IfAbsent {
		return old, nil
	}
	if !ok {
		if t.stored >= t.limit {
			return nil, fmt.Errorf("%w: %d %s; delete unused ones", ErrFull, t.limit, t.what)
		}
		t.stored++
	}
	t.byName[name] = c
	t.touch(ctx, name)
	return c, nil
}

// remove reports whether there was one.
func (t *named[C]) remove(ctx *store.ApplyContext, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, existed := t.byName[name]
	if existed {
		delete(t.byName, name)
		t.stored--
		t.touch(ctx, name)
	}
	return existed
}

// touch marks a name as changed and moves the data version. Group time, not
// this node's clock: name servers compare versions of different leaders.
func (t *named[C]) touch(ctx *store.ApplyContext, name string) {
	t.version.Counter++
	t.version.Timestamp = ctx.Time
	t.dirty.mark(name)
	t.dirty.mark("")
}

func (t *named[C]) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty.drain(dst, t.table, func(name string) []byte {
		if name == "" {
			return appendVersion(nil, t.version)
		}
		if c, ok := t.byName[name]; ok {
			return t.encode([]byte{formatVersion}, c)
		}
		return nil
	})
}

// loadVersion reads the pair without a name.
func (t *named[C]) loadVersion(r *reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return readVersion(r, &t.version)
}

// loaded adds a configuration of the checkpoint.
func (t *named[C]) loaded(name string, c *C) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName[name] = c
	t.stored++
}

func (t *named[C]) get(name string) (*C, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c, ok := t.byName[name]
	return c, ok
}

// all returns the configurations in the order of their names.
func (t *named[C]) all() []*C {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*C, 0, len(t.byName))
	for _, name := range slices.Sorted(maps.Keys(t.byName)) {
		out = append(out, t.byName[name])
	}
	return out
}

func (t *named[C]) dataVersion() protocol.DataVersion {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.version
}

func appendVersion(dst []byte, v protocol.DataVersion) []byte {
	dst = append(dst, formatVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(v.Timestamp))
	return binary.BigEndian.AppendUint64(dst, uint64(v.Counter))
}

func readVersion(r *reader, v *protocol.DataVersion) error {
	ts, counter := r.i64(), r.i64()
	if err := r.done(); err != nil {
		return err
	}
	v.Timestamp, v.Counter = ts, counter
	return nil
}
