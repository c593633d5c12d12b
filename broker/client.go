package broker

import (
	"context"
	"errors"

	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// handleHeartbeat serves HEART_BEAT: it registers the connection in its groups
// and sees to it that each consumer group and its retry topic exist before the
// answer, because the client looks for the topic's route right afterwards.
//
// The leader's table has all clients of the group, those of other members as
// relayed connections. Each member also notes its own ones (noteHeartbeat), to
// be ready to lead and to tell the next leader.
func (b *Broker) handleHeartbeat(ctx context.Context, r request) (*protocol.Response, error) {
	var hb protocol.HeartbeatData
	if len(r.cmd.Body) == 0 {
		return nil, refuse(protocol.StatusSystemError, "heartbeat without a body")
	}
	if err := hb.Decode(r.cmd.Body); err != nil {
		return nil, err
	}
	if err := b.createGroups(ctx, &hb); err != nil {
		return nil, err
	}
	if err := b.clients.Heartbeat(r.conn(), r.call.Language(), r.call.Version(), &hb); err != nil {
		return nil, err
	}
	return success()
}

// noteHeartbeat remembers a heartbeat of a client of this member's for the
// leaders to come.
func (b *Broker) noteHeartbeat(r request) error {
	b.forward.local.keep(r, r.cmd.Body)
	if b.leading.Load() {
		return nil // the handler does the rest
	}
	var hb protocol.HeartbeatData
	if len(r.cmd.Body) == 0 || hb.Decode(r.cmd.Body) != nil || r.call.Conn() == nil {
		return nil // for the leader to refuse
	}
	return b.clients.Heartbeat(r.call.Conn(), r.call.Language(), r.call.Version(), &hb)
}

// noteUnregister does the same for UNREGISTER_CLIENT. What the client has left
// comes with its next heartbeat.
func (b *Broker) noteUnregister(r request) error {
	b.forward.local.keep(r, nil)
	if c := r.call.Conn(); c != nil && !b.leading.Load() {
		b.clients.Unregister(c, r.cmd.Str("producerGroup"), r.cmd.Str("consumerGroup"))
	}
	return nil
}

// createGroups makes the missing groups and retry topics of a heartbeat in one
// proposal. Groups that may not be created are passed over: their pulls are
// refused with the proper code.
func (b *Broker) createGroups(ctx context.Context, hb *protocol.HeartbeatData) error {
	if !b.leading.Load() {
		return dledger.ErrNotLeader
	}
	var plan proposalPlan
	for i := range hb.Consumers {
		c := &hb.Consumers[i]
		cfg, err := b.groupForWrite(c.GroupName, &plan)
		if err != nil || cfg.RetryQueueNums <= 0 {
			continue
		}
		name := message.RetryTopic(c.GroupName)
		if _, ok := b.meta.Topic(name); ok || message.ValidTopic(name) != nil {
			continue
		}
		topic := readWriteTopic(name, cfg.RetryQueueNums)
		if c.UnitMode {
			topic.TopicSysFlag = topicFlagUnitSub
		}
		plan.command(metadata.AppendPutTopic(plan.data, topic, metadata.IfAbsent))
		plan.topics = true
	}
	if plan.records == 0 {
		return nil
	}
	_, err := b.carryOut(ctx, &plan)
	if errors.Is(err, dledger.ErrNotLeader) || errors.Is(err, dledger.ErrUnknown) {
		// The next leader gets a heartbeat of its own.
		return nil
	}
	if err == nil && plan.topics {
		b.register.waitRound(ctx)
	}
	return err
}

// topicFlagUnitSub is RocketMQ's TopicSysFlag bit of a unit subscription.
const topicFlagUnitSub = 2

// handleUnregister serves UNREGISTER_CLIENT.
func (b *Broker) handleUnregister(_ context.Context, r request) (*protocol.Response, error) {
	b.clients.Unregister(r.conn(), r.cmd.Str("producerGroup"), r.cmd.Str("consumerGroup"))
	return &protocol.Response{Code: protocol.StatusSuccess, Header: protocol.EmptyHeader{}}, nil
}

// handleConsumerList serves GET_CONSUMER_LIST_BY_GROUP. It answers from the
// leader's table, where the asker's heartbeat has just come too: it must find
// itself in the list or it gets no queues, and all must find the same list.
func (b *Broker) handleConsumerList(_ context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	name := f.Str("consumerGroup")
	if err := f.Err(); err != nil {
		return nil, err
	}
	ids := b.clients.ConsumerIDs(name)
	if len(ids) == 0 {
		return nil, refuse(protocol.StatusSystemError, "no consumer for this group, %s", name)
	}
	return withBody(protocol.Encode(&protocol.ConsumerList{IDs: ids}), nil)
}

// handleCheckClient serves CHECK_CLIENT_CONFIG, which consumers with a
// selector send before they start: they fail to start on a refusal.
func (b *Broker) handleCheckClient(_ context.Context, r request) (*protocol.Response, error) {
	var q protocol.CheckClientRequest
	if err := q.Decode(r.cmd.Body); err != nil {
		return nil, err
	}
	if err := b.checkSubscription(&q.Subscription); err != nil {
		return nil, err
	}
	return success()
}

// handleConsumerConnections serves GET_CONSUMER_CONNECTION_LIST.
func (b *Broker) handleConsumerConnections(_ context.Context, r request) (*protocol.Response, error) {
	name := r.cmd.Str("consumerGroup")
	info, ok := b.clients.ConsumerInfo(name)
	if !ok {
		return nil, refuse(protocol.StatusConsumerNotOnline, "the consumer group[%s] not online", name)
	}
	body := protocol.ConsumerConnection{
		Connections:      connections(b.clients.Consumers(name)),
		Subscriptions:    map[string]*protocol.SubscriptionData{},
		ConsumeType:      info.ConsumeType,
		MessageModel:     info.MessageModel,
		ConsumeFromWhere: info.ConsumeFromWhere,
	}
	for topic, sub := range b.clients.Subscriptions(name) {
		body.Subscriptions[topic] = &sub.Data
	}
	return withBody(protocol.Encode(&body), nil)
}

// handleProducerConnections serves GET_PRODUCER_CONNECTION_LIST.
func (b *Broker) handleProducerConnections(_ context.Context, r request) (*protocol.Response, error) {
	name := r.cmd.Str("producerGroup")
	producers := b.clients.Producers(name)
	if len(producers) == 0 {
		return nil, refuse(protocol.StatusSystemError, "the producer group[%s] not exist", name)
	}
	return withBody(protocol.Encode(&protocol.ProducerConnection{Connections: connections(producers)}), nil)
}

func connections(clients []group.Client) []protocol.Connection {
	out := make([]protocol.Connection, len(clients))
	for i, c := range clients {
		out[i] = protocol.Connection{
			ClientID: c.ID, ClientAddr: unmapped(c.Conn.RemoteAddr()).String(), Language: c.Language.String(), Version: c.Version,
		}
	}
	return out
}

// oneway is what a member's connection can do beyond being known.
type oneway interface {
	Oneway(*protocol.Command) error
}

// notifyConsumers sends NOTIFY_CONSUMER_IDS_CHANGED to all members of a group.
// It runs inside the heartbeat that changed the group, so that the notice
// leaves before the heartbeat's answer; clients rebalance on it at once instead
// of after up to 20 s.
func (b *Broker) notifyConsumers(name string, conns []group.Conn) {
	if !b.cfg().NotifyConsumers || !b.leading.Load() {
		return // the leader tells them, through us if need be
	}
	if cfg, ok := b.meta.Group(name); ok && !cfg.NotifyConsumerIDsChangedEnable {
		return
	}
	for _, c := range conns {
		conn, ok := c.(oneway)
		if !ok {
			continue
		}
		req := protocol.NewRequest(protocol.CodeNotifyConsumerIDsChanged).SetField("consumerGroup", name)
		if err := conn.Oneway(req); err != nil {
			b.log.Debug("notice not sent", "group", name, "addr", c.RemoteAddr(), "error", err)
		}
	}
}
