package namesrv

import (
	"maps"
	"slices"
	"time"
)

// Perm bits as on the wire.
const (
	permInherit   = 1
	permWrite     = 2
	permReadWrite = 6
)

// Unit flags of topicSysFlag.
const (
	sysFlagUnit    = 1
	sysFlagUnitSub = 2
)

// Unregister removes an address of a broker name at once. 4.9.4 removes
// whatever address has the id that the request names; a deposed leader that
// shuts down would then take its successor off the route.
func (t *RouteTable) Unregister(brokerName, addr string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.live[addr]; !ok || l.broker != brokerName {
		return false
	}
	d := newDirty()
	t.dropLocked(addr, d)
	t.publishLocked(d)
	return true
}

// CloseConn removes the addresses that registered last by a connection that is
// gone, and returns them sorted.
func (t *RouteTable) CloseConn(conn uint64) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	addrs := slices.Sorted(maps.Keys(t.conns[conn]))
	if len(addrs) == 0 {
		return nil
	}
	d := newDirty()
	for _, addr := range addrs {
		t.dropLocked(addr, d)
	}
	t.publishLocked(d)
	return addrs
}

// Expired is a broker address that did not refresh in time.
type Expired struct {
	Broker string
	Addr   string
	Conn   uint64 // 0 = none
	Silent time.Duration
}

// Expire removes the addresses that were refreshed longer than the expiry ago
// and returns them sorted by address, so that the caller can close their
// connections.
func (t *RouteTable) Expire(now time.Time) []Expired {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Expired
	for addr, l := range t.live {
		if silent := now.Sub(l.updated); silent > t.cfg.Expiry {
			out = append(out, Expired{Broker: l.broker, Addr: addr, Conn: l.conn, Silent: silent})
		}
	}
	if len(out) == 0 {
		return nil
	}
	slices.SortFunc(out, func(a, b Expired) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
	d := newDirty()
	for _, e := range out {
		t.dropLocked(e.Addr, d)
	}
	t.publishLocked(d)
	return out
}

// QueryVersion compares a broker's data version with the one registered for
// its address. When they are equal it also refreshes the address, as RocketMQ
// does: the request then serves as a heartbeat. known is false when nothing is
// registered for the address.
func (t *RouteTable) QueryVersion(addr string, v Version, now time.Time) (changed bool, registered Version, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.live[addr]
	if !ok {
		return true, Version{}, false
	}
	if l.version == v {
		l.updated = now
		return false, l.version, true
	}
	return true, l.version, true
}

// WipeWritePerm clears the write bit of every topic on a broker name and
// returns the number of topics it holds.
func (t *RouteTable) WipeWritePerm(brokerName string) int {
	return t.setPerm(brokerName, func(perm int32) int32 { return perm &^ permWrite })
}

// AddWritePerm sets every topic on a broker name to read and write and returns
// their number.
func (t *RouteTable) AddWritePerm(brokerName string) int {
	return t.setPerm(brokerName, func(int32) int32 { return permReadWrite })
}

func (t *RouteTable) setPerm(brokerName string, perm func(int32) int32) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := newDirty()
	count := 0
	for name, list := range t.topics {
		i := slices.IndexFunc(list, func(q queue) bool { return q.broker == brokerName })
		if i < 0 {
			continue
		}
		count++
		if to := perm(list[i].Perm); to != list[i].Perm {
			list = slices.Clone(list)
			list[i].Perm = to
			t.topics[name] = list
			d.topic(name)
		}
	}
	t.publishLocked(d)
	return count
}

// DeleteTopic removes a topic; with a cluster only its brokers' share.
func (t *RouteTable) DeleteTopic(topic, cluster string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := newDirty()
	t.removeQueuesLocked(d, []string{topic}, func(q queue) bool {
		b := t.brokers[q.broker]
		return cluster == "" || b != nil && b.cluster == cluster
	})
	t.publishLocked(d)
}

// SetOrderConf replaces the order configuration: topic to "broker-a:4;broker-b:4".
// tell says whether routes carry it; topics that have one are ordered either way.
func (t *RouteTable) SetOrderConf(conf map[string]string, tell bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := newDirty()
	for topic, v := range conf {
		if t.order[topic] != v || tell != t.tell {
			d.topic(topic)
		}
	}
	for topic := range t.order {
		if _, ok := conf[topic]; !ok {
			d.topic(topic)
		}
	}
	t.order, t.tell = maps.Clone(conf), tell
	t.publishLocked(d)
}

// Counts returns the numbers of broker names, live addresses and topics.
func (t *RouteTable) Counts() (names, addrs, topics int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.brokers), len(t.live), len(t.topics)
}
