package broker

import (
	"context"
	"fmt"
	"slices"

	"github.com/cometmq/cometmq/internal/wall"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// topicsOf returns the topics a question about a group is about: the one it
// names, or all in which the group has offsets. Topics that a live group does
// not subscribe any more are left out unless all is set.
func (b *Broker) topicsOf(name, topic string, all bool) []*protocol.TopicConfig {
	names := []string{topic}
	if topic == "" {
		names = b.meta.GroupTopics(name)
	}
	subs := b.clients.Subscriptions(name)
	var out []*protocol.TopicConfig
	for _, n := range names {
		cfg, ok := b.topicConfig(n)
		if !ok || !all && len(subs) > 0 && subs[n] == nil {
			continue
		}
		out = append(out, cfg)
	}
	return out
}

// addConsumeStats adds where a group stands in the queues of a topic, by what is
// replicated, and returns by how much it is behind.
func (b *Broker) addConsumeStats(s *protocol.ConsumeStats, name, topic string, queues int32) (behind int64) {
	for q := range queues {
		_, end := b.store.QueueRange(topic, q)
		offset, _ := b.meta.Offset(name, topic, q)
		o := protocol.ConsumeOffset{BrokerOffset: int64(end), ConsumerOffset: offset}
		if offset > 0 {
			o.LastTimestamp, _ = b.store.StoreTimeAt(topic, q, message.QueueOffset(offset-1))
		}
		s.Offsets[protocol.MessageQueue{Topic: topic, BrokerName: b.brokerName, QueueID: q}] = o
		behind += o.BrokerOffset - o.ConsumerOffset
	}
	s.ConsumeTps += b.stats.GroupGetRate(lightStats(topic), lightStats(name))
	return behind
}

// handleConsumeStats serves GET_CONSUME_STATS.
func (b *Broker) handleConsumeStats(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	name := f.Str("consumerGroup")
	if err := f.Err(); err != nil {
		return nil, err
	}
	if err := b.settle(ctx, r, ofGroup(name, r.cmd.Str("topic"))); err != nil {
		return nil, err
	}
	s := protocol.ConsumeStats{Offsets: map[protocol.MessageQueue]protocol.ConsumeOffset{}}
	for _, topic := range b.topicsOf(name, r.cmd.Str("topic"), false) {
		b.addConsumeStats(&s, name, topic.TopicName, topic.ReadQueueNums)
	}
	return withBody(protocol.Encode(&s), nil)
}

// handleBrokerConsumeStats serves GET_BROKER_CONSUME_STATS: the same of all
// groups, one entry to each topic.
func (b *Broker) handleBrokerConsumeStats(ctx context.Context, r request) (*protocol.Response, error) {
	if err := b.settle(ctx, r, func(string, string) bool { return true }); err != nil {
		return nil, err
	}
	list := protocol.ConsumeStatsList{BrokerAddr: b.Addr().String()}
	for _, cfg := range b.meta.Groups() {
		g := protocol.GroupConsumeStats{Group: cfg.GroupName}
		for _, topic := range b.topicsOf(cfg.GroupName, "", false) {
			if r.cmd.Bool("isOrder") && !b.register.ordered(topic) {
				continue
			}
			s := protocol.ConsumeStats{Offsets: map[protocol.MessageQueue]protocol.ConsumeOffset{}}
			list.TotalDiff += b.addConsumeStats(&s, cfg.GroupName, topic.TopicName, topic.WriteQueueNums)
			g.Stats = append(g.Stats, s)
		}
		list.Groups = append(list.Groups, g)
	}
	return withBody(protocol.Encode(&list), nil)
}

// handleTimeSpan serves QUERY_CONSUME_TIME_SPAN: the times of a topic's first and
// last messages and of the last one a group consumed, by queue.
func (b *Broker) handleTimeSpan(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	name, group := f.Str("topic"), f.Str("group")
	if err := f.Err(); err != nil {
		return nil, err
	}
	topic, ok := b.topicConfig(name)
	if !ok {
		return nil, refuse(protocol.StatusTopicNotExist, "topic[%s] not exist", name)
	}
	if err := b.settle(ctx, r, ofGroup(group, name)); err != nil {
		return nil, err
	}
	now := wall.UnixMilli()
	var body protocol.ConsumeTimeSpanBody
	for q := range topic.WriteQueueNums {
		span := protocol.ConsumeTimeSpan{Queue: protocol.MessageQueue{Topic: name, BrokerName: b.brokerName, QueueID: q}, MinTimestamp: -1, MaxTimestamp: -1}
		first, end := b.store.QueueRange(name, q)
		timeAt := func(off message.QueueOffset) int64 {
			if at, ok := b.store.StoreTimeAt(name, q, off); ok {
				return at
			}
			return -1
		}
		if first < end {
			span.MinTimestamp, span.MaxTimestamp = timeAt(first), timeAt(end-1)
		}
		span.ConsumeTimestamp = span.MinTimestamp
		offset, _ := b.meta.Offset(group, name, q)
		if offset > 0 {
			span.ConsumeTimestamp = timeAt(message.QueueOffset(offset - 1))
		}
		if offset < int64(end) {
			if at := timeAt(max(message.QueueOffset(offset), first)); at > 0 {
				span.DelayTime = max(now-at, 0)
			}
		}
		body.Spans = append(body.Spans, span)
	}
	return withBody(protocol.Encode(&body), nil)
}

// handleTopicConsumers serves QUERY_TOPIC_CONSUME_BY_WHO: groups that subscribe a
// topic now or have offsets in it.
func (b *Broker) handleTopicConsumers(_ context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	topic := f.Str("topic")
	if err := f.Err(); err != nil {
		return nil, err
	}
	names := append(b.clients.TopicConsumers(topic), b.meta.TopicGroups(topic)...)
	slices.Sort(names)
	return withBody(protocol.Encode(&protocol.GroupList{Groups: slices.Compact(names)}), nil)
}

// handleAllProducers serves GET_ALL_PRODUCER_INFO.
func (b *Broker) handleAllProducers(context.Context, request) (*protocol.Response, error) {
	table := protocol.ProducerTableInfo{Data: map[string][]protocol.ProducerInfo{}}
	for _, name := range b.clients.ProducerGroups() {
		for _, c := range b.clients.Producers(name) {
			table.Data[name] = append(table.Data[name], protocol.ProducerInfo{
				ClientID: c.ID, RemoteIP: "/" + unmapped(c.Conn.RemoteAddr()).String(), Language: c.Language.String(), Version: c.Version,
				LastUpdateTimestamp: c.LastHeartbeat.UnixMilli(),
			})
		}
	}
	return withBody(protocol.Encode(&table), nil)
}

// queueEntriesMax bounds what QUERY_CONSUME_QUEUE shows at once.
const queueEntriesMax = 10_000

// handleQueryQueue serves QUERY_CONSUME_QUEUE: the entries of a queue, and for a
// live group which of them it would be given.
func (b *Broker) handleQueryQueue(_ context.Context, r request) (*protocol.Response, error) {
	topic, queue, err := queueOf(r)
	if err != nil {
		return nil, err
	}
	f := r.cmd.Required()
	index, count := f.Int64("index"), f.Int("count")
	if err := f.Err(); err != nil {
		return nil, err
	}
	entries, ok := b.store.QueueEntries(topic, queue, message.QueueOffset(index), int(min(max(count, 0), queueEntriesMax)))
	if !ok {
		return nil, refuse(protocol.StatusSystemError, "%d@%s is not exist!", queue, topic)
	}
	first, end := b.store.QueueRange(topic, queue)
	body := protocol.ConsumeQueueBody{MinQueueIndex: int64(first), MaxQueueIndex: int64(end)}
	match := func(int64) bool { return false }
	if name := r.cmd.Str("consumerGroup"); name != "" {
		if sub, ok := b.clients.Subscription(name, topic); ok {
			body.Subscription, match = &sub.Data, sub.Match
			body.FilterData = fmt.Sprintf("%s: %s", sub.Data.ExpressionType, sub.Data.SubString)
		} else {
			body.FilterData = fmt.Sprintf("%s@%s is not online!", name, topic)
		}
	}
	for _, e := range entries {
		body.QueueData = append(body.QueueData, protocol.ConsumeQueueData{
			PhysicOffset: int64(e.Phy), PhysicSize: e.Size, TagsCode: e.TagsCode, Eval: match(e.TagsCode),
		})
	}
	resp, err := withBody(protocol.Encode(&body), nil)
	if len(entries) == 0 && err == nil {
		resp.Remark = fmt.Sprintf("Index %d of %d@%s is not exist!", index, queue, topic)
	}
	return resp, err
}
