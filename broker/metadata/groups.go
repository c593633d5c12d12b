package metadata

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// groupTable is RocketMQ's SubscriptionGroupManager.
type groupTable struct {
	system   map[string]*protocol.SubscriptionGroupConfig
	onDelete func(group string, offsets bool)

	mu      sync.RWMutex
	groups  map[string]*protocol.SubscriptionGroupConfig // values are never changed
	stored  int                                          // groups that are not system groups
	version protocol.DataVersion

	dirty dirty // applying goroutine only
}

func newGroupTable(onDelete func(group string, offsets bool)) *groupTable {
	t := &groupTable{system: map[string]*protocol.SubscriptionGroupConfig{}, onDelete: onDelete, dirty: dirty{}}
	for _, name := range message.SystemGroups() {
		t.system[name] = protocol.NewSubscriptionGroupConfig(name)
	}
	t.reset()
	return t
}

func (t *groupTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups = make(map[string]*protocol.SubscriptionGroupConfig, len(t.system))
	for name, c := range t.system {
		t.groups[name] = c
	}
	t.stored, t.version = 0, protocol.DataVersion{}
	clear(t.dirty)
}

func (t *groupTable) apply(ctx *store.ApplyContext, verb byte, r *reader) (any, error) {
	switch uint16(tableGroups)<<8 | uint16(verb) {
	case OpPutGroup:
		return t.put(ctx, r)
	case OpDeleteGroup:
		return t.delete(ctx, r)
	}
	return nil, unknownVerb("groups", verb)
}

func (t *groupTable) put(ctx *store.ApplyContext, r *reader) (any, error) {
	mode := PutMode(r.u8())
	c := &protocol.SubscriptionGroupConfig{GroupName: r.string()}
	readGroupValue(r, c)
	if err := r.done(); err != nil {
		return nil, err
	}
	if mode > IfAbsent {
		return nil, fmt.Errorf("%w: put mode %d", ErrInvalid, mode)
	}
	if err := t.checkName(c.GroupName); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.groups[c.GroupName]
	if ok && mode == IfAbsent {
		return old, nil
	}
	if !ok {
		if t.stored >= GroupsMax {
			return nil, fmt.Errorf("%w: %d subscription groups; delete unused ones", ErrFull, GroupsMax)
		}
		t.stored++
	}
	t.groups[c.GroupName] = c
	t.touch(ctx, c.GroupName)
	return c, nil
}

func (t *groupTable) checkName(name string) error {
	if err := validGroup(name); err != nil {
		return err
	}
	if t.system[name] != nil {
		return fmt.Errorf("%w: group %q", ErrSystem, name)
	}
	return nil
}

func (t *groupTable) delete(ctx *store.ApplyContext, r *reader) (any, error) {
	name, offsets := r.string(), r.bool()
	if err := r.done(); err != nil {
		return nil, err
	}
	if err := t.checkName(name); err != nil {
		return nil, err
	}
	t.mu.Lock()
	_, existed := t.groups[name]
	if existed {
		delete(t.groups, name)
		t.stored--
		t.touch(ctx, name)
	}
	t.mu.Unlock()
	t.onDelete(name, offsets)
	return existed, nil
}

func (t *groupTable) touch(ctx *store.ApplyContext, name string) {
	t.version.Counter++
	t.version.Timestamp = ctx.Time
	t.dirty.mark(name)
	t.dirty.mark("")
}

func (t *groupTable) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty.drain(dst, tableGroups, func(name string) []byte {
		if name == "" {
			return appendVersion(nil, t.version)
		}
		if c, ok := t.groups[name]; ok {
			return appendGroupValue([]byte{formatVersion}, c)
		}
		return nil
	})
}

func (t *groupTable) load(key, value []byte) error {
	r := newReader(value)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(key) == 0 {
		return readVersion(r, &t.version)
	}
	c := &protocol.SubscriptionGroupConfig{GroupName: string(key)}
	readGroupValue(r, c)
	if err := r.done(); err != nil {
		return err
	}
	if t.system[c.GroupName] != nil {
		return nil // made a system group since it was stored
	}
	t.groups[c.GroupName] = c
	t.stored++
	return nil
}

const (
	flagConsume = 1 << iota
	flagFromMin
	flagBroadcast
	flagNotify
)

func appendGroupValue(dst []byte, c *protocol.SubscriptionGroupConfig) []byte {
	var flags byte
	set := func(bit byte, on bool) {
		if on {
			flags |= bit
		}
	}
	set(flagConsume, c.ConsumeEnable)
	set(flagFromMin, c.ConsumeFromMinEnable)
	set(flagBroadcast, c.ConsumeBroadcastEnable)
	set(flagNotify, c.NotifyConsumerIDsChangedEnable)
	dst = append(dst, flags)
	dst = binary.AppendVarint(dst, int64(c.RetryQueueNums)) // 0 or less: send-backs are dropped
	dst = binary.AppendVarint(dst, int64(c.RetryMaxTimes))
	dst = binary.AppendVarint(dst, c.BrokerID)
	return binary.AppendVarint(dst, c.WhichBrokerWhenConsumeSlowly)
}

func readGroupValue(r *reader, c *protocol.SubscriptionGroupConfig) {
	flags := r.u8()
	c.ConsumeEnable = flags&flagConsume != 0
	c.ConsumeFromMinEnable = flags&flagFromMin != 0
	c.ConsumeBroadcastEnable = flags&flagBroadcast != 0
	c.NotifyConsumerIDsChangedEnable = flags&flagNotify != 0
	c.RetryQueueNums = r.varint32()
	c.RetryMaxTimes = r.varint32()
	c.BrokerID = r.varint()
	c.WhichBrokerWhenConsumeSlowly = r.varint()
}

// Group returns a subscription group's configuration, which the caller must
// not change.
func (s *State) Group(name string) (*protocol.SubscriptionGroupConfig, bool) {
	s.groups.mu.RLock()
	defer s.groups.mu.RUnlock()
	c, ok := s.groups.groups[name]
	return c, ok
}

// Groups returns all subscription groups, system groups included, sorted by
// name.
func (s *State) Groups() []*protocol.SubscriptionGroupConfig {
	s.groups.mu.RLock()
	out := make([]*protocol.SubscriptionGroupConfig, 0, len(s.groups.groups))
	for _, c := range s.groups.groups {
		out = append(out, c)
	}
	s.groups.mu.RUnlock()
	slices.SortFunc(out, func(a, b *protocol.SubscriptionGroupConfig) int {
		return strings.Compare(a.GroupName, b.GroupName)
	})
	return out
}

// GroupsVersion counts the changes of the group table, as TopicsVersion does
// for topics.
func (s *State) GroupsVersion() protocol.DataVersion {
	s.groups.mu.RLock()
	defer s.groups.mu.RUnlock()
	return s.groups.version
}

// SystemGroup reports whether a group is one of those no command can change.
func (s *State) SystemGroup(name string) bool { return s.groups.system[name] != nil }

// DefaultGroup is the configuration a subscription group gets when it is
// created on first use.
func DefaultGroup(name string) *protocol.SubscriptionGroupConfig {
	return protocol.NewSubscriptionGroupConfig(name)
}
