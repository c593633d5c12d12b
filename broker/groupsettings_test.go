package broker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// replicated returns the keys with a value of the group, as a member sees them.
func (c *client) replicated() string {
	c.t.Helper()
	return c.call(fields(protocol.CodeGetBrokerConfig)).Str("groupKeys")
}

func (c *client) reset(keys string) *protocol.Command {
	c.t.Helper()
	return c.call(fields(protocol.CodeUpdateBrokerConfig, "resetKeys", keys))
}

// What is the group's reaches every member from whichever is asked, and is still
// there after an election, a restart of all, and where a member's own
// configuration says something else.
func TestGroupSettingsAreReplicated(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: map[string]string{"maxMessageSize": "500", "heldPullsMax": "77"}})
	everywhere := func(key, value, keys string) {
		t.Helper()
		for _, n := range cluster.Nodes {
			if n.Broker == nil {
				continue
			}
			c := newClient(t, n.Addr)
			require.Eventually(t, func() bool {
				values, _ := c.settings()
				return values[key] == value && c.replicated() == keys
			}, waitFor, tick, "%s of %s", key, n.ID)
		}
	}
	follower := newClient(t, cluster.Follower().Addr)
	resp := follower.update("maxMessageSize=1000\ndeduplicateTopics=a,b\nheldPullsMax=88")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	values, version := follower.settings()
	require.Equal(t, "1000", values["maxMessageSize"], "in force here before the answer")
	require.Equal(t, "88", values["heldPullsMax"])
	everywhere("maxMessageSize", "1000", "deduplicateTopics,maxMessageSize")
	everywhere("deduplicateTopics", "a,b", "deduplicateTopics,maxMessageSize")
	values, _ = newClient(t, cluster.Leader().Addr).settings()
	require.Equal(t, "77", values["heldPullsMax"], "what is a member's own stays there")
	require.NotZero(t, version.Counter)

	// Refused before it is proposed, whoever is asked, with key, value and range.
	for _, n := range cluster.Nodes {
		resp := newClient(t, n.Addr).update("brokerPermission=4\nmaxMessageSize=9999999999")
		require.Equal(t, protocol.StatusSystemError, resp.Code)
		require.Contains(t, resp.Remark, `maxMessageSize="9999999999" is not allowed: maxMessageSize expects a whole number 1..8388608`)
	}
	require.Equal(t, "deduplicateTopics,maxMessageSize", follower.replicated())

	old := cluster.Leader()
	old.Stop()
	c := newClient(t, cluster.Leader().Addr)
	c.createTopic("orders", 1, 6)
	require.Equal(t, protocol.StatusMessageIllegal, c.call(sendRequest(sendHeader("orders", 0), strings.Repeat("x", 1001))).Code)
	resp = c.update("deduplicateTopics=") // an empty value is a value
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	old.Restart() // it was not there
	everywhere("deduplicateTopics", "", "deduplicateTopics,maxMessageSize")

	for _, n := range cluster.Nodes {
		n.Stop()
	}
	for _, n := range cluster.Nodes {
		n.Restart() // with a configuration that says 500
	}
	everywhere("maxMessageSize", "1000", "deduplicateTopics,maxMessageSize")
	values, _ = newClient(t, cluster.Leader().Addr).settings()
	noted := filepath.Join(values["storePathRootDir"], "config", "group.properties")
	require.Equal(t, noted, broker.GroupSettingsFile(values["storePathRootDir"]))
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(noted)
		return err == nil && strings.HasSuffix(string(text), "\ndeduplicateTopics=\nmaxMessageSize=1000\n")
	}, waitFor, tick)

	resp = newClient(t, cluster.Follower().Addr).reset("maxMessageSize,deduplicateTopics")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	everywhere("maxMessageSize", "500", "")
	for keys, remark := range map[string]string{"heldPullsMax": "it is each member's own", "maxMesageSize": "did you mean maxMessageSize?"} {
		resp = follower.reset(keys)
		require.Equal(t, protocol.StatusSystemError, resp.Code)
		require.Contains(t, resp.Remark, remark)
	}
}

// A value that is in force is replicated when it is asked for by itself: others
// may have another one. A table that a tool read and sends back pins nothing.
func TestGroupSettingsThatAreAskedFor(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	text := c.call(fields(protocol.CodeGetBrokerConfig)).Body
	var known []string // a whole table has keys of RocketMQ's that are states here
	set, err := broker.NewSettings()
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if key, _, _ := strings.Cut(line, "="); key != "brokerIP1" && key != "brokerName" && key != "listenPort" {
			if _, ok := set.Field(key); ok {
				known = append(known, line)
			}
		}
	}
	resp := c.update(strings.Join(known, ""))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Empty(t, c.replicated())
	resp = c.update("traceOn=TRUE\n")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, "traceOn", c.replicated())
}

// What a leader of another build replicates may be unknown here, or not allowed:
// a member goes on with its own value, and lives.
func TestGroupSettingsOfAnotherBuild(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Settings: map[string]string{"maxMessageSize": "500"}})
	node := cluster.Leader()
	require.NoError(t, node.Broker.PutSetting(t.Context(), "maxMessageSize", "-5"))
	require.NoError(t, node.Broker.PutSetting(t.Context(), "ofTomorrow", "x"))
	require.NoError(t, node.Broker.PutSetting(t.Context(), "heldPullsMax", "5"))
	require.NoError(t, node.Broker.PutSetting(t.Context(), "traceOn", "false"))
	check := func() {
		c := newClient(t, node.Addr)
		values, _ := c.settings()
		require.Equal(t, "500", values["maxMessageSize"])
		require.Equal(t, "100000", values["heldPullsMax"])
		require.Equal(t, "traceOn", c.replicated())
	}
	check()
	node.Stop()
	node.Restart()
	cluster.Leader()
	check()
	c := newClient(t, node.Addr)
	resp := c.reset("ofTomorrow,maxMessageSize")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	resp = c.update("maxMessageSize=600")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, "maxMessageSize,traceOn", c.replicated())
}
