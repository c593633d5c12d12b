package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestLeftovers(t *testing.T) {
	t.Parallel()
	h := &admin.Holdings{
		Pending: map[string]int64{admin.RuntimeKeyDelayed: 3, admin.RuntimeKeyTimers: 0, admin.RuntimeKeyTransactions: 1},
		Topics: []admin.TopicHolding{
			{Topic: "read", Messages: 9, Readers: []admin.Reading{{Group: "done"}}},
			{Topic: "half", Messages: 9, Readers: []admin.Reading{{Group: "done"}, {Group: "late", Behind: 4}}},
			{Topic: "news", Messages: 9, Readers: []admin.Reading{{Group: "all", Behind: 9, Broadcast: true}}},
			{Topic: "nobody", Messages: 2},
			{Topic: "%DLQ%late", Messages: 1},
			{Topic: "given-up", Messages: 5},
		},
	}
	left := leftovers(h, []string{"given-up"})
	var lines []string
	for _, l := range left {
		lines = append(lines, l.String())
	}
	require.Equal(t, []string{
		"late in half: 4 not consumed",
		"nobody: 2 messages that no group reads; read them, or give up on them with --discard nobody",
		"%DLQ%late: 1 dead letters; send them again, or give up on them with --discard %DLQ%late",
		"3 messages with a delay level",
		"1 transactions without an end",
	}, lines)
	require.Empty(t, leftovers(&admin.Holdings{Topics: h.Topics[:1]}, nil))
}

func TestStateOfABroker(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ perm, accept, want string }{
		{"6", "0", stateServing},
		{"2", "0", stateServing},
		{"6", acceptNever, stateServing}, // somebody's own setting, not a drain
		{"4", "0", stateLeaving},
		{"4", "1000", stateLeaving},
		{"4", "", stateLeaving},
		{"4", acceptNever, stateClosed},
	} {
		got, err := stateOf(map[string]string{keyPermission: row.perm, keyAccept: row.accept})
		require.NoError(t, err)
		require.Equal(t, row.want, got, row)
	}
	_, err := stateOf(map[string]string{})
	require.ErrorContains(t, err, keyPermission)
}

func TestReasonsNotToDrain(t *testing.T) {
	t.Parallel()
	require.NoError(t, everyMember("n0-a:1;n1-b:1;n2-c:1", 3))
	require.NoError(t, everyMember("", 1), "a group of one has no list")
	require.ErrorContains(t, everyMember("n0-a:1;n1-b:1;n2-c:1", 2), "2 of 3 members")
	require.Equal(t, []string{"x", "z"}, orderedHere(map[string]string{"x": "broker-a:4;broker-b:4", "y": "broker-bb:4", "z": "broker-b:1"}, "broker-b"))
	require.Equal(t, "topic a", someOf("topic", []string{"a"}))
	require.Equal(t, "topics a, b, c, d, e and 2 more", someOf("topic", strings.Split("abcdefg", "")))
	require.Equal(t, []string{"o"}, orderTopics(map[string]*protocol.TopicConfig{"o": {Order: true}, "p": {}, "%RETRY%g": {Order: true}}))
}

func TestUnionOfWhatGroupsHave(t *testing.T) {
	t.Parallel()
	topic := func(queues int32) *protocol.TopicConfig { return &protocol.TopicConfig{ReadQueueNums: queues} }
	topics, groups := union([]groupTables{
		{name: "broker-a", topics: map[string]*protocol.TopicConfig{"orders": topic(4), "broker-a": topic(1), "TBW102": topic(8), "%RETRY%g": topic(1)},
			groups: map[string]*protocol.SubscriptionGroupConfig{"g": {RetryMaxTimes: 3}}},
		{name: "broker-b", topics: map[string]*protocol.TopicConfig{"orders": topic(8), "more": topic(2), "broker-b": topic(1)},
			groups: map[string]*protocol.SubscriptionGroupConfig{"g": {RetryMaxTimes: 5}, "h": {}}},
	})
	require.Equal(t, map[string]*protocol.TopicConfig{"orders": topic(4), "more": topic(2)}, topics)
	require.EqualValues(t, 3, groups["g"].RetryMaxTimes)
	require.Contains(t, groups, "h")
}

// TestGroupsOfALocalCluster adds a group, gives it a topic, takes it out again and
// starts the rest anew. test/e2e does the same under load.
func TestGroupsOfALocalCluster(t *testing.T) {
	dir := t.TempDir()
	up(t, dir, "--nodes", "1", "--groups", "1")
	ok(t, dir, "topic", "create", "orders", "-q", "2")
	require.Contains(t, ok(t, dir, "local", "add-group"), "mqadmin cluster spread broker-b")
	st, _ := status(t, dir)
	require.Len(t, st.Brokers, 2)
	require.Equal(t, "broker-b", st.Brokers[1].Name)
	require.Equal(t, "n1", st.Brokers[1].ID)
	require.Equal(t, local.RoleLeader, st.Brokers[1].Role)

	require.Equal(t, "broker-a: 0 topics and 0 consumer groups added\nbroker-b: 1 topics and 0 consumer groups added\n", ok(t, dir, "topic", "spread", "orders"))
	require.Contains(t, ok(t, dir, "cluster", "spread", "broker-b"), "broker-b: 0 topics")
	require.Equal(t, 4, strings.Count(ok(t, dir, "topicStatus", "-t", "orders"), "broker-"))
	_, stderr, code := mqadmin(t, dir, "topic", "spread", "nothing")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "mqadmin topic create nothing")

	_, stderr, code = mqadmin(t, dir, "local", "remove-group", "broker-b")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "broker-b is serving; drain it first")
	_, stderr, code = mqadmin(t, dir, "cluster", "drain", "broker-x")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "it knows broker-a, broker-b")

	stdout, _, code := mqadmin(t, dir, "cluster", "drain", "broker-b", "-o", "json")
	require.Equal(t, exitUnhealthy, code, "nothing was stored for no more than a moment")
	var rep drainReport
	require.NoError(t, json.Unmarshal([]byte(stdout), &rep))
	require.Equal(t, drainReport{Broker: "broker-b", State: stateLeaving, Left: []leftover{}}, rep)
	_, stderr, code = mqadmin(t, dir, "cluster", "drain", "broker-a")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "no other broker group that takes messages")
	_, stderr, code = mqadmin(t, dir, "cluster", "spread", "broker-b")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "is being drained")
	require.Contains(t, ok(t, dir, "cluster", "drain", "broker-b", "--wait", "--quiet", "0s"), "broker-b is drained")
	require.Contains(t, ok(t, dir, "local", "remove-group", "broker-b"), "stopped 1 members of broker-b")
	require.NoDirExists(t, filepath.Join(dir, local.DefaultDir, "n1"))

	require.Contains(t, ok(t, dir, "local", "down"), "stopped 2 processes")
	require.Contains(t, ok(t, dir, "local", "up", "--groups", "2"), "broker-c", "a name is not used again")
	ok(t, dir, "local", "down")
	_, stderr, code = mqadmin(t, dir, "local", "up", "--groups", "1")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "holds 2 groups (broker-a, broker-c), not 1")
}
