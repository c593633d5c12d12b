package broker

import (
	"context"
	"time"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// handlePutTopic serves UPDATE_AND_CREATE_TOPIC. The name servers know the
// topic before the answer leaves, so that a tool that asks for its route next
// finds it.
func (b *Broker) handlePutTopic(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	topic := &protocol.TopicConfig{
		TopicName:       f.Str("topic"),
		ReadQueueNums:   f.Int("readQueueNums"),
		WriteQueueNums:  f.Int("writeQueueNums"),
		Perm:            f.Int("perm"),
		TopicFilterType: r.cmd.Str("topicFilterType"),
		TopicSysFlag:    r.cmd.Int("topicSysFlag", 0),
		Order:           r.cmd.Bool("order"),
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	began := time.Now()
	resp, err := b.putTopics(ctx, topicChange{topic, r.cmd.Str("attributes")})
	b.created(false, topic.TopicName, began, err)
	return resp, err
}

// topicChange is a topic as it shall be, but for its attributes, of which only
// the changes are known.
type topicChange struct {
	topic      *protocol.TopicConfig
	attributes string
}

// handlePutTopics serves UPDATE_AND_CREATE_TOPIC_LIST (5.x). The whole list is
// checked before any of it is carried out.
func (b *Broker) handlePutTopics(ctx context.Context, r request) (*protocol.Response, error) {
	var list protocol.TopicConfigList
	if err := list.Decode(r.cmd.Body); err != nil {
		return nil, err
	}
	if len(list.Topics) > listMax {
		return nil, refuse(protocol.StatusSystemError, "%d topics in one request; at most %d", len(list.Topics), listMax)
	}
	changes := make([]topicChange, len(list.Topics))
	for i := range list.Topics {
		t := &list.Topics[i]
		changes[i] = topicChange{t, attributeText(t.Attributes)}
	}
	return b.putTopics(ctx, changes...)
}

// listMax bounds the topics or groups of one request, so that all fit into one
// entry.
const listMax = 1000

// putTopics creates or changes topics.
func (b *Broker) putTopics(ctx context.Context, changes ...topicChange) (*protocol.Response, error) {
	var plan proposalPlan
	for _, c := range changes {
		topic := c.topic
		if err := b.checkNewTopic(topic.TopicName); err != nil {
			return nil, err
		}
		if b.lightQueue(topic.TopicName) {
			return nil, refuse(protocol.StatusSystemError, "topic[%s] is a light queue, which has one queue and no other settings (enableLmq)", topic.TopicName)
		}
		if topic.ReadQueueNums < 0 || topic.WriteQueueNums < 0 || topic.Perm < 0 {
			return nil, refuse(protocol.StatusSystemError, "topic[%s]: queue numbers and permission must be at least 0", topic.TopicName)
		}
		switch topic.TopicFilterType {
		case "":
			topic.TopicFilterType = protocol.FilterSingleTag
		case protocol.FilterSingleTag, protocol.FilterMultiTag:
		default:
			return nil, refuse(protocol.StatusSystemError, "topic[%s]: topicFilterType %.32q is not known; use %s or %s",
				topic.TopicName, topic.TopicFilterType, protocol.FilterSingleTag, protocol.FilterMultiTag)
		}
		var old map[string]string
		if was, ok := b.meta.Topic(topic.TopicName); ok {
			old = was.Attributes
		}
		var err error
		if topic.Attributes, err = changeAttributes(old, c.attributes); err != nil {
			return nil, err
		}
		plan.command(metadata.AppendPutTopic(plan.data, topic, metadata.Upsert))
		plan.topics = true
	}
	if _, err := b.carryOut(ctx, &plan); err != nil {
		return nil, err
	}
	b.register.waitRound(ctx)
	return success()
}

// checkNewTopic refuses names that no user's topic may have.
func (b *Broker) checkNewTopic(name string) error {
	if b.meta.SystemTopic(name) {
		return refuse(protocol.StatusSystemError, "The topic[%s] is conflict with system topic.", name)
	}
	return message.ValidTopic(name)
}

// handleDeleteTopic serves DELETE_TOPIC_IN_BROKER. A topic that is not there
// is deleted successfully.
func (b *Broker) handleDeleteTopic(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	name := f.Str("topic")
	if err := f.Err(); err != nil {
		return nil, err
	}
	if err := b.checkNewTopic(name); err != nil {
		return nil, err
	}
	// Commits that wait would make the topic's offsets anew. Those that came in
	// meanwhile go too; consumers that are still there commit again by themselves.
	b.offsets.ForgetTopic(name)
	if _, err := b.command(ctx, metadata.AppendDeleteTopic(nil, name)); err != nil {
		return nil, err
	}
	b.offsets.ForgetTopic(name)
	b.stats.DeleteTopic(name)
	b.counters.forgetTopic(name)
	b.topicsChanged()
	return success()
}

// handlePutGroup serves UPDATE_AND_CREATE_SUBSCRIPTIONGROUP. The group's retry
// topic is created with it: a client that asks for its route before its first
// heartbeat would otherwise look again only 30 s later.
func (b *Broker) handlePutGroup(ctx context.Context, r request) (*protocol.Response, error) {
	var cfg protocol.SubscriptionGroupConfig
	if err := cfg.Decode(r.cmd.Body); err != nil {
		return nil, err
	}
	began := time.Now()
	resp, err := b.putGroups(ctx, &cfg)
	b.created(true, cfg.GroupName, began, err)
	return resp, err
}

// handlePutGroups serves UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (5.x), in the
// same way.
func (b *Broker) handlePutGroups(ctx context.Context, r request) (*protocol.Response, error) {
	var list protocol.SubscriptionGroupList
	if err := list.Decode(r.cmd.Body); err != nil {
		return nil, err
	}
	if len(list.Groups) > listMax {
		return nil, refuse(protocol.StatusSystemError, "%d groups in one request; at most %d", len(list.Groups), listMax)
	}
	return b.putGroups(ctx, list.Groups...)
}

func (b *Broker) putGroups(ctx context.Context, groups ...*protocol.SubscriptionGroupConfig) (*protocol.Response, error) {
	var plan proposalPlan
	for _, cfg := range groups {
		if err := message.ValidGroup(cfg.GroupName); err != nil {
			return nil, err
		}
		if b.lightQueue(cfg.GroupName) {
			return nil, refuse(protocol.StatusSystemError, "group[%s] is one of light queues, which has no settings of its own (enableLmq)", cfg.GroupName)
		}
		plan.command(metadata.AppendPutGroup(plan.data, cfg, metadata.Upsert))
		if cfg.RetryQueueNums > 0 {
			if _, err := b.topicForWrite(message.RetryTopic(cfg.GroupName), cfg.RetryQueueNums, &plan); err != nil {
				return nil, err
			}
		}
	}
	if _, err := b.carryOut(ctx, &plan); err != nil {
		return nil, err
	}
	return success()
}

// handleDeleteGroup serves DELETE_SUBSCRIPTIONGROUP.
func (b *Broker) handleDeleteGroup(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	name := f.Str("groupName")
	if err := f.Err(); err != nil {
		return nil, err
	}
	// 5.x renamed the field.
	offsets := r.cmd.Bool("removeOffset") || r.cmd.Bool("cleanOffset")
	forget := func() {
		if offsets {
			b.offsets.ForgetGroup(name)
		}
	}
	forget()
	if _, err := b.command(ctx, metadata.AppendDeleteGroup(nil, name, offsets)); err != nil {
		return nil, err
	}
	forget()
	b.stats.DeleteGroup(name)
	return success()
}

// topicTable is the topic table as other programs are shown it.
func (b *Broker) topicTable() protocol.TopicConfigSerializeWrapper {
	// The version first: a topic that changes in between is then sent again
	// with the next version instead of being missed with this one.
	w := protocol.TopicConfigSerializeWrapper{DataVersion: b.meta.TopicsVersion(), TopicConfigTable: map[string]*protocol.TopicConfig{}}
	for _, t := range b.meta.Topics() {
		if !b.hidden(t.TopicName) {
			w.TopicConfigTable[t.TopicName] = t
		}
	}
	return w
}

// hidden reports whether a topic is the template that nothing may be made from
// while autoCreateTopicEnable is off: clients that found a route to it would send.
func (b *Broker) hidden(topic string) bool {
	return topic == message.TopicAutoCreate && !b.cfg().AutoCreateTopic
}

// handleAllTopics serves GET_ALL_TOPIC_CONFIG.
func (b *Broker) handleAllTopics(context.Context, request) (*protocol.Response, error) {
	w := b.topicTable()
	for name, t := range w.TopicConfigTable {
		w.TopicConfigTable[name] = b.shownTopic(t)
	}
	return withBody(protocol.Encode(&w), nil)
}

// handleTopicConfig serves GET_TOPIC_CONFIG.
func (b *Broker) handleTopicConfig(_ context.Context, r request) (*protocol.Response, error) {
	name := r.cmd.Str("topic")
	t, ok := b.topicConfig(name)
	if !ok || b.hidden(name) {
		return nil, refuse(protocol.StatusTopicNotExist, "No topic in this broker. topic: %s", name)
	}
	return withBody(protocol.Encode(b.shownTopic(t)), nil)
}

// shownTopic is a topic as tools are shown it: marked as ordered, too, when only
// a name server knows that it is. Name servers are told what is set here; they
// know their own configuration.
func (b *Broker) shownTopic(t *protocol.TopicConfig) *protocol.TopicConfig {
	if t.Order || !b.register.ordered(t) {
		return t
	}
	c := *t
	c.Order = true
	return &c
}

// handleAllGroups serves GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
func (b *Broker) handleAllGroups(context.Context, request) (*protocol.Response, error) {
	w := protocol.SubscriptionGroupWrapper{DataVersion: b.meta.GroupsVersion(), SubscriptionGroupTable: map[string]*protocol.SubscriptionGroupConfig{}}
	for _, g := range b.meta.Groups() {
		w.SubscriptionGroupTable[g.GroupName] = g
	}
	return withBody(protocol.Encode(&w), nil)
}

// handleGroupConfig serves GET_SUBSCRIPTIONGROUP_CONFIG.
func (b *Broker) handleGroupConfig(_ context.Context, r request) (*protocol.Response, error) {
	name := r.cmd.Str("group")
	g, ok := b.groupConfig(name)
	if !ok {
		return nil, refuse(protocol.StatusSubscriptionGroupMissing, "No group in this broker. group: %s", name)
	}
	return withBody(protocol.Encode(g), nil)
}

// handleSystemTopics serves GET_SYSTEM_TOPIC_LIST_FROM_BROKER.
func (b *Broker) handleSystemTopics(context.Context, request) (*protocol.Response, error) {
	var list protocol.TopicList
	for _, t := range b.meta.Topics() {
		if b.meta.SystemTopic(t.TopicName) && !b.hidden(t.TopicName) {
			list.Topics = append(list.Topics, t.TopicName)
		}
	}
	return withBody(protocol.Encode(&list), nil)
}

// handleTopicStats serves GET_TOPIC_STATS_INFO: range and last change of every
// queue of a topic.
func (b *Broker) handleTopicStats(_ context.Context, r request) (*protocol.Response, error) {
	name := r.cmd.Str("topic")
	topic, ok := b.topicConfig(name)
	if !ok {
		return nil, refuse(protocol.StatusTopicNotExist, "topic[%s] not exist", name)
	}
	table := protocol.TopicStatsTable{Offsets: map[protocol.MessageQueue]protocol.TopicOffset{}}
	for q := range max(topic.WriteQueueNums, topic.ReadQueueNums) {
		first, end := b.store.QueueRange(name, q)
		o := protocol.TopicOffset{MinOffset: int64(first), MaxOffset: int64(end)}
		if end > first {
			o.LastUpdateTimestamp, _ = b.store.StoreTimeAt(name, q, end-1)
		}
		table.Offsets[protocol.MessageQueue{Topic: name, BrokerName: b.brokerName, QueueID: q}] = o
	}
	return withBody(protocol.Encode(&table), nil)
}
