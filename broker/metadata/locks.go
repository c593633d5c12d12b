package metadata

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// queueKey names a queue inside a group's locks. The broker name a client
// sends is echoed but is no part of the key: this state belongs to one name.
type queueKey struct {
	topic string
	queue int32
}

func (k queueKey) compare(o queueKey) int {
	if c := strings.Compare(k.topic, o.topic); c != 0 {
		return c
	}
	return int(k.queue) - int(o.queue)
}

type queueLock struct {
	owner string // client id
	since int64  // group time of the last renewal, ms
}

func (l queueLock) expired(now int64) bool { return now-l.since > LockLifetimeMillis }

// lockTable is RocketMQ's RebalanceLockManager, with two differences: locks
// survive a change of leader, and their order is that of the log. Two clients
// can therefore never both hold a lock by asking two brokers that both believe
// to lead. (A client that stalls longer than a lock lives can still process
// beside the new owner; that is RocketMQ's protocol.)
type lockTable struct {
	mu     sync.RWMutex
	groups map[string]map[queueKey]queueLock

	swept int64 // group time of the last sweep; applying goroutine only
	dirty dirty // applying goroutine only; keys are groups, "" is swept
}

func newLockTable() *lockTable {
	t := &lockTable{dirty: dirty{}}
	t.reset()
	return t
}

func (t *lockTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups = map[string]map[queueKey]queueLock{}
	t.swept = 0
	clear(t.dirty)
}

func (t *lockTable) apply(ctx *store.ApplyContext, verb byte, r *reader) (any, error) {
	op := uint16(tableLocks)<<8 | uint16(verb)
	if op != OpLockQueues && op != OpUnlockQueues {
		return nil, unknownVerb("locks", verb)
	}
	group, owner, queues, err := readLockPayload(r)
	if err != nil {
		return nil, err
	}
	if err := validGroup(group); err != nil {
		return nil, err
	}
	if owner == "" || len(owner) > clientIDMax {
		return nil, fmt.Errorf("%w: client id of %d bytes, allowed are 1 to %d", ErrInvalid, len(owner), clientIDMax)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweepLocked(ctx.Time)
	if op == OpUnlockQueues {
		return t.unlockLocked(group, owner, queues), nil
	}
	return t.lockLocked(ctx, group, owner, queues)
}

// lockLocked grants each queue that is free, expired, or owned by the client
// already, and returns the queues the client now owns.
func (t *lockTable) lockLocked(ctx *store.ApplyContext, group, owner string, queues []protocol.MessageQueue) (any, error) {
	locks := t.groups[group]
	if locks == nil {
		if len(t.groups) >= LockedGroupsMax {
			return nil, fmt.Errorf("%w: %d groups hold queue locks", ErrFull, LockedGroupsMax)
		}
		locks = map[queueKey]queueLock{}
	}
	owned := make([]protocol.MessageQueue, 0, len(queues))
	for _, q := range queues {
		if validTopic(q.Topic) != nil || q.QueueID < 0 {
			continue // no such queue: not owned
		}
		key := queueKey{q.Topic, q.QueueID}
		held, ok := locks[key]
		if ok && held.owner != owner && !held.expired(ctx.Time) {
			continue
		}
		if !ok && len(locks) >= LocksPerGroupMax {
			continue
		}
		locks[key] = queueLock{owner: owner, since: ctx.Time}
		owned = append(owned, q)
	}
	if len(owned) > 0 {
		t.groups[group] = locks
		t.dirty.mark(group)
	}
	return owned, nil
}

// unlockLocked releases the client's own locks and returns how many.
func (t *lockTable) unlockLocked(group, owner string, queues []protocol.MessageQueue) int {
	n := 0
	for _, q := range queues {
		key := queueKey{q.Topic, q.QueueID}
		if t.groups[group][key].owner == owner {
			t.removeLocked(group, key)
			n++
		}
	}
	return n
}

// sweepLocked drops expired locks once per lifetime. When it last ran is part
// of the state: the bounds count expired locks too, and a replica that restarted
// in between must not count others than the rest.
func (t *lockTable) sweepLocked(now int64) {
	if now-t.swept < LockLifetimeMillis {
		return
	}
	t.swept = now
	t.dirty.mark("")
	for group, locks := range t.groups {
		for key, l := range locks {
			if l.expired(now) {
				t.removeLocked(group, key)
			}
		}
	}
}

func (t *lockTable) removeLocked(group string, key queueKey) {
	locks, ok := t.groups[group]
	if !ok {
		return
	}
	delete(locks, key)
	if len(locks) == 0 {
		delete(t.groups, group)
	}
	t.dirty.mark(group)
}

func (t *lockTable) deleteTopic(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for group, locks := range t.groups {
		for key := range locks {
			if key.topic == topic {
				t.removeLocked(group, key)
			}
		}
	}
}

func (t *lockTable) deleteGroup(group string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.groups[group] {
		t.removeLocked(group, key)
	}
}

func (t *lockTable) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty.drain(dst, tableLocks, func(group string) []byte {
		if group == "" {
			return binary.BigEndian.AppendUint64([]byte{formatVersion}, uint64(t.swept))
		}
		locks, ok := t.groups[group]
		if !ok {
			return nil
		}
		keys := make([]queueKey, 0, len(locks))
		for k := range locks {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, queueKey.compare)
		v := binary.AppendUvarint([]byte{formatVersion}, uint64(len(keys)))
		for _, k := range keys {
			v = appendI32(appendString(v, k.topic), k.queue)
			v = appendString(v, locks[k].owner)
			v = binary.BigEndian.AppendUint64(v, uint64(locks[k].since))
		}
		return v
	})
}

func (t *lockTable) load(key, value []byte) error {
	r := newReader(value)
	if len(key) == 0 {
		t.swept = r.i64()
		return r.done()
	}
	n := r.count(11)
	locks := make(map[queueKey]queueLock, n)
	for range n {
		k := queueKey{r.string(), r.i32()}
		locks[k] = queueLock{owner: r.string(), since: r.i64()}
	}
	if err := r.done(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups[string(key)] = locks
	return nil
}

// LockOwner returns the client that holds the lock of a queue at group time
// now (ms); false when nobody does.
func (s *State) LockOwner(group, topic string, queue int32, now int64) (clientID string, ok bool) {
	s.locks.mu.RLock()
	defer s.locks.mu.RUnlock()
	l, ok := s.locks.groups[group][queueKey{topic, queue}]
	if !ok || l.expired(now) {
		return "", false
	}
	return l.owner, true
}
