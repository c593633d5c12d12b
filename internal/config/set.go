package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

// ErrNotLive is returned by Update for a key that is read at start-up only.
var ErrNotLive = errors.New("needs a restart: it cannot be changed while the process runs")

// Field describes one key.
type Field struct {
	// Key is the name as in RocketMQ's property files, e.g. "listenPort".
	Key string
	// Aliases are further spellings that are accepted on input.
	Aliases []string
	// Env names the environment variable that sets the key, "" for none.
	Env string
	// Default is the value the struct held when the Set was made, as text.
	Default string
	// Important keys are printed by -m.
	Important bool
	// Live keys can be changed by Update.
	Live bool
	// Group keys have one value in the whole replica group; see Overlay.
	Group bool
	// Allowed says in words what values the key takes, e.g. "1..65535".
	Allowed string

	index    []int
	unit     string
	min, max string
	enum     []string
}

// Set holds the settings of one server: the current struct, where each value
// came from, and who wants to hear of changes. It is safe for use by several
// goroutines.
type Set[T any] struct {
	fields  []Field
	byKey   map[string]int    // key or alias to place in fields
	inert   map[string]string // key to the reason it has no effect
	current atomic.Pointer[T]

	mu       sync.Mutex        // serialises changes; guards what follows
	own      *T                // what Load and Update made; current is this below the overlay
	over     map[string]string // values of the group, by key
	inForce  map[string]string // those of over that could be used: key to source
	sources  map[string]string
	watchers []func(before, after *T, keys []string)
}

// New makes a Set whose defaults are the values in defaults. It fails only
// when the struct's tags are wrong, which is a mistake in the program.
func New[T any](defaults T) (*Set[T], error) {
	s := &Set[T]{byKey: map[string]int{}, inert: map[string]string{}, sources: map[string]string{}}
	v := reflect.ValueOf(&defaults).Elem()
	if v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("config: %T is not a struct", defaults)
	}
	fields, err := collect(v, nil)
	if err != nil {
		return nil, err
	}
	s.fields = fields
	for i, f := range fields {
		for _, name := range append([]string{f.Key}, f.Aliases...) {
			if _, twice := s.byKey[name]; twice {
				return nil, fmt.Errorf("config: key %s is declared twice", name)
			}
			s.byKey[name] = i
		}
	}
	s.own = &defaults
	s.current.Store(&defaults)
	return s, nil
}

// Current returns the settings now in force. The struct must not be changed.
func (s *Set[T]) Current() *T { return s.current.Load() }

// Fields returns all keys in the order of the struct.
func (s *Set[T]) Fields() []Field { return append([]Field(nil), s.fields...) }

// Inert declares keys that RocketMQ knows and this server accepts without
// effect. They give a calm warning with the reason instead of "unknown key".
func (s *Set[T]) Inert(reason string, keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		s.inert[k] = reason
	}
}

// InertKeys returns the keys declared by Inert with their reasons.
func (s *Set[T]) InertKeys() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.inert)
}

// OnUpdate registers a function that is called after each successful Update
// with the settings before and after it and the keys that changed, sorted. It
// runs on the updating goroutine and must not call Update.
func (s *Set[T]) OnUpdate(fn func(before, after *T, keys []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, fn)
}

// Value returns the current value of a key as text; false for an unknown key.
func (s *Set[T]) Value(key string) (string, bool) {
	i, ok := s.byKey[key]
	if !ok {
		return "", false
	}
	return s.fields[i].text(reflect.ValueOf(s.Current()).Elem()), true
}

// Source says where the value of a key came from: a file name, "environment",
// "flag", "update", or "default".
func (s *Set[T]) Source(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.byKey[key]; ok {
		if src, ok := s.inForce[s.fields[i].Key]; ok {
			return src
		}
		if src, ok := s.sources[s.fields[i].Key]; ok {
			return src
		}
	}
	return "default"
}

