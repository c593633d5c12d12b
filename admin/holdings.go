package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Keys of a CometMQ broker's runtime table that count what it holds back for
// later. A broker that tells them is asked by Holdings.
const (
	RuntimeKeyDelayed      = "pendingDelayed"      // messages with a delay level
	RuntimeKeyTimers       = "pendingTimers"       // messages with a delivery time
	RuntimeKeyTransactions = "pendingTransactions" // transactions without commit or rollback
)

// Holdings is what a broker still has for somebody.
type Holdings struct {
	// Topics are users' topics, retry topics and dead letters with messages, by name.
	Topics []TopicHolding
	// Pending counts messages that come into a topic later, by RuntimeKey….
	Pending map[string]int64
	// Written is the sum of all queues' ends: as long as it stays, nothing was stored.
	Written int64
}

// TopicHolding is what a broker has of one topic.
type TopicHolding struct {
	Topic    string
	Messages int64 // that are still there, read or not
	Readers  []Reading
}

// Reading is a group that reads a topic.
type Reading struct {
	Group  string
	Behind int64 // messages it has not read yet
	// Broadcast groups keep their offsets to themselves: Behind is unknown.
	Broadcast bool
}

// Holdings asks a broker what it has for whom. A group counts as a reader if it
// has consumed the topic from one of the brokers at others, or subscribes it now:
// who never met this broker has not read anything of it. A group that is
// connected and subscribes a topic no longer is none.
func (c *Client) Holdings(ctx context.Context, addr string, others []string) (*Holdings, error) {
	h := &Holdings{Pending: map[string]int64{}}
	if err := c.addPending(ctx, addr, h); err != nil {
		return nil, err
	}
	topics, err := c.TopicConfigs(ctx, addr)
	if err != nil {
		return nil, err
	}
	offsets, err := c.readers(ctx, addr, others)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		if message.IsSystemTopic(name) || message.IsTimerTopic([]byte(name)) {
			continue
		}
		table, err := c.TopicStats(ctx, addr, name)
		if err != nil {
			return nil, err
		}
		t := TopicHolding{Topic: name}
		for _, o := range table.Offsets {
			t.Messages += o.MaxOffset - o.MinOffset
			h.Written += o.MaxOffset
		}
		if t.Messages == 0 {
			continue
		}
		if t.Readers, err = c.readings(ctx, addr, name, table, offsets[name]); err != nil {
			return nil, err
		}
		h.Topics = append(h.Topics, t)
	}
	return h, nil
}

func (c *Client) addPending(ctx context.Context, addr string, h *Holdings) error {
	table, err := c.Runtime(ctx, addr)
	if err != nil {
		return err
	}
	for _, key := range []string{RuntimeKeyDelayed, RuntimeKeyTimers, RuntimeKeyTransactions} {
		n, err := strconv.ParseInt(table[key], 10, 64)
		if err != nil {
			return fmt.Errorf("%s does not tell %s, so nobody can know whether it is empty; CometMQ's brokers do: %w", addr, key, ErrNotCometMQ)
		}
		h.Pending[key] = n
	}
	return nil
}

// readers returns the offsets at addr, by topic and group, of all groups that
// have consumed a topic there or at one of the others.
func (c *Client) readers(ctx context.Context, addr string, others []string) (map[string]map[string]map[int32]int64, error) {
	out := map[string]map[string]map[int32]int64{}
	for _, from := range append([]string{addr}, others...) {
		list, err := c.AllConsumeStats(ctx, from)
		if err != nil {
			return nil, err
		}
		for _, g := range list.Groups {
			for _, s := range g.Stats {
				for q, o := range s.Offsets {
					if out[q.Topic] == nil {
						out[q.Topic] = map[string]map[int32]int64{}
					}
					if out[q.Topic][g.Group] == nil {
						out[q.Topic][g.Group] = map[int32]int64{}
					}
					if from == addr {
						out[q.Topic][g.Group][q.QueueID] = o.ConsumerOffset
					}
				}
			}
		}
	}
	return out, nil
}

