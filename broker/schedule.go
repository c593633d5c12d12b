package broker

import (
	"fmt"

	"github.com/cometmq/cometmq/broker/delay"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// delayLog is what the delay scheduler sees of this broker: the queues of the
// schedule topic, and a way to propose.
type delayLog struct {
	b *Broker
	// scratch belongs to the goroutine of its level.
	scratch []delayScratch
}

type delayScratch struct {
	buf     []byte
	times   []int64
	entries []delay.Entry
}

const delayReadBytes = 256 << 10

func newDelayLog(b *Broker, levels int) *delayLog {
	return &delayLog{b: b, scratch: make([]delayScratch, levels+1)}
}

// Now is the group's clock.
func (l *delayLog) Now() int64 { return l.b.node.Now() }

// Progress is how far a level was delivered.
func (l *delayLog) Progress(level int32) message.QueueOffset { return l.b.meta.DelayProgress(level) }

// Read returns messages of a level's queue with their delivery times, which are
// the tag codes of their queue entries.
func (l *delayLog) Read(level int32, from message.QueueOffset, limit int) ([]delay.Entry, message.QueueOffset, error) {
	queue := level - 1
	first, _ := l.b.store.QueueRange(message.TopicSchedule, queue)
	from = max(from, first)
	s := &l.scratch[level]
	for {
		s.times = s.times[:0]
		res := l.b.store.Get(store.GetRequest{
			Topic: message.TopicSchedule, QueueID: queue, Offset: from,
			MaxMessages: limit, MaxBytes: delayReadBytes, Buf: s.buf[:0], Match: s.match,
		})
		switch {
		case res.Status == store.Found:
			// What stopped the reading behind these comes up again at Next.
			entries, err := s.take(res)
			return entries, res.Next, err
		case res.Err != nil:
			return nil, from, res.Err
		case res.Next <= from || res.Status == store.OffsetTooSmall || res.Status == store.OffsetOverflowBadly:
			return nil, from, nil
		}
		from = res.Next // behind entries whose messages are gone
	}
}

// match takes every message and keeps its delivery time, which the store shows
// to nobody else. The store asks twice about a message, first without the
// record; counting both would give messages the times of others when one read
// spans two queue files, and deliver them early.
func (s *delayScratch) match(code int64, rec message.Stored) bool {
	if rec != nil {
		s.times = append(s.times, code)
	}
	return true
}

// take splits what was read into entries.
func (s *delayScratch) take(res store.GetResult) ([]delay.Entry, error) {
	s.entries = s.entries[:0]
	for rest := res.Messages; len(rest) > 0; {
		m, err := message.ViewStored(rest)
		if err != nil {
			return nil, fmt.Errorf("delayed message: %w", err)
		}
		i := len(s.entries)
		if i >= len(s.times) {
			return nil, fmt.Errorf("delayed message at offset %d has no delivery time", m.QueueOffset())
		}
		s.entries = append(s.entries, delay.Entry{Offset: m.QueueOffset(), DeliverAt: s.times[i], Record: m})
		rest = rest[len(m):]
	}
	if cap(res.Messages) <= 2*delayReadBytes {
		s.buf = res.Messages
	}
	return s.entries, nil
}

// ProposeMature proposes the delivery of a batch.
func (l *delayLog) ProposeMature(level int32, from, to message.QueueOffset, nested [][]byte, done func(bool, error)) {
	data := metadata.AppendMature(nil, level, from, to, nested...)
	stamps, err := store.AppendStamps(nil, data)
	if err != nil {
		done(false, err)
		return
	}
	l.b.node.Propose(&dledger.Proposal{Data: data, Stamps: stamps, Records: 1, Done: func(p *dledger.Proposal) {
		if p.Err != nil {
			done(false, p.Err)
			return
		}
		switch v := p.Results[0].Value.(type) {
		case metadata.Matured:
			if v.Applied {
				l.b.countMatured(nested)
			}
			done(v.Applied, nil)
		case error:
			done(false, v)
		default:
			done(false, fmt.Errorf("unexpected result %T of a delivery", v))
		}
	}})
}

// countMatured counts delayed messages under the topics they went to.
func (b *Broker) countMatured(nested [][]byte) {
	for _, rec := range nested {
		if m, err := message.ViewStored(rec); err == nil {
			b.stats.Put(string(m.Topic()), 1, len(m))
		}
	}
}

// deliverable says whether a delayed message still has a place to go. A half
// message must not come in by this way.
func (b *Broker) deliverable(topic []byte) bool {
	if string(topic) == message.TopicTransHalf {
		return false
	}
	_, ok := b.meta.TopicBytes(topic)
	return ok
}
