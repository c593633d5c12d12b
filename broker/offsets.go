package broker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// earlierEvery is how often the log may say that an offset went back.
const earlierEvery = 10 * time.Second

// offsetProposer writes the commits that group.Offsets collected to the
// replicated table.
type offsetProposer struct{ node *dledger.Node }

// ProposeOffsets proposes one command for all commits.
func (p offsetProposer) ProposeOffsets(commits []group.Commit, done func(error)) {
	list := make([]metadata.OffsetCommit, len(commits))
	for i, c := range commits {
		list[i] = metadata.OffsetCommit(c)
	}
	p.node.Propose(&dledger.Proposal{
		Data:    metadata.AppendCommitOffsets(nil, list),
		Records: 1,
		Done:    func(p *dledger.Proposal) { done(p.Err) },
	})
}

// handleUpdateOffset serves UPDATE_CONSUMER_OFFSET. Consumers send it one-way
// and get no answer; a two-way commit is answered when it is replicated.
func (b *Broker) handleUpdateOffset(r request) {
	var h protocol.ConsumerOffsetHeader
	if err := h.Decode(r.cmd); err != nil {
		b.fail(r, err)
		return
	}
	c := group.Commit{Group: string(h.ConsumerGroup), Topic: string(h.Topic), Queue: h.QueueID, Offset: h.CommitOffset}
	if err := checkCommit(c); err != nil {
		b.fail(r, err)
		return
	}
	answer := func(err error) {
		if err = offsetError(err); err != nil {
			b.failed(r, b.routes[protocol.CodeUpdateConsumerOffset], err)
			return
		}
		r.reply(&protocol.Response{Code: protocol.StatusSuccess, Header: protocol.EmptyHeader{}})
	}
	var conn uint64
	if c := r.conn(); c != nil {
		conn = c.ID()
	}
	if b.lateReport(c, conn, "a commit", r.forwarded()) {
		if !r.call.Oneway() {
			b.fail(r, refuse(protocol.StatusSystemError, "offset %d of queue %d is earlier than what another connection has reported within %v: ask the leader, or later",
				c.Offset, c.Queue, lateWindow))
			return
		}
		answer(nil)
	} else if r.call.Oneway() {
		answer(b.offsets.Commit(c))
	} else if err := b.offsets.CommitWait(c, answer); err != nil {
		answer(err)
	}
}

// lateWindow is how long after a report of one connection an earlier one of
// another, which came by another member, counts as late: clients report every 5 s,
// and the connections of a member that has stopped are gone after 10.
const lateWindow = 10 * time.Second

// lateReport tells whether a report of an offset was held up on its way until
// after newer ones, see group.Reporters: it is not stored. Any other is taken,
// also one that goes back, which is right after a reset; to ignore that could skip
// messages.
func (b *Broker) lateReport(c group.Commit, conn uint64, by string, forwarded bool) bool {
	if have, ok := b.consumerOffset(c.Group, c.Topic, c.Queue); ok && have > c.Offset {
		late := forwarded && b.reporters.Late(c, conn)
		what := "a consumer reported an earlier offset than it had: it goes back on purpose, or the report was held up on its way; messages are repeated"
		if late {
			what = "a consumer's report of its offset came after newer ones and is left alone"
		}
		b.earlier.Warn(what, "group", c.Group, "topic", c.Topic, "queue", c.Queue, "had", have, "reported", c.Offset, "by", by, "forwarded", forwarded)
		if late {
			return true
		}
	}
	b.reporters.Took(c, conn)
	return false
}

// offsetError says of a commit that was given up what is known of it.
func offsetError(err error) error {
	if errors.Is(err, group.ErrOffsetsDropped) {
		return dledger.ErrUnknown
	}
	return err
}

// checkCommit refuses what the replicated table would not take.
func checkCommit(c group.Commit) error {
	if c.Offset < 0 || c.Queue < 0 {
		return refuse(protocol.StatusSystemError, "offset %d of queue %d is not allowed: both must be at least 0", c.Offset, c.Queue)
	}
	return errors.Join(message.ValidGroup(c.Group), message.ValidTopic(c.Topic))
}

// commitPulled stores the offset that came with a pull. The pull is answered
// whatever becomes of it, as in RocketMQ; the client commits again in seconds.
func (b *Broker) commitPulled(p *pullRequest) {
	c := group.Commit{Group: p.group, Topic: p.topic, Queue: p.queue, Offset: p.commit}
	err := checkCommit(c)
	if err == nil && !b.lateReport(c, p.conn, "a pull", p.relayed) {
		err = b.offsets.Commit(c)
	}
	if err != nil {
		b.log.Debug("offset of a pull not kept", "group", p.group, "topic", p.topic, "queue", p.queue, "error", err)
	}
}

