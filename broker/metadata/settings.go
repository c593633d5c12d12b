package metadata

import (
	"encoding/binary"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/cometmq/cometmq/store"
)

// Setting is one change of a group-wide setting: a value for its key, or with
// Reset none any more, so that each member goes by its own configuration again.
type Setting struct {
	Key, Value string
	Reset      bool
}

// settingTable holds the values of settings that are the whole group's. It does
// not know what they mean: a member of another build may know other keys or
// other bounds, and all must hold the same state.
type settingTable struct {
	mu     sync.RWMutex
	values map[string]string // never changed, only replaced

	size  int // bytes of all keys and values; applying goroutine only, as is dirty
	dirty dirty
	tell  func(map[string]string)
}

func newSettingTable(tell func(map[string]string)) *settingTable {
	if tell == nil {
		tell = func(map[string]string) {}
	}
	t := &settingTable{dirty: dirty{}, tell: tell}
	t.reset()
	return t
}

func (t *settingTable) reset() {
	t.replace(map[string]string{})
	clear(t.dirty)
}

func (t *settingTable) replace(values map[string]string) {
	t.size = 0
	for k, v := range values {
		t.size += len(k) + len(v)
	}
	t.mu.Lock()
	t.values = values
	t.mu.Unlock()
}

func (t *settingTable) apply(_ *store.ApplyContext, verb byte, r *reader) (any, error) {
	if uint16(tableSettings)<<8|uint16(verb) != OpPutSettings {
		return nil, unknownVerb("settings", verb)
	}
	changes := make([]Setting, 0, r.count(2))
	for range cap(changes) {
		c := Setting{Key: r.string(), Reset: r.bool()}
		if !c.Reset {
			c.Value = r.string()
		}
		changes = append(changes, c)
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return t.put(changes)
}

// put takes all changes or none.
func (t *settingTable) put(changes []Setting) (any, error) {
	values := maps.Clone(t.values)
	for _, c := range changes {
		if c.Key == "" || len(c.Key) > settingKeyMax || strings.ContainsRune(c.Key, 0) {
			return nil, fmt.Errorf("%w: setting %.100q", ErrInvalid, c.Key)
		}
		if c.Reset {
			delete(values, c.Key)
		} else {
			values[c.Key] = c.Value
		}
	}
	size := 0
	for k, v := range values {
		size += len(k) + len(v)
	}
	if size > SettingsBytesMax && size > t.size {
		return nil, fmt.Errorf("%w: settings of the group take %d bytes, at most %d", ErrFull, size, SettingsBytesMax)
	}
	changed := 0
	for _, c := range changes {
		was, before := t.values[c.Key]
		now, after := values[c.Key]
		if was != now || before != after {
			t.dirty.mark(c.Key)
			changed++
		}
	}
	if changed > 0 {
		t.replace(values)
		t.tell(values)
	}
	return changed, nil
}

func (t *settingTable) changes(dst []store.KV) []store.KV {
	return t.dirty.drain(dst, tableSettings, func(key string) []byte {
		v, ok := t.values[key]
		if !ok {
			return nil
		}
		return appendString([]byte{formatVersion}, v)
	})
}

func (t *settingTable) load(key, value []byte) error {
	r := newReader(value)
	v := r.string()
	if err := r.done(); err != nil {
		return err
	}
	values := maps.Clone(t.values)
	values[string(key)] = v
	t.replace(values)
	return nil
}

// Settings returns the group-wide settings that were ever set and not reset; the
// map must not be changed.
func (s *State) Settings() map[string]string {
	s.settings.mu.RLock()
	defer s.settings.mu.RUnlock()
	return s.settings.values
}

// AppendPutSettings changes settings of the group, all of them or, over a bound,
// none. Who proposes has checked that the keys are group-wide and the values
// allowed. Result value: an int, how many became another, or an error.
func AppendPutSettings(dst []byte, changes []Setting) []byte {
	p := binary.AppendUvarint([]byte{formatVersion}, uint64(len(changes)))
	for _, c := range changes {
		p = appendBool(appendString(p, c.Key), c.Reset)
		if !c.Reset {
			p = appendString(p, c.Value)
		}
	}
	return store.AppendCommand(dst, OpPutSettings, p)
}
