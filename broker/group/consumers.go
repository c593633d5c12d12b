package group

import (
	"slices"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// consumerGroup is one consumer group with its members. Subscriptions belong
// to the group: the newest heartbeat of any member decides, as in RocketMQ.
type consumerGroup struct {
	info    ConsumerInfo
	subs    map[string]*Subscription // by topic
	members map[uint64]*Client       // by connection
}

// ConsumerInfo is how a consumer group consumes, in the words of protocol's
// constants; unknown words are kept.
type ConsumerInfo struct {
	ConsumeType      string
	MessageModel     string
	ConsumeFromWhere string
}

// conns returns whom to tell of a change.
func (g *consumerGroup) conns() []Conn {
	clients := g.clients()
	out := make([]Conn, len(clients))
	for i := range clients {
		out[i] = clients[i].Conn
	}
	return out
}

func (g *consumerGroup) clients() []Client {
	out := make([]Client, 0, len(g.members))
	some := false
	for _, m := range g.members {
		out = append(out, *m)
		some = some || relayed(m.Conn)
	}
	if some {
		return once(out)
	}
	return out
}

// has reports whether a client is a member by any connection.
func (g *consumerGroup) has(clientID string) bool {
	for _, m := range g.members {
		if m.ID == clientID {
			return true
		}
	}
	return false
}

func subscriptions(data []protocol.SubscriptionData) []*Subscription {
	out := make([]*Subscription, len(data))
	for i := range data {
		out[i] = fromData(data[i])
	}
	return out
}

// registerConsumerLocked puts a client into a consumer group and reports
// whether its members must be told.
func (c *Clients) registerConsumerLocked(reg *connection, client *Client, d *protocol.ConsumerData, subs []*Subscription, withSubs bool) bool {
	g := c.consumers[d.GroupName]
	if g == nil {
		g = &consumerGroup{subs: map[string]*Subscription{}, members: map[uint64]*Client{}}
		c.consumers[d.GroupName] = g
	}
	g.info = ConsumerInfo{ConsumeType: d.ConsumeType, MessageModel: d.MessageModel, ConsumeFromWhere: d.ConsumeFromWhere}
	changed := false
	member := g.members[client.Conn.ID()]
	switch {
	case member == nil:
		changed = !relayed(client.Conn) || !g.has(client.ID)
		m := *client
		g.members[client.Conn.ID()] = &m
		reg.consumers[d.GroupName] = &m
		c.registrations++
	default:
		if member.ID != client.ID {
			c.log.Warn("connection changed its client id", "group", d.GroupName, "from", member.ID, "to", client.ID)
			changed = true
		}
		*member = *client
	}
	if withSubs && g.subscribe(subs) {
		changed = true
	}
	return changed
}

// subscribe takes over the subscriptions of a heartbeat and reports whether
// the set of topics changed. A higher version replaces a subscription without
// counting as a change: clients rebuild equal ones while they start, and each
// change makes the whole group rebalance.
func (g *consumerGroup) subscribe(subs []*Subscription) bool {
	changed := false
	for _, s := range subs {
		old, ok := g.subs[s.Data.Topic]
		if !ok {
			changed = true
		}
		if !ok || s.Version() > old.Version() {
			g.subs[s.Data.Topic] = s
		}
	}
	if len(g.subs) == len(subs) && !changed {
		return false // the same topics, but for repeated ones
	}
	for topic := range g.subs {
		if !slices.ContainsFunc(subs, func(s *Subscription) bool { return s.Data.Topic == topic }) {
			delete(g.subs, topic)
			changed = true
		}
	}
	return changed
}

// removeConsumerLocked takes a connection out of a consumer group and reports
// whether the others must be told.
func (c *Clients) removeConsumerLocked(reg *connection, group string) bool {
	g := c.consumers[group]
	id := g.members[reg.conn.ID()].ID
	delete(g.members, reg.conn.ID())
	delete(reg.consumers, group)
	c.registrations--
	if len(g.members) == 0 {
		delete(c.consumers, group)
	}
	return !relayed(reg.conn) || !g.has(id)
}

// Consumer returns how a group consumes and its subscription of a topic, nil
// when it has none; false when the group has no live member. It is what a pull
// asks, and does not allocate.
func (c *Clients) Consumer(group, topic []byte) (ConsumerInfo, *Subscription, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.consumers[string(group)]
	if g == nil {
		return ConsumerInfo{}, nil, false
	}
	return g.info, g.subs[string(topic)], true
}

// Subscription returns what a live group wants of a topic.
func (c *Clients) Subscription(group, topic string) (*Subscription, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if g := c.consumers[group]; g != nil {
		s, ok := g.subs[topic]
		return s, ok
	}
	return nil, false
}

// Subscriptions returns a group's subscriptions by topic, empty when it has no
// live member.
func (c *Clients) Subscriptions(group string) map[string]*Subscription {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[string]*Subscription{}
	if g := c.consumers[group]; g != nil {
		for t, s := range g.subs {
			out[t] = s
		}
	}
	return out
}

// ConsumerInfo returns how a live group consumes.
func (c *Clients) ConsumerInfo(group string) (ConsumerInfo, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.consumers[group]
	if g == nil {
		return ConsumerInfo{}, false
	}
	return g.info, true
}

// ConsumerIDs returns the client ids of a group's members, each once and
// sorted. A client that came back on a new connection before the old one was
// closed would otherwise count twice, and members that divide the queues by
// position in the list would leave some to nobody.
func (c *Clients) ConsumerIDs(group string) []string {
	c.mu.RLock()
	var ids []string
	if g := c.consumers[group]; g != nil {
		ids = make([]string, 0, len(g.members))
		for _, m := range g.members {
			ids = append(ids, m.ID)
		}
	}
	c.mu.RUnlock()
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Consumers returns a group's members sorted by client id; empty when there
// are none.
func (c *Clients) Consumers(group string) []Client {
	c.mu.RLock()
	out := []Client{}
	if g := c.consumers[group]; g != nil {
		out = g.clients()
	}
	c.mu.RUnlock()
	return sortClients(out)
}

// ConsumerConn returns the connection of one member of a consumer group: of
// several its own before a relayed one, and then that with the newest heartbeat.
func (c *Clients) ConsumerConn(group, clientID string) (Conn, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var newest *Client
	if g := c.consumers[group]; g != nil {
		for _, m := range g.members {
			if m.ID == clientID && (newest == nil || better(m, newest)) {
				newest = m
			}
		}
	}
	if newest == nil {
		return nil, false
	}
	return newest.Conn, true
}

// ConsumerGroups returns the names of all consumer groups with a live member,
// sorted.
func (c *Clients) ConsumerGroups() []string {
	c.mu.RLock()
	out := make([]string, 0, len(c.consumers))
	for name := range c.consumers {
		out = append(out, name)
	}
	c.mu.RUnlock()
	slices.Sort(out)
	return out
}

// TopicConsumers returns the live groups that subscribe a topic, sorted
// (QUERY_TOPIC_CONSUME_BY_WHO).
func (c *Clients) TopicConsumers(topic string) []string {
	c.mu.RLock()
	out := []string{}
	for name, g := range c.consumers {
		if _, ok := g.subs[topic]; ok {
			out = append(out, name)
		}
	}
	c.mu.RUnlock()
	slices.Sort(out)
	return out
}
