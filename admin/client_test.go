package admin

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers with what the test's functions say, by request code, and
// counts what it was asked.
type server struct {
	*remoting.Server
	mu      sync.Mutex
	answers map[int32]func(*protocol.Command) *protocol.Response
	asked   map[int32]int
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{answers: map[int32]func(*protocol.Command) *protocol.Response{}, asked: map[int32]int{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.Server, err = remoting.NewServer(remoting.ServerConfig{Listener: ln, Handler: func(call remoting.Call, req *protocol.Command) {
		s.mu.Lock()
		answer := s.answers[req.Code]
		s.asked[req.Code]++
		s.mu.Unlock()
		if answer == nil {
			call.Fail(protocol.StatusRequestCodeNotSupported, "not in this test")
			return
		}
		if resp := answer(req); resp != nil {
			call.Reply(resp)
		}
	}})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (s *server) addr() string { return s.Addr().String() }

func (s *server) on(code int32, answer func(*protocol.Command) *protocol.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[code] = answer
}

func (s *server) count(code int32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[code]
}

// route answers 105 with one broker whose leader is at addr; "" is no leader.
func (s *server) route(addr string) {
	s.on(protocol.CodeGetRouteInfoByTopic, func(*protocol.Command) *protocol.Response {
		data := protocol.TopicRouteData{
			QueueDatas:  []protocol.QueueData{{BrokerName: "b", ReadQueueNums: 2, WriteQueueNums: 2, Perm: 6}},
			BrokerDatas: []protocol.BrokerData{{BrokerName: "b", Cluster: "c", BrokerAddrs: map[int64]string{1: "127.0.0.1:1"}}},
		}
		if addr != "" {
			data.BrokerDatas[0].BrokerAddrs[0] = addr
		}
		return &protocol.Response{Body: data.AppendJSON(nil)}
	})
}

func (s *server) acceptSends() {
	s.on(protocol.CodeSendMessageV2, func(req *protocol.Command) *protocol.Response {
		return &protocol.Response{Header: &protocol.SendResponseHeader{Stored: true, MsgID: []byte("ID"), QueueID: req.Int("e", -9), QueueOffset: 7}}
	})
}

func client(t *testing.T, cfg Config, servers ...string) *Client {
	t.Helper()
	cfg.NameServers = servers
	c, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func deadAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

func TestSendFollowsTheRouteToANewLeader(t *testing.T) {
	ns, old, leader := serve(t), deadAddr(t), serve(t)
	leader.acceptSends()
	ns.route(old)
	c := client(t, Config{RefusalsMax: -1}, ns.addr())
	// The old leader is dead; for a while the group has none; then a new one.
	time.AfterFunc(20*time.Millisecond, func() { ns.route("") })
	time.AfterFunc(60*time.Millisecond, func() { ns.route(leader.addr()) })
	res, err := c.Send(t.Context(), Message{Topic: "t", Queue: 1, Body: []byte("x")})
	require.NoError(t, err)
	require.Greater(t, res.Attempts, 2)
	res.Attempts = 0
	require.Equal(t, SendResult{MsgID: "ID", Broker: "b", Addr: leader.addr(), Queue: 1, Offset: 7}, res)
}

func TestSendKeepsAGoodRoute(t *testing.T) {
	ns, leader := serve(t), serve(t)
	leader.acceptSends()
	ns.route(leader.addr())
	c := client(t, Config{}, ns.addr())
	queues := map[int32]int{}
	for range 10 {
		res, err := c.Send(t.Context(), Message{Topic: "t", Queue: AnyQueue})
		require.NoError(t, err)
		queues[res.Queue]++
	}
	require.Equal(t, map[int32]int{0: 5, 1: 5}, queues)
	require.Equal(t, 1, ns.count(protocol.CodeGetRouteInfoByTopic))
}

func TestSendGivesUpWhereItIsHopeless(t *testing.T) {
	ns, leader := serve(t), serve(t)
	ns.route(leader.addr())
	leader.on(protocol.CodeSendMessageV2, func(*protocol.Command) *protocol.Response {
		return &protocol.Response{Code: protocol.StatusMessageIllegal, Remark: "the message is illegal", Header: &protocol.SendResponseHeader{}}
	})
	c := client(t, Config{}, ns.addr())
	_, err := c.Send(t.Context(), Message{Topic: "t"})
	require.True(t, IsStatus(err, protocol.StatusMessageIllegal), "%v", err)
	require.Equal(t, 3, leader.count(protocol.CodeSendMessageV2))
}

func TestSendEndsWithItsContext(t *testing.T) {
	ns := serve(t)
	ns.route("")
	c := client(t, Config{RefusalsMax: -1}, ns.addr())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := c.Send(ctx, Message{Topic: "t"})
	require.ErrorIs(t, err, ErrNoLeader)
	require.True(t, NotSent(err))
}

func TestAFailedAsyncSendGivesUpTheRoute(t *testing.T) {
	ns, leader := serve(t), serve(t)
	leader.acceptSends()
	ns.route(deadAddr(t))
	c := client(t, Config{}, ns.addr())
	got := make(chan error, 1)
	c.SendAsync(t.Context(), Message{Topic: "t"}, func(_ SendResult, err error) { got <- err })
	err := <-got
	require.Error(t, err)
	require.True(t, NotSent(err), "%v", err)
	ns.route(leader.addr())
	c.SendAsync(t.Context(), Message{Topic: "t"}, func(_ SendResult, err error) { got <- err })
	require.NoError(t, <-got)
}

func TestUnknownTopicGoesWhereTopicsAreCreated(t *testing.T) {
	ns, leader := serve(t), serve(t)
	leader.acceptSends()
	ns.on(protocol.CodeGetRouteInfoByTopic, func(req *protocol.Command) *protocol.Response {
		if req.Str("topic") != message.TopicAutoCreate {
			return &protocol.Response{Code: protocol.StatusTopicNotExist}
		}
		data := protocol.TopicRouteData{
			QueueDatas:  []protocol.QueueData{{BrokerName: "b", ReadQueueNums: 8, WriteQueueNums: 8, Perm: 7}},
			BrokerDatas: []protocol.BrokerData{{BrokerName: "b", BrokerAddrs: map[int64]string{0: leader.addr()}}},
		}
		return &protocol.Response{Body: data.AppendJSON(nil)}
	})
	c := client(t, Config{}, ns.addr())
	route, err := c.Route(t.Context(), "new")
	require.NoError(t, err)
	require.Len(t, route.Writable, 4)
	require.Empty(t, route.Readable)
	_, err = c.RouteData(t.Context(), "new")
	require.ErrorIs(t, err, ErrNoTopic)
	require.ErrorContains(t, err, "mqadmin topic create new")
}

func TestNameServersAreTriedInTurn(t *testing.T) {
	ns := serve(t)
	ns.on(protocol.CodeGetAllTopicListFromNamesrv, func(*protocol.Command) *protocol.Response {
		return &protocol.Response{Body: []byte(`{"topicList":["b","a"]}`)}
	})
	c := client(t, Config{}, deadAddr(t), ns.addr())
	for range 2 {
		topics, err := c.Topics(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, topics)
	}
	_, err := client(t, Config{}, deadAddr(t), deadAddr(t)).Topics(t.Context())
	require.ErrorIs(t, err, ErrNoNameServer)
	require.True(t, NotSent(err))
}

// A Java name server writes broker ids without quotes and a Java broker knows
// no Raft role.
func TestJavaServersAreUnderstood(t *testing.T) {
	ns := serve(t)
	ns.on(protocol.CodeGetBrokerCluster, func(*protocol.Command) *protocol.Response {
		return &protocol.Response{Body: []byte(`{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"c1"}},"clusterAddrTable":{"c1":["broker-a"]}}`)}
	})
	ns.on(protocol.CodeGetBrokerRuntimeInfo, func(*protocol.Command) *protocol.Response {
		return &protocol.Response{Body: []byte(`{"table":{"putTps":"1.0 1.0 1.0","runtime":"[ 0 days ]"}}`)}
	})
	c := client(t, Config{}, ns.addr())
	addrs, err := c.Leaders(t.Context(), "c1")
	require.NoError(t, err)
	require.Equal(t, []string{"10.0.0.1:10911"}, addrs)
	_, err = c.Leaders(t.Context(), "c2")
	require.ErrorContains(t, err, `cluster "c2"`)
	_, err = c.Member(t.Context(), ns.addr())
	require.ErrorIs(t, err, ErrNotCometMQ)
	ns.on(protocol.CodeQueryConsumeQueue, func(*protocol.Command) *protocol.Response {
		return &protocol.Response{Remark: "0@t is not exist!"} // success, and no body
	})
	_, err = c.ConsumeQueue(t.Context(), ns.addr(), "t", 0, 0, 10, "")
	require.ErrorContains(t, err, "0@t is not exist!")
}

func TestReaderGoesOnFromWhereTheBrokerSays(t *testing.T) {
	ns, leader := serve(t), serve(t)
	ns.route(leader.addr())
	record := func(q int64) []byte {
		m := message.Message{Topic: "t", Body: []byte(strconv.FormatInt(q, 10))}
		b, err := m.AppendStored(nil)
		require.NoError(t, err)
		message.PatchOffsets(b, message.QueueOffset(q), 0)
		return b
	}
	// Offsets below 5 are deleted, 5 and 6 are there, 7 was filtered out.
	leader.on(protocol.CodePullMessage, func(req *protocol.Command) *protocol.Response {
		switch from := req.Int64("queueOffset", -1); {
		case from < 5:
			return &protocol.Response{Code: protocol.StatusPullOffsetMoved, Header: &protocol.PullResponseHeader{NextBeginOffset: 5, MinOffset: 5, MaxOffset: 8}}
		case from == 5:
			return &protocol.Response{Body: append(record(5), record(6)...), Header: &protocol.PullResponseHeader{NextBeginOffset: 7, MinOffset: 5, MaxOffset: 8}}
		case from == 7:
			return &protocol.Response{Code: protocol.StatusPullRetryImmediately, Header: &protocol.PullResponseHeader{NextBeginOffset: 8, MinOffset: 5, MaxOffset: 8}}
		default:
			return &protocol.Response{Code: protocol.StatusPullNotFound, Header: &protocol.PullResponseHeader{NextBeginOffset: from, MinOffset: 5, MaxOffset: 8}}
		}
	})
	r := client(t, Config{}, ns.addr()).NewReader("t", Queue{"b", 0}, 0)
	var got []string
	for r.Next() < 8 {
		msgs, err := r.Read(t.Context(), 0)
		require.NoError(t, err)
		for _, m := range msgs {
			got = append(got, string(m.Body()))
			require.Equal(t, strconv.Itoa(int(m.QueueOffset())), string(m.Body()))
		}
	}
	require.Equal(t, []string{"5", "6"}, got)
	require.EqualValues(t, 8, r.Max())
}

func TestReaderReportsDamage(t *testing.T) {
	ns, leader := serve(t), serve(t)
	ns.route(leader.addr())
	leader.on(protocol.CodePullMessage, func(*protocol.Command) *protocol.Response {
		return &protocol.Response{Body: make([]byte, 100), Header: &protocol.PullResponseHeader{MaxOffset: 1}}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := client(t, Config{}, ns.addr()).NewReader("t", Queue{"b", 0}, 0).Read(ctx, 0)
	require.ErrorIs(t, err, message.ErrMalformed)
}

func TestConsumerOffset(t *testing.T) {
	broker := serve(t)
	broker.on(protocol.CodeQueryConsumerOffset, func(req *protocol.Command) *protocol.Response {
		if req.Str("consumerGroup") == "g" {
			return &protocol.Response{Header: &protocol.OffsetHeader{Offset: 42}}
		}
		return &protocol.Response{Code: protocol.StatusQueryNotFound, Remark: "Not found"}
	})
	c := client(t, Config{}, "127.0.0.1:1")
	got, ok, err := c.ConsumerOffset(t.Context(), broker.addr(), "g", "t", 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 42, got)
	_, ok, err = c.ConsumerOffset(t.Context(), broker.addr(), "other", "t", 0)
	require.NoError(t, err)
	require.False(t, ok)
}
