package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Topics returns the names of all topics, sorted.
func (c *Client) Topics(ctx context.Context) ([]string, error) {
	const action = "list topics"
	resp, err := c.callNamesrv(ctx, action, func() *protocol.Command {
		return protocol.NewRequest(protocol.CodeGetAllTopicListFromNamesrv)
	})
	var list protocol.TopicList
	if err := decode(resp, err, &list, action); err != nil {
		return nil, err
	}
	sort.Strings(list.Topics)
	return list.Topics, nil
}

// PutTopic creates a topic on one broker, or changes it there. The broker tells
// the name servers before it answers. Attributes are changes, as in RocketMQ 5:
// "+key" sets a value, "-key" removes the attribute.
func (c *Client) PutTopic(ctx context.Context, addr string, t protocol.TopicConfig) error {
	filter := t.TopicFilterType
	if filter == "" {
		filter = "SINGLE_TAG"
	}
	header := protocol.Pairs{
		{"topic", t.TopicName},
		{"defaultTopic", message.TopicAutoCreate},
		{"readQueueNums", strconv.Itoa(int(t.ReadQueueNums))},
		{"writeQueueNums", strconv.Itoa(int(t.WriteQueueNums))},
		{"perm", strconv.Itoa(int(t.Perm))},
		{"topicFilterType", filter},
		{"topicSysFlag", strconv.Itoa(int(t.TopicSysFlag))},
		{"order", strconv.FormatBool(t.Order)},
	}
	if len(t.Attributes) > 0 {
		header = append(header, [2]string{"attributes", attributeText(t.Attributes)})
	}
	req := protocol.NewRequest(protocol.CodeUpdateAndCreateTopic).SetHeader(header)
	_, err := c.call(ctx, addr, "create topic "+t.TopicName, req)
	c.forget(t.TopicName)
	return err
}

func attributeText(changes map[string]string) string {
	var items []string
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		if v := changes[key]; v != "" {
			key += "=" + v
		}
		items = append(items, key)
	}
	return strings.Join(items, ",")
}

// DeleteTopic removes a topic from one broker.
func (c *Client) DeleteTopic(ctx context.Context, addr, topic string) error {
	_, err := c.call(ctx, addr, "delete topic "+topic, protocol.NewRequest(protocol.CodeDeleteTopicInBroker).SetField("topic", topic))
	c.forget(topic)
	return err
}

// DeleteTopicRoute makes every name server forget a topic.
func (c *Client) DeleteTopicRoute(ctx context.Context, topic string) error {
	for _, addr := range c.cfg.NameServers {
		req := protocol.NewRequest(protocol.CodeDeleteTopicInNamesrv).SetField("topic", topic)
		if _, err := c.call(ctx, addr, "forget topic "+topic, req); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) forget(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.routes, topic)
}

// TopicStats returns the offsets of a topic's queues on one broker.
func (c *Client) TopicStats(ctx context.Context, addr, topic string) (*protocol.TopicStatsTable, error) {
	action := "ask for the offsets of topic " + topic
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetTopicStatsInfo).SetField("topic", topic))
	var table protocol.TopicStatsTable
	if err := decode(resp, err, &table, action); err != nil {
		return nil, err
	}
	return &table, nil
}

// MaxOffset returns the offset that the next message of a queue will get.
func (c *Client) MaxOffset(ctx context.Context, addr, topic string, queue int32) (int64, error) {
	return c.offset(ctx, addr, topic, queue, protocol.CodeGetMaxOffset)
}

// MinOffset returns the offset of the oldest message of a queue.
func (c *Client) MinOffset(ctx context.Context, addr, topic string, queue int32) (int64, error) {
	return c.offset(ctx, addr, topic, queue, protocol.CodeGetMinOffset)
}

