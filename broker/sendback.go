package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// firstRetryLevel is the delay level of a first retry, 10 s; each later one
// takes the next level.
const firstRetryLevel = 3

// handleSendBack serves CONSUMER_SEND_MSG_BACK: a consumer could not process a
// message and wants it again later, or in the dead letter queue when it came
// too often. The Go client ignores our answer and forgets the message, so that
// nothing recoverable may end here with an error.
func (b *Broker) handleSendBack(ctx context.Context, r request) (*protocol.Response, error) {
	var h protocol.SendBackHeader
	if err := h.Decode(r.cmd); err != nil {
		return nil, err
	}
	var plan proposalPlan
	cfg, err := b.groupForWrite(h.Group, &plan)
	if err != nil {
		return nil, err
	}
	if b.cfg().Permission&protocol.PermWrite == 0 {
		return nil, refuse(protocol.StatusNoPermission, "the broker[%s] sending message is forbidden", b.ip)
	}
	if cfg.RetryQueueNums <= 0 {
		return success()
	}
	if err := b.diskRefusal(); err != nil {
		return nil, err
	}
	retry, err := b.topicForWrite(message.RetryTopic(h.Group), cfg.RetryQueueNums, &plan)
	if err != nil {
		return nil, err
	}
	if retry.Perm&protocol.PermWrite == 0 {
		return nil, refuse(protocol.StatusNoPermission, "the topic[%s] sending message is forbidden", retry.TopicName)
	}
	original, err := b.store.MessageAt(message.PhyOffset(h.Offset))
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil, refuse(protocol.StatusSystemError, "look message by offset failed, %d", h.Offset)
		}
		return nil, err
	}
	m := again(original, message.PhyOffset(h.Offset))
	limit := cfg.RetryMaxTimes
	if h.MaxReconsumeTimes >= 0 && r.cmd.Version >= protocol.VersionMaxReconsume {
		limit = h.MaxReconsumeTimes
	}
	dead := original.ReconsumeTimes() >= limit || h.DelayLevel < 0
	if dead {
		dlq, err := b.topicForWrite(message.DLQTopic(h.Group), 1, &plan)
		if err != nil {
			return nil, err
		}
		m.Topic, m.QueueID = dlq.TopicName, 0
		m.Properties = dropProperty(m.Properties, message.PropertyDelayTimeLevel)
	} else {
		level := int(h.DelayLevel)
		if level == 0 {
			level = firstRetryLevel + int(original.ReconsumeTimes())
		}
		level = b.levels.Clamp(level)
		m.Topic, m.QueueID = retry.TopicName, rand.Int32N(max(retry.WriteQueueNums, 1))
		m.Properties = message.SetProperty(nil, m.Properties, message.PropertyDelayTimeLevel, itoa(level))
		m.Properties = schedule(&m, m.Properties, level, b.levels)
	}
	if err := plan.message(&m); err != nil {
		return nil, err
	}
	if _, err := b.carryOut(ctx, &plan); err != nil {
		return nil, err
	}
	b.stats.Put(statsTopic(m.Topic), 1, len(plan.data))
	b.stats.SendBack(originTopic(original), lightStats(h.Group))
	if dead {
		add(b.counters.dead, topicGroup{originTopic(original), h.Group}, 1)
	}
	return success()
}

// originTopic is where a message came from before any group gave it back.
func originTopic(m message.Stored) string {
	if topic, ok := message.Property(m.Properties(), message.PropertyRetryTopic); ok {
		return string(topic)
	}
	return string(m.Topic())
}

// again is the next incarnation of a message that was given back: everything
// of the original, counted once more, with a note of where it comes from.
func again(original message.Stored, at message.PhyOffset) message.Message {
	m := original.Decode()
	props := m.Properties
	if _, ok := message.Property(props, message.PropertyRetryTopic); !ok {
		props = message.SetProperty(nil, props, message.PropertyRetryTopic, m.Topic)
	}
	if _, ok := message.Property(props, message.PropertyOriginMessageID); !ok {
		props = message.SetProperty(nil, props, message.PropertyOriginMessageID, message.OffsetMsgID(m.StoreHost, at))
	}
	m.Properties = dropProperty(props, message.PropertyWaitStoreMsgOK)
	m.ReconsumeTimes++
	return m
}

// mayCreateGroup says whether an unknown group may come into being.
func (b *Broker) mayCreateGroup(name string) error {
	if err := message.ValidGroup(name); err != nil {
		return err
	}
	if !b.cfg().AutoCreateGroup && !systemGroupName(name) {
		return refuse(protocol.StatusSubscriptionGroupMissing, "subscription group [%s] does not exist, apply first please!", name)
	}
	return nil
}

// groupForWrite returns a group's settings and, when it is new and may be
// created, adds the command that creates it to the plan.
func (b *Broker) groupForWrite(name string, plan *proposalPlan) (*protocol.SubscriptionGroupConfig, error) {
	if cfg, ok := b.groupConfig(name); ok {
		return cfg, nil
	}
	if err := b.mayCreateGroup(name); err != nil {
		return nil, err
	}
	cfg := protocol.NewSubscriptionGroupConfig(name)
	plan.command(metadata.AppendPutGroup(plan.data, cfg, metadata.IfAbsent))
	return cfg, nil
}

// topicForWrite does the same for a topic with the given number of queues.
func (b *Broker) topicForWrite(name string, queues int32, plan *proposalPlan) (*protocol.TopicConfig, error) {
	if cfg, ok := b.meta.Topic(name); ok {
		return cfg, nil
	}
	if err := message.ValidTopic(name); err != nil {
		// The request named the group; the topic follows from it.
		return nil, fmt.Errorf("topic[%s]: %w", name, err)
	}
	cfg := readWriteTopic(name, queues)
	plan.command(metadata.AppendPutTopic(plan.data, cfg, metadata.IfAbsent))
	plan.topics = true
	return cfg, nil
}