// readings returns the readers of a topic.
func (c *Client) readings(ctx context.Context, addr, topic string, table *protocol.TopicStatsTable, offsets map[string]map[int32]int64) ([]Reading, error) {
	var out []Reading
	behind := func(of map[int32]int64) (n int64) {
		for q, o := range table.Offsets {
			n += max(o.MaxOffset-max(of[q.QueueID], o.MinOffset), 0)
		}
		return n
	}
	for _, group := range slices.Sorted(maps.Keys(offsets)) {
		out = append(out, Reading{Group: group, Behind: behind(offsets[group])})
	}
	// Who subscribes it now and has not said yet how far it is.
	groups, err := c.groupsOf(ctx, addr, topic)
	if err != nil {
		return nil, err
	}
	for _, group := range groups {
		if _, known := offsets[group]; known {
			continue
		}
		conn, err := c.Consumers(ctx, addr, group)
		if err != nil {
			return nil, err
		}
		if _, subscribed := conn.Subscriptions[topic]; subscribed {
			out = append(out, Reading{Group: group, Behind: behind(nil), Broadcast: conn.MessageModel == protocol.ModelBroadcasting})
		}
	}
	return out, nil
}

// groupsOf lists the groups that one broker knows to subscribe a topic or to have
// offsets in it.
func (c *Client) groupsOf(ctx context.Context, addr, topic string) ([]string, error) {
	action := "list the consumer groups of topic " + topic
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeQueryTopicConsumeByWho).SetField("topic", topic))
	var list protocol.GroupList
	if err := decode(resp, err, &list, action); err != nil {
		return nil, err
	}
	return list.Groups, nil
}

// TopicConfigs returns the topics of one broker.
func (c *Client) TopicConfigs(ctx context.Context, addr string) (map[string]*protocol.TopicConfig, error) {
	const action = "list the topics of a broker"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetAllTopicConfig))
	var w protocol.TopicConfigSerializeWrapper
	if err := decode(resp, err, &w, action); err != nil {
		return nil, err
	}
	return w.TopicConfigTable, nil
}

// BrokerSettings returns the settings of one member.
func (c *Client) BrokerSettings(ctx context.Context, addr string) (map[string]string, error) {
	const action = "read the settings of a broker"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetBrokerConfig))
	if err != nil {
		return nil, err
	}
	return config.ParseText(resp.Body)
}

// GroupSettings returns those keys of a member whose value is not its own but its
// group's, replicated; none of a broker of RocketMQ.
func (c *Client) GroupSettings(ctx context.Context, addr string) ([]string, error) {
	resp, err := c.call(ctx, addr, "read the settings of a broker", protocol.NewRequest(protocol.CodeGetBrokerConfig))
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(resp.Str("groupKeys"), func(r rune) bool { return r == ',' }), nil
}

// ResetBrokerSettings takes values of the whole group back, so that each member
// goes by its own configuration again. Any member takes the request.
func (c *Client) ResetBrokerSettings(ctx context.Context, addr string, keys []string) error {
	req := protocol.NewRequest(protocol.CodeUpdateBrokerConfig).SetField("resetKeys", strings.Join(keys, ","))
	_, err := c.call(ctx, addr, "reset settings of a group", req)
	return err
}

// ChangeBrokerSettings changes settings while brokers run, which keep them over a
// restart: those of the group on all its members, others on the one that is asked.
func (c *Client) ChangeBrokerSettings(ctx context.Context, addr string, values map[string]string) error {
	req := protocol.NewRequest(protocol.CodeUpdateBrokerConfig).SetBody(config.EditText(nil, values))
	_, err := c.call(ctx, addr, "change settings of a broker", req)
	return err
}

// OrderConfigs returns the order configuration of all topics that have one:
// "broker-a:8;broker-b:8".
func (c *Client) OrderConfigs(ctx context.Context) (map[string]string, error) {
	const action = "list the order configuration"
	resp, err := c.callNamesrv(ctx, action, func() *protocol.Command {
		return protocol.NewRequest(protocol.CodeGetKVListByNamespace).SetField("namespace", "ORDER_TOPIC_CONFIG")
	})
	if IsStatus(err, protocol.StatusQueryNotFound) {
		return nil, nil
	}
	var table protocol.KVTable
	if err := decode(resp, err, &table, action); err != nil {
		return nil, err
	}
	return table.Table, nil
}

// PutGroup creates a consumer group on one broker, or changes it there.
func (c *Client) PutGroup(ctx context.Context, addr string, g *protocol.SubscriptionGroupConfig) error {
	_, err := c.call(ctx, addr, "create consumer group "+g.GroupName, protocol.NewRequest(protocol.CodeUpdateAndCreateSubGroup).SetBody(protocol.Encode(g)))
	return err
}
