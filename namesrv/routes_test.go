package namesrv

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// start is the time at which tests begin.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// master is the usual registration: id 0 of broker-a with topic T1.
func master(change ...func(*Registration)) Registration {
	r := Registration{
		Cluster: "c1", Broker: "broker-a", Addr: "10.0.0.1:10911", HAAddr: "10.0.0.1:10912",
		Version: Version{Timestamp: 100, Counter: 1}, Conn: 1,
		Topics: []Topic{{Name: "T1", ReadQueues: 4, WriteQueues: 4, Perm: 6}},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func digest(n uint64) func(*Registration) { return func(r *Registration) { r.Digest = n } }
func id(n int64) func(*Registration)      { return func(r *Registration) { r.ID = n } }
func addr(n int) func(*Registration) {
	return func(r *Registration) {
		r.Addr, r.HAAddr, r.Conn = fmt.Sprintf("10.0.0.%d:10911", n), fmt.Sprintf("10.0.0.%d:10912", n), uint64(n)
	}
}
func term(n int64) func(*Registration)        { return func(r *Registration) { r.Version.Term = n } }
func counter(n int64) func(*Registration)     { return func(r *Registration) { r.Version.Counter = n } }
func name(s string) func(*Registration)       { return func(r *Registration) { r.Broker = s } }
func cluster(s string) func(*Registration)    { return func(r *Registration) { r.Cluster = s } }
func topics(t ...Topic) func(*Registration)   { return func(r *Registration) { r.Topics = t } }
func filters(s ...string) func(*Registration) { return func(r *Registration) { r.Filters = s } }

// shows words what readers see of a topic, "" for no route.
func shows(t *RouteTable, topic string) string {
	r := t.view.Load().routes[topic]
	if r == nil || len(r.brokers) == 0 {
		return ""
	}
	var out []string
	for _, q := range r.queues {
		out = append(out, fmt.Sprintf("%s r%d w%d p%d s%d", q.broker, q.ReadQueues, q.WriteQueues, q.Perm, q.SysFlag))
	}
	for _, v := range r.brokers {
		out = append(out, fmt.Sprintf("%s@%s%s", v.name, v.cluster, addrsText(v.addrs[Inside])))
		for _, a := range slices.Sorted(maps.Keys(v.filters)) {
			out = append(out, fmt.Sprintf("%s:%v", a, v.filters[a]))
		}
	}
	if r.tell && r.order != "" {
		out = append(out, "order "+r.order)
	}
	return strings.Join(out, "; ")
}

func addrsText(addrs map[int64]string) string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(addrs)) {
		out = append(out, fmt.Sprintf("%d=%s", id, strings.TrimSuffix(addrs[id], ":10911")))
	}
	return "{" + strings.Join(out, " ") + "}"
}

func mustRegister(t require.TestingT, table *RouteTable, second int, r Registration) Registered {
	out, err := table.Register(r, at(second))
	require.NoError(t, err)
	return out
}

func TestRegistrationAndRoute(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	require.Equal(t, Registered{Joined: true}, mustRegister(t, table, 0, master()))
	require.Equal(t, "broker-a r4 w4 p6 s0; broker-a@c1{0=10.0.0.1}", shows(table, "T1"))

	// A slave is in the route, brings no topics, and learns its master.
	slave := master(id(1), addr(2), topics(Topic{Name: "T2", Perm: 6}))
	require.Equal(t, Registered{Joined: true, MasterAddr: "10.0.0.1:10911", HAAddr: "10.0.0.1:10912"}, mustRegister(t, table, 1, slave))
	require.Equal(t, "broker-a r4 w4 p6 s0; broker-a@c1{0=10.0.0.1 1=10.0.0.2}", shows(table, "T1"))
	require.Empty(t, shows(table, "T2"))

	// A second broker name shares the topic.
	mustRegister(t, table, 2, master(name("broker-0"), addr(3), topics(Topic{Name: "T1", ReadQueues: 1, WriteQueues: 2, Perm: 4, SysFlag: 3})))
	require.Equal(t, "broker-0 r1 w2 p4 s3; broker-a r4 w4 p6 s0; broker-0@c1{0=10.0.0.3}; broker-a@c1{0=10.0.0.1 1=10.0.0.2}", shows(table, "T1"))
	names, addrs, count := table.Counts()
	require.Equal(t, []int{2, 3, 1}, []int{names, addrs, count})
}

