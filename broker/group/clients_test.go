package group

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

type fakeConn uint64

func (c fakeConn) ID() uint64 { return uint64(c) }
func (c fakeConn) RemoteAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(c))
}

// table is a Clients with a clock and a record of its notifications.
type table struct {
	*Clients
	now     time.Time
	notices []string // "group: ids"
}

func newTable(cfg ClientsConfig) *table {
	t := &table{now: time.Unix(1_700_000_000, 0)}
	cfg.Now = func() time.Time { return t.now }
	cfg.Notify = func(group string, conns []Conn) {
		var ids []uint64
		for _, c := range conns {
			ids = append(ids, c.ID())
		}
		slices.Sort(ids)
		t.notices = append(t.notices, fmt.Sprintf("%s: %v", group, ids))
	}
	t.Clients = NewClients(cfg)
	return t
}

// told returns the notifications since the last call.
func (t *table) told() []string {
	out := t.notices
	t.notices = nil
	return out
}

func (t *table) beat(tb testing.TB, conn fakeConn, hb *protocol.HeartbeatData) {
	tb.Helper()
	require.NoError(tb, t.Heartbeat(conn, protocol.LanguageJava, 401, hb))
}

func sub(topic, expression string, version int64) protocol.SubscriptionData {
	return protocol.SubscriptionData{Topic: topic, SubString: expression, ExpressionType: protocol.ExpressionTag, SubVersion: version}
}

func consumer(clientID, group string, subs ...protocol.SubscriptionData) *protocol.HeartbeatData {
	return &protocol.HeartbeatData{ClientID: clientID, Consumers: []protocol.ConsumerData{{
		GroupName: group, ConsumeType: protocol.ConsumePassively, MessageModel: protocol.ModelClustering,
		ConsumeFromWhere: protocol.FromLastOffset, Subscriptions: subs,
	}}}
}

func producer(clientID string, groups ...string) *protocol.HeartbeatData {
	hb := &protocol.HeartbeatData{ClientID: clientID}
	for _, g := range groups {
		hb.Producers = append(hb.Producers, protocol.ProducerData{GroupName: g})
	}
	return hb
}

func TestHeartbeatNotifiesAllMembersOfEveryChange(t *testing.T) {
	c := newTable(ClientsConfig{})
	c.beat(t, 1, consumer("a", "g", sub("T1", "*", 1)))
	require.Equal(t, []string{"g: [1]"}, c.told(), "the sender is told too")
	c.beat(t, 1, consumer("a", "g", sub("T1", "*", 1)))
	require.Empty(t, c.told(), "nothing new")
	c.beat(t, 2, consumer("b", "g", sub("T1", "*", 1)))
	require.Equal(t, []string{"g: [1 2]"}, c.told())
	require.Equal(t, []string{"a", "b"}, c.ConsumerIDs("g"))

	c.beat(t, 2, consumer("b", "g", sub("T1", "*", 1), sub("T2", "x", 1)))
	require.Equal(t, []string{"g: [1 2]"}, c.told(), "a topic was added")
	c.beat(t, 1, consumer("a", "g", sub("T1", "*", 1)))
	require.Equal(t, []string{"g: [1 2]"}, c.told(), "and removed by the other member: RocketMQ's rule")
	_, ok := c.Subscription("g", "T2")
	require.False(t, ok)

	c.ConnClosed(fakeConn(1))
	require.Equal(t, []string{"g: [2]"}, c.told())
	c.ConnClosed(fakeConn(1))
	require.Empty(t, c.told())
	c.Unregister(fakeConn(2), "", "g")
	require.Empty(t, c.told(), "nobody is left")
	require.Zero(t, c.Counts())
}

