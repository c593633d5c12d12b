package metadata

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// TestReplicasAgree applies one random log to three replicas: one that never
// stops, one that restarts from its checkpoints at random places and applies
// what came after them, and a plain model of offsets, locks and progress.
func TestReplicasAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		straight, restarting, model := newWorld(), newWorld(), newModel()
		now := int64(1_000)
		for range rapid.IntRange(1, 60).Draw(rt, "commands") {
			now += rapid.Int64Range(0, 40_000).Draw(rt, "passed")
			data, modelled := drawCommand(rt, now)
			got := straight.apply(t, now, data)
			require.Equal(rt, got, restarting.apply(t, now, data))
			if want, ok := modelled(model); ok {
				require.Equal(rt, want, got)
			}
			if rapid.Bool().Draw(rt, "checkpoint") {
				straight.checkpoint()
				restarting.checkpoint()
				restarting = restarting.reload(t)
			}
		}
		require.Equal(rt, observe(straight.State), observe(restarting.State))
		require.Equal(rt, straight.checkpoint(), restarting.checkpoint(), "the same state is stored as the same bytes")
		model.compare(rt, straight.State, now)
	})
}

// model is the least that can be said about the interesting tables.
type model struct {
	offsets  map[OffsetCommit]int64 // with Offset 0 as key
	locks    map[string]queueLock   // topic/queue of one group
	progress map[int32]message.QueueOffset
}

func newModel() *model {
	return &model{map[OffsetCommit]int64{}, map[string]queueLock{}, map[int32]message.QueueOffset{}}
}

func (m *model) compare(t require.TestingT, s *State, now int64) {
	total := 0
	for _, queues := range s.OffsetTable() {
		total += len(queues)
	}
	require.Equal(t, len(m.offsets), total)
	for k, want := range m.offsets {
		got, ok := s.Offset(k.Group, k.Topic, k.Queue)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	for level, want := range m.progress {
		require.Equal(t, want, s.DelayProgress(level))
	}
	for i := range int32(3) {
		for _, topic := range []string{"T0", "T1"} {
			want := m.locks[fmt.Sprint(topic, i)]
			owner, ok := s.LockOwner("g0", topic, i, now)
			require.Equal(t, want.owner != "" && now-want.since <= LockLifetimeMillis, ok)
			if ok {
				require.Equal(t, want.owner, owner)
			}
		}
	}
}

// drawCommand returns a command and what it does to the model: the expected
// result value, if the model knows it.
func drawCommand(rt *rapid.T, now int64) ([]byte, func(*model) (any, bool)) {
	name := rapid.SampledFrom([]string{"T0", "T1"}).Draw(rt, "topic")
	group := rapid.SampledFrom([]string{"g0", "g1"}).Draw(rt, "group")
	client := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "client")
	queue := rapid.Int32Range(0, 2).Draw(rt, "queue")
	number := rapid.Int64Range(0, 5).Draw(rt, "number")
	unknown := func(*model) (any, bool) { return nil, false }
	switch rapid.IntRange(0, 8).Draw(rt, "kind") {
	case 0:
		return AppendPutTopic(nil, topic(name, int32(number)), PutMode(number%2)), unknown
	case 1:
		return AppendDeleteTopic(nil, name), func(m *model) (any, bool) {
			for k := range m.offsets {
				if k.Topic == name {
					delete(m.offsets, k)
				}
			}
			for i := range int32(3) {
				delete(m.locks, fmt.Sprint(name, i))
			}
			return nil, false
		}
	case 2:
		return AppendPutGroup(nil, DefaultGroup(group), PutMode(number%2)), unknown
	case 3:
		return AppendDeleteGroup(nil, group, number > 2), func(m *model) (any, bool) {
			for k := range m.offsets {
				if k.Group == group && number > 2 {
					delete(m.offsets, k)
				}
			}
			if group == "g0" {
				clear(m.locks)
			}
			return nil, false
		}
	case 4:
		return AppendAnnounce(nil, Member{client, client + ":1", uint64(number)}), unknown
	case 5:
		level := queue + 1
		return AppendMature(nil, level, message.QueueOffset(number), message.QueueOffset(number+1)), func(m *model) (any, bool) {
			applied := m.progress[level] == message.QueueOffset(number)
			if applied {
				m.progress[level]++
			}
			got := Matured{Applied: applied, Progress: m.progress[level]}
			return got, !applied
		}
	case 6, 7:
		q := []protocol.MessageQueue{{Topic: name, QueueID: queue}}
		key := fmt.Sprint(name, queue)
		if number == 0 {
			return AppendUnlockQueues(nil, "g0", client, q), func(m *model) (any, bool) {
				if m.locks[key].owner == client {
					delete(m.locks, key)
				}
				return nil, false
			}
		}
		return AppendLockQueues(nil, "g0", client, q), func(m *model) (any, bool) {
			l, held := m.locks[key]
			if held && l.owner != client && now-l.since <= LockLifetimeMillis {
				return []protocol.MessageQueue{}, true
			}
			m.locks[key] = queueLock{client, now}
			return q, true
		}
	default:
		c := []OffsetCommit{{group, name, queue, number}, {group, name, (queue + 1) % 3, number + 7}}
		return AppendCommitOffsets(nil, c), func(m *model) (any, bool) {
			for _, c := range c {
				m.offsets[OffsetCommit{c.Group, c.Topic, c.Queue, 0}] = c.Offset
			}
			return 2, true
		}
	}
}
