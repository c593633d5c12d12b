package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// OffsetNow as a time means the end of a queue.
const OffsetNow int64 = -1

// ResetGroup moves a group in a topic on all brokers to the messages stored at a
// time (ms, or OffsetNow), tells the connected members, and returns the new
// offsets. Without force a queue only moves back. cplus is for members written
// in C++, which read another form. The error has status ConsumerNotOnline when
// there are no members; RollBack is for that.
func (c *Client) ResetGroup(ctx context.Context, group, topic string, timestamp int64, force, cplus bool) (map[protocol.MessageQueue]int64, error) {
	addrs, err := c.brokersOf(ctx, topic)
	if err != nil {
		return nil, err
	}
	action := fmt.Sprintf("reset the offsets of group %s in topic %s", group, topic)
	all := map[protocol.MessageQueue]int64{}
	for _, addr := range addrs {
		req := protocol.NewRequest(protocol.CodeInvokeBrokerToResetOffset).SetHeader(protocol.Pairs{
			{"topic", topic}, {"group", group}, {"timestamp", strconv.FormatInt(timestamp, 10)}, {"isForce", strconv.FormatBool(force)}})
		if cplus {
			req.Language = protocol.LanguageCPP
		}
		resp, err := c.callWithin(ctx, askedTimeout, addr, action, req)
		var body protocol.ResetOffsetBody
		if err := decode(resp, err, &body, action); err != nil {
			return nil, err
		}
		for q, o := range body.Offsets {
			all[q] = o
		}
	}
	return all, nil
}

// RollbackStats is what RollBack did to one queue.
type RollbackStats struct {
	Queue                        protocol.MessageQueue
	BrokerOffset, ConsumerOffset int64 // before
	TimestampOffset/* at the time asked for */ int64
	RollbackOffset int64 // now
}

// RollBack does what ResetGroup does for a group without members: it writes the
// group's offsets itself.
func (c *Client) RollBack(ctx context.Context, group, topic string, timestamp int64, force bool) ([]RollbackStats, error) {
	data, err := c.RouteData(ctx, topic)
	if err != nil {
		return nil, err
	}
	route := newRoute(topic, data)
	var done []RollbackStats
	for _, b := range data.BrokerDatas {
		addr, err := route.Any(b.BrokerName)
		if err != nil {
			return done, err
		}
		before, err := c.standing(ctx, addr, group, topic)
		if err != nil {
			return done, err
		}
		for _, st := range before {
			if err := c.rollBackQueue(ctx, addr, group, timestamp, force, &st); err != nil {
				return done, err
			}
			done = append(done, st)
		}
	}
	return done, nil
}

// standing is where a group stands in a topic's queues on one broker; one that
// has not consumed yet stands at the beginning.
func (c *Client) standing(ctx context.Context, addr, group, topic string) ([]RollbackStats, error) {
	stats, err := c.ConsumeStats(ctx, addr, group, "")
	if err != nil {
		return nil, err
	}
	var list []RollbackStats
	for q, o := range stats.Offsets {
		if q.Topic == topic {
			list = append(list, RollbackStats{Queue: q, BrokerOffset: o.BrokerOffset, ConsumerOffset: o.ConsumerOffset})
		}
	}
	if len(list) == 0 {
		table, err := c.TopicStats(ctx, addr, topic)
		if err != nil {
			return nil, err
		}
		for q, o := range table.Offsets {
			list = append(list, RollbackStats{Queue: q, BrokerOffset: o.MaxOffset, ConsumerOffset: o.MinOffset})
		}
	}
	slices.SortFunc(list, func(a, b RollbackStats) int { return int(a.Queue.QueueID - b.Queue.QueueID) })
	return list, nil
}

func (c *Client) rollBackQueue(ctx context.Context, addr, group string, timestamp int64, force bool, st *RollbackStats) error {
	var err error
	if timestamp == OffsetNow {
		st.TimestampOffset, err = c.MaxOffset(ctx, addr, st.Queue.Topic, st.Queue.QueueID)
	} else {
		st.TimestampOffset, err = c.SearchOffset(ctx, addr, st.Queue.Topic, st.Queue.QueueID, timestamp)
	}
	if err != nil {
		return err
	}
	st.RollbackOffset = st.ConsumerOffset
	if force || st.TimestampOffset <= st.ConsumerOffset {
		st.RollbackOffset = st.TimestampOffset
		return c.CommitOffset(ctx, addr, group, st.Queue.Topic, st.Queue.QueueID, st.TimestampOffset)
	}
	return nil
}

// CloneOffsets gives a group the offsets that another has in a topic's queues.
func (c *Client) CloneOffsets(ctx context.Context, from, to, topic string) error {
	data, err := c.RouteData(ctx, topic)
	if err != nil {
		return err
	}
	route := newRoute(topic, data)
	stats, err := c.GroupStats(ctx, from, topic)
	if err != nil {
		return err
	}
	cloned := 0
	for q, o := range stats.Offsets {
		if o.ConsumerOffset < 0 || q.Topic != topic {
			continue
		}
		cloned++
		addr, err := route.Any(q.BrokerName)
		if err != nil {
			return err
		}
		if err := c.CommitOffset(ctx, addr, to, q.Topic, q.QueueID, o.ConsumerOffset); err != nil {
			return err
		}
	}
	if cloned == 0 {
		return fmt.Errorf("consumer group %s has no offset in topic %s to clone", from, topic)
	}
	return nil
}
