package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// TrackType is how far a group is with a message, by RocketMQ's names.
type TrackType string

// How far a group can be with a message.
const (
	TrackConsumed    TrackType = "CONSUMED"
	TrackFiltered    TrackType = "CONSUMED_BUT_FILTERED" // passed over: another tag
	TrackPull        TrackType = "PULL"                  // the group keeps its offsets itself
	TrackNotYet      TrackType = "NOT_CONSUME_YET"
	TrackNotOnline   TrackType = "NOT_ONLINE"
	TrackUnknown     TrackType = "UNKNOWN"
	notOnlineDetails           = "CODE:206 DESC:the consumer group[%s] not online"
)

// Track is how far one group is with a message.
type Track struct {
	Group  string
	Type   TrackType
	Detail string // why it is not known better, "" = it is
}

// Tracks returns how far each group that consumes a message's topic is with it.
func (c *Client) Tracks(ctx context.Context, m message.Stored) ([]Track, error) {
	_, groups, err := c.TopicConsumers(ctx, string(m.Topic()))
	if err != nil {
		return nil, err
	}
	var tracks []Track
	for _, group := range slices.Compact(groups) {
		tracks = append(tracks, c.track(ctx, m, group))
	}
	return tracks, nil
}

func (c *Client) track(ctx context.Context, m message.Stored, group string) Track {
	t := Track{Group: group, Type: TrackUnknown}
	members, err := c.OnlineMembers(ctx, group)
	if errors.Is(err, ErrNotOnline) {
		t.Type, t.Detail = TrackNotOnline, fmt.Sprintf(notOnlineDetails, group)
		return t
	}
	if err != nil {
		t.Detail = err.Error()
		return t
	}
	if members.ConsumeType == protocol.ConsumeActively {
		t.Type = TrackPull
		return t
	}
	passed, err := c.passed(ctx, m, group)
	switch {
	case err != nil:
		t.Detail = err.Error()
	case !passed:
		t.Type = TrackNotYet
	case wanted(members.Subscriptions[string(m.Topic())], m):
		t.Type = TrackConsumed
	default:
		t.Type = TrackFiltered
	}
	return t
}

// wanted reports whether a subscription's tags include the message's.
func wanted(s *protocol.SubscriptionData, m message.Stored) bool {
	if s == nil || len(s.TagsSet) == 0 || slices.Contains(s.TagsSet, protocol.SubscribeAll) {
		return true
	}
	tag, _ := m.Property(message.PropertyTags)
	return slices.Contains(s.TagsSet, string(tag))
}

// passed reports whether a group's offset lies behind a message. The broker is
// told by the address in the message, which any member of its group may have
// written: RocketMQ compares with the present leader only, and calls a message
// that was stored before a failover unread for ever.
func (c *Client) passed(ctx context.Context, m message.Stored, group string) (bool, error) {
	stats, err := c.GroupStats(ctx, group, string(m.Topic()))
	if err != nil {
		return false, err
	}
	info, err := c.Cluster(ctx)
	if err != nil {
		return false, err
	}
	for q, o := range stats.Offsets {
		if q.Topic != string(m.Topic()) || q.QueueID != m.QueueID() || o.ConsumerOffset <= int64(m.QueueOffset()) {
			continue
		}
		for _, addr := range info.BrokerAddrTable[q.BrokerName].BrokerAddrs {
			if addr == m.StoreHost().String() {
				return true, nil
			}
		}
	}
	return false, nil
}
