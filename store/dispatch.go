package store

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/consumequeue"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Apply gives the messages of an entry their places in the queues and runs its
// commands, in the order of the records, and returns one Result per record. What
// it does depends on nothing but the entries applied so far, so that all members
// come to the same offsets. An entry at or below AppliedIndex is skipped, and one
// that is not made of records is logged and skipped as a whole; both return nil.
func (s *Store) Apply(e Entry) []Result {
	if e.Index <= s.index.Load() {
		return nil
	}
	results := s.applyRecords(e)
	s.term.Store(e.Term)
	s.index.Store(e.Index)
	if len(s.arrivals) > 0 {
		s.cfg.OnArrival(s.arrivals)
		clear(s.arrivals) // they would keep the entry's bytes alive
		s.arrivals = s.arrivals[:0]
	}
	return results
}

func (s *Store) applyRecords(e Entry) []Result {
	count := 0
	if err := EachRecord(e.Data, func(Record) error { count++; return nil }); err != nil {
		s.log.Error("ignoring an entry that is not made of records", "index", e.Index, "offset", e.Offset, "error", err)
		return nil
	}
	// A leader's clock may stand behind its predecessor's.
	now := max(s.time.Load(), e.Time)
	s.time.Store(now)

	results := make([]Result, 0, count)
	for pos := 0; pos < len(e.Data); {
		size := int(binary.BigEndian.Uint32(e.Data[pos:]))
		rec := Record{Pos: pos, Bytes: e.Data[pos : pos+size : pos+size]}
		pos += size
		if rec.IsCommand() {
			results = append(results, s.applyCommand(e, rec, now))
			continue
		}
		results = append(results, s.publish(rec.Message(), e.Offset+message.PhyOffset(rec.Pos)))
	}
	return results
}

// publish gives a message its place in its queue.
func (s *Store) publish(m message.Stored, phy message.PhyOffset) Result {
	tags, unique, keys := m.Marks()
	entry := s.taggedEntry(m, phy, tags)
	q, off, err := s.queues.Append(m.Topic(), m.QueueID(), entry)
	if err != nil {
		// The leader checks names before it proposes; all members refuse alike.
		s.log.Error("a message in the log has no queue", "offset", phy, "error", err)
		return Result{Phy: phy, Queue: -1}
	}
	if s.keys != nil {
		s.indexMessage(m, phy, unique, keys)
	}
	s.arrivals = append(s.arrivals, Arrival{Topic: q.Topic(), QueueID: q.ID(), Offset: off, TagsCode: entry.TagsCode, Message: m})
	s.publishLight(m, entry)
	return Result{Phy: phy, Queue: off}
}

// queueEntry makes the queue entry of a message at a position of the log.
func (s *Store) queueEntry(m message.Stored, phy message.PhyOffset) consumequeue.Entry {
	tags, _, _ := m.Marks()
	return s.taggedEntry(m, phy, tags)
}

// taggedEntry is queueEntry for a message whose tag is known.
func (s *Store) taggedEntry(m message.Stored, phy message.PhyOffset, tags []byte) consumequeue.Entry {
	entry := consumequeue.Entry{
		Phy:       phy,
		Size:      uint32(len(m)),
		CRC:       crc32.Checksum(m, castagnoli),
		StoreTime: m.StoreTimestamp(),
	}
	if message.IsTimerTopic(m.Topic()) {
		// The time of delivery of a timed message.
		at, ok := m.DeliverAt()
		if !ok {
			at = entry.StoreTime
		}
		entry.TagsCode = at
		return entry
	}
	if string(m.Topic()) == message.TopicSchedule {
		// The scheduler wants to know when, without reading the message. The time
		// is remembered here, so that a later change of the levels' durations
		// leaves stored messages alone.
		entry.TagsCode = entry.StoreTime + s.cfg.DelayTime(int(m.QueueID())+1)
	} else {
		entry.TagsCode = message.TagsCode(tags)
	}
	return entry
}

func (s *Store) applyCommand(e Entry, rec Record, now int64) Result {
	res := Result{Phy: e.Offset + message.PhyOffset(rec.Pos)}
	ctx := &s.ctx
	ctx.Index, ctx.Term, ctx.Time = e.Index, e.Term, now
	ctx.reset()
	// The record has been checked, so that walking it cannot fail.
	_ = rec.EachNested(func(pos int, m message.Stored) error {
		ctx.nested = append(ctx.nested, nested{m: m, phy: e.Offset + message.PhyOffset(pos)})
		return nil
	})
	if s.cfg.Machine == nil {
		s.log.Error("ignoring a command, this store has no machine", "index", e.Index, "op", rec.Op())
	} else {
		res.Value = s.cfg.Machine.Apply(ctx, rec.Op(), rec.Payload())
	}
	if !ctx.usual() {
		s.actions = append(s.actions, KV{Key: actionKey(e.Index, rec.Pos), Value: encodeActions(ctx.actions)})
	}
	return res
}
