package admin

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Names of statistics that brokers keep.
const (
	StatsTopicPut = "TOPIC_PUT_NUMS" // key: topic
	StatsGroupGet = "GROUP_GET_NUMS" // key: topic@group
)

// Stats returns what passed a broker in the last minute, hour and day. The error
// has status SystemError when the broker has counted nothing for the key.
func (c *Client) Stats(ctx context.Context, addr, name, key string) (*protocol.BrokerStatsData, error) {
	action := fmt.Sprintf("ask for the statistics %s of %s", name, key)
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeViewBrokerStatsData).SetField("statsName", name).SetField("statsKey", key))
	var data protocol.BrokerStatsData
	if err := decode(resp, err, &data, action); err != nil {
		return nil, err
	}
	return &data, nil
}

// BrokerConsumeStats is AllConsumeStats with a time limit of its own, and for
// ordered topics only if wanted.
func (c *Client) BrokerConsumeStats(ctx context.Context, addr string, order bool, limit time.Duration) (*protocol.ConsumeStatsList, error) {
	const action = "ask for the progress of all groups"
	resp, err := c.callWithin(ctx, limit, addr, action, protocol.NewRequest(protocol.CodeGetBrokerConsumeStats).SetField("isOrder", strconv.FormatBool(order)))
	var list protocol.ConsumeStatsList
	if err := decode(resp, err, &list, action); err != nil {
		return nil, err
	}
	return &list, nil
}

// ConsumeQueue returns entries of a queue's index, as a group would see them if
// one is named.
func (c *Client) ConsumeQueue(ctx context.Context, addr, topic string, queue int32, from int64, count int32, group string) (*protocol.ConsumeQueueBody, error) {
	action := fmt.Sprintf("read the index of topic %s queue %d", topic, queue)
	req := protocol.NewRequest(protocol.CodeQueryConsumeQueue).SetHeader(protocol.Pairs{
		{"topic", topic}, {"queueId", strconv.Itoa(int(queue))}, {"index", strconv.FormatInt(from, 10)}, {"count", strconv.Itoa(int(count))}})
	if group != "" {
		req.SetField("consumerGroup", group)
	}
	resp, err := c.call(ctx, addr, action, req)
	var entries protocol.ConsumeQueueBody
	if err := decode(resp, err, &entries, action); err != nil {
		return nil, err
	}
	return &entries, nil
}

// BrokerTopics returns the topics of one broker, the system's own apart.
func (c *Client) BrokerTopics(ctx context.Context, addr string) (all *protocol.TopicConfigSerializeWrapper, system []string, err error) {
	const action = "list the topics of a broker"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetAllTopicConfig))
	all = &protocol.TopicConfigSerializeWrapper{}
	if err := decode(resp, err, all, action); err != nil {
		return nil, nil, err
	}
	resp, err = c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetSystemTopicListFromBrk))
	var list protocol.TopicList
	if err := decode(resp, err, &list, action); err != nil {
		return nil, nil, err
	}
	return all, list.Topics, nil
}

// BrokerGroups returns the consumer groups of one broker with the table's version.
func (c *Client) BrokerGroups(ctx context.Context, addr string) (*protocol.SubscriptionGroupWrapper, error) {
	const action = "list the consumer groups of a broker"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetAllSubGroupConfig))
	var table protocol.SubscriptionGroupWrapper
	if err := decode(resp, err, &table, action); err != nil {
		return nil, err
	}
	return &table, nil
}
