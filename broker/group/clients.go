package group

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// ErrTooMany says that a heartbeat would pass a bound of ClientsConfig. The
// heartbeat registered nothing.
var ErrTooMany = errors.New("group: too many registrations")

// Conn is what this package knows of a client's connection.
type Conn interface {
	// ID is unique among all connections of this process.
	ID() uint64
	// RemoteAddr is the client's address.
	RemoteAddr() netip.AddrPort
}

// Relayed is a Conn of a client that is connected to another member of the
// replica group, which passes on what is sent to it. Clients connect to several
// members, so one client may have a connection of its own and relayed ones: it
// is told of changes once, and a relayed connection that comes or goes is no
// change as long as the client has another one.
type Relayed interface {
	Conn
	// Relayed does nothing but tell the two apart.
	Relayed()
}

func relayed(c Conn) bool { _, ok := c.(Relayed); return ok }

// ClientsConfig configures Clients. The zero value is usable.
type ClientsConfig struct {
	// ExpireAfter is how long a registration lives without a heartbeat; 0 =
	// 120 s, four times the clients' interval.
	ExpireAfter time.Duration
	// Notify is called when the members or the subscriptions of a consumer
	// group changed, with all connections of the group, the one that caused
	// the change included. It runs on the goroutine of that change and before
	// the change's method returns, so that a NOTIFY_CONSUMER_IDS_CHANGED
	// written by it precedes the heartbeat's response. No lock is held. Nil =
	// nobody is told.
	Notify func(group string, conns []Conn)
	// Now is the clock; nil = time.Now.
	Now func() time.Time
	// GroupsPerConnMax bounds the consumer and producer groups of one
	// connection; 0 = 1,000.
	GroupsPerConnMax int
	// SubscriptionsPerGroupMax bounds the topics of one consumer group; 0 =
	// 10,000.
	SubscriptionsPerGroupMax int
	// RegistrationsMax bounds all (connection, group) pairs; 0 = 1,000,000.
	RegistrationsMax int
	// Logger; nil = no logging.
	Logger hclog.Logger
}

