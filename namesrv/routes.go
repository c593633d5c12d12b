package namesrv

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// masterID is the broker id of the one that takes writes.
const masterID = 0

// Bounds of names in a registration, in bytes. Topics of RocketMQ end at 127;
// older brokers may still hold names of up to 255.
const (
	nameBytesMax    = 255
	filterServerMax = 64
	standInsMax     = 8
)

// ErrLimit refuses a registration that would pass a bound of the table; the
// error text names the bound.
var ErrLimit = errors.New("name server limit reached")

// FieldError refuses a registration with a field that is missing or senseless.
type FieldError struct {
	Field  string // name as on the wire
	Reason string // e.g. "is missing"
}

// Error puts field and reason together.
func (e *FieldError) Error() string { return e.Field + " " + e.Reason }

// Version is a broker's data version. Two versions are equal when all three
// parts are; Term is 0 for brokers that do not send stateVersion.
type Version struct {
	Timestamp int64 // Unix milliseconds
	Counter   int64
	Term      int64 // stateVersion
}

// Topic is what a broker says about one of its topics.
type Topic struct {
	Name        string
	ReadQueues  int32
	WriteQueues int32
	Perm        int32 // 4 read, 2 write, 1 inherit
	SysFlag     int32
	Ordered     bool // the topic was created with order=true
}

// Registration is one REGISTER_BROKER request.
type Registration struct {
	Cluster string
	Broker  string // broker name
	Addr    string // host:port that clients connect to
	HAAddr  string
	// External is the host:port for clients outside of the brokers' network; ""
	// means that Addr serves all.
	External string
	ID       int64 // 0 = master
	// StandIns is how many stand-in names the routes of the broker's topics have;
	// what id 0 says counts.
	StandIns int32
	Version  Version
	Topics   []Topic
	Filters  []string // filter servers, normally none
	Conn     uint64   // connection it came by; 0 = none
	// Digest identifies the bytes that the fields from Version on were read
	// from; 0 = unknown. See Refresh.
	Digest uint64
}

// Registered is the answer to a registration. Both addresses are empty for id
// 0 and when no master is live.
type Registered struct {
	MasterAddr string
	HAAddr     string
	// Joined reports that the address was not registered under this name before.
	Joined bool
	// Replaced is the address that had the id before, if it was another one.
	Replaced string
	// ExternalShared is another broker's address with the same external one.
	ExternalShared string
	// TopicsLeftOut counts topics over the bound that were not taken.
	TopicsLeftOut int
}

// TableConfig bounds a RouteTable.
type TableConfig struct {
	// Expiry is how long a broker stays without refreshing. Default 120 s.
	Expiry time.Duration
	// BrokersMax bounds the addresses registered at once. Default 4096.
	BrokersMax int
	// TopicsMax bounds the distinct topics. Default 200,000.
	TopicsMax int
	// TermsMax bounds the broker names whose term is remembered. It is raised
	// to twice BrokersMax when smaller. Default 16,384.
	TermsMax int
}

func (c *TableConfig) defaults() {
	if c.Expiry <= 0 {
		c.Expiry = 120 * time.Second
	}
	if c.BrokersMax <= 0 {
		c.BrokersMax = 4096
	}
	if c.TopicsMax <= 0 {
		c.TopicsMax = 200_000
	}
	if c.TermsMax <= 0 {
		c.TermsMax = 16_384
	}
	c.TermsMax = max(c.TermsMax, 2*c.BrokersMax)
}

// RouteTable holds which broker serves which topic (RouteInfoManager). Its
// methods may be called by any goroutine. Methods that change it take the
// present time from the caller and finish by publishing a new snapshot; methods
// that read use the snapshot and take no lock.
type RouteTable struct {
	cfg  TableConfig
	view atomic.Pointer[snapshot]

	mu      sync.Mutex // guards what follows; never held while encoding
	brokers map[string]*broker
	topics  map[string][]queue // slices are replaced, never changed; by broker
	live    map[string]*liveBroker
	conns   map[uint64]map[string]struct{} // connection to addresses
	filters map[string][]string            // address to filter servers
	order   map[string]string              // topic to order configuration
	tell    bool                           // routes carry it
	terms   *terms
}