func TestSubscriptionVersions(t *testing.T) {
	c := newTable(ClientsConfig{})
	c.beat(t, 1, consumer("a", "g", sub("T", "x", 5)))
	c.told()
	c.beat(t, 1, consumer("a", "g", sub("T", "y", 5)))
	s, _ := c.Subscription("g", "T")
	require.Equal(t, []string{"x"}, s.Data.TagsSet, "the same version changes nothing")
	c.beat(t, 1, consumer("a", "g", sub("T", "y", 4)))
	s, _ = c.Subscription("g", "T")
	require.Equal(t, int64(5), s.Version())
	c.beat(t, 1, consumer("a", "g", sub("T", "y", 6)))
	s, _ = c.Subscription("g", "T")
	require.Equal(t, []string{"y"}, s.Data.TagsSet)
	require.Empty(t, c.told(), "a replaced subscription is not a change of topics")

	hb := consumer("a", "g")
	hb.WithoutSub = true
	c.beat(t, 1, hb)
	_, ok := c.Subscription("g", "T")
	require.True(t, ok, "subscriptions were left out, not given up")
	c.beat(t, 1, consumer("a", "g"))
	require.Equal(t, []string{"g: [1]"}, c.told())
	require.Empty(t, c.Subscriptions("g"))
}

func TestConsumerFollowsTheNewestHeartbeat(t *testing.T) {
	c := newTable(ClientsConfig{})
	c.beat(t, 1, consumer("a", "g", sub("T", "*", 1)))
	hb := consumer("b", "g", sub("T", "*", 1))
	hb.Consumers[0].MessageModel = protocol.ModelBroadcasting
	hb.Consumers[0].ConsumeFromWhere = "SOMETHING_NEW"
	c.beat(t, 2, hb)
	info, s, ok := c.Consumer([]byte("g"), []byte("T"))
	require.True(t, ok)
	require.True(t, s.All())
	require.Equal(t, ConsumerInfo{protocol.ConsumePassively, protocol.ModelBroadcasting, "SOMETHING_NEW"}, info)
	same, ok := c.ConsumerInfo("g")
	require.True(t, ok)
	require.Equal(t, info, same)

	_, s, ok = c.Consumer([]byte("g"), []byte("other"))
	require.True(t, ok)
	require.Nil(t, s)
	_, _, ok = c.Consumer([]byte("nobody"), []byte("T"))
	require.False(t, ok)
	require.Equal(t, []string{"g"}, c.ConsumerGroups())
	require.Equal(t, []string{"g"}, c.TopicConsumers("T"))
	require.Empty(t, c.TopicConsumers("other"))
}

func TestClientOnTwoConnectionsCountsOnce(t *testing.T) {
	c := newTable(ClientsConfig{})
	c.beat(t, 1, consumer("a", "g"))
	c.now = c.now.Add(time.Second)
	c.beat(t, 2, consumer("a", "g"))
	require.Equal(t, []string{"a"}, c.ConsumerIDs("g"))
	require.Len(t, c.Consumers("g"), 2)
	conn, ok := c.ConsumerConn("g", "a")
	require.True(t, ok)
	require.Equal(t, fakeConn(2), conn)
	conn, ok = c.ClientConn("a")
	require.True(t, ok)
	require.Equal(t, fakeConn(2), conn)
	c.ConnClosed(fakeConn(1))
	require.Equal(t, []string{"a"}, c.ConsumerIDs("g"))
	conn, ok = c.ClientConn("a")
	require.True(t, ok, "the end of the old connection does not hide the new one")
	require.Equal(t, fakeConn(2), conn)
	c.ConnClosed(fakeConn(2))
	_, ok = c.ClientConn("a")
	require.False(t, ok)
}

type relayedConn struct{ fakeConn }

func (relayedConn) Relayed() {}

