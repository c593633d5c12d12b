package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Overlay replaces the values that others agreed on for the whole group. They lie
// above what this process was told itself, and keys that are no longer among them
// fall back to that. A value that cannot be used here, because another build knows
// the key or its bounds otherwise, is returned as an error, and the process's own
// value holds. changed are the keys whose value in force became another. Functions
// of OnUpdate are called as after an Update.
func (s *Set[T]) Overlay(values map[string]string, source string) (changed []string, refused []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.current.Load()
	s.over = maps.Clone(values)
	after, used, refused := s.merge(s.own)
	s.inForce = map[string]string{}
	for _, key := range used {
		s.inForce[key] = source
	}
	s.current.Store(after)
	for i := range s.fields {
		f := &s.fields[i]
		if f.Group && f.text(reflect.ValueOf(before).Elem()) != f.text(reflect.ValueOf(after).Elem()) {
			changed = append(changed, f.Key)
		}
	}
	slices.Sort(changed)
	if len(changed) > 0 {
		for _, fn := range s.watchers {
			fn(before, after, changed)
		}
	}
	return changed, refused
}

// merge puts the overlay over own, and says which keys of it could be used. Values
// may need each other to keep a rule between keys, so all are tried together first;
// only where that breaks a rule they are tried one by one, in the order of the keys.
func (s *Set[T]) merge(own *T) (after *T, used []string, refused []error) {
	after = new(T)
	*after = *own
	for _, key := range sortedKeys(s.over) {
		i, ok := s.byKey[key]
		if !ok || !s.fields[i].Group || s.fields[i].Key != key {
			refused = append(refused, fmt.Errorf("%s is not a key of the group here", key))
			continue
		}
		before := *after
		if err := s.fields[i].parse(reflect.ValueOf(after).Elem(), s.over[key]); err != nil {
			*after = before // a value out of bounds has been set
			refused = append(refused, err)
			continue
		}
		used = append(used, key)
	}
	// A rule that own breaks already is no fault of these values.
	if check(after) == nil || check(own) != nil {
		return after, used, refused
	}
	possible := used
	*after, used = *own, nil
	for _, key := range possible {
		before := *after
		_ = s.fields[s.byKey[key]].parse(reflect.ValueOf(after).Elem(), s.over[key]) // it could be read above
		if err := check(after); err != nil {
			*after = before
			refused = append(refused, fmt.Errorf("%s=%q: %w", key, s.over[key], err))
			continue
		}
		used = append(used, key)
	}
	return after, used, refused
}

// check asks the struct's own rules between keys.
func check(settings any) error {
	if v, ok := settings.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// Check says what Update would say about values, and changes nothing. It returns
// the value of each known key as Text prints it, by the key's first spelling, and
// the keys whose value in force would become another.
func (s *Set[T]) Check(values map[string]string) (texts map[string]string, changed []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	after, texts, changed, warnings, err := s.assign(s.current.Load(), values, true)
	if err != nil {
		return nil, nil, err
	}
	if err := check(after); err != nil {
		return nil, nil, err
	}
	if len(warnings) > 0 && len(warnings) == len(values) {
		return nil, nil, errors.New(strings.Join(warnings, "; "))
	}
	return texts, changed, nil
}

// Own returns the value that this process was told itself, and by whom, where the
// group's hides it; false where there is none or nothing hides it.
func (s *Set[T]) Own(key string) (value, source string, hidden bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.byKey[key]
	if !ok {
		return "", "", false
	}
	f := &s.fields[i]
	if _, hidden = s.inForce[f.Key]; !hidden {
		return "", "", false
	}
	if source, ok = s.sources[f.Key]; !ok {
		source = "default"
	}
	return f.text(reflect.ValueOf(s.own).Elem()), source, true
}
