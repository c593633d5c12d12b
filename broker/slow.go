package broker

import (
	"context"
	"time"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/message"
)

// slowInterval is how often the leader looks for groups that have fallen behind.
const slowInterval = 3 * time.Minute

// disableSlow switches off the consumer groups that are connected and have
// consumerFallbehindThreshold bytes of the log or more between what they consumed
// and its end (RocketMQ's protectBroker). It is one proposal: a group that somebody
// switches on again meanwhile stays on until the next look.
func (b *Broker) disableSlow(ctx context.Context) {
	cfg := b.cfg()
	if !cfg.DisableSlow || !b.leading.Load() {
		return
	}
	var plan proposalPlan
	for _, g := range b.meta.Groups() {
		if !g.ConsumeEnable || b.meta.SystemGroup(g.GroupName) {
			continue
		}
		topic, behind := b.furthestBehind(g.GroupName)
		if behind < cfg.SlowBytes {
			continue
		}
		off := *g
		off.ConsumeEnable = false
		plan.command(metadata.AppendPutGroup(plan.data, &off, metadata.Upsert))
		b.log.Warn("consumer group switched off: it has fallen behind (disableConsumeIfConsumerReadSlowly)",
			"group", g.GroupName, "topic", topic, "bytes", behind, "threshold", cfg.SlowBytes)
	}
	if plan.records == 0 {
		return
	}
	if _, err := b.carryOut(ctx, &plan); err != nil {
		b.log.Warn("groups that have fallen behind are not switched off", "error", err)
	}
}

// furthestBehind is how many bytes of the log lie behind the place where a live
// group stands in its topics, at most. A queue that is consumed to its end counts
// nothing, however old its last message is.
func (b *Broker) furthestBehind(name string) (topic string, behind int64) {
	end := b.store.Log().MaxOffset()
	for sub := range b.clients.Subscriptions(name) {
		cfg, ok := b.meta.Topic(sub)
		if !ok {
			continue
		}
		for q := range cfg.ReadQueueNums {
			offset, ok := b.newestOffset(name, sub, q)
			if !ok {
				continue // it has not begun
			}
			first, _ := b.store.QueueRange(sub, q)
			next, ok := b.store.QueueEntries(sub, q, max(message.QueueOffset(offset), first), 1)
			if !ok || len(next) == 0 {
				continue
			}
			if n := end - int64(next[0].Phy); n > behind {
				topic, behind = sub, n
			}
		}
	}
	return topic, behind
}