// A client that is connected to three members is one client: it is told once,
// and nobody is told when one of its ways here comes or goes.
func TestRelayedConnectionsOfOneClient(t *testing.T) {
	c := newTable(ClientsConfig{})
	beat := func(conn Conn, hb *protocol.HeartbeatData) {
		require.NoError(t, c.Heartbeat(conn, protocol.LanguageGo, 401, hb))
	}
	hb := consumer("a", "g", sub("T", "*", 1))
	hb.Producers = producer("a", "pg").Producers
	beat(relayedConn{11}, hb)
	require.Equal(t, []string{"g: [11]"}, c.told())
	beat(relayedConn{12}, hb)
	require.Empty(t, c.told())
	c.beat(t, 1, hb)
	require.Equal(t, []string{"g: [1]"}, c.told(), "its own connection goes first")
	beat(relayedConn{13}, consumer("b", "g", sub("T", "*", 1)))
	require.Equal(t, []string{"g: [1 13]"}, c.told())

	require.Equal(t, []string{"a", "b"}, c.ConsumerIDs("g"))
	require.Len(t, c.Consumers("g"), 2)
	require.Len(t, c.Producers("pg"), 1)
	c.now = c.now.Add(time.Second)
	beat(relayedConn{11}, hb)
	for _, find := range []func() (Conn, bool){
		func() (Conn, bool) { return c.ClientConn("a") },
		func() (Conn, bool) { return c.ConsumerConn("g", "a") },
	} {
		conn, ok := find()
		require.True(t, ok)
		require.Equal(t, fakeConn(1), conn, "not the newer relayed one")
	}
	require.Empty(t, c.told())

	c.ConnClosed(relayedConn{11})
	require.Empty(t, c.told())
	c.ConnClosed(fakeConn(1))
	require.Equal(t, []string{"g: [12 13]"}, c.told())
	conn, ok := c.ClientConn("a")
	require.True(t, ok)
	require.Equal(t, relayedConn{12}, conn)
	c.ConnsClosed(func(conn Conn) bool { return conn.ID() == 12 })
	require.Equal(t, []string{"g: [13]"}, c.told(), "the last way to it")
	_, ok = c.ClientConn("a")
	require.False(t, ok)
	c.ConnsClosed(func(Conn) bool { return true })
	require.Zero(t, c.Counts())
}

func TestProducersTakeTurns(t *testing.T) {
	c := newTable(ClientsConfig{})
	c.beat(t, 1, producer("a", "p", "q"))
	c.beat(t, 2, producer("b", "p"))
	c.beat(t, 2, producer("b", "p"))
	seen := map[Conn]int{}
	for range 10 {
		conn, ok := c.ProducerConn("p")
		require.True(t, ok)
		seen[conn]++
	}
	require.Equal(t, map[Conn]int{fakeConn(1): 5, fakeConn(2): 5}, seen)
	require.Equal(t, []string{"p", "q"}, c.ProducerGroups())
	require.Len(t, c.Producers("p"), 2)
	c.Unregister(fakeConn(1), "p", "")
	require.Equal(t, []string{"p", "q"}, c.ProducerGroups())
	c.ConnClosed(fakeConn(2))
	_, ok := c.ProducerConn("p")
	require.False(t, ok)
	require.Empty(t, c.told(), "nobody is told about producers")
}

func TestExpire(t *testing.T) {
	c := newTable(ClientsConfig{})
	c.beat(t, 1, consumer("a", "g"))
	c.beat(t, 1, consumer("a", "left"))
	c.beat(t, 1, producer("a", "p"))
	c.beat(t, 2, consumer("b", "g"))
	c.now = c.now.Add(60 * time.Second)
	c.beat(t, 1, consumer("a", "g"))
	c.told()
	c.now = c.now.Add(60 * time.Second)
	require.Empty(t, c.Expire(), "silent for exactly 120 s")
	c.now = c.now.Add(time.Millisecond)
	require.Equal(t, []Conn{fakeConn(2)}, c.Expire(), "1 lives on in one group")
	require.Equal(t, []string{"g: [1]"}, c.told())
	require.Equal(t, Counts{Connections: 1, ConsumerGroups: 1, Registrations: 1}, c.Counts())
	c.now = c.now.Add(time.Hour)
	require.Equal(t, []Conn{fakeConn(1)}, c.Expire())
	require.Zero(t, c.Counts())
}

