package broker_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/namesrv"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// startNamesrv starts a name server that knows nothing, on a port of its own or
// on a given one.
func startNamesrv(t *testing.T, addr string) (*namesrv.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	cfg := namesrv.DefaultConfig()
	cfg.Listener, cfg.KVConfigPath, cfg.ConfigStorePath, cfg.FS = l, "", "", vfs.NewMem()
	srv, err := namesrv.New(cfg)
	require.NoError(t, err)
	require.NoError(t, srv.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv, l.Addr().String()
}

// TestRestartedNameServerIsToldSoon does not wait for registerNameServerPeriod,
// which is 30 s: a name server keeps nothing over a restart.
func TestRestartedNameServerIsToldSoon(t *testing.T) {
	first, addr := startNamesrv(t, "127.0.0.1:0")
	testcluster.Start(t, testcluster.Options{NoNamesrv: true, Settings: map[string]string{"namesrvAddr": addr}})
	known := func(srv *namesrv.Server) func() bool {
		return func() bool { _, addrs, _ := srv.Table().Counts(); return addrs == 1 }
	}
	require.Eventually(t, known(first), 10*time.Second, 5*time.Millisecond)
	require.NoError(t, first.Close())
	second, _ := startNamesrv(t, addr)
	require.Eventually(t, known(second), 15*time.Second, 5*time.Millisecond, "the broker did not come back")
}

// TestLateNameServerIsToldSoon starts the broker first.
func TestLateNameServerIsToldSoon(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	testcluster.Start(t, testcluster.Options{NoNamesrv: true, Settings: map[string]string{"namesrvAddr": addr}})
	srv, _ := startNamesrv(t, addr)
	require.Eventually(t, func() bool { _, addrs, _ := srv.Table().Counts(); return addrs == 1 }, 15*time.Second, 5*time.Millisecond)
}

// TestACreatedTopicHasARouteWhenItsFirstMessageIsAnswered sends to topics that are
// not there yet, faster than registrations follow each other, and asks each name
// server as soon as the answer is there.
func TestACreatedTopicHasARouteWhenItsFirstMessageIsAnswered(t *testing.T) {
	t.Parallel()
	_, addr0 := startNamesrv(t, "127.0.0.1:0")
	_, addr1 := startNamesrv(t, "127.0.0.1:0")
	c := testcluster.Start(t, testcluster.Options{NoNamesrv: true, Settings: map[string]string{"namesrvAddr": addr0 + ";" + addr1}})
	cl := newClient(t, c.Leader().Addr)
	for i := range 4 {
		topic := "first-" + strconv.Itoa(i)
		cl.send(topic, 0, "hello")
		for _, addr := range []string{addr0, addr1} {
			resp := newClient(t, addr).call(fields(protocol.CodeGetRouteInfoByTopic, "topic", topic))
			require.Equal(t, protocol.StatusSuccess, resp.Code, "%s has no route of %s: %s", addr, topic, resp.Remark)
		}
	}
}

// TestRoutesFollowTheBrokersPermission changes it while everything runs: the topics
// are the same, the route is not.
func TestRoutesFollowTheBrokersPermission(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, testcluster.Options{})
	cl := newClient(t, c.Leader().Addr)
	cl.send("orders", 0, "hello")
	perm := func() int32 {
		resp := newClient(t, c.Namesrv).call(fields(protocol.CodeGetRouteInfoByTopic, "topic", "orders"))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		var data protocol.TopicRouteData
		require.NoError(t, data.Decode(resp.Body))
		return data.QueueDatas[0].Perm
	}
	require.EqualValues(t, 6, perm())
	for _, want := range []string{"4", "2", "6", "4"} {
		resp := cl.call(protocol.NewRequest(protocol.CodeUpdateBrokerConfig).SetBody([]byte("brokerPermission=" + want)))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		require.Equal(t, want, strconv.Itoa(int(perm())), "the answer came before name servers knew")
	}
}

// TestOrderConfigurationOrdersItsTopic has the configuration in the name server
// only, and sees the topic marked from the next registration on until the
// configuration is gone.
func TestOrderConfigurationOrdersItsTopic(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, testcluster.Options{})
	cl, ns := newClient(t, c.Leader().Addr), newClient(t, c.Namesrv)
	cl.createTopic("orders", 2, 6)
	cl.createTopic("plain", 2, 6)
	ordered := func(topic string) bool {
		var one protocol.TopicConfig
		require.NoError(t, one.Decode(cl.call(fields(protocol.CodeGetTopicConfig, "topic", topic)).Body))
		var all protocol.TopicConfigSerializeWrapper
		require.NoError(t, all.Decode(cl.call(fields(protocol.CodeGetAllTopicConfig)).Body))
		require.Equal(t, one.Order, all.TopicConfigTable[topic].Order)
		return one.Order
	}
	set := func(perm string) {
		resp := cl.call(protocol.NewRequest(protocol.CodeUpdateBrokerConfig).SetBody([]byte("brokerPermission=" + perm)))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	}
	require.False(t, ordered("orders"))
	resp := ns.call(fields(protocol.CodePutKVConfig, "namespace", "ORDER_TOPIC_CONFIG", "key", "orders", "value", "broker-a:2"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	set("4") // registers
	require.True(t, ordered("orders"))
	require.False(t, ordered("plain"))
	require.Equal(t, protocol.StatusNoPermission, cl.call(sendRequest(sendHeader("orders", 0), "x")).Code, "as for a topic made with order=true")
	cl.send("plain", 0, "x")
	resp = ns.call(fields(protocol.CodeDeleteKVConfig, "namespace", "ORDER_TOPIC_CONFIG", "key", "orders"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	set("6")
	require.False(t, ordered("orders"))
}
