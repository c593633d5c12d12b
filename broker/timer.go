package broker

import (
	"fmt"
	"math"
	"strconv"

	"github.com/cometmq/cometmq/broker/delay"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// TimerConfig says which messages may wait for a time of their own.
type TimerConfig struct {
	// Wheel lets messages be delivered at any time (TIMER_DELIVER_MS,
	// TIMER_DELAY_SEC, TIMER_DELAY_MS); off, they are refused.
	Wheel bool `cfg:"timerWheelEnable" live:"true" group:"true"`
	// MaxDelay is how far in the future that time may lie. Files of the log stay
	// as long as messages wait in them.
	MaxDelay int64 `cfg:"timerMaxDelaySec" live:"true" group:"true" min:"1" max:"315360000"`
	// CongestEachSlot bounds the messages that wait for one minute; further ones
	// are refused.
	CongestEachSlot int `cfg:"timerCongestNumEachSlot" live:"true" group:"true" min:"1" max:"60000000"`
}

func defaultTimer() TimerConfig {
	return TimerConfig{Wheel: true, MaxDelay: 3 * 24 * 60 * 60, CongestEachSlot: 10_000_000}
}

// timing is what a message says about the time of its delivery.
type timing struct{ sec, ms, at, out, recall []byte }

// timingOf reads it from a property string.
func timingOf(props []byte) timing {
	var t timing
	message.EachProperty(props, func(k, v []byte) bool {
		t.note(k, v)
		return true
	})
	return t
}

func (t *timing) note(k, v []byte) {
	switch string(k) {
	case message.PropertyTimerDelaySec:
		t.sec = v
	case message.PropertyTimerDelayMS:
		t.ms = v
	case message.PropertyTimerDeliverMS:
		t.at = v
	case message.PropertyTimerOutMS:
		t.out = v
	case message.PropertyTimerDelete:
		t.recall = v
	}
}

// given tells whether the message asks for a time. One that carries the broker's
// own mark was delivered at its time before, and comes back as a retry.
func (t *timing) given() bool {
	return t.out == nil && (t.sec != nil || t.ms != nil || t.at != nil)
}

// dueAt is when a message is to be delivered on the group's clock, in ms; at or
// before now for one that need not wait. The order of precedence is RocketMQ's.
func (b *Broker) dueAt(t *timing, now int64) (int64, error) {
	cfg := b.cfg()
	if !cfg.Wheel {
		return 0, refuse(protocol.StatusSystemError, "accurate timer message is not enabled, timerWheelEnable is false")
	}
	name, text, unit, base := message.PropertyTimerDeliverMS, t.at, int64(1), int64(0)
	switch {
	case t.sec != nil:
		name, text, unit, base = message.PropertyTimerDelaySec, t.sec, 1000, now
	case t.ms != nil:
		name, text, unit, base = message.PropertyTimerDelayMS, t.ms, 1, now
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, refuse(protocol.StatusMessageIllegal, "timer message illegal, property %s=%.32q is not a number", name, text)
	}
	at := int64(math.MaxInt64)
	if n <= (math.MaxInt64-base)/unit {
		at = base + max(n, 0)*unit
	}
	if at > now && at-now > cfg.MaxDelay*1000 {
		return 0, refuse(protocol.StatusMessageIllegal,
			"timer message illegal, the delay time should not be bigger than the max delay %dms (timerMaxDelaySec); property %s=%d", cfg.MaxDelay*1000, name, n)
	}
	return at, nil
}

// timed moves a message that asks for a time to the topic where it waits, and
// returns its new property string, which may be props grown.
func (b *Broker) timed(m *message.Message, props []byte, t *timing) ([]byte, error) {
	now := b.node.Now()
	at, err := b.dueAt(t, now)
	if err != nil {
		return props, err
	}
	if t.recall != nil {
		return props, refuse(protocol.StatusMessageIllegal, "timer message illegal, %s is not supported", message.PropertyTimerDelete)
	}
	if at <= now {
		return props, nil
	}
	slot := message.TimerSlot(at)
	topic := message.TimerTopic(slot)
	if _, end := b.store.QueueRange(topic, 0); int(end) >= b.cfg().CongestEachSlot {
		return props, refuse(protocol.StatusSystemError,
			"timer message is under flow control, max num limit is %d (timerCongestNumEachSlot) and so many wait for the minute of %d", b.cfg().CongestEachSlot, at)
	}
	props = dropProperty(props, message.PropertyRealTopic)
	props = dropProperty(props, message.PropertyRealQueueID)
	props = message.AppendProperty(props, message.PropertyTimerOutMS, strconv.FormatInt(at, 10))
	props = message.AppendProperty(props, message.PropertyRealTopic, m.Topic)
	props = message.AppendProperty(props, message.PropertyRealQueueID, strconv.Itoa(int(m.QueueID)))
	m.Topic, m.QueueID = topic, 0
	return props, nil
}

// later moves a message to where it waits, if it asks for a delay level or a
// time. A level wins, and a time beside it is forgotten, as in RocketMQ.
func (b *Broker) later(m *message.Message, props, level []byte, t *timing) ([]byte, error) {
	n, err := delayLevel(level)
	switch {
	case err != nil:
		return props, err
	case n > 0:
		for _, name := range []string{message.PropertyTimerDelaySec, message.PropertyTimerDelayMS, message.PropertyTimerDeliverMS} {
			props = dropProperty(props, name)
		}
		return schedule(m, props, n, b.levels), nil
	case t.given():
		return b.timed(m, props, t)
	}
	return props, nil
}

// timerLog is what the delivery of timed messages sees of this broker.
type timerLog struct {
	b   *Broker
	buf []byte
}

// Now is the group's clock.
func (l *timerLog) Now() int64 { return l.b.node.Now() }

// Slots lists the slots with a queue.
func (l *timerLog) Slots() []int64 { return l.b.timerSlots() }

func (b *Broker) timerSlots() []int64 {
	var slots []int64
	for _, topic := range b.store.Topics(message.TimerTopicPrefix) {
		if slot, ok := message.ParseTimerTopic(topic); ok {
			slots = append(slots, slot)
		}
	}
	return slots
}

// Range returns the bounds of a slot's queue.
func (l *timerLog) Range(slot int64) (first, end message.QueueOffset) {
	return l.b.store.QueueRange(message.TimerTopic(slot), 0)
}

// Times reads delivery times from the queue's entries.
func (l *timerLog) Times(dst []int64, slot int64, from message.QueueOffset, n int) ([]int64, error) {
	return l.b.store.TagsCodes(dst, message.TimerTopic(slot), 0, from, n)
}

// Done reports whether a message was dealt with.
func (l *timerLog) Done(slot int64, off message.QueueOffset) bool {
	return l.b.meta.TimerDone(slot, off)
}

// DoneCount is how many were.
func (l *timerLog) DoneCount(slot int64) int { return l.b.meta.TimersDone(slot) }

// Read returns a waiting message.
func (l *timerLog) Read(slot int64, off message.QueueOffset) (message.Stored, error) {
	topic := message.TimerTopic(slot)
	res := l.b.store.Get(store.GetRequest{Topic: topic, Offset: off, MaxMessages: 1, Buf: l.buf[:0]})
	if cap(res.Messages) <= 2*delayReadBytes {
		l.buf = res.Messages[:0]
	}
	switch {
	case res.Status == store.Found:
		m, err := message.ViewStored(res.Messages)
		if err == nil && m.QueueOffset() != off {
			err = fmt.Errorf("%w: offset %d of %s", delay.ErrGone, off, topic)
		}
		return m, err
	case res.Err != nil:
		return nil, res.Err
	}
	return nil, fmt.Errorf("%w: offset %d of %s: %v", delay.ErrGone, off, topic, res.Status)
}

// ProposeFire proposes the delivery of a batch.
func (l *timerLog) ProposeFire(slot int64, timers []delay.Timer, nested [][]byte, done func(error)) {
	list := make([]metadata.Timer, len(timers))
	for i, t := range timers {
		list[i] = metadata.Timer(t)
	}
	l.propose(metadata.AppendFire(nil, slot, list, nested...), func(value any, err error) {
		if fired, ok := value.(metadata.Fired); ok && fired.Repeated == 0 {
			l.b.countMatured(nested)
			l.b.countFired(nested)
		}
		done(err)
	})
}

// countFired counts delivered messages by topic.
func (b *Broker) countFired(records [][]byte) {
	for _, rec := range records {
		if m, err := message.ViewStored(rec); err == nil {
			add(b.counters.fired, string(m.Topic()), 1)
		}
	}
}

// ProposeClose proposes the end of a slot.
func (l *timerLog) ProposeClose(slot int64, done func(bool, error)) {
	l.propose(metadata.AppendCloseSlot(nil, slot), func(value any, err error) {
		closed, _ := value.(bool)
		done(closed, err)
	})
}

func (l *timerLog) propose(data []byte, done func(any, error)) {
	stamps, err := store.AppendStamps(nil, data)
	if err != nil {
		done(nil, err)
		return
	}
	l.b.node.Propose(&dledger.Proposal{Data: data, Stamps: stamps, Records: 1, Done: func(p *dledger.Proposal) {
		if p.Err != nil {
			done(nil, p.Err)
			return
		}
		if err, ok := p.Results[0].Value.(error); ok {
			done(nil, err)
			return
		}
		done(p.Results[0].Value, nil)
	}})
}

// firstNeeded is the first entry of the log that must stay: for Raft, and for
// messages that wait for their time unless the disk is so full that forced says
// they must not hold it up.
func (b *Broker) firstNeeded(forced bool) uint64 {
	needed := b.node.FirstNeeded(forced)
	if !forced {
		needed = b.firstTimer(needed)
	}
	return needed
}

// firstTimer is the first entry with a message that waits for its time, or
// needed if that comes first.
func (b *Broker) firstTimer(needed uint64) uint64 {
	for _, slot := range b.timerSlots() {
		phy, ok := b.store.PhyAt(message.TimerTopic(slot), 0, b.meta.FirstTimer(slot))
		if !ok {
			continue
		}
		if index, ok := b.store.IndexAt(phy); ok {
			needed = min(needed, index)
		}
	}
	return needed
}
