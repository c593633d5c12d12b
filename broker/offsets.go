package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
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
	if have, ok := b.newestOffset(c.Group, c.Topic, c.Queue); ok && have > c.Offset {
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

// newestOffset is the newest committed offset of a queue, replicated or not yet.
// It is for decisions: what is shown comes from the replicated table alone.
func (b *Broker) newestOffset(name, topic string, queue int32) (int64, bool) {
	// Pending first: a commit that lands between the two looks is found by the
	// second one.
	if offset, ok := b.offsets.Pending(name, topic, queue); ok {
		return offset, true
	}
	return b.meta.Offset(name, topic, queue)
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

// handleQueryOffset serves QUERY_CONSUMER_OFFSET. What it shows is replicated: an
// offset that was reported one-way and waits for company is written first, and the
// answer is given when it is.
//
// Java takes any error for "this group has no offset" and may jump over messages.
// A question that cannot be answered is therefore put again, here or to the next
// leader, until the forwarder gives it up (silentWait).
func (b *Broker) handleQueryOffset(r request) {
	var h protocol.ConsumerOffsetHeader
	if err := h.Decode(r.cmd); err != nil {
		b.fail(r, err)
		return
	}
	name, topic, queue := string(h.ConsumerGroup), string(h.Topic), h.QueueID
	if _, waits := b.offsets.Pending(name, topic, queue); !waits || r.unled {
		b.showOffset(r, name, topic, queue)
		return
	}
	var once sync.Once
	end := func(err error) {
		once.Do(func() {
			if err != nil {
				b.forward.again(r, b.routes[protocol.CodeQueryConsumerOffset])
				return
			}
			b.showOffset(r, name, topic, queue)
		})
	}
	timer := time.AfterFunc(groupTimeout, func() { end(dledger.ErrUnknown) })
	written := func(err error) {
		timer.Stop()
		end(err)
	}
	if !b.offsets.Settle(name, topic, queue, written) {
		written(nil)
	}
}

// showOffset answers with what the replicated table has.
func (b *Broker) showOffset(r request, name, topic string, queue int32) {
	if offset, ok := b.meta.Offset(name, topic, queue); ok {
		r.reply(offsetAnswer(offset))
		return
	}
	b.serve(r, firstOffset)
}

// firstOffset is the second half of QUERY_CONSUMER_OFFSET for a group without an
// offset: it may wait for the disk.
var firstOffset = &route{answer: (*Broker).handleFirstOffset}

// handleFirstOffset tells a group that never committed 0 where the queue is young,
// so that it reads what was sent before it started; on an older one the client
// decides.
func (b *Broker) handleFirstOffset(_ context.Context, r request) (*protocol.Response, error) {
	var h protocol.ConsumerOffsetHeader
	if err := h.Decode(r.cmd); err != nil {
		return nil, err
	}
	if h.NoZeroIfMissing || !b.young(string(h.Topic), h.QueueID) {
		return nil, refuse(protocol.StatusQueryNotFound, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
	}
	return offsetAnswer(0), nil
}

// settle waits until what consumers have reported for the groups and topics that
// match is replicated. Whoever shows offsets of more than one queue calls it
// first, and then reads the replicated table.
func (b *Broker) settle(ctx context.Context, r request, match func(name, topic string) bool) error {
	if r.unled {
		return nil // this member takes no reports
	}
	err := b.offsets.SettleAll(ctx, match)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return refuse(protocol.StatusSystemBusy, "consumer offsets that were reported could not be replicated in time, try again: %v", err)
	case errors.Is(err, group.ErrOffsetsDropped), errors.Is(err, dledger.ErrUnknown):
		// The commits' fate is not known; that of the question is.
		return dledger.ErrNotLeader
	}
	return err
}

// ofGroup matches a group in one topic, or in all with "".
func ofGroup(name, topic string) func(string, string) bool {
	return func(n, t string) bool { return n == name && (topic == "" || t == topic) }
}

// flushOffsets replicates what consumers have reported before the leadership is
// handed over. It is worth a try and no more: what is not written consumers report
// again, and nobody was shown it.
func (b *Broker) flushOffsets(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := b.offsets.Flush(ctx); err != nil {
		b.log.Warn("consumer offsets not written before hand-over", "error", err)
	}
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
