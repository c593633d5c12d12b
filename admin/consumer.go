package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// askedTimeout is how long a request may take that a broker passes on to one of
// its clients: brokers wait ten seconds for it.
const askedTimeout = 15 * time.Second

// ErrNotOnline says that a group has no connected member.
var ErrNotOnline = errors.New("the group has no connected member")

// brokersOf returns an address for each broker that serves a topic.
func (c *Client) brokersOf(ctx context.Context, topic string) ([]string, error) {
	data, err := c.RouteData(ctx, topic)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, b := range data.BrokerDatas {
		addr, err := newRoute(topic, data).Any(b.BrokerName)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("topic %s: %w", topic, ErrNoLeader)
	}
	return addrs, nil
}

// GroupBrokers returns an address for each broker that a consumer group is known
// to, which are those of its retry topic.
func (c *Client) GroupBrokers(ctx context.Context, group string) ([]string, error) {
	addrs, err := c.brokersOf(ctx, message.RetryTopic(group))
	if errors.Is(err, ErrNoTopic) {
		return nil, fmt.Errorf("consumer group %s has no retry topic, which it gets when it first consumes: %w", group, err)
	}
	return addrs, err
}

// GroupStats is where a group stands on all brokers that know it; topic "" means
// all topics it has consumed.
func (c *Client) GroupStats(ctx context.Context, group, topic string) (*protocol.ConsumeStats, error) {
	addrs, err := c.GroupBrokers(ctx, group)
	if err != nil {
		return nil, err
	}
	sum := &protocol.ConsumeStats{Offsets: map[protocol.MessageQueue]protocol.ConsumeOffset{}}
	for _, addr := range addrs {
		stats, err := c.ConsumeStats(ctx, addr, group, topic)
		if err != nil {
			return nil, err
		}
		sum.ConsumeTps += stats.ConsumeTps
		for q, o := range stats.Offsets {
			sum.Offsets[q] = o
		}
	}
	return sum, nil
}

// OnlineMembers returns the connected members of a group as the first broker that
// has any tells; the error is ErrNotOnline when none has.
func (c *Client) OnlineMembers(ctx context.Context, group string) (*protocol.ConsumerConnection, error) {
	addrs, err := c.GroupBrokers(ctx, group)
	if err != nil && !errors.Is(err, ErrNoTopic) { // without a retry topic it has never had a member
		return nil, err
	}
	for _, addr := range addrs {
		conn, err := c.Consumers(ctx, addr, group)
		if err != nil {
			return nil, err
		}
		if len(conn.Connections) > 0 {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("consumer group %s: %w", group, ErrNotOnline)
}

// RunningInfo asks a member of a group for what it is doing, with its stack
// traces if wanted.
func (c *Client) RunningInfo(ctx context.Context, group, clientID string, jstack bool) (*protocol.ConsumerRunningInfo, error) {
	addrs, err := c.GroupBrokers(ctx, group)
	if err != nil {
		return nil, err
	}
	action := fmt.Sprintf("ask member %s of group %s", clientID, group)
	var failures []error
	for _, addr := range addrs { // a member is connected to the brokers it consumes from
		resp, err := c.callWithin(ctx, askedTimeout, addr, action, protocol.NewRequest(protocol.CodeGetConsumerRunningInfo).SetHeader(protocol.Pairs{
			{"consumerGroup", group}, {"clientId", clientID}, {"jstackEnable", strconv.FormatBool(jstack)}}))
		var info protocol.ConsumerRunningInfo
		if err = decode(resp, err, &info, action); err == nil {
			return &info, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// ConsumeDirectly makes a member of a group process one message, again or for
// the first time, and returns what came of it. The message is named by its
// offset message id; addr is its broker's.
func (c *Client) ConsumeDirectly(ctx context.Context, addr, group, clientID, msgID string) (*protocol.ConsumeDirectlyResult, error) {
	action := fmt.Sprintf("have member %s of group %s process message %s", clientID, group, msgID)
	resp, err := c.callWithin(ctx, askedTimeout, addr, action, protocol.NewRequest(protocol.CodeConsumeMessageDirectly).SetHeader(protocol.Pairs{
		{"consumerGroup", group}, {"clientId", clientID}, {"msgId", msgID}}))
	var result protocol.ConsumeDirectlyResult
	if err := decode(resp, err, &result, action); err != nil {
		return nil, err
	}
	return &result, nil
}

// Producers returns the connected members of a producer group at the brokers of
// a topic.
func (c *Client) Producers(ctx context.Context, group, topic string) ([]protocol.Connection, error) {
	addrs, err := c.brokersOf(ctx, topic)
	if err != nil {
		return nil, err
	}
	action := "list the producers of group " + group
	for _, addr := range addrs {
		resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetProducerConnectionList).SetField("producerGroup", group))
		if IsStatus(err, protocol.StatusSystemError) {
			continue // RocketMQ's way to say that there is none
		}
		var conn protocol.ProducerConnection
		if err := decode(resp, err, &conn, action); err != nil {
			return nil, err
		}
		if len(conn.Connections) > 0 {
			return conn.Connections, nil
		}
	}
	return nil, fmt.Errorf("producer group %s: %w", group, ErrNotOnline)
}

// AllProducers returns the producers that are connected to one broker, by group.
func (c *Client) AllProducers(ctx context.Context, addr string) (map[string][]protocol.ProducerInfo, error) {
	const action = "list the producers"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetAllProducerInfo))
	var table protocol.ProducerTableInfo
	if err := decode(resp, err, &table, action); err != nil {
		return nil, err
	}
	return table.Data, nil
}
