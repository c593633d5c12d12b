package broker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/broker/transaction"
	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// transactional says whether a single send is a half message. A retried message
// keeps the properties of the committed one it was; it is no half again.
func (op *sendOp) transactional(found *foundProperties) bool {
	return found.transaction != nil && strings.EqualFold(string(found.transaction), "true") &&
		(op.head.ReconsumeTimes <= 0 || len(found.delay) == 0)
}

// prepare turns the message into its half. The command that stores it makes the
// transaction pending.
func (op *sendOp) prepare(found *foundProperties) error {
	b := op.b
	if b.cfg().RejectTransactions {
		return refuse(protocol.StatusNoPermission, "the broker[%s] sending transaction message is forbidden", b.ip)
	}
	// Or it could never be committed.
	level, err := delayLevel(found.delay)
	if err == nil && level <= 0 && found.timing.given() {
		_, err = b.dueAt(&found.timing, b.node.Now())
	}
	if err != nil {
		return err
	}
	op.props = transaction.Prepare(&op.msg, op.props, op.head.ProducerGroup)
	// It is the group that is asked about the transaction, so the name must be
	// one that a producer could register with.
	group, _ := message.Property(op.props, message.PropertyProducerGroup)
	return message.ValidGroup(string(group))
}

// silentEnd tells an END_TRANSACTION that says neither commit nor roll back.
// RocketMQ gives it no answer, and neither does it change anything.
func silentEnd(r request) bool {
	switch r.cmd.Int("commitOrRollback", -1) {
	case protocol.TransactionCommit, protocol.TransactionRollback:
		return false
	}
	// A request without the field is malformed, which the handler says.
	_, ok := r.cmd.Field("commitOrRollback")
	return ok
}

// handleEndTransaction serves END_TRANSACTION of commit and roll back. The
// command ends the transaction only if it is pending when it is applied, so that
// a repeated end, here or on the next leader, publishes nothing again; it gets
// the answer of the first.
func (b *Broker) handleEndTransaction(ctx context.Context, r request) (*protocol.Response, error) {
	var h protocol.EndTransactionHeader
	if err := h.Decode(r.cmd); err != nil {
		return nil, err
	}
	half, err := b.halfMessage(&h)
	if err != nil {
		b.log.Warn("end of an unknown transaction", "producer-group", h.ProducerGroup, "client", r.clientAddr(), "error", err)
		return nil, err
	}
	offset, phy := message.QueueOffset(h.TranStateTableOffset), message.PhyOffset(h.CommitLogOffset)
	want := metadata.HalfRolledBack
	if h.CommitOrRollback == protocol.TransactionCommit {
		want = metadata.HalfCommitted
	}
	if state := b.meta.HalfState(offset); state != metadata.HalfPending {
		return endedBefore(offset, state, want)
	}
	record, err := b.endRecord(half, offset, phy, want)
	if err != nil {
		return nil, err
	}
	value, err := b.stampedCommand(ctx, record)
	if err != nil {
		return nil, err
	}
	ended, ok := value.(metadata.Ended)
	switch {
	case !ok:
		return nil, errors.New("unexpected result of the end of a transaction")
	case !ended.Applied:
		return endedBefore(offset, ended.State, want)
	case want == metadata.HalfCommitted:
		topic, _ := half.Property(message.PropertyRealTopic)
		b.stats.Put(string(topic), 1, len(half))
		b.countEnd(b.counters.commits, half)
	default:
		b.countEnd(b.counters.rollbacks, half)
	}
	return success()
}

// countEnd counts the end of a transaction and how long it took on the group's
// clock.
func (b *Broker) countEnd(ends *metrics.Table[string, atomic.Int64], half message.Stored) {
	property, _ := half.Property(message.PropertyRealTopic)
	topic := string(property)
	add(ends, topic, 1)
	if h := b.counters.finished.At(topic); h != nil {
		h.Observe(max(b.node.Now()-half.StoreTimestamp(), 0) * int64(time.Millisecond))
	}
}

