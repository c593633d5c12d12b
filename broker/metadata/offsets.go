package metadata

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/store"
)

// OffsetCommit is one consumer's progress in one queue: the next offset it
// will read, at least 0.
//
// The last commit in the log wins, also when it moves the offset back.
// RocketMQ stores blindly and its clients rely on it: a reset of an online
// group (request 222) reaches the broker as ordinary one-way commits of the
// smaller offset by the live consumers, and a lite-pull consumer that seeks
// back commits in the same way. A rule such as "one-way commits only move
// forward" would undo both. What the blind rule costs is small: a commit that
// a former owner of a queue sends late can move the offset back until the new
// owner commits again, within five seconds, and can only repeat messages,
// never skip one.
type OffsetCommit struct {
	Group, Topic string
	Queue        int32
	Offset       int64
}

// queueOffset is one cell of the table.
type queueOffset struct {
	queue  int32
	offset int64
}

// offsetTable is RocketMQ's ConsumerOffsetManager. Offsets of one group and
// topic lie together, ascending by queue: that is how they are committed,
// asked for and stored.
type offsetTable struct {
	log hclog.Logger

	mu     sync.RWMutex
	groups map[string]map[string][]queueOffset
	cells  int

	dirty dirty // applying goroutine only; keys are group 00 topic
}

func newOffsetTable(log hclog.Logger) *offsetTable {
	t := &offsetTable{log: log, dirty: dirty{}}
	t.reset()
	return t
}

func (t *offsetTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups = map[string]map[string][]queueOffset{}
	t.cells = 0
	clear(t.dirty)
}

func (t *offsetTable) apply(_ *store.ApplyContext, verb byte, r *reader) (any, error) {
	if uint16(tableOffsets)<<8|uint16(verb) != OpCommitOffsets {
		return nil, unknownVerb("offsets", verb)
	}
	commits, err := readCommits(r)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, refused := 0, error(nil)
	for _, c := range commits {
		if err := t.set(c); err != nil {
			refused = err
			continue
		}
		kept++
	}
	if refused != nil {
		t.log.Error("ignored consumer offsets", "kept", kept, "ignored", len(commits)-kept, "last", refused)
	}
	return kept, nil
}

// set stores one offset. Items stand for themselves: one bad item of a batch
// that collects the commits of many clients must not lose the others.
func (t *offsetTable) set(c OffsetCommit) error {
	if err := validGroup(c.Group); err != nil {
		return err
	}
	if err := validTopic(c.Topic); err != nil {
		return err
	}
	cells := t.groups[c.Group][c.Topic]
	i, found := slices.BinarySearchFunc(cells, c.Queue, compareQueue)
	if found {
		cells[i].offset = c.Offset
		t.dirty.mark(offsetKey(c.Group, c.Topic))
		return nil
	}
	if t.cells >= OffsetsMax {
		return fmt.Errorf("%w: %d consumer offsets; delete unused groups", ErrFull, OffsetsMax)
	}
	topics := t.groups[c.Group]
	if topics == nil {
		topics = map[string][]queueOffset{}
		t.groups[c.Group] = topics
	}
	topics[c.Topic] = slices.Insert(cells, i, queueOffset{c.Queue, c.Offset})
	t.cells++
	t.dirty.mark(offsetKey(c.Group, c.Topic))
	return nil
}

func compareQueue(c queueOffset, queue int32) int { return int(c.queue) - int(queue) }

func offsetKey(group, topic string) string { return group + "\x00" + topic }

func (t *offsetTable) deleteTopic(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for group := range t.groups {
		t.removeLocked(group, topic)
	}
}

func (t *offsetTable) deleteGroup(group string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for topic := range t.groups[group] {
		t.removeLocked(group, topic)
	}
}

func (t *offsetTable) removeLocked(group, topic string) {
	cells, ok := t.groups[group][topic]
	if !ok {
		return
	}
	t.cells -= len(cells)
	t.dirty.mark(offsetKey(group, topic))
	delete(t.groups[group], topic)
	if len(t.groups[group]) == 0 {
		delete(t.groups, group)
	}
}

