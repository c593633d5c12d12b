package group

import (
	"slices"
	"sync/atomic"
)

// producerGroup keeps its members in a slice, because check-backs go to them
// in turn.
type producerGroup struct {
	members []*Client
	turn    atomic.Uint32
}

func (c *Clients) registerProducerLocked(reg *connection, client *Client, group string) {
	if m := reg.producers[group]; m != nil {
		*m = *client
		return
	}
	g := c.producers[group]
	if g == nil {
		g = &producerGroup{}
		c.producers[group] = g
	}
	m := *client
	g.members = append(g.members, &m)
	reg.producers[group] = &m
	c.registrations++
}

func (c *Clients) removeProducerLocked(reg *connection, group string) {
	g := c.producers[group]
	gone := reg.producers[group]
	g.members = slices.DeleteFunc(g.members, func(m *Client) bool { return m == gone })
	delete(reg.producers, group)
	c.registrations--
	if len(g.members) == 0 {
		delete(c.producers, group)
	}
}

// ProducerConn returns a connection of a producer group, another one each
// time; false when the group has no live member.
func (c *Clients) ProducerConn(group string) (Conn, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.producers[group]
	if g == nil {
		return nil, false
	}
	return g.members[int(g.turn.Add(1)-1)%len(g.members)].Conn, true
}

// HasProducer says whether a producer group has a live member.
func (c *Clients) HasProducer(group string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.producers[group] != nil
}

// Producers returns a producer group's members sorted by client id.
func (c *Clients) Producers(group string) []Client {
	c.mu.RLock()
	out := []Client{}
	if g := c.producers[group]; g != nil {
		for _, m := range g.members {
			out = append(out, *m)
		}
		out = once(out)
	}
	c.mu.RUnlock()
	return sortClients(out)
}

// ProducerGroups returns the names of all producer groups with a live member,
// sorted.
func (c *Clients) ProducerGroups() []string {
	c.mu.RLock()
	out := make([]string, 0, len(c.producers))
	for name := range c.producers {
		out = append(out, name)
	}
	c.mu.RUnlock()
	slices.Sort(out)
	return out
}
