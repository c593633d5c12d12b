package namesrv

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func standIns(n int32) func(*Registration) { return func(r *Registration) { r.StandIns = n } }

// published is the list of queues that a producer makes of a topic's route: of
// names with a master, sorted by name, "name/queue at address".
func published(t *testing.T, table *RouteTable, topic string) []string {
	t.Helper()
	body, ok := table.Route([]byte(topic), Standard, Inside)
	if !ok {
		return nil
	}
	var route protocol.TopicRouteData
	require.NoError(t, route.Decode(body))
	slices.SortFunc(route.QueueDatas, func(a, b protocol.QueueData) int { return strings.Compare(a.BrokerName, b.BrokerName) })
	var out []string
	for _, q := range route.QueueDatas {
		for _, b := range route.BrokerDatas {
			if addr := b.BrokerAddrs[0]; b.BrokerName == q.BrokerName && addr != "" && q.Perm&permWrite != 0 {
				for i := range q.WriteQueueNums {
					out = append(out, fmt.Sprintf("%s/%d at %s", q.BrokerName, i, addr))
				}
			}
			if b.BrokerName == q.BrokerName && strings.Contains(q.BrokerName, "@") {
				require.Zero(t, q.ReadQueueNums)
				require.Equal(t, int32(permWrite), q.Perm)
			}
		}
	}
	return out
}

func TestStandIns(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	two := topics(Topic{Name: "T1", ReadQueues: 4, WriteQueues: 2, Perm: 6, SysFlag: 1})
	mustRegister(t, table, 0, master(two, term(1)))
	require.Len(t, published(t, table, "T1"), 2)
	// Only what the leader says counts.
	mustRegister(t, table, 0, master(id(2), addr(2), topics(), standIns(2)))
	mustRegister(t, table, 0, master(id(3), addr(3), topics(), standIns(2)))
	require.Len(t, published(t, table, "T1"), 2)
	mustRegister(t, table, 0, master(two, term(1), standIns(2)))
	require.Equal(t, []string{
		"broker-a/0 at 10.0.0.1:10911", "broker-a/1 at 10.0.0.1:10911",
		"broker-a@1/0 at 10.0.0.2:10911", "broker-a@1/1 at 10.0.0.2:10911",
		"broker-a@2/0 at 10.0.0.3:10911", "broker-a@2/1 at 10.0.0.3:10911",
	}, published(t, table, "T1"))
	require.NotContains(t, string(table.ClusterInfo(Inside)), "@")

	require.Equal(t, []string{"10.0.0.1:10911"}, table.CloseConn(1), "the leader dies")
	require.Equal(t, []string{
		"broker-a@1/0 at 10.0.0.2:10911", "broker-a@1/1 at 10.0.0.2:10911",
		"broker-a@2/0 at 10.0.0.3:10911", "broker-a@2/1 at 10.0.0.3:10911",
	}, published(t, table, "T1"), "followers take sends and wait for the election")
	mustRegister(t, table, 1, master(addr(3), two, term(2), standIns(2)))
	require.Equal(t, []string{
		"broker-a/0 at 10.0.0.3:10911", "broker-a/1 at 10.0.0.3:10911",
		"broker-a@1/0 at 10.0.0.2:10911", "broker-a@1/1 at 10.0.0.2:10911",
		"broker-a@2/0 at 10.0.0.2:10911", "broker-a@2/1 at 10.0.0.2:10911",
	}, published(t, table, "T1"), "no name leads to the dead")
	table.CloseConn(2)
	require.Len(t, published(t, table, "T1"), 6, "the leader stands in for itself")
	mustRegister(t, table, 1, master(addr(3), two, term(2), digest(7)))
	require.Len(t, published(t, table, "T1"), 2, "switched off")
	_, refreshed := table.Refresh(master(addr(3), standIns(1), digest(7)), at(2))
	require.False(t, refreshed, "switching on is no repetition")

	_, err := table.Register(master(addr(3), standIns(standInsMax+1)), at(1))
	require.Error(t, err)
	_, err = table.Register(master(addr(3), standIns(-1)), at(1))
	require.Error(t, err)
}

func TestTopicsWithoutStandIns(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	list := []Topic{
		{Name: "%RETRY%g"}, {Name: "%DLQ%g"}, {Name: "rmq_sys_x"}, {Name: "RMQ_SYS_TRACE_TOPIC"}, {Name: "c1_REPLY_TOPIC"},
		{Name: "strict", Ordered: true}, {Name: "template", Perm: 7}, {Name: "readonly", Perm: 4}, {Name: "conf"}, {Name: "plain"},
	}
	for i := range list {
		list[i].ReadQueues, list[i].WriteQueues = 1, 1
		if list[i].Perm == 0 {
			list[i].Perm = 6
		}
	}
	mustRegister(t, table, 0, master(topics(list...), standIns(1)))
	for _, tell := range []bool{true, false} {
		table.SetOrderConf(map[string]string{"conf": "broker-a:1"}, tell)
		for _, topic := range list {
			body, ok := table.Route([]byte(topic.Name), Classic, Inside)
			require.True(t, ok)
			require.Equal(t, topic.Name == "plain", strings.Contains(string(body), "broker-a@1"), topic.Name)
		}
	}
}

// Whatever happens to the members, a key's hash chooses the same real queue.
func TestStandInsKeepKeysAtTheirQueue(t *testing.T) {
	const queues = 5
	table := NewRouteTable(TableConfig{})
	topic := topics(Topic{Name: "T1", ReadQueues: queues, WriteQueues: queues, Perm: 6})
	check := func(names int) {
		t.Helper()
		list := published(t, table, "T1")
		require.Len(t, list, names*queues)
		for hash := range 1000 {
			chosen, _, _ := strings.Cut(list[hash%len(list)], " ")
			require.True(t, strings.HasSuffix(chosen, fmt.Sprintf("/%d", hash%queues)), "hash %d chooses %s of %v", hash, chosen, list)
		}
	}
	mustRegister(t, table, 0, master(topic, term(1)))
	check(1)
	mustRegister(t, table, 0, master(topic, term(1), standIns(2)))
	check(3)
	mustRegister(t, table, 0, master(id(2), addr(2)))
	mustRegister(t, table, 0, master(id(3), addr(3)))
	check(3)
	table.CloseConn(1)
	check(2)
	mustRegister(t, table, 0, master(addr(2), topic, term(2), standIns(2)))
	check(3)
}
