package store

import (
	"slices"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/consumequeue"
)

// lightQueueID is the one queue of a light queue's name.
const lightQueueID = 0

// eachPlace shows the queues that a published message can be read from, in the
// order in which Apply appends to them: its own first, then the light queues that
// it names, each once. It stops at fn's first error.
func eachPlace(m message.Stored, fn func(topic []byte, queue int32) error) error {
	err := fn(m.Topic(), m.QueueID())
	m.EachLightQueue(func(name []byte, _ int, again bool) {
		if err == nil && !again {
			err = fn(name, lightQueueID)
		}
	})
	return err
}

// publishLight gives a message its places in the light queues that it names. They
// have entries of their own and share the record.
func (s *Store) publishLight(m message.Stored, entry consumequeue.Entry) {
	m.EachLightQueue(func(name []byte, _ int, again bool) {
		if again {
			return
		}
		q, off, err := s.queues.Append(name, lightQueueID, entry)
		if err != nil {
			s.log.Error("a message in the log has no light queue", "offset", entry.Phy, "error", err)
			return
		}
		s.arrivals = append(s.arrivals, Arrival{Topic: q.Topic(), QueueID: q.ID(), Offset: off, TagsCode: entry.TagsCode, Message: m})
	})
}

// patchLight writes the offsets that a message has in its light queues into the
// copy of a record that goes out. That of a queue that was deleted stays zero.
func (s *Store) patchLight(rec message.Stored, phy message.PhyOffset) {
	rec.EachLightQueue(func(name []byte, at int, _ bool) {
		if off, _, ok := s.entryOf(string(name), lightQueueID, phy); ok {
			message.PutLightOffset(rec, at, off)
		}
	})
}

// LightQueues counts the light queues, and how many of the names have none yet.
func (s *Store) LightQueues(names []string) (have, missing int) {
	for i, name := range names {
		if s.queues.Queue(name, lightQueueID) == nil && !slices.Contains(names[:i], name) {
			missing++
		}
	}
	return s.queues.LightQueues(), missing
}
