package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestClusterColumns(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	row := clusterRow{Cluster: "c", Broker: "b", BID: 0, Addr: "1.2.3.4:10911", Runtime: map[string]string{
		"brokerVersionDesc": "V4_9_4", "putTps": "12.345 11 10", "getTransferedTps": "7 7 7", "sendThreadPoolQueueSize": "1",
		"sendThreadPoolQueueHeadWaitTimeMills": "2", "pullThreadPoolQueueSize": "3", "pullThreadPoolQueueHeadWaitTimeMills": "4",
		"pageCacheLockTimeMills": "0", "earliestMessageTimeStamp": "1699996400000", "commitLogDiskRatio": "0.5",
		"msgPutTotalYesterdayMorning": "1", "msgPutTotalTodayMorning": "11", "msgPutTotalTodayNow": "111",
	}}
	require.Equal(t, []any{"c", "b", int64(0), "1.2.3.4:10911", "V4_9_4", "    12.35(1,2ms)", "     7.00(3,4ms)", "0", "1.00", "0.5000"}, row.columns(now))
	require.Equal(t, []any{"c", "b", "10", "-", "100", "-"}, row.totals())

	// What a broker did not tell is shown as unknown, not as 0.
	silent := clusterRow{Cluster: "c", Broker: "b", BID: 1, Addr: "a", Error: "no answer"}
	require.Equal(t, []any{"c", "b", int64(1), "a", "-", "        -(-,-ms)", "        -(-,-ms)", "-", "-", "-"}, silent.columns(now))
}

func TestPermText(t *testing.T) {
	for perm, want := range map[int32]string{6: "RW-", 4: "R--", 2: "-W-", 7: "RWX", 0: "---"} {
		require.Equal(t, want, permText(perm))
	}
}

func TestSystemTopicsAreHidden(t *testing.T) {
	info := &protocol.ClusterInfo{ClusterAddrTable: map[string][]string{"DefaultCluster": {"broker-a"}}}
	for _, name := range []string{"TBW102", "DefaultCluster", "broker-a", "DefaultCluster_REPLY_TOPIC", "%RETRY%g", "%DLQ%g"} {
		require.True(t, systemTopic(name, info), name)
	}
	require.False(t, systemTopic("orders", info))
}

func TestNameServersComeFromTheFlagThenTheEnvironmentThenTheDefault(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("NAMESRV_ADDR", "")
	require.Equal(t, []string{defaultNamesrv}, (&options{}).nameServers())
	t.Setenv("NAMESRV_ADDR", "a:1;b:2")
	require.Equal(t, []string{"a:1", "b:2"}, (&options{}).nameServers())
	require.Equal(t, []string{"c:3"}, (&options{namesrv: "c:3"}).nameServers())
}