// halfMessage finds the half message that an end names, and sees to it that all
// the end says about it is right.
func (b *Broker) halfMessage(h *protocol.EndTransactionHeader) (message.Stored, error) {
	half, err := b.store.MessageAt(message.PhyOffset(h.CommitLogOffset))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, refuse(protocol.StatusSystemError, "Find prepared transaction message failed: no message begins at commit log offset %d", h.CommitLogOffset)
	case err != nil:
		return nil, err
	case string(half.Topic()) != message.TopicTransHalf:
		return nil, refuse(protocol.StatusSystemError, "Find prepared transaction message failed: the message at commit log offset %d is of topic %s", h.CommitLogOffset, half.Topic())
	}
	group, _ := half.Property(message.PropertyProducerGroup)
	if string(group) != h.ProducerGroup {
		return nil, refuse(protocol.StatusSystemError, "The producer group wrong: the message was prepared by %s, not by %.255s", group, h.ProducerGroup)
	}
	if int64(half.QueueOffset()) != h.TranStateTableOffset {
		return nil, refuse(protocol.StatusSystemError, "The transaction state table offset wrong: it is %d, not %d", half.QueueOffset(), h.TranStateTableOffset)
	}
	return half, nil
}

// endRecord is the command that ends a transaction as wanted.
func (b *Broker) endRecord(half message.Stored, offset message.QueueOffset, phy message.PhyOffset, want metadata.HalfState) ([]byte, error) {
	if want == metadata.HalfRolledBack {
		return metadata.AppendEnd(nil, offset, phy, want), nil
	}
	m, err := transaction.Final(half, phy, b.addr)
	if err != nil {
		return nil, err
	}
	if _, ok := b.meta.Topic(m.Topic); !ok {
		// It stays pending: the topic may come back before it is given up.
		return nil, refuse(protocol.StatusTopicNotExist, "topic[%s] not exist, apply first please!", m.Topic)
	}
	text, _ := message.Property(m.Properties, message.PropertyDelayTimeLevel)
	times := timingOf(m.Properties)
	if m.Properties, err = b.later(&m, m.Properties, text, &times); err != nil {
		return nil, err
	}
	m.Properties = b.lightLater([]byte(m.Topic), m.Properties)
	final, err := m.AppendStored(nil)
	if err != nil {
		return nil, err
	}
	return metadata.AppendEnd(nil, offset, phy, want, final), nil
}

// endedBefore answers an end that came after another one.
func endedBefore(offset message.QueueOffset, state, want metadata.HalfState) (*protocol.Response, error) {
	switch state {
	case want:
		return &protocol.Response{Code: protocol.StatusSuccess, Remark: "the transaction was " + state.String() + " before"}, nil
	case metadata.HalfUnknown:
		return nil, refuse(protocol.StatusSystemError,
			"Find prepared transaction message failed: half message %d is not pending; its transaction ended too long ago to say how", offset)
	default:
		return nil, refuse(protocol.StatusSystemError, "the transaction of half message %d was %s before, it cannot be %s", offset, state, want)
	}
}

// stampedCommand proposes one command record with messages in it and returns
// its result value.
func (b *Broker) stampedCommand(ctx context.Context, record []byte) (any, error) {
	stamps, err := store.AppendStamps(nil, record)
	if err != nil {
		return nil, err
	}
	results, err := b.carryOut(ctx, &proposalPlan{data: record, stamps: stamps, records: 1})
	if err != nil {
		return nil, err
	}
	return results[0].Value, nil
}

// handleResumeCheck serves RESUME_CHECK_HALF_MESSAGE: a message that lies in
// TRANS_CHECK_MAX_TIME_TOPIC, named by its id, becomes a half message again whose
// producers are asked anew. It can be done once for each message, because a
// transaction that came back twice could be committed twice.
func (b *Broker) handleResumeCheck(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	id := f.Str("msgId")
	if err := f.Err(); err != nil {
		return nil, err
	}
	_, phy, err := message.ParseOffsetMsgID(id)
	if err != nil {
		return nil, refuse(protocol.StatusSystemError, "msgId %.64q is not an offset message id: %v", id, err)
	}
	aside, err := b.store.MessageAt(phy)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse(protocol.StatusSystemError, "no message begins at commit log offset %d", phy)
	}
	if err != nil {
		return nil, err
	}
	m, offset, err := transaction.Resumed(aside, b.addr)
	if err != nil {
		return nil, err
	}
	half, err := m.AppendStored(nil)
	if err != nil {
		return nil, err
	}
	if _, err := b.stampedCommand(ctx, metadata.AppendResume(nil, offset, half)); err != nil {
		return nil, err
	}
	return success()
}
