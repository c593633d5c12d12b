package store

import (
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/consumequeue"
)

// QueueEntry is where a message lies, as its queue remembers it.
type QueueEntry struct {
	Phy      message.PhyOffset
	Size     int32
	TagsCode int64
}

// QueueEntries returns up to n entries of a queue from an offset on, without
// reading the log; false for a queue that never had a message. Offsets whose
// messages are not in the log any more are left out at the front.
func (s *Store) QueueEntries(topic string, queue int32, from message.QueueOffset, n int) ([]QueueEntry, bool) {
	q := s.queues.Queue(topic, queue)
	if q == nil {
		return nil, false
	}
	low, next, err := q.Range(s.minOffset())
	var entries []consumequeue.Entry
	if err == nil && from >= low && from < next {
		entries, err = q.Read(nil, from, int(min(int64(n), int64(next-from))))
	}
	s.reportDamage(err)
	out := make([]QueueEntry, len(entries))
	for i, e := range entries {
		out[i] = QueueEntry{Phy: e.Phy, Size: int32(e.Size), TagsCode: e.TagsCode}
	}
	return out, true
}