func (c *Client) offset(ctx context.Context, addr, topic string, queue int32, code int32) (int64, error) {
	action := fmt.Sprintf("ask for the offsets of topic %s queue %d", topic, queue)
	req := protocol.NewRequest(code).SetField("topic", topic).SetField("queueId", strconv.Itoa(int(queue)))
	resp, err := c.call(ctx, addr, action, req)
	if err != nil {
		return 0, err
	}
	var h protocol.OffsetHeader
	if err := h.Decode(resp); err != nil {
		return 0, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
	}
	return h.Offset, nil
}

// CommitOffset stores a consumer group's offset and returns when the broker has
// confirmed it.
func (c *Client) CommitOffset(ctx context.Context, addr, group, topic string, queue int32, offset int64) error {
	req := protocol.NewRequest(protocol.CodeUpdateConsumerOffset).SetHeader(&protocol.ConsumerOffsetHeader{
		ConsumerGroup: []byte(group), Topic: []byte(topic), QueueID: queue, CommitOffset: offset})
	_, err := c.call(ctx, addr, fmt.Sprintf("commit offset %d of group %s", offset, group), req)
	return err
}

// ConsumerOffset returns a consumer group's stored offset; false when it has
// none.
func (c *Client) ConsumerOffset(ctx context.Context, addr, group, topic string, queue int32) (int64, bool, error) {
	action := fmt.Sprintf("ask for the offset of group %s in topic %s queue %d", group, topic, queue)
	req := protocol.NewRequest(protocol.CodeQueryConsumerOffset).SetHeader(&protocol.ConsumerOffsetHeader{
		ConsumerGroup: []byte(group), Topic: []byte(topic), QueueID: queue, CommitOffset: -1})
	resp, err := c.call(ctx, addr, action, req)
	if IsStatus(err, protocol.StatusQueryNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	var h protocol.OffsetHeader
	if err := h.Decode(resp); err != nil {
		return 0, false, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
	}
	return h.Offset, true, nil
}

// QueueStats is one queue of a topic.
type QueueStats struct {
	Queue protocol.MessageQueue
	protocol.TopicOffset
}

// AllTopicStats returns the offsets of a topic's queues on all its brokers, by
// broker name and queue id.
func (c *Client) AllTopicStats(ctx context.Context, topic string) ([]QueueStats, error) {
	data, err := c.RouteData(ctx, topic)
	if err != nil {
		return nil, err
	}
	var out []QueueStats
	for _, b := range data.BrokerDatas {
		addr, err := newRoute(topic, data).Any(b.BrokerName)
		if err != nil {
			return nil, err
		}
		table, err := c.TopicStats(ctx, addr, topic)
		if err != nil {
			return nil, err
		}
		for q, o := range table.Offsets {
			out = append(out, QueueStats{q, o})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].Queue, out[j].Queue
		return a.BrokerName < b.BrokerName || a.BrokerName == b.BrokerName && a.QueueID < b.QueueID
	})
	return out, nil
}

// TopicConsumers returns a topic's cluster and the groups that consume it.
func (c *Client) TopicConsumers(ctx context.Context, topic string) (cluster string, groups []string, err error) {
	data, err := c.RouteData(ctx, topic)
	if err != nil {
		return "", nil, err
	}
	for _, b := range data.BrokerDatas {
		cluster = b.Cluster
		addr, err := newRoute(topic, data).Any(b.BrokerName)
		if err != nil {
			return cluster, nil, err
		}
		list, err := c.groupsOf(ctx, addr, topic)
		if err != nil {
			return cluster, nil, err
		}
		groups = append(groups, list...)
	}
	sort.Strings(groups)
	return cluster, groups, nil
}

// CreateTopic creates an ordinary topic, to be read and written.
func (c *Client) CreateTopic(ctx context.Context, addr, topic string, queues int32) error {
	return c.PutTopic(ctx, addr, protocol.TopicConfig{TopicName: topic, ReadQueueNums: queues, WriteQueueNums: queues, Perm: permRead | permWrite})
}
