package broker_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func (c *client) update(text string) *protocol.Command {
	c.t.Helper()
	return c.call(protocol.NewRequest(protocol.CodeUpdateBrokerConfig).SetBody([]byte(text)))
}

// settings reads the configuration as tools do.
func (c *client) settings() (map[string]string, protocol.DataVersion) {
	c.t.Helper()
	resp := c.call(fields(protocol.CodeGetBrokerConfig))
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
	values, err := config.ParseText(resp.Body)
	require.NoError(c.t, err)
	var version protocol.DataVersion
	require.NoError(c.t, version.Decode([]byte(resp.Str("version"))))
	return values, version
}

func TestSettingsAreShownInFull(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 2})
	set, err := broker.NewSettings()
	require.NoError(t, err)
	for _, test := range []struct {
		node     *testcluster.Node
		id, role string
	}{{cluster.Leader(), "0", "SYNC_MASTER"}, {cluster.Follower(), "", "SLAVE"}} {
		values, _ := newClient(t, test.node.Addr).settings()
		for _, f := range set.Fields() {
			require.Contains(t, values, f.Key)
		}
		require.Equal(t, test.role, values["brokerRole"])
		if test.id != "" {
			require.Equal(t, test.id, values["brokerId"])
		} else {
			require.NotEqual(t, "0", values["brokerId"])
		}
		require.Equal(t, "broker-a", values["brokerName"])
		require.Equal(t, "127.0.0.1", values["brokerIP1"])
		require.NotEmpty(t, values["storePathCommitLog"])
	}
}

func TestSettingsChangeLive(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	big := string(make([]byte, 2000))
	sent := func() int32 { return c.call(sendRequest(sendHeader("orders", 0), big)).Code }
	require.Equal(t, protocol.StatusSuccess, sent())
	before, version := c.settings()

	resp := c.update("maxMessageSize=1000\nlongPollingEnable=false\nheldPullsMax=50\n")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, protocol.StatusMessageIllegal, sent())
	after, newer := c.settings()
	require.Equal(t, "1000", after["maxMessageSize"])
	require.Greater(t, newer.Counter, version.Counter)

	for name, test := range map[string]struct{ text, remark string }{
		"bad value":      {"maxMessageSize=much", `maxMessageSize="much" is not allowed: maxMessageSize expects a whole number 1..8388608`},
		"out of range":   {"brokerPermission=8", "brokerPermission expects a whole number 0..7"},
		"unknown key":    {"maxMesageSize=5", "unknown key maxMesageSize (did you mean maxMessageSize?)"},
		"not live":       {"storePathRootDir=/elsewhere", "storePathRootDir needs a restart: it cannot be changed while the process runs; set it in the configuration file"},
		"no effect":      {"useEpollNativeSelector=true", "has no effect here"},
		"bad address":    {"brokerIP1=no.such.host.invalid", "brokerIP1="},
		"bad port":       {"listenPort=0", "listenPort expects a whole number 1..65535"},
		"one bad of two": {"maxMessageSize=5\nbrokerPermission=9", "brokerPermission"},
		"nothing":        {"", "the update names no key"},
		"no text":        {"a=\\u00", ""},
	} {
		resp := c.update(test.text)
		require.Equal(t, protocol.StatusSystemError, resp.Code, name)
		require.Contains(t, resp.Remark, test.remark, name)
	}
	unchanged, same := c.settings()
	require.Equal(t, after, unchanged)
	require.Equal(t, newer, same)
	// Tools send back whole tables.
	resp = c.update("maxMessageSize=4194304\nstorePathRootDir=" + before["storePathRootDir"] + "\n")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, protocol.StatusSuccess, sent())

	kept, err := os.ReadFile(broker.SettingsFile(before["storePathRootDir"]))
	require.NoError(t, err)
	require.Equal(t, "heldPullsMax=50\n", string(kept), "what is the group's is in the log")
	_ = cluster
}

// A broker behind a mapped port learns its address after its start.
func TestAddressChangesLive(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 2})
	leader := cluster.Leader()
	c, ns := newClient(t, leader.Addr), newClient(t, cluster.Namesrv)
	c.createTopic("orders", 1, 6)
	// A port that leads to the broker, as a container's does.
	l, err := net.Listen("tcp", "127.0.0.2:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	defer relay(t, l, leader.Addr)()

	resp := c.update("brokerIP1=127.0.0.2\nlistenPort=" + port)
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	var route protocol.TopicRouteData
	require.NoError(t, route.Decode(ns.call(fields(protocol.CodeGetRouteInfoByTopic, "topic", "orders")).Body))
	require.Equal(t, "127.0.0.2:"+port, route.BrokerDatas[0].BrokerAddrs[0], "registered before the answer")
	values, _ := c.settings()
	require.Equal(t, "127.0.0.2", values["brokerIP1"])
	require.Equal(t, port, values["listenPort"])
	newClient(t, "127.0.0.2:"+port).sendN("orders", 0, 1)
	// The others forward to where the leader says it is.
	follower := newClient(t, cluster.Follower().Addr)
	require.Eventually(t, func() bool {
		return follower.call(sendRequest(sendHeader("orders", 0), "x")).Code == protocol.StatusSuccess
	}, waitFor, tick)
	c.sendN("orders", 0, 1) // it still listens where it did
}