func TestTopicsAreTakenWhenTheDataVersionChanged(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master())
	wider := topics(Topic{Name: "T1", ReadQueues: 8, WriteQueues: 8, Perm: 6}, Topic{Name: "T2", Perm: 6})

	mustRegister(t, table, 1, master(wider))
	require.Contains(t, shows(table, "T1"), "r4 w4", "same version, so the table was not read")
	require.Empty(t, shows(table, "T2"))

	mustRegister(t, table, 2, master(wider, counter(2)))
	require.Contains(t, shows(table, "T1"), "r8 w8")
	require.NotEmpty(t, shows(table, "T2"))

	// Topics missing from a table stay: brokers register single new topics.
	mustRegister(t, table, 3, master(counter(3), topics(Topic{Name: "T3", Perm: 6})))
	for _, topic := range []string{"T1", "T2", "T3"} {
		require.NotEmpty(t, shows(table, topic))
	}
}

func TestAnAddressHasOneIDUnderOneName(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master())
	mustRegister(t, table, 0, master(id(1), addr(2)))

	// The slave becomes the master: its address leaves id 1 and takes id 0.
	out := mustRegister(t, table, 1, master(addr(2), counter(2)))
	require.Equal(t, "10.0.0.1:10911", out.Replaced)
	require.Contains(t, shows(table, "T1"), "{0=10.0.0.2}")
	// The old master comes back as slave.
	mustRegister(t, table, 2, master(id(1)))
	require.Contains(t, shows(table, "T1"), "{0=10.0.0.2 1=10.0.0.1}")
	// And the reverse: the master steps down, nobody leads.
	mustRegister(t, table, 3, master(id(2), addr(2)))
	require.Contains(t, shows(table, "T1"), "{1=10.0.0.1 2=10.0.0.2}")
	require.Empty(t, mustRegister(t, table, 3, master(id(1))).MasterAddr)

	// The process behind an address is given another name.
	mustRegister(t, table, 4, master(name("broker-b"), addr(2)))
	require.Equal(t, "broker-a r4 w4 p6 s0; broker-b r4 w4 p6 s0; broker-a@c1{1=10.0.0.1}; broker-b@c1{0=10.0.0.2}", shows(table, "T1"))
}

func TestReplacedAddressIsToldToRegisterAgain(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master())
	changed, v, known := table.QueryVersion("10.0.0.1:10911", Version{Timestamp: 100, Counter: 1}, at(1))
	require.False(t, changed)
	require.True(t, known)
	require.Equal(t, Version{Timestamp: 100, Counter: 1}, v)

	mustRegister(t, table, 1, master(addr(2)))
	changed, _, known = table.QueryVersion("10.0.0.1:10911", Version{Timestamp: 100, Counter: 1}, at(1))
	require.True(t, changed)
	require.False(t, known)
}

