package broker

import (
	"context"
	"slices"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// lockQueuesMax bounds one lock request; a client asks for the queues it owns
// of one topic, or of all its topics when it renews.
const lockQueuesMax = 20_000

func lockRequest(r request) (*protocol.LockBatchRequest, error) {
	var q protocol.LockBatchRequest
	if err := q.Decode(r.cmd.Body); err != nil {
		return nil, err
	}
	if len(q.Queues) > lockQueuesMax {
		return nil, refuse(protocol.StatusSystemError, "%d queues in one lock request; at most %d", len(q.Queues), lockQueuesMax)
	}
	// There are no such queues: nobody owns them, and they must not be taken for
	// others where numbers are stored without a sign.
	q.Queues = slices.DeleteFunc(q.Queues, func(mq protocol.MessageQueue) bool { return mq.QueueID < 0 })
	return &q, nil
}

// handleLock serves LOCK_BATCH_MQ: orderly consumers own a queue before they
// read it. Locks are decided by the replicated log, so that two brokers that
// both believe to lead cannot both grant one.
func (b *Broker) handleLock(ctx context.Context, r request) (*protocol.Response, error) {
	q, err := lockRequest(r)
	if err != nil {
		return nil, err
	}
	answer := protocol.LockBatchResponse{}
	if len(q.Queues) > 0 {
		value, err := b.command(ctx, metadata.AppendLockQueues(nil, q.ConsumerGroup, q.ClientID, q.Queues))
		if err != nil {
			return nil, err
		}
		answer.Queues, _ = value.([]protocol.MessageQueue)
	}
	return withBody(protocol.Encode(&answer), nil)
}

// handleUnlock serves UNLOCK_BATCH_MQ.
func (b *Broker) handleUnlock(ctx context.Context, r request) (*protocol.Response, error) {
	q, err := lockRequest(r)
	if err != nil || len(q.Queues) == 0 {
		return &protocol.Response{Code: protocol.StatusSuccess}, err
	}
	if _, err := b.command(ctx, metadata.AppendUnlockQueues(nil, q.ConsumerGroup, q.ClientID, q.Queues)); err != nil {
		return nil, err
	}
	return success()
}