func (c ClientsConfig) withDefaults() ClientsConfig {
	setDefault(&c.ExpireAfter, 120*time.Second)
	setDefault(&c.GroupsPerConnMax, 1_000)
	setDefault(&c.SubscriptionsPerGroupMax, 10_000)
	setDefault(&c.RegistrationsMax, 1_000_000)
	if c.Notify == nil {
		c.Notify = func(string, []Conn) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Client describes one registration: a connection in one group.
type Client struct {
	Conn     Conn
	ID       string // client id
	Language protocol.Language
	Version  int32
	// LastHeartbeat names this group.
	LastHeartbeat time.Time
}

// Clients is the table of live clients.
type Clients struct {
	cfg ClientsConfig
	log hclog.Logger

	mu            sync.RWMutex
	conns         map[uint64]*connection
	consumers     map[string]*consumerGroup
	producers     map[string]*producerGroup
	byClientID    map[string][]uint64 // connections, the newest last
	registrations int
}

// connection is what one connection has registered.
type connection struct {
	conn      Conn
	clientID  string
	last      time.Time // of any heartbeat
	consumers map[string]*Client
	producers map[string]*Client
}

// notice is a notification to be given when the lock is released.
type notice struct {
	group string
	conns []Conn
}

// NewClients returns an empty table. Nothing runs in the background: the
// broker calls Expire every ten seconds or so.
func NewClients(cfg ClientsConfig) *Clients {
	cfg = cfg.withDefaults()
	return &Clients{
		cfg: cfg, log: cfg.Logger.Named("clients"),
		conns:      map[uint64]*connection{},
		consumers:  map[string]*consumerGroup{},
		producers:  map[string]*producerGroup{},
		byClientID: map[string][]uint64{},
	}
}

// Heartbeat registers a connection with all groups its client named, and
// notifies consumer groups that changed by it. An error wraps ErrTooMany, or
// message.ErrName when a group's name is not allowed; then nothing changed.
// Registrations the heartbeat does not mention stay until they expire.
func (c *Clients) Heartbeat(conn Conn, language protocol.Language, version int32, hb *protocol.HeartbeatData) error {
	if err := c.check(hb); err != nil {
		return err
	}
	client := Client{Conn: conn, ID: hb.ClientID, Language: language, Version: version, LastHeartbeat: c.cfg.Now()}
	subs := make([][]*Subscription, len(hb.Consumers))
	for i := range hb.Consumers {
		subs[i] = subscriptions(hb.Consumers[i].Subscriptions)
	}

	c.mu.Lock()
	reg, err := c.admitLocked(&client, hb)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	var changed []string
	for i := range hb.Consumers {
		d := &hb.Consumers[i]
		if c.registerConsumerLocked(reg, &client, d, subs[i], !hb.WithoutSub) {
			changed = append(changed, d.GroupName)
		}
	}
	for i := range hb.Producers {
		c.registerProducerLocked(reg, &client, hb.Producers[i].GroupName)
	}
	notices := c.noticesLocked(changed)
	c.mu.Unlock()
	c.notify(notices)
	return nil
}

// Introduce registers a connection with one producer group before its client's
// first heartbeat, because something is to be sent to that client. It changes
// nothing where the client is known or the connection is another client's.
func (c *Clients) Introduce(conn Conn, language protocol.Language, version int32, clientID, producerGroup string) error {
	c.mu.RLock()
	reg := c.conns[conn.ID()]
	known := len(c.byClientID[clientID]) > 0 || reg != nil && reg.clientID != clientID
	c.mu.RUnlock()
	if known {
		return nil
	}
	return c.Heartbeat(conn, language, version, &protocol.HeartbeatData{
		ClientID: clientID, Producers: []protocol.ProducerData{{GroupName: producerGroup}}, WithoutSub: true,
	})
}

// check looks at what does not depend on the table.
func (c *Clients) check(hb *protocol.HeartbeatData) error {
	if n := len(hb.Consumers) + len(hb.Producers); n > c.cfg.GroupsPerConnMax {
		return fmt.Errorf("%w: %d groups in one heartbeat, at most %d", ErrTooMany, n, c.cfg.GroupsPerConnMax)
	}
	if hb.ClientID == "" {
		return errors.New("heartbeat without a clientID")
	}
	for i := range hb.Consumers {
		d := &hb.Consumers[i]
		if err := message.ValidGroup(d.GroupName); err != nil {
			return fmt.Errorf("consumer group: %w", err)
		}
		if n := len(d.Subscriptions); n > c.cfg.SubscriptionsPerGroupMax {
			return fmt.Errorf("%w: %d subscriptions of group %s, at most %d", ErrTooMany, n, d.GroupName, c.cfg.SubscriptionsPerGroupMax)
		}
	}
	for i := range hb.Producers {
		if err := message.ValidGroup(hb.Producers[i].GroupName); err != nil {
			return fmt.Errorf("producer group: %w", err)
		}
	}
	return nil
}

// admitLocked finds or makes the record of the connection and checks the
// bounds for everything that the heartbeat would add.
func (c *Clients) admitLocked(client *Client, hb *protocol.HeartbeatData) (*connection, error) {
	id := client.Conn.ID()
	reg := c.conns[id]
	if reg == nil {
		reg = &connection{conn: client.Conn, consumers: map[string]*Client{}, producers: map[string]*Client{}}
	}
	added := 0
	for i := range hb.Consumers {
		if _, ok := reg.consumers[hb.Consumers[i].GroupName]; !ok {
			added++
		}
	}
	for i := range hb.Producers {
		if _, ok := reg.producers[hb.Producers[i].GroupName]; !ok {
			added++
		}
	}
	if n := len(reg.consumers) + len(reg.producers) + added; n > c.cfg.GroupsPerConnMax {
		return nil, fmt.Errorf("%w: %d groups on one connection, at most %d", ErrTooMany, n, c.cfg.GroupsPerConnMax)
	}
	if n := c.registrations + added; n > c.cfg.RegistrationsMax {
		return nil, fmt.Errorf("%w: %d registrations on this broker, at most %d", ErrTooMany, n, c.cfg.RegistrationsMax)
	}
	if len(reg.consumers)+len(reg.producers)+added == 0 {
		return reg, nil // nothing to remember
	}
	if reg.clientID != client.ID {
		c.forgetIDLocked(reg)
		reg.clientID = client.ID
	}
	reg.last = client.LastHeartbeat
	if c.conns[id] = reg; !slices.Contains(c.byClientID[client.ID], id) {
		c.byClientID[client.ID] = append(c.byClientID[client.ID], id)
	}
	return reg, nil
}

// Unregister takes a connection out of a producer group and of a consumer
// group, either of which may be empty (UNREGISTER_CLIENT).
func (c *Clients) Unregister(conn Conn, producerGroup, consumerGroup string) {
	c.mu.Lock()
	reg := c.conns[conn.ID()]
	if reg == nil {
		c.mu.Unlock()
		return
	}
	var changed []string
	if _, ok := reg.producers[producerGroup]; ok {
		c.removeProducerLocked(reg, producerGroup)
	}
	if _, ok := reg.consumers[consumerGroup]; ok && c.removeConsumerLocked(reg, consumerGroup) {
		changed = append(changed, consumerGroup)
	}
	c.dropIfEmptyLocked(reg)
	notices := c.noticesLocked(changed)
	c.mu.Unlock()
	c.notify(notices)
}

// ConnClosed removes everything a connection registered and notifies those
// who remain in its consumer groups.
func (c *Clients) ConnClosed(conn Conn) {
	c.mu.Lock()
	var changed []string
	if reg := c.conns[conn.ID()]; reg != nil {
		changed = c.removeLocked(reg, func(*Client) bool { return true })
	}
	notices := c.noticesLocked(changed)
	c.mu.Unlock()
	c.notify(notices)
}

// ConnsClosed is ConnClosed for all connections that gone tells.
func (c *Clients) ConnsClosed(gone func(Conn) bool) {
	c.mu.Lock()
	var changed []string
	for _, reg := range c.conns {
		if gone(reg.conn) {
			changed = append(changed, c.removeLocked(reg, func(*Client) bool { return true })...)
		}
	}
	notices := c.noticesLocked(changed)
	c.mu.Unlock()
	c.notify(notices)
}

// removeLocked removes those registrations of a connection that match, and
// returns the consumer groups that lost a member.
func (c *Clients) removeLocked(reg *connection, match func(*Client) bool) (changed []string) {
	for g, m := range reg.producers {
		if match(m) {
			c.removeProducerLocked(reg, g)
		}
	}
	for g, m := range reg.consumers {
		if match(m) && c.removeConsumerLocked(reg, g) {
			changed = append(changed, g)
		}
	}
	c.dropIfEmptyLocked(reg)
	return changed
}

// Expire removes registrations without a heartbeat for ExpireAfter, notifies
// those who remain, and returns the connections that were silent altogether;
// the caller should close them. (RocketMQ closes a connection as soon as one
// of its groups falls silent, which also ends the other groups of a client
// that merely left one without saying so.)
func (c *Clients) Expire() []Conn {
	deadline := c.cfg.Now().Add(-c.cfg.ExpireAfter)
	var silent []Conn
	var changed []string
	c.mu.Lock()
	for _, reg := range c.conns {
		if reg.last.Before(deadline) {
			silent = append(silent, reg.conn)
		}
		changed = append(changed, c.removeLocked(reg, func(m *Client) bool { return m.LastHeartbeat.Before(deadline) })...)
	}
	notices := c.noticesLocked(changed)
	c.mu.Unlock()
	for _, conn := range silent {
		c.log.Warn("client fell silent", "addr", conn.RemoteAddr(), "after", c.cfg.ExpireAfter)
	}
	c.notify(notices)
	return silent
}

func (c *Clients) dropIfEmptyLocked(reg *connection) {
	if len(reg.consumers)+len(reg.producers) == 0 {
		delete(c.conns, reg.conn.ID())
		c.forgetIDLocked(reg)
	}
}

// forgetIDLocked removes the way from a client id to a connection.
func (c *Clients) forgetIDLocked(reg *connection) {
	rest := slices.DeleteFunc(c.byClientID[reg.clientID], func(id uint64) bool { return id == reg.conn.ID() })
	if c.byClientID[reg.clientID] = rest; len(rest) == 0 {
		delete(c.byClientID, reg.clientID)
	}
}

// noticesLocked looks up whom to tell about changed groups. It runs after all
// changes, so that nobody is told who was just removed.
func (c *Clients) noticesLocked(changed []string) []notice {
	if len(changed) == 0 {
		return nil
	}
	slices.Sort(changed)
	var out []notice
	for _, name := range slices.Compact(changed) {
		if g := c.consumers[name]; g != nil {
			out = append(out, notice{name, g.conns()})
		}
	}
	return out
}

func (c *Clients) notify(notices []notice) {
	for _, n := range notices {
		c.cfg.Notify(n.group, n.conns)
	}
}

// ClientConn returns the newest connection of a client: where a reply to it is
// pushed. One of its own goes before relayed ones.
func (c *Clients) ClientConn(clientID string) (Conn, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var found Conn
	for _, id := range c.byClientID[clientID] {
		if conn := c.conns[id].conn; found == nil || relayed(found) || !relayed(conn) {
			found = conn
		}
	}
	return found, found != nil
}

// Counts is what Clients holds at the moment.
type Counts struct{ Connections, ConsumerGroups, ProducerGroups, Registrations int }

// Counts returns the table's sizes.
func (c *Clients) Counts() Counts {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return Counts{len(c.conns), len(c.consumers), len(c.producers), c.registrations}
}

// sortClients puts clients in the order of their ids, then connections.
func sortClients(cs []Client) []Client {
	slices.SortFunc(cs, func(a, b Client) int {
		if a.ID != b.ID {
			if a.ID < b.ID {
				return -1
			}
			return 1
		}
		return int(int64(a.Conn.ID() - b.Conn.ID()))
	})
	return cs
}

// once leaves out the relayed connections of clients that have a better one.
func once(cs []Client) []Client {
	best := map[string]int{}
	for i := range cs {
		if at, ok := best[cs[i].ID]; !ok || better(&cs[i], &cs[at]) {
			best[cs[i].ID] = i
		}
	}
	out := cs[:0]
	for i := range cs {
		if at := best[cs[i].ID]; at == i || !relayed(cs[i].Conn) {
			out = append(out, cs[i])
		}
	}
	return out
}

// better tells which of two connections of one client is to be used: its own
// rather than a relayed one, then the one with the newer heartbeat.
func better(a, b *Client) bool {
	if ra, rb := relayed(a.Conn), relayed(b.Conn); ra != rb {
		return rb
	}
	return a.LastHeartbeat.After(b.LastHeartbeat)
}
