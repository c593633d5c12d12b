package metadata

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cometmq/cometmq/message"
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

// topicTable is RocketMQ's TopicConfigManager.
type topicTable struct {
	reserved map[string]bool
	system   []*protocol.TopicConfig
	onDelete func(ctx *store.ApplyContext, topic string)

	mu      sync.RWMutex
	topics  map[string]*protocol.TopicConfig // values are never changed
	stored  int                              // topics that are not system topics
	version protocol.DataVersion

	dirty dirty // applying goroutine only
}

func newTopicTable(cfg Config, onDelete func(ctx *store.ApplyContext, topic string)) *topicTable {
	t := &topicTable{reserved: reservedTopicNames(cfg), system: systemTopics(cfg), onDelete: onDelete, dirty: dirty{}}
	t.reset()
	return t
}

func (t *topicTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.topics = make(map[string]*protocol.TopicConfig, len(t.system))
	for _, c := range t.system {
		t.topics[c.TopicName] = c
	}
	t.stored, t.version = 0, protocol.DataVersion{}
	clear(t.dirty)
}

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
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.topics[c.TopicName]
	if ok && mode == IfAbsent {
		return old, nil
	}
	if !ok {
		if t.stored >= TopicsMax {
			return nil, fmt.Errorf("%w: %d topics; delete unused ones", ErrFull, TopicsMax)
		}
		t.stored++
	}
	t.topics[c.TopicName] = c
	t.touch(ctx, c.TopicName)
	return c, nil
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
	t.mu.Lock()
	_, existed := t.topics[name]
	if existed {
		delete(t.topics, name)
		t.stored--
		t.touch(ctx, name)
	}
	t.mu.Unlock()
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
	t.mu.RLock()
	_, exists := t.topics[name]
	t.mu.RUnlock()
	if exists || t.isReserved(name) {
		return false, nil
	}
	t.onDelete(ctx, name)
	return true, nil
}

// touch marks a topic as changed and moves the data version. Group time, not
// this node's clock: name servers compare versions of different leaders.
func (t *topicTable) touch(ctx *store.ApplyContext, name string) {
	t.version.Counter++
	t.version.Timestamp = ctx.Time
	t.dirty.mark(name)
	t.dirty.mark("")
}

func (t *topicTable) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty.drain(dst, tableTopics, func(name string) []byte {
		if name == "" {
			return appendVersion(nil, t.version)
		}
		if c, ok := t.topics[name]; ok {
			return appendTopicValue([]byte{formatVersion}, c)
		}
		return nil
	})
}

func (t *topicTable) load(key, value []byte) error {
	r := newReader(value)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(key) == 0 {
		return readVersion(r, &t.version)
	}
	c := &protocol.TopicConfig{TopicName: string(key)}
	readTopicValue(r, c)
	if err := r.done(); err != nil {
		return err
	}
	_, built := t.topics[c.TopicName]
	if t.isReserved(c.TopicName) && (built || !madeByUse(c.TopicName)) {
		return nil // reserved since it was stored: the built-in topic stands
	}
	t.topics[c.TopicName] = c
	t.stored++
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

// Topic returns a topic's configuration, which the caller must not change.
func (s *State) Topic(name string) (*protocol.TopicConfig, bool) {
	s.topics.mu.RLock()
	defer s.topics.mu.RUnlock()
	c, ok := s.topics.topics[name]
	return c, ok
}

// TopicBytes is Topic for a name that still lies in a frame; it does not
// allocate.
func (s *State) TopicBytes(name []byte) (*protocol.TopicConfig, bool) {
	s.topics.mu.RLock()
	defer s.topics.mu.RUnlock()
	c, ok := s.topics.topics[string(name)]
	return c, ok
}

// Topics returns all topics, system topics included, sorted by name.
func (s *State) Topics() []*protocol.TopicConfig {
	s.topics.mu.RLock()
	out := make([]*protocol.TopicConfig, 0, len(s.topics.topics))
	for _, c := range s.topics.topics {
		out = append(out, c)
	}
	s.topics.mu.RUnlock()
	slices.SortFunc(out, func(a, b *protocol.TopicConfig) int { return strings.Compare(a.TopicName, b.TopicName) })
	return out
}

// TopicsVersion counts the changes of the topic table; its timestamp is the
// group time of the last one. Zero until the first topic is put.
func (s *State) TopicsVersion() protocol.DataVersion {
	s.topics.mu.RLock()
	defer s.topics.mu.RUnlock()
	return s.topics.version
}

// SystemTopic reports whether a name is reserved: a topic of that name can
// neither be put nor deleted.
func (s *State) SystemTopic(name string) bool { return s.topics.isReserved(name) }
