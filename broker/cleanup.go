package broker

import (
	"context"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// handleCleanUnused serves CLEAN_UNUSED_TOPIC: it removes the queues and consumer
// offsets of names that have no topic, such as one that a delayed message made
// again after its topic was deleted.
func (b *Broker) handleCleanUnused(ctx context.Context, _ request) (*protocol.Response, error) {
	names := map[string]bool{}
	for _, name := range b.store.Topics() {
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
		b.offsets.ForgetTopic(name)
		b.stats.DeleteTopic(name)
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

// handleDeleteExpired serves DELETE_EXPIRED_COMMITLOG and
// CLEAN_EXPIRED_CONSUMEQUEUE. Queues shrink with the log, and nothing of the log
// expires in this version (fileReservedTime has no effect), so that there is
// never anything left to remove; the remark says so to who reads it.
func (b *Broker) handleDeleteExpired(context.Context, request) (*protocol.Response, error) {
	return &protocol.Response{
		Code: protocol.StatusSuccess, Header: protocol.EmptyHeader{},
		Remark: "nothing has expired: this version keeps the commit log as a whole, fileReservedTime has no effect",
	}, nil
}
