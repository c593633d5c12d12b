package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Groups returns the configuration of the consumer groups of one broker, by name.
func (c *Client) Groups(ctx context.Context, addr string) ([]*protocol.SubscriptionGroupConfig, error) {
	const action = "list consumer groups"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetAllSubGroupConfig))
	var table protocol.SubscriptionGroupWrapper
	if err := decode(resp, err, &table, action); err != nil {
		return nil, err
	}
	groups := make([]*protocol.SubscriptionGroupConfig, 0, len(table.SubscriptionGroupTable))
	for _, g := range table.SubscriptionGroupTable {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *protocol.SubscriptionGroupConfig) int { return strings.Compare(a.GroupName, b.GroupName) })
	return groups, nil
}

// DeleteGroup removes a consumer group from one broker, with its offsets if
// asked to.
func (c *Client) DeleteGroup(ctx context.Context, addr, group string, withOffsets bool) error {
	req := protocol.NewRequest(protocol.CodeDeleteSubGroup).SetField("groupName", group).
		SetField("cleanOffset", strconv.FormatBool(withOffsets))
	_, err := c.call(ctx, addr, "delete consumer group "+group, req)
	return err
}

// ConsumeStats returns where a group stands in the queues of one broker; topic ""
// means all topics it has consumed.
func (c *Client) ConsumeStats(ctx context.Context, addr, group, topic string) (*protocol.ConsumeStats, error) {
	action := "ask for the progress of group " + group
	req := protocol.NewRequest(protocol.CodeGetConsumeStats).SetField("consumerGroup", group)
	if topic != "" {
		req.SetField("topic", topic)
	}
	resp, err := c.call(ctx, addr, action, req)
	var stats protocol.ConsumeStats
	if err := decode(resp, err, &stats, action); err != nil {
		return nil, err
	}
	return &stats, nil
}

// AllConsumeStats is ConsumeStats of all groups of one broker, with one request.
func (c *Client) AllConsumeStats(ctx context.Context, addr string) (*protocol.ConsumeStatsList, error) {
	const action = "ask for the progress of all groups"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetBrokerConsumeStats).SetField("isOrder", "false"))
	var list protocol.ConsumeStatsList
	if err := decode(resp, err, &list, action); err != nil {
		return nil, err
	}
	return &list, nil
}

// Consumers returns the members of a group that are connected to one broker; no
// member is not an error.
func (c *Client) Consumers(ctx context.Context, addr, group string) (*protocol.ConsumerConnection, error) {
	action := "list the members of group " + group
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetConsumerConnectionList).SetField("consumerGroup", group))
	if IsStatus(err, protocol.StatusConsumerNotOnline) {
		return &protocol.ConsumerConnection{}, nil
	}
	var conn protocol.ConsumerConnection
	if err := decode(resp, err, &conn, action); err != nil {
		return nil, err
	}
	return &conn, nil
}

// ResetOffset moves a group in a topic on one broker to the messages stored at a
// time (ms; -1 for now) and returns the new offsets. Without force a queue only
// moves back. Members that are connected are told.
func (c *Client) ResetOffset(ctx context.Context, addr, group, topic string, timestamp int64, force bool) (map[protocol.MessageQueue]int64, error) {
	action := fmt.Sprintf("reset the offsets of group %s in topic %s", group, topic)
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeInvokeBrokerToResetOffset).SetHeader(protocol.Pairs{
		{"topic", topic}, {"group", group}, {"timestamp", strconv.FormatInt(timestamp, 10)}, {"isForce", strconv.FormatBool(force)},
	}))
	var body protocol.ResetOffsetBody
	if err := decode(resp, err, &body, action); err != nil {
		return nil, err
	}
	return body.Offsets, nil
}

// SearchOffset returns the offset of a queue's first message that was stored at a
// time (unix ms) or later, its end when there is none.
func (c *Client) SearchOffset(ctx context.Context, addr, topic string, queue int32, timestamp int64) (int64, error) {
	action := fmt.Sprintf("search topic %s queue %d by time", topic, queue)
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeSearchOffsetByTimestamp).SetHeader(protocol.Pairs{
		{"topic", topic}, {"queueId", strconv.Itoa(int(queue))}, {"timestamp", strconv.FormatInt(timestamp, 10)},
	}))
	if err != nil {
		return 0, err
	}
	var h protocol.OffsetHeader
	if err := h.Decode(resp); err != nil {
		return 0, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
	}
	return h.Offset, nil
}
