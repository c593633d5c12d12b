package broker

import (
	"sync"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// Bounds of OFFSET_MOVED_EVENT. RocketMQ's broker writes an event for every such
// pull, so that a consumer that asks for a wrong offset in a loop fills the disk.
// Here a queue of a group has one event in movedPeriod, and all of them together
// movedMax: at most 4 KB/s. A consumer that does what it is told needs one.
const (
	movedPeriod = 10 * time.Second
	movedMax    = 100
)

// movedKey is whose reading was moved where.
type movedKey struct {
	group, topic string
	queue        int32
}

// movedLimit says which events may be written. The zero value is ready.
type movedLimit struct {
	mu     sync.Mutex
	since  int64                 // when the period began, see elapsed
	events map[movedKey]struct{} // of the period
	hidden int                   // refused in the period for movedMax
}

// allow reports whether an event may be written at a time, and once a period how
// many of the one before had to be left out.
func (l *movedLimit) allow(key movedKey, now int64) (ok bool, hidden int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events == nil || now-l.since >= int64(movedPeriod) {
		hidden = l.hidden
		l.since, l.events, l.hidden = now, map[movedKey]struct{}{}, 0
	}
	if _, seen := l.events[key]; seen {
		return false, hidden
	}
	if len(l.events) >= movedMax {
		l.hidden++
		return false, hidden
	}
	l.events[key] = struct{}{}
	return true, hidden
}

// offsetMoved writes to OFFSET_MOVED_EVENT that a pull was sent elsewhere, for
// whoever watches for consumers that lost their place. It is news and not a
// record: nobody waits for it, and it may be missing when the group is busy, the
// disk is full, or too many come at once.
func (b *Broker) offsetMoved(p *pullRequest, res *store.GetResult) {
	if p.unled || !b.leading.Load() {
		return
	}
	ok, hidden := b.moved.allow(movedKey{p.group, p.topic, p.queue}, elapsed())
	if hidden > 0 {
		b.log.Warn("offsets moved without an event, there were too many", "events", hidden, "allowed", movedMax, "period", movedPeriod)
	}
	if !ok || b.diskRefusal() != nil {
		return
	}
	props := message.AppendProperty(nil, message.PropertyKeys, p.group)
	props = message.AppendProperty(props, message.PropertyTags, p.group)
	var plan proposalPlan
	err := plan.message(&message.Message{
		Topic:         message.TopicOffsetMoved,
		BornTimestamp: b.node.Now(),
		BornHost:      b.addr,
		StoreHost:     b.addr,
		Properties:    props,
		Body: protocol.Encode(&protocol.OffsetMovedEvent{
			ConsumerGroup: p.group,
			Queue:         protocol.MessageQueue{Topic: p.topic, BrokerName: b.brokerName, QueueID: p.queue},
			OffsetRequest: int64(p.offset),
			OffsetNew:     int64(res.Next),
		}),
	})
	if err != nil {
		b.log.Warn("no event of a moved offset", "group", p.group, "topic", p.topic, "error", err)
		return
	}
	b.node.Propose(&dledger.Proposal{Data: plan.data, Stamps: plan.stamps, Records: plan.records, Done: func(p *dledger.Proposal) {
		if p.Err != nil {
			b.log.Debug("an event of a moved offset was not stored", "error", p.Err)
		}
	}})
}