// handleQueryOffset serves QUERY_CONSUMER_OFFSET. A group that never committed
// and meets a young queue is told 0, so that it reads what was sent before it
// started; on an older one the client decides.
func (b *Broker) handleQueryOffset(_ context.Context, r request) (*protocol.Response, error) {
	var h protocol.ConsumerOffsetHeader
	if err := h.Decode(r.cmd); err != nil {
		return nil, err
	}
	name, topic := string(h.ConsumerGroup), string(h.Topic)
	offset, ok := b.consumerOffset(name, topic, h.QueueID)
	if !ok {
		if h.NoZeroIfMissing || !b.young(topic, h.QueueID) {
			return nil, refuse(protocol.StatusQueryNotFound, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
		}
	}
	return offsetAnswer(offset), nil
}

// young tells a queue that still begins at 0, not far behind the log's end.
// RocketMQ's measure of far is what would not be in memory any more.
func (b *Broker) young(topic string, queue int32) bool {
	first, end := b.store.QueueRange(topic, queue)
	if first > 0 || end == 0 {
		return first == 0
	}
	oldest, ok := b.store.QueueEntries(topic, queue, 0, 1)
	if !ok || len(oldest) == 0 {
		return true
	}
	return b.store.Log().MaxOffset()-int64(oldest[0].Phy) <= b.memory.Load()/100*int64(b.cfg().MemoryRatio)
}

func offsetAnswer(offset int64) *protocol.Response {
	return &protocol.Response{Code: protocol.StatusSuccess, Header: &protocol.OffsetHeader{Offset: offset}}
}

// queueOf reads the two fields that all questions about a queue have.
func queueOf(r request) (topic string, queue int32, err error) {
	f := r.cmd.Required()
	topic, queue = f.Str("topic"), f.Int("queueId")
	return topic, queue, f.Err()
}

// readQueue runs fn for the queue a request names and answers the offset.
func (b *Broker) readQueue(r request, fn func(topic string, queue int32) message.QueueOffset) {
	topic, queue, err := queueOf(r)
	if err != nil {
		b.fail(r, err)
		return
	}
	r.reply(offsetAnswer(int64(fn(topic, queue))))
}

// handleMaxOffset serves GET_MAX_OFFSET: the offset the next message will get.
func (b *Broker) handleMaxOffset(r request) {
	b.readQueue(r, func(topic string, queue int32) message.QueueOffset {
		_, end := b.store.QueueRange(topic, queue)
		return end
	})
}

// handleMinOffset serves GET_MIN_OFFSET: the first offset still there.
func (b *Broker) handleMinOffset(r request) {
	b.readQueue(r, func(topic string, queue int32) message.QueueOffset {
		first, _ := b.store.QueueRange(topic, queue)
		return first
	})
}

// handleSearchOffset serves SEARCH_OFFSET_BY_TIMESTAMP. Clients 5.x say which side
// of the time they mean; 4.9 clients get what is nearest.
func (b *Broker) handleSearchOffset(r request) {
	f := r.cmd.Required()
	at := f.Int64("timestamp")
	if err := f.Err(); err != nil {
		b.fail(r, err)
		return
	}
	which := store.Nearest
	switch boundary := r.cmd.Str("boundaryType"); {
	case strings.EqualFold(boundary, "LOWER"):
		which = store.AtOrAfter
	case strings.EqualFold(boundary, "UPPER"):
		which = store.AtOrBefore
	}
	b.readQueue(r, func(topic string, queue int32) message.QueueOffset {
		return b.store.OffsetByTime(topic, queue, at, which)
	})
}

// handleEarliestTime serves GET_EARLIEST_MSG_STORETIME; -1 for an empty queue.
func (b *Broker) handleEarliestTime(r request) {
	topic, queue, err := queueOf(r)
	if err != nil {
		b.fail(r, err)
		return
	}
	first, end := b.store.QueueRange(topic, queue)
	at := int64(-1)
	if first < end {
		if t, ok := b.store.StoreTimeAt(topic, queue, first); ok {
			at = t
		}
	}
	r.reply(&protocol.Response{Code: protocol.StatusSuccess, Header: timestampHeader(at)})
}

// timestampHeader is the answer of GET_EARLIEST_MSG_STORETIME.
type timestampHeader int64

// EncodeFields writes the timestamp.
func (t timestampHeader) EncodeFields(w *protocol.FieldWriter) { w.Int64("timestamp", int64(t)) }
