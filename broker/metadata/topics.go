package metadata

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// topicTable is RocketMQ's TopicConfigManager.
type topicTable struct {
	named[protocol.TopicConfig]
	reserved map[string]bool
	system   map[string]*protocol.TopicConfig
	onDelete func(ctx *store.ApplyContext, topic string)
}

func newTopicTable(cfg Config, onDelete func(ctx *store.ApplyContext, topic string)) *topicTable {
	t := &topicTable{
		named:    named[protocol.TopicConfig]{table: tableTopics, what: "topics", limit: TopicsMax, encode: appendTopicValue},
		reserved: reservedTopicNames(cfg), system: map[string]*protocol.TopicConfig{}, onDelete: onDelete,
	}
	for _, c := range systemTopics(cfg) {
		t.system[c.TopicName] = c
	}
	t.reset()
	return t
}

func (t *topicTable) reset() { t.restart(t.system) }

func (t *topicTable) isReserved(name string) bool { return t.reserved[name] || isSystemPrefix(name) }

// madeByUse tells the one reserved topic that comes into being with its first
// message, where no setting makes it before: clients that trace send to it
// whether or not the broker was prepared for that, and RocketMQ lets them.
func madeByUse(name string) bool { return name == message.TopicTrace }

func (t *topicTable) apply(ctx *store.ApplyContext, verb byte, r *reader) (any, error) {
	switch uint16(tableTopics)<<8 | uint16(verb) {
	case OpPutTopic:
		return t.put(ctx, r)
	case OpDeleteTopic:
		return t.delete(ctx, r)
	case OpCleanTopic:
		return t.clean(ctx, r)
	}
	return nil, unknownVerb("topics", verb)
}

func (t *topicTable) put(ctx *store.ApplyContext, r *reader) (any, error) {
	mode := PutMode(r.u8())
	c := &protocol.TopicConfig{TopicName: r.string()}
	readTopicValue(r, c)
	if err := r.done(); err != nil {
		return nil, err
	}
	if err := t.check(c, mode); err != nil {
		return nil, err
	}
	return t.putChecked(ctx, c.TopicName, c, mode)
}

func (t *topicTable) check(c *protocol.TopicConfig, mode PutMode) error {
	if mode > IfAbsent {
		return fmt.Errorf("%w: put mode %d", ErrInvalid, mode)
	}
	if err := validTopic(c.TopicName); err != nil {
		return err
	}
	if t.isReserved(c.TopicName) && (mode != IfAbsent || !madeByUse(c.TopicName)) {
		return fmt.Errorf("%w: topic %q", ErrSystem, c.TopicName)
	}
	if c.ReadQueueNums > QueuesPerTopicMax || c.WriteQueueNums > QueuesPerTopicMax {
		return fmt.Errorf("%w: topic %q with %d read and %d write queues, at most %d",
			ErrInvalid, c.TopicName, c.ReadQueueNums, c.WriteQueueNums, QueuesPerTopicMax)
	}
	if n := len(appendTopicValue(nil, c)); n > topicValueMax {
		return fmt.Errorf("%w: topic %q with %d bytes of configuration, at most %d", ErrInvalid, c.TopicName, n, topicValueMax)
	}
	return nil
}

func (t *topicTable) delete(ctx *store.ApplyContext, r *reader) (any, error) {
	name := r.string()
	if err := r.done(); err != nil {
		return nil, err
	}
	if err := validTopic(name); err != nil {
		return nil, err
	}
	if t.isReserved(name) {
		return nil, fmt.Errorf("%w: topic %q", ErrSystem, name)
	}
	existed := t.remove(ctx, name)
	// Queues and offsets can outlive the config (a delayed message that
	// matured late makes a queue again), so they go even without one.
	t.onDelete(ctx, name)
	return existed, nil
}

// clean removes what is left of a topic without a configuration. The look and
// the removal are one command: a topic that a first send makes in between would
// otherwise lose its messages.
func (t *topicTable) clean(ctx *store.ApplyContext, r *reader) (any, error) {
	name := r.string()
	if err := r.done(); err != nil {
		return nil, err
	}
	if err := validTopic(name); err != nil {
		return nil, err
	}
	if _, exists := t.get(name); exists || t.isReserved(name) {
		return false, nil
	}
	t.onDelete(ctx, name)
	return true, nil
}

func (t *topicTable) load(key, value []byte) error {
	r := newReader(value)
	if len(key) == 0 {
		return t.loadVersion(r)
	}
	c := &protocol.TopicConfig{TopicName: string(key)}
	readTopicValue(r, c)
	if err := r.done(); err != nil {
		return err
	}
	_, built := t.get(c.TopicName)
	if t.isReserved(c.TopicName) && (built || !madeByUse(c.TopicName)) {
		return nil // reserved since it was stored: the built-in topic stands
	}
	t.loaded(c.TopicName, c)
	return nil
}

func appendTopicValue(dst []byte, c *protocol.TopicConfig) []byte {
	dst = appendI32(dst, c.ReadQueueNums)
	dst = appendI32(dst, c.WriteQueueNums)
	dst = appendI32(dst, c.Perm)
	dst = appendString(dst, c.TopicFilterType)
	dst = appendI32(dst, c.TopicSysFlag)
	dst = appendBool(dst, c.Order)
	dst = binary.AppendUvarint(dst, uint64(len(c.Attributes)))
	for _, k := range slices.Sorted(maps.Keys(c.Attributes)) {
		dst = appendString(appendString(dst, k), c.Attributes[k])
	}
	return dst
}

func readTopicValue(r *reader, c *protocol.TopicConfig) {
	c.ReadQueueNums = r.i32()
	c.WriteQueueNums = r.i32()
	c.Perm = r.i32()
	c.TopicFilterType = r.string()
	c.TopicSysFlag = r.i32()
	c.Order = r.bool()
	n := r.count(2)
	if n == 0 {
		return
	}
	c.Attributes = make(map[string]string, n)
	for range n {
		k := r.string()
		c.Attributes[k] = r.string()
	}
}

// Topic returns a topic's configuration, which the caller must not change.
func (s *State) Topic(name string) (*protocol.TopicConfig, bool) { return s.topics.get(name) }

// TopicBytes is Topic for a name that still lies in a frame; it does not
// allocate.
func (s *State) TopicBytes(name []byte) (*protocol.TopicConfig, bool) {
	s.topics.mu.RLock()
	defer s.topics.mu.RUnlock()
	c, ok := s.topics.byName[string(name)]
	return c, ok
}

// Topics returns all topics, system topics included, sorted by name.
func (s *State) Topics() []*protocol.TopicConfig { return s.topics.all() }

// TopicsVersion counts the changes of the topic table; its timestamp is the
// group time of the last one. Zero until the first topic is put.
func (s *State) TopicsVersion() protocol.DataVersion { return s.topics.dataVersion() }

// SystemTopic reports whether a name is reserved: a topic of that name can
// neither be put nor deleted.
func (s *State) SystemTopic(name string) bool { return s.topics.isReserved(name) }