func (t *offsetTable) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty.drain(dst, tableOffsets, func(key string) []byte {
		group, topic, _ := strings.Cut(key, "\x00")
		cells, ok := t.groups[group][topic]
		if !ok {
			return nil
		}
		v := append(make([]byte, 0, 4+6*len(cells)), formatVersion)
		v = binary.AppendUvarint(v, uint64(len(cells)))
		for _, c := range cells {
			v = appendI32(v, c.queue)
			v = binary.AppendUvarint(v, uint64(c.offset))
		}
		return v
	})
}

func (t *offsetTable) load(key, value []byte) error {
	group, topic, ok := strings.Cut(string(key), "\x00")
	if !ok {
		return fmt.Errorf("%w: offset key without a topic", ErrFormat)
	}
	r := newReader(value)
	cells := make([]queueOffset, 0, r.count(2))
	for range cap(cells) {
		c := queueOffset{r.i32(), r.offset()}
		if n := len(cells); n > 0 && cells[n-1].queue >= c.queue {
			r.fail("queues out of order")
		}
		cells = append(cells, c)
	}
	if err := r.done(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.groups[group] == nil {
		t.groups[group] = map[string][]queueOffset{}
	}
	t.groups[group][topic] = cells
	t.cells += len(cells)
	return nil
}

// Offset returns the committed offset of one queue: the next one to read.
// False when the group never committed there.
func (s *State) Offset(group, topic string, queue int32) (int64, bool) {
	t := s.offsets
	t.mu.RLock()
	defer t.mu.RUnlock()
	cells := t.groups[group][topic]
	i, ok := slices.BinarySearchFunc(cells, queue, compareQueue)
	if !ok {
		return 0, false
	}
	return cells[i].offset, true
}

// Offsets returns a copy of a group's offsets in one topic, by queue; empty
// when there are none.
func (s *State) Offsets(group, topic string) map[int32]int64 {
	s.offsets.mu.RLock()
	defer s.offsets.mu.RUnlock()
	return copyCells(s.offsets.groups[group][topic])
}

// OffsetTable returns a copy of all offsets, keyed topic@group as RocketMQ's
// consumerOffset.json and GET_ALL_CONSUMER_OFFSET are.
func (s *State) OffsetTable() map[string]map[int32]int64 {
	s.offsets.mu.RLock()
	defer s.offsets.mu.RUnlock()
	out := map[string]map[int32]int64{}
	for group, topics := range s.offsets.groups {
		for topic, cells := range topics {
			out[topic+"@"+group] = copyCells(cells)
		}
	}
	return out
}

func copyCells(cells []queueOffset) map[int32]int64 {
	out := make(map[int32]int64, len(cells))
	for _, c := range cells {
		out[c.queue] = c.offset
	}
	return out
}

// GroupTopics returns the topics in which a group has offsets, sorted.
func (s *State) GroupTopics(group string) []string {
	s.offsets.mu.RLock()
	defer s.offsets.mu.RUnlock()
	out := make([]string, 0, len(s.offsets.groups[group]))
	for topic := range s.offsets.groups[group] {
		out = append(out, topic)
	}
	slices.Sort(out)
	return out
}

// OffsetGroups returns the groups that have offsets, sorted.
func (s *State) OffsetGroups() []string {
	s.offsets.mu.RLock()
	defer s.offsets.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.offsets.groups))
}

// TopicGroups returns the groups that have offsets in a topic, sorted. It
// looks at every group: for management requests only.
func (s *State) TopicGroups(topic string) []string {
	s.offsets.mu.RLock()
	defer s.offsets.mu.RUnlock()
	out := []string{}
	for group, topics := range s.offsets.groups {
		if _, ok := topics[topic]; ok {
			out = append(out, group)
		}
	}
	slices.Sort(out)
	return out
}
