package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cometmq/cometmq/message"
)

// ApplyContext is what a command may know besides its payload and the state, and
// what it may do besides changing the state. It is valid during Machine.Apply.
type ApplyContext struct {
	Index, Term uint64
	// Time is the group time in unix ms. It never steps back.
	Time int64

	store   *Store
	publish func(i int) Result // in tests of a Machine, instead of store
	remove  func(topic string) // likewise
	end     func(topic string, queue int32) message.QueueOffset
	nested  []nested
	actions []action
}

// nested is a message inside the command being applied.
type nested struct {
	m         message.Stored
	phy       message.PhyOffset
	published bool
	result    Result
}

// NewApplyContext makes a context without a store, for tests of a Machine.
// publish and remove may be nil.
func NewApplyContext(index, term uint64, time int64, msgs []message.Stored, publish func(i int) Result, remove func(topic string)) *ApplyContext {
	c := &ApplyContext{Index: index, Term: term, Time: time, publish: publish, remove: remove}
	for _, m := range msgs {
		c.nested = append(c.nested, nested{m: m})
	}
	return c
}

func (c *ApplyContext) reset() {
	clear(c.nested)
	c.nested, c.actions = c.nested[:0], c.actions[:0]
}

// NestedCount is the number of messages inside the command.
func (c *ApplyContext) NestedCount() int { return len(c.nested) }

// Nested returns the i-th message inside the command, from 0. It is valid as long
// as the context.
func (c *ApplyContext) Nested(i int) message.Stored { return c.nested[i].m }

// Publish gives the i-th message its place in its queue; until then it is only
// bytes in the log. Publishing it again returns the first result. An i that does
// not exist returns queue offset -1.
func (c *ApplyContext) Publish(i int) Result {
	if i < 0 || i >= len(c.nested) {
		return Result{Queue: -1}
	}
	n := &c.nested[i]
	if n.published {
		return n.result
	}
	n.published = true
	c.actions = append(c.actions, action{nested: i})
	switch {
	case c.store != nil:
		n.result = c.store.publish(n.m, n.phy)
	case c.publish != nil:
		n.result = c.publish(i)
	}
	return n.result
}

// DeleteTopic removes the queues of a topic. Its messages stay in the log until
// that is cut; a topic of the same name begins at queue offset 0.
func (c *ApplyContext) DeleteTopic(topic string) {
	if topic == "" {
		return
	}
	c.actions = append(c.actions, action{topic: topic})
	switch {
	case c.store != nil:
		c.store.queues.DeleteTopic(topic)
	case c.remove != nil:
		c.remove(topic)
	}
}

// QueueEnd returns the offset that the next message of a queue will get: what it
// is at the command's place in the log, alike on all members.
func (c *ApplyContext) QueueEnd(topic string, queue int32) message.QueueOffset {
	switch {
	case c.store != nil:
		if q := c.store.queues.Queue(topic, queue); q != nil {
			return q.Next()
		}
	case c.end != nil:
		return c.end(topic, queue)
	}
	return 0
}

// WithQueueEnds gives a context without a store an answer for QueueEnd.
func (c *ApplyContext) WithQueueEnds(end func(topic string, queue int32) message.QueueOffset) *ApplyContext {
	c.end = end
	return c
}

// action is something a command did to the queues: published a nested message,
// or deleted a topic if topic is set. See "Rebuilding" in doc.go.
type action struct {
	nested int
	topic  string
}

// usual tells whether the command did what every command is assumed to do:
// publish its messages, all and in order, and nothing else.
func (c *ApplyContext) usual() bool {
	if len(c.actions) != len(c.nested) {
		return false
	}
	for i, a := range c.actions {
		if a.topic != "" || a.nested != i {
			return false
		}
	}
	return true
}

const (
	actionPublish = 'P'
	actionDelete  = 'D'
)

// actionKey orders commands by their place in the log.
func actionKey(index uint64, pos int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, index), uint32(pos))
}

func encodeActions(actions []action) []byte {
	b := []byte{}
	for _, a := range actions {
		if a.topic == "" {
			b = binary.BigEndian.AppendUint32(append(b, actionPublish), uint32(a.nested))
			continue
		}
		b = binary.BigEndian.AppendUint32(append(b, actionDelete), uint32(len(a.topic)))
		b = append(b, a.topic...)
	}
	return b
}

func decodeActions(b []byte) ([]action, error) {
	var actions []action
	for len(b) > 0 {
		if len(b) < 5 {
			return nil, fmt.Errorf("%w: %d bytes of a kept decision", ErrMalformed, len(b))
		}
		kind, n := b[0], binary.BigEndian.Uint32(b[1:])
		b = b[5:]
		switch {
		case kind == actionPublish:
			actions = append(actions, action{nested: int(n)})
		case kind == actionDelete && n > 0 && int64(n) <= int64(len(b)):
			actions = append(actions, action{topic: string(b[:n])})
			b = b[n:]
		default:
			return nil, fmt.Errorf("%w: kept decision of kind %d", ErrMalformed, kind)
		}
	}
	return actions, nil
}