func TestRefreshNeedsTheSamePlaceAndDigest(t *testing.T) {
	setup := func() *RouteTable {
		table := NewRouteTable(TableConfig{})
		mustRegister(t, table, 0, master(term(5), digest(77)))
		mustRegister(t, table, 0, master(id(1), addr(2), term(5), digest(78)))
		return table
	}
	table := setup()
	out, ok := table.Refresh(master(id(1), addr(2), digest(78)), at(100))
	require.True(t, ok)
	require.Equal(t, Registered{MasterAddr: "10.0.0.1:10911", HAAddr: "10.0.0.1:10912"}, out)
	_, ok = table.Refresh(master(digest(77), func(r *Registration) { r.Conn = 9 }), at(150))
	require.True(t, ok)
	require.Len(t, table.Expire(at(221)), 1, "the slave was refreshed at 100, the master at 150")
	require.Equal(t, []string{"10.0.0.1:10911"}, table.CloseConn(9), "it follows to its new connection")

	for what, r := range map[string]Registration{
		"other digest":  master(digest(79)),
		"no digest":     master(),
		"other id":      master(id(2), digest(77)),
		"other name":    master(name("broker-b"), digest(77)),
		"other cluster": master(cluster("c2"), digest(77)),
		"other ha":      master(digest(77), func(r *Registration) { r.HAAddr = "h:1" }),
		"other address": master(addr(3), digest(77)),
	} {
		_, ok := setup().Refresh(r, at(1))
		require.False(t, ok, what)
	}
	// A deposed leader that repeats itself must be refused.
	table = setup()
	mustRegister(t, table, 1, master(addr(2), term(6), digest(80)))
	_, ok = table.Refresh(master(term(5), digest(77)), at(2))
	require.False(t, ok)
}

func TestClusterFollowsIDZero(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master())
	mustRegister(t, table, 0, master(id(1), addr(2), cluster("c2")))
	require.Contains(t, shows(table, "T1"), "broker-a@c1{")
	require.Empty(t, table.TopicsByCluster("c2"))
	mustRegister(t, table, 1, master(cluster("c2")))
	require.Contains(t, shows(table, "T1"), "broker-a@c2{")
	require.Equal(t, []string{"T1"}, table.TopicsByCluster("c2"))
	require.Empty(t, table.TopicsByCluster("c1"))
}

func TestLeaving(t *testing.T) {
	setup := func() *RouteTable {
		table := NewRouteTable(TableConfig{})
		mustRegister(t, table, 0, master(filters("f:1")))
		mustRegister(t, table, 60, master(id(1), addr(2)))
		require.Equal(t, "broker-a r4 w4 p6 s0; broker-a@c1{0=10.0.0.1 1=10.0.0.2}; 10.0.0.1:10911:[f:1]", shows(table, "T1"))
		return table
	}
	onlySlave := "broker-a r4 w4 p6 s0; broker-a@c1{1=10.0.0.2}"

	t.Run("unregister", func(t *testing.T) {
		table := setup()
		require.False(t, table.Unregister("broker-x", "10.0.0.1:10911"))
		require.True(t, table.Unregister("broker-a", "10.0.0.1:10911"))
		require.Equal(t, onlySlave, shows(table, "T1"))
		require.True(t, table.Unregister("broker-a", "10.0.0.2:10911"))
		require.Empty(t, shows(table, "T1"))
		require.False(t, table.Unregister("broker-a", "10.0.0.2:10911"))
	})
	t.Run("connection closes", func(t *testing.T) {
		table := setup()
		require.Nil(t, table.CloseConn(9))
		require.Equal(t, []string{"10.0.0.1:10911"}, table.CloseConn(1))
		require.Equal(t, onlySlave, shows(table, "T1"))
		require.Nil(t, table.CloseConn(1))
	})
	t.Run("old connection of a broker that came back closes", func(t *testing.T) {
		table := setup()
		mustRegister(t, table, 61, master(func(r *Registration) { r.Conn = 7 }))
		require.Nil(t, table.CloseConn(1))
		require.Equal(t, []string{"10.0.0.1:10911"}, table.CloseConn(7))
	})
	t.Run("expiry", func(t *testing.T) {
		table := setup()
		require.Nil(t, table.Expire(at(120)))
		require.Equal(t, []Expired{{"broker-a", "10.0.0.1:10911", 1, 121 * time.Second}}, table.Expire(at(121)))
		require.Equal(t, onlySlave, shows(table, "T1"))
		require.Len(t, table.Expire(at(300)), 1)
		require.Empty(t, shows(table, "T1"))
		names, addrs, count := table.Counts()
		require.Zero(t, names+addrs+count)
		require.Empty(t, table.conns)
		require.Empty(t, table.filters)
	})
	t.Run("a version query is a heartbeat", func(t *testing.T) {
		table := setup()
		table.QueryVersion("10.0.0.1:10911", Version{Timestamp: 100, Counter: 1}, at(119))
		require.Nil(t, table.Expire(at(150)))
		// But not when the version differs: then the broker must register.
		table.QueryVersion("10.0.0.2:10911", Version{Timestamp: 100, Counter: 2}, at(179))
		require.Len(t, table.Expire(at(181)), 1)
	})
}