// Field returns the description of a key, which may be an alias.
func (s *Set[T]) Field(key string) (Field, bool) {
	i, ok := s.byKey[key]
	if !ok {
		return Field{}, false
	}
	return s.fields[i], true
}

// Put sets one key at start-up, whether it is live or not. source is what
// Source will answer.
func (s *Set[T]) Put(key, value, source string) error {
	_, err := s.Load(map[string]string{key: value}, source)
	return err
}

// Load sets several keys at start-up. Unknown and inert keys are returned as
// warnings, one sentence each, sorted; all bad values are reported together in
// the error, and then nothing was changed.
func (s *Set[T]) Load(values map[string]string, source string) (warnings []string, err error) {
	_, warnings, err = s.change(values, source, false)
	return warnings, err
}

// Update changes live keys while the process runs and returns the names of the
// keys whose value became another one. Unknown keys are refused here: whoever
// sent the update is there to read the answer. Nothing is changed on error. A
// key that is not live is accepted when its value is the present one, because
// tools send back whole tables they have read.
func (s *Set[T]) Update(values map[string]string) (changed []string, err error) {
	changed, warnings, err := s.change(values, "update", true)
	if err == nil && len(warnings) > 0 && len(changed) == 0 && len(warnings) == len(values) {
		err = errors.New(strings.Join(warnings, "; "))
	}
	return changed, err
}

// change does the work of Load and Update.
func (s *Set[T]) change(values map[string]string, source string, live bool) (changed, warnings []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.current.Load()
	own, texts, changed, warnings, err := s.assign(s.own, values, live)
	if err != nil {
		return nil, warnings, err
	}
	after, _, _ := s.merge(own)
	if live {
		if err := check(after); err != nil {
			return nil, warnings, err
		}
	}
	s.own = own
	s.current.Store(after)
	for key := range texts {
		s.sources[key] = source
	}
	if live && len(changed) > 0 {
		for _, fn := range s.watchers {
			fn(before, after, changed)
		}
	}
	return changed, warnings, nil
}

// assign returns a copy of base with values set, these as the struct would print
// them, and the keys whose value became another.
func (s *Set[T]) assign(base *T, values map[string]string, live bool) (after *T, texts map[string]string, changed, warnings []string, err error) {
	after, texts = new(T), make(map[string]string, len(values))
	*after = *base
	var errs []error
	for _, key := range sortedKeys(values) {
		i, ok := s.byKey[key]
		if !ok {
			warning, known := s.unknown(key)
			if live && !known {
				errs = append(errs, errors.New(warning))
			} else {
				warnings = append(warnings, warning)
			}
			continue
		}
		f := &s.fields[i]
		was := f.text(reflect.ValueOf(base).Elem())
		if err := f.parse(reflect.ValueOf(after).Elem(), values[key]); err != nil {
			errs = append(errs, err)
			continue
		}
		texts[f.Key] = f.text(reflect.ValueOf(after).Elem())
		if texts[f.Key] != was {
			if live && !f.Live {
				errs = append(errs, fmt.Errorf("%s %w; set it in the configuration file", f.Key, ErrNotLive))
				continue
			}
			changed = append(changed, f.Key)
		}
	}
	return after, texts, changed, warnings, errors.Join(errs...)
}

// Validate asks the struct's own Validate method, if it has one. Start-up
// calls it once, after file, environment and flags have been merged, because
// rules between keys hold for the merged result only.
func (s *Set[T]) Validate() error {
	return check(s.Current())
}

// unknown words the warning for a key that no field has; known is true for a
// key declared inert.
func (s *Set[T]) unknown(key string) (warning string, known bool) {
	if reason, ok := s.inert[key]; ok {
		return fmt.Sprintf("key %s has no effect here: %s", key, reason), true
	}
	if near := s.nearest(key); near != "" {
		return fmt.Sprintf("unknown key %s (did you mean %s?)", key, near), false
	}
	return fmt.Sprintf("unknown key %s", key), false
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
