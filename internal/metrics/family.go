package metrics

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Kind says how a family's values behave.
type Kind uint8

// The kinds.
const (
	Gauge Kind = iota
	Counter
	Histogram
)

// String is the kind as Prometheus writes it.
func (k Kind) String() string { return [...]string{"gauge", "counter", "histogram"}[k] }

// Family is one metric: a name and the labels by which its series differ, beside
// those that all families of a collector have.
type Family struct {
	Name   string
	Kind   Kind
	Help   string
	Labels []string
	// LeaderOnly: what it tells is the group's and not a member's, so that only
	// the leader does, and a sum over members is right.
	LeaderOnly bool

	place int // in its Families
}

// Families is an ordered list that is extended by declarations.
type Families struct{ list []*Family }

// Add declares a family and returns it.
func (f *Families) Add(kind Kind, name, help string, labels ...string) *Family {
	fam := &Family{Name: name, Kind: kind, Help: help, Labels: labels, place: len(f.list)}
	f.list = append(f.list, fam)
	return fam
}

// AddLeader declares a family that only a leader reports.
func (f *Families) AddLeader(kind Kind, name, help string, labels ...string) *Family {
	fam := f.Add(kind, name, help, labels...)
	fam.LeaderOnly = true
	return fam
}

// List returns all families in the order of their declaration.
func (f *Families) List() []*Family { return append([]*Family(nil), f.list...) }

// Table holds a value for each key, up to a limit: counters by label values that
// clients choose.
type Table[K comparable, V any] struct {
	limit   int
	fresh   func() *V
	refused atomic.Int64

	mu sync.RWMutex
	m  map[K]*V
}

// NewTable returns an empty table that makes values with fresh.
func NewTable[K comparable, V any](limit int, fresh func() *V) *Table[K, V] {
	return &Table[K, V]{limit: limit, fresh: fresh, m: map[K]*V{}}
}

// At returns the value of a key, which it makes if there is room, or nil.
func (t *Table[K, V]) At(key K) *V {
	t.mu.RLock()
	v := t.m[key]
	t.mu.RUnlock()
	if v != nil {
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if v = t.m[key]; v != nil {
		return v
	}
	if len(t.m) >= t.limit {
		t.refused.Add(1)
		return nil
	}
	v = t.fresh()
	t.m[key] = v
	return v
}

// Each calls fn for every key. fn must not use the table.
func (t *Table[K, V]) Each(fn func(K, *V)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for k, v := range t.m {
		fn(k, v)
	}
}

// Delete forgets the keys that match.
func (t *Table[K, V]) Delete(match func(K) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.m {
		if match(k) {
			delete(t.m, k)
		}
	}
}

// Refused is how often there was no room for a key.
func (t *Table[K, V]) Refused() int64 { return t.refused.Load() }

// check panics for a sample that does not fit its family.
func (f *Family) check(kind Kind, values []string) {
	if f.Kind == Histogram != (kind == Histogram) || len(values) != len(f.Labels) {
		panic(fmt.Sprintf("metrics: a %s sample with %d label values for %s, a %s with %d", kind, len(values), f.Name, f.Kind, len(f.Labels)))
	}
}