func TestWritePermission(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master(topics(Topic{Name: "T1", Perm: 6}, Topic{Name: "T2", Perm: 7}, Topic{Name: "T3", Perm: 4})))
	mustRegister(t, table, 0, master(name("broker-b"), addr(2)))
	require.Equal(t, 3, table.WipeWritePerm("broker-a"))
	require.Zero(t, table.WipeWritePerm("nobody"))
	require.Contains(t, shows(table, "T1"), "broker-a r0 w0 p4 s0; broker-b r4 w4 p6")
	require.Contains(t, shows(table, "T2"), "p5")
	// An unchanged registration does not undo it, a changed one does.
	mustRegister(t, table, 1, master())
	require.Contains(t, shows(table, "T1"), "broker-a r0 w0 p4")
	mustRegister(t, table, 2, master(counter(2)))
	require.Contains(t, shows(table, "T1"), "broker-a r4 w4 p6")
	require.Equal(t, 3, table.AddWritePerm("broker-a"))
	for _, topic := range []string{"T1", "T2", "T3"} {
		require.Contains(t, shows(table, topic), "p6")
	}
}

func TestDeleteTopic(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master())
	mustRegister(t, table, 0, master(name("broker-b"), addr(2), cluster("c2")))
	table.DeleteTopic("T1", "c3")
	table.DeleteTopic("T1", "c2")
	require.Equal(t, "broker-a r4 w4 p6 s0; broker-a@c1{0=10.0.0.1}", shows(table, "T1"))
	table.DeleteTopic("T1", "")
	table.DeleteTopic("T9", "")
	require.Empty(t, shows(table, "T1"))
}

func TestUnitTopics(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master(topics(
		Topic{Name: "plain"}, Topic{Name: "unit", SysFlag: 1}, Topic{Name: "sub", SysFlag: 2}, Topic{Name: "both", SysFlag: 3})))
	require.Equal(t, []string{"both", "unit"}, table.TopicsByUnit(sysFlagUnit, sysFlagUnit))
	require.Equal(t, []string{"both", "sub"}, table.TopicsByUnit(sysFlagUnitSub, sysFlagUnitSub))
	require.Equal(t, []string{"sub"}, table.TopicsByUnit(sysFlagUnit|sysFlagUnitSub, sysFlagUnitSub))
	names, addr := table.SystemTopics(Inside)
	require.Equal(t, []string{"broker-a", "c1"}, names)
	require.Equal(t, "10.0.0.1:10911", addr)
}

func TestOrderConf(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master())
	table.SetOrderConf(map[string]string{"T1": "broker-a:4", "T2": "broker-a:2"}, true)
	require.Contains(t, shows(table, "T1"), "order broker-a:4")
	mustRegister(t, table, 0, master(counter(2), topics(Topic{Name: "T2"})))
	require.Contains(t, shows(table, "T2"), "order broker-a:2")
	table.SetOrderConf(map[string]string{"T2": "broker-a:3"}, true)
	require.NotContains(t, shows(table, "T1"), "order")
	require.Contains(t, shows(table, "T2"), "order broker-a:3")
	table.SetOrderConf(map[string]string{"T2": "broker-a:3"}, false)
	require.NotContains(t, shows(table, "T2"), "order")
	table.SetOrderConf(map[string]string{"T2": "broker-a:3"}, true)
	require.Contains(t, shows(table, "T2"), "order broker-a:3")
	table.SetOrderConf(nil, true)
	require.NotContains(t, shows(table, "T2"), "order")
}

