package namesrv

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is the route table as one would explain it: two plain tables, nothing
// cached, everything looked up by going through all of it.
type model struct {
	members []member
	shares  []share
	highest map[string]int64   // term by broker name
	taken   map[string]Version // by broker name
	cluster map[string]string  // by broker name
	order   map[string]string
}

type member struct {
	name, addr string
	id         int64
	version    Version
	conn       uint64
	seen       time.Time
}

type share struct {
	name string
	Topic
}

func (m *model) find(match func(member) bool) *member {
	for i := range m.members {
		if match(m.members[i]) {
			return &m.members[i]
		}
	}
	return nil
}

func (m *model) drop(match func(member) bool) {
	m.members = slices.DeleteFunc(m.members, match)
	m.shares = slices.DeleteFunc(m.shares, func(s share) bool { return !m.has(s.name) })
	for name := range m.cluster {
		if !m.has(name) {
			delete(m.cluster, name)
			delete(m.taken, name)
		}
	}
}

func (m *model) has(name string) bool {
	return m.find(func(x member) bool { return x.name == name }) != nil
}

// register returns false when the registration must be refused.
func (m *model) register(r Registration, now time.Time) bool {
	if r.ID == 0 && r.Version.Term > 0 {
		if r.Version.Term < m.highest[r.Broker] {
			return false
		}
		m.highest[r.Broker] = r.Version.Term
	}
	m.drop(func(x member) bool { return x.addr == r.Addr && x.name != r.Broker })
	self := m.find(func(x member) bool { return x.addr == r.Addr })
	holder := m.find(func(x member) bool { return x.name == r.Broker && x.id == r.ID })
	news := self == nil || holder == nil || holder.addr != r.Addr || self.version != r.Version
	_, known := m.cluster[r.Broker]
	// Added before the others are removed, so that the name never empties.
	m.members = append(m.members, member{r.Broker, r.Addr, r.ID, r.Version, r.Conn, now})
	last := len(m.members) - 1
	keep := m.members[last]
	m.members = slices.DeleteFunc(m.members[:last], func(x member) bool {
		return x.addr == r.Addr || x.name == r.Broker && x.id == r.ID
	})
	m.members = append(m.members, keep)
	leader := m.find(func(x member) bool { return x.name == r.Broker && x.id == 0 })
	if !known || r.ID == 0 || leader == nil {
		m.cluster[r.Broker] = r.Cluster
	}
	old := m.taken[r.Broker]
	same := r.Version.Term > 0 && old.Term > 0 && old.Counter == r.Version.Counter
	if r.ID == 0 && news && !same {
		m.taken[r.Broker] = r.Version
		for _, topic := range r.Topics {
			m.shares = slices.DeleteFunc(m.shares, func(s share) bool { return s.name == r.Broker && s.Name == topic.Name })
			m.shares = append(m.shares, share{r.Broker, topic})
		}
	}
	return true
}

// shows words a topic in the form of the function shows of the table.
func (m *model) shows(topic string) string {
	var queues, brokers []string
	for _, s := range m.shares {
		if s.Name != topic {
			continue
		}
		queues = append(queues, fmt.Sprintf("%s r%d w%d p%d s%d", s.name, s.ReadQueues, s.WriteQueues, s.Perm, s.SysFlag))
		addrs := map[int64]string{}
		for _, x := range m.members {
			if x.name == s.name {
				addrs[x.id] = x.addr
			}
		}
		brokers = append(brokers, fmt.Sprintf("%s@%s%s", s.name, m.cluster[s.name], addrsText(addrs)))
	}
	if len(queues) == 0 {
		return ""
	}
	sort.Strings(queues)
	sort.Strings(brokers)
	out := append(queues, brokers...)
	if o := m.order[topic]; o != "" {
		out = append(out, "order "+o)
	}
	return strings.Join(out, "; ")
}

func TestTableAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewRouteTable(TableConfig{Expiry: 10 * time.Second})
		m := &model{highest: map[string]int64{}, taken: map[string]Version{}, cluster: map[string]string{}}
		now := start
		pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
		topicNames := []string{"T0", "T1", "T2"}
		names := []string{"broker-a", "broker-b"}
		drawAddr := func() string { return fmt.Sprintf("10.0.0.%d:10911", pick("addr", 4)) }
		register := func(t *rapid.T) {
			r := Registration{
				Broker: names[pick("name", 2)], Cluster: []string{"c1", "c2"}[pick("cluster", 2)], Addr: drawAddr(),
				ID: int64(pick("id", 3)), Conn: uint64(pick("conn", 4)),
				Version: Version{Counter: int64(pick("counter", 3)), Term: int64(pick("term", 4))},
			}
			for _, topic := range topicNames {
				if rapid.Bool().Draw(t, topic) {
					r.Topics = append(r.Topics, Topic{Name: topic, ReadQueues: int32(pick("r", 3)), WriteQueues: 1, Perm: int32(pick("perm", 8))})
				}
			}
			_, err := table.Register(r, now)
			require.Equal(t, m.register(r, now), err == nil)
		}
		t.Repeat(map[string]func(*rapid.T){
			// Registrations are the most frequent by far.
			"register": register, "register again": register, "register more": register, "and more": register,
			"advance and expire": func(t *rapid.T) {
				now = now.Add(time.Duration(pick("seconds", 8)) * time.Second)
				table.Expire(now)
				m.drop(func(x member) bool { return now.Sub(x.seen) > 10*time.Second })
			},
			"close": func(t *rapid.T) {
				conn := uint64(pick("conn", 4))
				table.CloseConn(conn)
				m.drop(func(x member) bool { return conn != 0 && x.conn == conn })
			},
			"unregister": func(t *rapid.T) {
				name, addr := names[pick("name", 2)], drawAddr()
				table.Unregister(name, addr)
				m.drop(func(x member) bool { return x.name == name && x.addr == addr })
			},
			"query version": func(t *rapid.T) {
				addr, v := drawAddr(), Version{Counter: int64(pick("counter", 3)), Term: int64(pick("term", 4))}
				changed, _, known := table.QueryVersion(addr, v, now)
				x := m.find(func(x member) bool { return x.addr == addr })
				require.Equal(t, x != nil, known)
				require.Equal(t, x == nil || x.version != v, changed)
				if !changed {
					x.seen = now
				}
			},
			"permission": func(t *rapid.T) {
				name, wipe := names[pick("name", 2)], rapid.Bool().Draw(t, "wipe")
				count := 0
				for i := range m.shares {
					if s := &m.shares[i]; s.name == name {
						count++
						if wipe {
							s.Perm &^= 2
						} else {
							s.Perm = 6
						}
					}
				}
				if wipe {
					require.Equal(t, count, table.WipeWritePerm(name))
				} else {
					require.Equal(t, count, table.AddWritePerm(name))
				}
			},
			"delete topic": func(t *rapid.T) {
				topic, cluster := topicNames[pick("topic", 3)], []string{"", "c1"}[pick("cluster", 2)]
				table.DeleteTopic(topic, cluster)
				m.shares = slices.DeleteFunc(m.shares, func(s share) bool {
					return s.Name == topic && (cluster == "" || m.cluster[s.name] == cluster)
				})
			},
			"order": func(t *rapid.T) {
				m.order = map[string]string{topicNames[pick("topic", 3)]: "broker-a:4"}
				table.SetOrderConf(m.order, true)
			},
			"": func(t *rapid.T) { compare(t, table, m, topicNames) },
		})
	})
}

// compare checks what readers see, and that no cached answer is stale.
func compare(t *rapid.T, table *RouteTable, m *model, topics []string) {
	present := []string{}
	for _, topic := range topics {
		require.Equal(t, m.shows(topic), shows(table, topic), topic)
		body, ok := table.Route([]byte(topic), Standard, Inside)
		require.Equal(t, m.shows(topic) != "", ok)
		if ok {
			present = append(present, topic)
			fresh := &route{order: m.order[topic], tell: table.tell}
			r := table.view.Load().routes[topic]
			fresh.queues, fresh.brokers = r.queues, nil
			for _, q := range table.topics[topic] {
				fresh.brokers = append(fresh.brokers, table.viewLocked(q.broker, table.brokers[q.broker]))
			}
			require.True(t, bytes.Equal(encodeRoute(fresh, Standard, Inside), body), "stale route of %s: %s", topic, body)
		}
	}
	require.Equal(t, encodeTopicList(present, ""), table.TopicList())
	view := table.view.Load()
	require.Len(t, view.brokers, len(m.cluster))
	require.Equal(t, encodeClusterInfo(&snapshot{brokers: view.brokers}, Inside), table.ClusterInfo(Inside))
}