// broker is one broker name: a master and its slaves, or a Raft group.
type broker struct {
	cluster string
	addrs   map[int64]string
	// taken is the version of the topic table that id 0 gave last. Replicas of
	// a Raft group share it, whoever leads.
	taken    Version
	hasTaken bool
	standIns int32 // see standins.go
}

// queue is one broker's share of a topic (QueueData).
type queue struct {
	broker string
	Topic
}

// liveBroker is what is known of one address.
type liveBroker struct {
	broker   string
	updated  time.Time
	version  Version
	conn     uint64
	ha       string
	external string
	digest   uint64
}

// NewRouteTable returns an empty table.
func NewRouteTable(cfg TableConfig) *RouteTable {
	cfg.defaults()
	t := &RouteTable{
		cfg: cfg, brokers: map[string]*broker{}, topics: map[string][]queue{},
		live: map[string]*liveBroker{}, conns: map[uint64]map[string]struct{}{},
		filters: map[string][]string{}, order: map[string]string{}, terms: newTerms(cfg.TermsMax),
	}
	t.view.Store(newSnapshot())
	return t
}

// check refuses what could not be served: names are copied into every route
// answer, and the Go client cuts the address list apart by hand.
func (r *Registration) check() error {
	for _, f := range []struct{ name, value string }{
		{"brokerName", r.Broker}, {"brokerAddr", r.Addr}, {"clusterName", r.Cluster},
	} {
		switch {
		case f.value == "":
			return &FieldError{f.name, "is missing"}
		case len(f.value) > nameBytesMax:
			return &FieldError{f.name, fmt.Sprintf("is longer than %d bytes", nameBytesMax)}
		case strings.ContainsFunc(f.value, func(c rune) bool { return c < ' ' || c == 0x7f }):
			return &FieldError{f.name, "contains control characters"}
		}
	}
	if !isHostPort(r.Addr) {
		return &FieldError{"brokerAddr", fmt.Sprintf("%q is not host:port", r.Addr)}
	}
	if r.External != "" && (!isHostPort(r.External) || len(r.External) > nameBytesMax) {
		return &FieldError{"external address", fmt.Sprintf("%q is not host:port", r.External)}
	}
	if len(r.HAAddr) > nameBytesMax {
		return &FieldError{"haServerAddr", fmt.Sprintf("is longer than %d bytes", nameBytesMax)}
	}
	if r.StandIns < 0 || r.StandIns > standInsMax {
		return &FieldError{"number of stand-ins", fmt.Sprintf("%d is not 0 to %d", r.StandIns, standInsMax)}
	}
	if r.ID < 0 {
		return &FieldError{"brokerId", fmt.Sprintf("%d is negative", r.ID)}
	}
	if len(r.Filters) > filterServerMax {
		return &FieldError{"filterServerList", fmt.Sprintf("has more than %d entries", filterServerMax)}
	}
	for i := range r.Topics {
		if err := r.Topics[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// isHostPort accepts what clients can dial and cut out of a route.
func isHostPort(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	n, errPort := strconv.Atoi(port)
	return err == nil && errPort == nil && host != "" && n >= 1 && n <= 65535 &&
		!strings.ContainsAny(addr, "\",;{} \\") && !strings.ContainsFunc(addr, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func (t *Topic) check() error {
	if t.Name == "" || len(t.Name) > nameBytesMax {
		return &FieldError{"topicName", fmt.Sprintf("of %d bytes is empty or longer than %d", len(t.Name), nameBytesMax)}
	}
	for _, f := range []struct {
		name  string
		value int32
	}{
		{"readQueueNums", t.ReadQueues}, {"writeQueueNums", t.WriteQueues}, {"perm", t.Perm}, {"topicSysFlag", t.SysFlag},
	} {
		if f.value < 0 {
			return &FieldError{f.name, fmt.Sprintf("of topic %s is negative (%d)", t.Name, f.value)}
		}
	}
	return nil
}

// Register takes a registration. Errors: *FieldError, *StaleTermError, ErrLimit;
// a refused registration changes nothing.
func (t *RouteTable) Register(r Registration, now time.Time) (Registered, error) {
	if err := r.check(); err != nil {
		return Registered{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known, seen := t.live[r.Addr]
	if !seen && len(t.live) >= t.cfg.BrokersMax {
		return Registered{}, fmt.Errorf("%w: %d broker addresses are registered", ErrLimit, len(t.live))
	}
	if r.ID == masterID {
		isLive := func(name string) bool { _, ok := t.brokers[name]; return ok }
		if err := t.terms.admit(r.Broker, r.Addr, r.Version.Term, isLive); err != nil {
			return Registered{}, err
		}
	}
	d := newDirty()
	if seen && known.broker != r.Broker {
		// The process behind an address was given another name. 4.9.4 keeps the
		// old name pointing at it for as long as the new one is refreshed.
		t.dropLocked(r.Addr, d)
		seen = false
	}
	b, replaced, first := t.placeLocked(&r, d)
	out := Registered{Joined: !seen, Replaced: replaced}
	if r.ID == masterID {
		changed := !seen || first || replaced != "" || known.version != r.Version
		if changed && !b.sameTable(r.Version) {
			out.TopicsLeftOut = t.takeTopicsLocked(&r, d)
			b.taken, b.hasTaken = r.Version, true
		}
		if b.standIns != r.StandIns {
			b.standIns = r.StandIns
			d.broker(r.Broker)
		}
	}
	if !seen && r.External != "" || seen && known.external != r.External {
		out.ExternalShared = t.sharedLocked(&r)
		d.broker(r.Broker)
	}
	t.refreshLocked(&r, now)
	if !slices.Equal(t.filters[r.Addr], r.Filters) {
		d.broker(r.Broker)
		t.filters[r.Addr] = slices.Clone(r.Filters)
		if len(r.Filters) == 0 {
			delete(t.filters, r.Addr)
		}
	}
	t.masterLocked(b, r.ID, &out)
	t.publishLocked(d)
	return out, nil
}

// sharedLocked finds another address that has the external one of r.
func (t *RouteTable) sharedLocked(r *Registration) string {
	for addr, l := range t.live {
		if r.External != "" && l.external == r.External && addr != r.Addr {
			return addr
		}
	}
	return ""
}

// masterLocked tells a slave where its master is.
func (t *RouteTable) masterLocked(b *broker, id int64, out *Registered) {
	if master, ok := b.addrs[masterID]; ok && id != masterID {
		if l, ok := t.live[master]; ok {
			out.MasterAddr, out.HAAddr = master, l.ha
		}
	}
}

// Refresh takes a registration whose body was not read yet: when the address
// holds the same place by a body with the same digest, it is marked alive and
// true is returned. Otherwise nothing happens and the body must be read. It
// spares reading megabytes for a broker that says every few seconds that its
// 10,000 topics are as they were.
//
// It cannot let a deposed leader pass: an address that lost id 0 to a newer
// term has no live entry, or one for another id.
func (t *RouteTable) Refresh(r Registration, now time.Time) (Registered, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.live[r.Addr]
	if !ok || r.Digest == 0 || l.digest != r.Digest || l.broker != r.Broker || l.ha != r.HAAddr || l.external != r.External {
		return Registered{}, false
	}
	b := t.brokers[r.Broker]
	if b.addrs[r.ID] != r.Addr || b.cluster != r.Cluster || r.ID == masterID && b.standIns != r.StandIns {
		return Registered{}, false
	}
	r.Version = l.version
	t.refreshLocked(&r, now)
	var out Registered
	t.masterLocked(b, r.ID, &out)
	return out, true
}

// sameTable reports that a Raft group's topic table is the one already taken.
// The replicas share timestamp and counter, so a new leader with the same pair
// brings nothing new, and a write permission wiped by an operator survives the
// election. Versions without a term are never the same: 4.9.4 compares per
// address, and its masters and slaves count on their own.
func (b *broker) sameTable(v Version) bool {
	return v.Term > 0 && b.hasTaken && b.taken.Term > 0 &&
		b.taken.Timestamp == v.Timestamp && b.taken.Counter == v.Counter
}

// placeLocked puts the address at its id and removes it from any other id of
// the name (a slave that became master, or the reverse). It returns the address
// that was replaced, and whether the id was free.
func (t *RouteTable) placeLocked(r *Registration, d *dirty) (b *broker, replaced string, first bool) {
	b = t.brokers[r.Broker]
	if b == nil {
		b = &broker{cluster: r.Cluster, addrs: map[int64]string{}}
		t.brokers[r.Broker] = b
		d.broker(r.Broker)
	}
	for id, addr := range b.addrs {
		if addr == r.Addr && id != r.ID {
			delete(b.addrs, id)
			d.broker(r.Broker)
		}
	}
	old, had := b.addrs[r.ID]
	if had && old != r.Addr {
		replaced = old
		// Forgetting what the replaced address said makes it register in full
		// when it asks whether its data is known (QUERY_DATA_VERSION).
		t.forgetLocked(old)
		delete(t.filters, old)
	}
	if old != r.Addr {
		b.addrs[r.ID] = r.Addr
		d.broker(r.Broker)
	}
	// The cluster is what id 0 says. Others set it only while there is no id 0,
	// so a follower restarted with an old file does not move the group.
	if _, hasMaster := b.addrs[masterID]; b.cluster != r.Cluster && (r.ID == masterID || !hasMaster) {
		b.cluster = r.Cluster
		d.broker(r.Broker)
	}
	return b, replaced, !had
}

// takeTopicsLocked upserts the queue data of every topic in the registration
// and returns how many were left out for the bound. Topics missing from the
// table stay: brokers register single topics after creating them.
func (t *RouteTable) takeTopicsLocked(r *Registration, d *dirty) (leftOut int) {
	for i := range r.Topics {
		q := queue{broker: r.Broker, Topic: r.Topics[i]}
		list, exists := t.topics[q.Name]
		if !exists && len(t.topics) >= t.cfg.TopicsMax {
			leftOut++
			continue
		}
		at, found := slices.BinarySearchFunc(list, r.Broker, func(q queue, name string) int {
			return strings.Compare(q.broker, name)
		})
		if found && list[at] == q {
			continue
		}
		next := make([]queue, 0, len(list)+1)
		next = append(append(next, list[:at]...), q)
		if found {
			at++
		}
		t.topics[q.Name] = append(next, list[at:]...)
		d.topic(q.Name)
	}
	return leftOut
}

// refreshLocked notes that an address is alive and by which connection.
func (t *RouteTable) refreshLocked(r *Registration, now time.Time) {
	t.forgetLocked(r.Addr)
	t.live[r.Addr] = &liveBroker{broker: r.Broker, updated: now, version: r.Version, conn: r.Conn, ha: r.HAAddr, external: r.External, digest: r.Digest}
	if r.Conn != 0 {
		set := t.conns[r.Conn]
		if set == nil {
			set = map[string]struct{}{}
			t.conns[r.Conn] = set
		}
		set[r.Addr] = struct{}{}
	}
}

// forgetLocked removes the live entry of an address, not its place in routes.
func (t *RouteTable) forgetLocked(addr string) {
	l, ok := t.live[addr]
	if !ok {
		return
	}
	delete(t.live, addr)
	if set := t.conns[l.conn]; set != nil {
		delete(set, addr)
		if len(set) == 0 {
			delete(t.conns, l.conn)
		}
	}
}

// dropLocked removes an address altogether. With its last address a broker
// name goes, and with that its queue data; while a slave remains the queue data
// stays, so that consumers can read on.
func (t *RouteTable) dropLocked(addr string, d *dirty) bool {
	l, ok := t.live[addr]
	if !ok {
		return false
	}
	t.forgetLocked(addr)
	delete(t.filters, addr)
	b := t.brokers[l.broker]
	if b == nil {
		return true
	}
	for id, a := range b.addrs {
		if a == addr {
			delete(b.addrs, id)
			d.broker(l.broker)
		}
	}
	if len(b.addrs) > 0 {
		return true
	}
	delete(t.brokers, l.broker)
	d.broker(l.broker)
	t.removeQueuesLocked(d, slices.Collect(maps.Keys(t.topics)), func(q queue) bool { return q.broker == l.broker })
	return true
}

// removeQueuesLocked removes the matching queue data of the given topics.
// Topics without any vanish.
func (t *RouteTable) removeQueuesLocked(d *dirty, topics []string, match func(queue) bool) {
	for _, name := range topics {
		list := t.topics[name]
		if !slices.ContainsFunc(list, match) {
			continue
		}
		d.topic(name)
		next := slices.DeleteFunc(slices.Clone(list), match)
		if len(next) == 0 {
			delete(t.topics, name)
		} else {
			t.topics[name] = next
		}
	}
}