func TestRefusedRegistrationsNameTheFieldAndChangeNothing(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		want string
		r    Registration
	}{
		{"brokerName is missing", master(name(""))},
		{"brokerName is longer than 255 bytes", master(name(long))},
		{"brokerName contains control characters", master(name("a\nb"))},
		{"clusterName is missing", master(cluster(""))},
		{"brokerAddr is missing", master(func(r *Registration) { r.Addr = "" })},
		{`brokerAddr "10.0.0.1" is not host:port`, master(func(r *Registration) { r.Addr = "10.0.0.1" })},
		{`brokerAddr "h:0" is not host:port`, master(func(r *Registration) { r.Addr = "h:0" })},
		{"is not host:port", master(func(r *Registration) { r.Addr = `h,"1":1` })},
		{"is not host:port", master(func(r *Registration) { r.Addr = "a b:1" })},
		{"haServerAddr is longer", master(func(r *Registration) { r.HAAddr = long })},
		{"brokerId -1 is negative", master(id(-1))},
		{"filterServerList has more than 64 entries", master(filters(make([]string, 65)...))},
		{"topicName of 0 bytes", master(topics(Topic{}))},
		{"topicName of 256 bytes", master(topics(Topic{Name: long}))},
		{"readQueueNums of topic T is negative (-4)", master(topics(Topic{Name: "T", ReadQueues: -4}))},
		{"writeQueueNums of topic T", master(topics(Topic{Name: "T", WriteQueues: -1}))},
		{"perm of topic T", master(topics(Topic{Name: "T", Perm: -1}))},
		{"topicSysFlag of topic T", master(topics(Topic{Name: "T", SysFlag: -1}))},
	} {
		t.Run(c.want, func(t *testing.T) {
			table := NewRouteTable(TableConfig{})
			_, err := table.Register(c.r, start)
			var field *FieldError
			require.ErrorAs(t, err, &field)
			require.ErrorContains(t, err, c.want)
			names, addrs, count := table.Counts()
			require.Zero(t, names+addrs+count)
		})
	}
}

func TestBounds(t *testing.T) {
	table := NewRouteTable(TableConfig{BrokersMax: 2, TopicsMax: 2})
	three := topics(Topic{Name: "A"}, Topic{Name: "B"}, Topic{Name: "C"})
	require.Equal(t, 1, mustRegister(t, table, 0, master(three)).TopicsLeftOut)
	require.Empty(t, shows(table, "C"))
	mustRegister(t, table, 0, master(name("broker-b"), addr(2)))
	_, err := table.Register(master(name("broker-c"), addr(3)), start)
	require.ErrorIs(t, err, ErrLimit)
	require.ErrorContains(t, err, "2 broker addresses")
	// Those who are in may refresh; after one left the next gets in.
	mustRegister(t, table, 1, master(three))
	table.CloseConn(2)
	mustRegister(t, table, 2, master(name("broker-c"), addr(3)))
}

