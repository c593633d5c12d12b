package metadata

import (
	"encoding/binary"
	"fmt"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// groupTable is RocketMQ's SubscriptionGroupManager.
type groupTable struct {
	named[protocol.SubscriptionGroupConfig]
	system   map[string]*protocol.SubscriptionGroupConfig
	onDelete func(group string, offsets bool)
}

func newGroupTable(onDelete func(group string, offsets bool)) *groupTable {
	t := &groupTable{
		named:  named[protocol.SubscriptionGroupConfig]{table: tableGroups, what: "subscription groups", limit: GroupsMax, encode: appendGroupValue},
		system: map[string]*protocol.SubscriptionGroupConfig{}, onDelete: onDelete,
	}
	for _, name := range message.SystemGroups() {
		t.system[name] = protocol.NewSubscriptionGroupConfig(name)
	}
	t.reset()
	return t
}

func (t *groupTable) reset() { t.restart(t.system) }

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
	return t.putChecked(ctx, c.GroupName, c, mode)
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
	existed := t.remove(ctx, name)
	t.onDelete(name, offsets)
	return existed, nil
}

func (t *groupTable) load(key, value []byte) error {
	r := newReader(value)
	if len(key) == 0 {
		return t.loadVersion(r)
	}
	c := &protocol.SubscriptionGroupConfig{GroupName: string(key)}
	readGroupValue(r, c)
	if err := r.done(); err != nil {
		return err
	}
	if t.system[c.GroupName] != nil {
		return nil // made a system group since it was stored
	}
	t.loaded(c.GroupName, c)
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
	return s.groups.get(name)
}

// Groups returns all subscription groups, system groups included, sorted by
// name.
func (s *State) Groups() []*protocol.SubscriptionGroupConfig { return s.groups.all() }

// GroupsVersion counts the changes of the group table, as TopicsVersion does
// for topics.
func (s *State) GroupsVersion() protocol.DataVersion { return s.groups.dataVersion() }

// SystemGroup reports whether a group is one of those no command can change.
func (s *State) SystemGroup(name string) bool { return s.groups.system[name] != nil }

// DefaultGroup is the configuration a subscription group gets when it is
// created on first use.
func DefaultGroup(name string) *protocol.SubscriptionGroupConfig {
	return protocol.NewSubscriptionGroupConfig(name)
}