// relay copies between connections to l and addr until the returned function is called.
func relay(t *testing.T, l net.Listener, addr string) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				in.Close()
				continue
			}
			go pipe(in, out)
			go pipe(out, in)
		}
	}()
	return func() {
		require.NoError(t, l.Close())
		<-done
	}
}

func pipe(dst, src net.Conn) {
	defer dst.Close()
	buf := make([]byte, 4096)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// The file that the broker was started with keeps its comments.
func TestChangedSettingsGoToTheConfigurationFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "broker.conf")
	text := "# ours\nbrokerName=broker-a\nbrokerIP1=127.0.0.1\nheldPullsMax = 500\nflushDiskType=ASYNC_FLUSH\nstorePathRootDir=" + filepath.Join(dir, "store") + "\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	set, err := broker.NewSettings()
	require.NoError(t, err)
	_, err = set.LoadFile(file)
	require.NoError(t, err)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l
	}
	b, err := broker.New(broker.Options{Settings: set, ConfigFile: file, Listener: listen(), RaftListener: listen(), Exit: func(err error) { t.Error(err) }})
	require.NoError(t, err)
	require.NoError(t, b.Start(context.Background()))
	defer func() { require.NoError(t, b.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, b.WaitReady(ctx))
	c := newClient(t, b.Addr().String())
	resp := c.update("heldPullsMax=600\nforwardRequestsMax=500\n")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "# ours\nbrokerName=broker-a\nbrokerIP1=127.0.0.1\nheldPullsMax=600\nflushDiskType=ASYNC_FLUSH\nstorePathRootDir="+filepath.Join(dir, "store")+"\nforwardRequestsMax=500\n", string(kept))

	// Where the file cannot be written, the answer says what holds and what not.
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.MkdirAll(filepath.Join(file, "in-the-way"), 0o755))
	resp = c.update("heldPullsMax=700")
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "the change is in force and will be lost at the next start")
	values, _ := c.settings()
	require.Equal(t, "700", values["heldPullsMax"])
}

func TestAutoCreationChangesLive(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	send := func(topic string) int32 { return c.call(sendRequest(sendHeader(topic, 0), "x")).Code }
	require.Equal(t, protocol.StatusSuccess, send("first"))
	set := func(text string) {
		t.Helper()
		resp := c.update(text)
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	}
	set("autoCreateTopicEnable=false\nautoCreateSubscriptionGroup=false")
	require.Equal(t, protocol.StatusTopicNotExist, send("second"))
	require.Equal(t, protocol.StatusSuccess, send("first"), "what is there stays")
	h := pullHeader("first", 0, 0)
	h.ConsumerGroup = []byte("new-group")
	require.Equal(t, protocol.StatusSubscriptionGroupMissing, c.pull(h).code)
	set("autoCreateTopicEnable=true\nautoCreateSubscriptionGroup=true")
	require.Equal(t, protocol.StatusSuccess, send("second"))
	require.Equal(t, protocol.StatusSuccess, c.pull(h).code)

	_, without := one(t, map[string]string{"autoCreateTopicEnable": "false"})
	missing := func() bool {
		return without.call(sendRequest(sendHeader("first", 0), "x")).Code == protocol.StatusTopicNotExist
	}
	require.True(t, missing())
	require.Equal(t, protocol.StatusTopicNotExist, without.call(fields(protocol.CodeGetTopicConfig, "topic", "TBW102")).Code, "the template is not shown")
	resp := without.update("autoCreateTopicEnable=true")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.False(t, missing(), "a broker that was started without")
}

func TestLogLevelChangesLive(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	for text, remark := range map[string]string{
		"logLevel=loud": `logLevel="loud" is not allowed: level "loud"`, "logLevel=info,dledger=loud": "trace, debug, info, warn, error, off",
		"logFormat=json": "logFormat needs a restart",
	} {
		resp := c.update(text)
		require.Equal(t, protocol.StatusSystemError, resp.Code, text)
		require.Contains(t, resp.Remark, remark)
	}
	resp := c.update("logLevel=warn,dledger=debug")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	values, _ := c.settings()
	require.Equal(t, "warn,dledger=debug", values["logLevel"])
}