func TestStaleTerm(t *testing.T) {
	type step struct {
		r     Registration
		stale int64  // the term that the refusal names as known; 0 = accepted
		addrs string // of broker-a afterwards
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"the old leader is never put back", []step{
			{master(addr(1), term(5)), 0, "{0=10.0.0.1}"},
			{master(addr(2), id(1), term(5)), 0, "{0=10.0.0.1 1=10.0.0.2}"},
			{master(addr(2), term(6)), 0, "{0=10.0.0.2}"},
			{master(addr(1), term(5)), 6, "{0=10.0.0.2}"},
			{master(addr(1), id(1), term(5)), 0, "{0=10.0.0.2 1=10.0.0.1}"},
			{master(addr(1), term(5)), 6, "{0=10.0.0.2 1=10.0.0.1}"},
			{master(addr(1), term(7)), 0, "{0=10.0.0.1}"},
		}},
		{"the same term may change its address", []step{
			{master(addr(1), term(5)), 0, "{0=10.0.0.1}"},
			{master(addr(2), term(5)), 0, "{0=10.0.0.2}"},
		}},
		{"a follower's term raises nothing", []step{
			{master(addr(1), term(5)), 0, "{0=10.0.0.1}"},
			{master(addr(2), id(2), term(9)), 0, "{0=10.0.0.1 2=10.0.0.2}"},
			{master(addr(1), term(5)), 0, "{0=10.0.0.1 2=10.0.0.2}"},
		}},
		{"a follower may be behind", []step{
			{master(addr(1), term(5)), 0, "{0=10.0.0.1}"},
			{master(addr(2), id(2), term(3)), 0, "{0=10.0.0.1 2=10.0.0.2}"},
		}},
		{"brokers without a term are not fenced", []step{
			{master(addr(1)), 0, "{0=10.0.0.1}"},
			{master(addr(2)), 0, "{0=10.0.0.2}"},
			{master(addr(1), term(4)), 0, "{0=10.0.0.1}"},
			{master(addr(2)), 0, "{0=10.0.0.2}"},
			{master(addr(1), term(3)), 4, "{0=10.0.0.2}"},
		}},
		{"terms are per broker name", []step{
			{master(addr(9), name("broker-b"), term(9)), 0, ""},
			{master(addr(1), term(1)), 0, "{0=10.0.0.1}"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := NewRouteTable(TableConfig{})
			for i, s := range c.steps {
				_, err := table.Register(s.r, at(i))
				if s.stale == 0 {
					require.NoError(t, err, i)
				} else {
					var stale *StaleTermError
					require.ErrorAs(t, err, &stale, i)
					require.Equal(t, s.stale, stale.Known, i)
					require.Contains(t, err.Error(), fmt.Sprintf("term %d", s.r.Version.Term))
					require.Contains(t, err.Error(), fmt.Sprintf("term %d", s.stale))
				}
				if s.addrs != "" {
					require.Equal(t, s.addrs, addrsText(table.view.Load().brokers["broker-a"].addrs[Inside]), i)
				}
			}
		})
	}
}

func TestTermSurvivesTheBroker(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	leave := map[string]func(){
		"expired":      func() { require.NotEmpty(t, table.Expire(at(10_000))) },
		"closed":       func() { require.NotEmpty(t, table.CloseConn(1)) },
		"unregistered": func() { require.True(t, table.Unregister("broker-a", "10.0.0.1:10911")) },
	}
	for _, how := range slices.Sorted(maps.Keys(leave)) {
		mustRegister(t, table, 0, master(term(6)))
		leave[how]()
		require.Empty(t, shows(table, "T1"), how)
		_, err := table.Register(master(addr(2), term(5)), at(10_001))
		require.True(t, errors.As(err, new(*StaleTermError)), how)
		require.Empty(t, shows(table, "T1"), how)
	}
}

func TestElectionKeepsAWipedPermission(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master(term(5)))
	mustRegister(t, table, 0, master(id(1), addr(2), term(5)))
	require.Equal(t, 1, table.WipeWritePerm("broker-a"))
	mustRegister(t, table, 1, master(addr(2), term(6)))
	require.Equal(t, "broker-a r4 w4 p4 s0; broker-a@c1{0=10.0.0.2}", shows(table, "T1"))
	// The new leader changed a topic, so its table counts.
	mustRegister(t, table, 2, master(addr(2), term(6), counter(2)))
	require.Contains(t, shows(table, "T1"), "p6")
}

func TestTermsAreBounded(t *testing.T) {
	marks := newTerms(3)
	live := func(name string) bool { return name == "a" }
	for i, name := range []string{"a", "b", "c", "b", "d"} {
		require.NoError(t, marks.admit(name, "h:1", int64(10+i), live))
	}
	require.Len(t, marks.known, 3)
	require.Error(t, marks.admit("a", "h:1", 9, live), "a live name is not forgotten")
	require.Error(t, marks.admit("b", "h:1", 9, live), "b was used after c")
	require.NoError(t, marks.admit("c", "h:1", 9, live), "c was forgotten")
}
