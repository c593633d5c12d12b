package broker

import (
	"context"
	"fmt"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// handleCleanUnused serves CLEAN_UNUSED_TOPIC: it removes the queues and consumer
// offsets of names that have no topic, such as one that a delayed message made
// again after its topic was deleted.
func (b *Broker) handleCleanUnused(ctx context.Context, _ request) (*protocol.Response, error) {
	names := map[string]bool{}
	for _, name := range b.store.Topics("") {
		names[name] = true
	}
	for _, g := range b.meta.OffsetGroups() {
		for _, name := range b.meta.GroupTopics(g) {
			names[name] = true
		}
	}
	var plan proposalPlan
	for name := range names {
		if _, ok := b.meta.Topic(name); ok || b.meta.SystemTopic(name) || message.ValidTopic(name) != nil {
			continue
		}
		if message.IsLightQueue(name) {
			continue // has no topic; DELETE_TOPIC removes it by its name
		}
		b.offsets.ForgetTopic(name)
		b.stats.DeleteTopic(name)
		b.counters.forgetTopic(name)
		plan.command(metadata.AppendCleanTopic(plan.data, name))
		b.log.Info("removing what is left of a topic", "topic", name)
		if plan.records == cleanChunk {
			if _, err := b.carryOut(ctx, &plan); err != nil {
				return nil, err
			}
			plan = proposalPlan{}
		}
	}
	if _, err := b.carryOut(ctx, &plan); err != nil {
		return nil, err
	}
	return success()
}

// cleanChunk is how many names one entry cleans.
const cleanChunk = 1000

// handleDeleteExpired serves DELETE_EXPIRED_COMMITLOG: what is older than
// fileReservedTime goes now and in the next rounds, whatever the hour. As in
// RocketMQ it concerns the member that is asked.
func (b *Broker) handleDeleteExpired(context.Context, request) (*protocol.Response, error) {
	b.store.DeleteExpired()
	return b.cleanNow()
}

// handleCleanQueues serves CLEAN_EXPIRED_CONSUMEQUEUE: files of queues that point
// at nothing any more go now and not with the next round.
func (b *Broker) handleCleanQueues(context.Context, request) (*protocol.Response, error) {
	return b.cleanNow()
}

func (b *Broker) cleanNow() (*protocol.Response, error) {
	done, err := b.cleanRound()
	if err != nil {
		return nil, err
	}
	remark := fmt.Sprintf("removed %d segments of the commit log (%d bytes) and %d files of queues", len(done.Segments), done.Bytes, done.QueueFiles)
	if done.Kept != "" {
		remark += "; the next segment stays: " + done.Kept
	}
	return &protocol.Response{Code: protocol.StatusSuccess, Header: protocol.EmptyHeader{}, Remark: remark}, nil
}
