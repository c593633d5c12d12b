package namesrv

import (
	"maps"
	"slices"
	"sync/atomic"
)

// Dialect is the form of the JSON body that answers a route.
type Dialect int

// Java's name server answers routes in fastjson's own form, with bare numbers
// as keys, unless the caller is 4.9.4 or later or asks for standard JSON. Old
// Go clients read the first form only, strict parsers the second only.
const (
	Classic  Dialect = iota // {0:"10.0.0.1:10911"}
	Standard                // {"0":"10.0.0.1:10911"}
	dialects
)

// snapshot is one immutable state of the table, as readers see it. Only the
// cells with encoded bytes are filled in later, by whoever needs them first.
type snapshot struct {
	routes  map[string]*route
	brokers map[string]*brokerView
	cluster [audiences]atomic.Pointer[[]byte] // encoded ClusterInfo
	topics  atomic.Pointer[[]byte]            // encoded TopicList
}

// brokerView is the immutable public half of a broker.
type brokerView struct {
	name    string
	cluster string
	addrs   [audiences]map[int64]string
	standIn []int64             // ids that the stand-in names lead to, see standins.go
	filters map[string][]string // nil when none of the addresses has any
}

// route is everything the answer for one topic is made of. It is shared by
// consecutive snapshots as long as nothing in it changed, and with it the
// encoded bytes.
type route struct {
	queues  []queue
	brokers []*brokerView // by name, one for each queue
	order   string        // the topic's order configuration
	tell    bool          // clients are told of it
	encoded [dialects][audiences]atomic.Pointer[[]byte]
}

func newSnapshot() *snapshot {
	return &snapshot{routes: map[string]*route{}, brokers: map[string]*brokerView{}}
}

// dirty collects what a change touched, so that publishing rebuilds only that.
type dirty struct {
	topics  map[string]struct{}
	brokers map[string]struct{}
}

func newDirty() *dirty {
	return &dirty{topics: map[string]struct{}{}, brokers: map[string]struct{}{}}
}

func (d *dirty) topic(name string)  { d.topics[name] = struct{}{} }
func (d *dirty) broker(name string) { d.brokers[name] = struct{}{} }

// publishLocked makes a change visible. Registrations that change nothing, by
// far the most, publish nothing. The map of topics is copied for each change:
// 10,000 topics cost some hundred microseconds, less than parsing the
// registration that brought the change.
func (t *RouteTable) publishLocked(d *dirty) {
	if len(d.topics) == 0 && len(d.brokers) == 0 {
		return
	}
	old := t.view.Load()
	next := &snapshot{routes: maps.Clone(old.routes), brokers: old.brokers}
	if len(d.brokers) > 0 {
		next.brokers = maps.Clone(old.brokers)
		for name := range d.brokers {
			if b := t.brokers[name]; b != nil {
				next.brokers[name] = t.viewLocked(name, b)
			} else {
				delete(next.brokers, name)
			}
		}
		for name, r := range old.routes {
			if slices.ContainsFunc(r.brokers, func(v *brokerView) bool {
				_, touched := d.brokers[v.name]
				return touched
			}) {
				d.topic(name)
			}
		}
	}
	for name := range d.topics {
		list, ok := t.topics[name]
		if !ok {
			delete(next.routes, name)
			continue
		}
		r := &route{queues: list, brokers: make([]*brokerView, 0, len(list)), order: t.order[name], tell: t.tell}
		for _, q := range list {
			if v := next.brokers[q.broker]; v != nil {
				r.brokers = append(r.brokers, v)
			}
		}
		next.routes[name] = r
	}
	t.view.Store(next)
}

func (t *RouteTable) viewLocked(name string, b *broker) *brokerView {
	v := &brokerView{name: name, cluster: b.cluster, standIn: b.standInIDs()}
	v.addrs[Inside], v.addrs[Outside] = maps.Clone(b.addrs), maps.Clone(b.addrs)
	for id, addr := range b.addrs {
		if l := t.live[addr]; l != nil && l.external != "" {
			v.addrs[Outside][id] = l.external
		}
		if list, ok := t.filters[addr]; ok {
			if v.filters == nil {
				v.filters = map[string][]string{}
			}
			v.filters[addr] = list
		}
	}
	return v
}

// Route returns the encoded TopicRouteData of a topic, false when no broker
// serves it. The bytes are shared and must not be changed.
func (t *RouteTable) Route(topic []byte, d Dialect, a Audience) ([]byte, bool) {
	r, ok := t.view.Load().routes[string(topic)]
	if !ok || len(r.brokers) == 0 {
		return nil, false
	}
	return cached(&r.encoded[d][a], func() []byte { return encodeRoute(r, d, a) }), true
}

// ClusterInfo returns the encoded ClusterInfo, with bare numbers as keys for
// every caller, as 4.9.4 and 5.x do. The bytes are shared.
func (t *RouteTable) ClusterInfo(a Audience) []byte {
	s := t.view.Load()
	return cached(&s.cluster[a], func() []byte { return encodeClusterInfo(s, a) })
}

// TopicList returns the encoded list of all topics. The bytes are shared.
func (t *RouteTable) TopicList() []byte {
	s := t.view.Load()
	return cached(&s.topics, func() []byte {
		return encodeTopicList(slices.Sorted(maps.Keys(s.routes)), "")
	})
}

// cached returns what a cell holds, or makes it. Two callers may both make it;
// the results are equal and one is thrown away, which beats a lock that every
// reader would take.
func cached(cell *atomic.Pointer[[]byte], encode func() []byte) []byte {
	if b := cell.Load(); b != nil {
		return *b
	}
	b := encode()
	cell.Store(&b)
	return b
}

// TopicsByCluster returns the topics that have queues on a broker of the
// cluster, sorted; none for an unknown cluster.
func (t *RouteTable) TopicsByCluster(cluster string) []string {
	return t.view.Load().topicsWhere(func(r *route) bool {
		return slices.ContainsFunc(r.brokers, func(v *brokerView) bool { return v.cluster == cluster })
	})
}

// TopicsByUnit returns the topics whose first queue data has exactly the bits
// want among those of mask, sorted.
func (t *RouteTable) TopicsByUnit(mask, want int32) []string {
	return t.view.Load().topicsWhere(func(r *route) bool {
		return len(r.queues) > 0 && r.queues[0].SysFlag&mask == want
	})
}

func (s *snapshot) topicsWhere(match func(*route) bool) []string {
	out := []string{}
	for name, r := range s.routes {
		if match(r) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// SystemTopics returns the names RocketMQ counts as system topics, cluster
// names and broker names, and the address of one broker, which mqadmin then
// asks for the rest.
func (t *RouteTable) SystemTopics(a Audience) (topics []string, addr string) {
	s := t.view.Load()
	names := map[string]struct{}{}
	for name, v := range s.brokers {
		names[name] = struct{}{}
		names[v.cluster] = struct{}{}
	}
	for _, name := range slices.Sorted(maps.Keys(s.brokers)) {
		v := s.brokers[name]
		for _, id := range slices.Sorted(maps.Keys(v.addrs[a])) {
			return slices.Sorted(maps.Keys(names)), v.addrs[a][id]
		}
	}
	return []string{}, ""
}