func TestHeartbeatBounds(t *testing.T) {
	c := newTable(ClientsConfig{GroupsPerConnMax: 2, SubscriptionsPerGroupMax: 1, RegistrationsMax: 3})
	require.ErrorIs(t, c.Heartbeat(fakeConn(1), 0, 0, producer("a", "p", "q", "r")), ErrTooMany)
	require.ErrorIs(t, c.Heartbeat(fakeConn(1), 0, 0, consumer("a", "g", sub("T1", "*", 1), sub("T2", "*", 1))), ErrTooMany)
	require.ErrorIs(t, c.Heartbeat(fakeConn(1), 0, 0, producer("a", "a b")), message.ErrName)
	require.ErrorIs(t, c.Heartbeat(fakeConn(1), 0, 0, consumer("a", "")), message.ErrName)
	require.Zero(t, c.Counts())

	c.beat(t, 1, producer("a", "p", "q"))
	c.beat(t, 1, producer("a", "p", "q"))
	require.ErrorIs(t, c.Heartbeat(fakeConn(1), 0, 0, consumer("a", "g")), ErrTooMany, "a third group of the connection")
	c.beat(t, 2, producer("b", "p"))
	require.ErrorIs(t, c.Heartbeat(fakeConn(3), 0, 0, producer("c", "p")), ErrTooMany)
	c.beat(t, 2, producer("b", "p"))
	require.Equal(t, Counts{Connections: 2, ProducerGroups: 2, Registrations: 3}, c.Counts())
	c.beat(t, 3, &protocol.HeartbeatData{ClientID: "c"})
	require.Equal(t, 2, c.Counts().Connections, "a heartbeat without groups leaves nothing behind")
}

// TestClientsModel compares random heartbeats, leaves, closes and silences with
// the plainest model: who beat last for which group.
func TestClientsModel(t *testing.T) {
	type membership struct {
		conn  fakeConn
		group string
	}
	rapid.Check(t, func(rt *rapid.T) {
		c := newTable(ClientsConfig{})
		beats := map[membership]time.Time{}
		members := func(group string) []uint64 {
			ids := []uint64{}
			for m := range beats {
				if m.group == group {
					ids = append(ids, m.conn.ID())
				}
			}
			slices.Sort(ids)
			return ids
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			before := map[string][]uint64{"g0": members("g0"), "g1": members("g1")}
			conn := fakeConn(rapid.Uint64Range(1, 3).Draw(rt, "conn"))
			group := rapid.SampledFrom([]string{"g0", "g1"}).Draw(rt, "group")
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0, 1:
				require.NoError(rt, c.Heartbeat(conn, 0, 0, consumer(fmt.Sprint("c", conn), group)))
				beats[membership{conn, group}] = c.now
			case 2:
				c.Unregister(conn, group, group)
				delete(beats, membership{conn, group})
			case 3:
				c.ConnClosed(conn)
				maps.DeleteFunc(beats, func(m membership, _ time.Time) bool { return m.conn == conn })
			case 4:
				c.now = c.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(rt, "silence")) * time.Second)
				c.Expire()
				maps.DeleteFunc(beats, func(_ membership, at time.Time) bool { return c.now.Sub(at) > 120*time.Second })
			}
			var want []string
			for _, g := range []string{"g0", "g1"} {
				now := members(g)
				if len(now) > 0 && !slices.Equal(now, before[g]) {
					want = append(want, fmt.Sprintf("%s: %v", g, now))
				}
			}
			require.Equal(rt, want, c.told())
			for _, g := range []string{"g0", "g1"} {
				var ids []string
				for _, id := range members(g) {
					ids = append(ids, fmt.Sprint("c", id))
				}
				require.Equal(rt, ids, c.ConsumerIDs(g))
			}
			require.Equal(rt, len(beats), c.Counts().Registrations)
		}
	})
}
