package broker_test

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// The forms in which tools take the values of the runtime table apart.
var (
	formNumber   = regexp.MustCompile(`^-?[0-9]+$`)
	formDecimal  = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)
	formTriple   = regexp.MustCompile(`^[0-9.]+ [0-9.]+ [0-9.]+$`)
	formCapacity = regexp.MustCompile(`^Total : [0-9.]+ GiB, Free : [0-9.]+ GiB\.$`)
	formBytes    = regexp.MustCompile(`^[0-9.]+ ([KMGT]i)?B$`)
	formBuckets  = regexp.MustCompile(`^\[<=0ms\]:[0-9]+ \[0~10ms\]:[0-9]+ \[10~50ms\]:[0-9]+ \[50~100ms\]:[0-9]+ \[100~200ms\]:[0-9]+ \[200~500ms\]:[0-9]+ \[500ms~1s\]:[0-9]+ \[1~2s\]:[0-9]+ \[2~3s\]:[0-9]+ \[3~4s\]:[0-9]+ \[4~5s\]:[0-9]+ \[5~10s\]:[0-9]+ \[10s~\]:[0-9]+$`)
	formRuntime  = regexp.MustCompile(`^\[ [0-9]+ days, [0-9]+ hours, [0-9]+ minutes, [0-9]+ seconds \]$`)
	formVersion  = regexp.MustCompile(`^V[0-9]_[0-9]+_[0-9]+$`)
	formOffsets  = regexp.MustCompile(`^[0-9]+,[0-9]+$`)
)

// runtimeKeys are all keys that rocketmq-exporter, the Java mqadmin and the
// dashboards read. The exporter leaves out every figure of a broker that lacks
// one of them or writes it otherwise; mqadmin ends with an exception.
var runtimeKeys = map[string]*regexp.Regexp{
	"msgPutTotalTodayNow": formNumber, "msgGetTotalTodayNow": formNumber,
	"msgPutTotalTodayMorning": formNumber, "msgGetTotalTodayMorning": formNumber,
	"msgPutTotalYesterdayMorning": formNumber, "msgGetTotalYesterdayMorning": formNumber,
	"putMessageDistributeTime": formBuckets,
	"putTps":                   formTriple, "getFoundTps": formTriple, "getMissTps": formTriple, "getTotalTps": formTriple,
	"getTransferedTps": formTriple, "getTransferredTps": formTriple,
	"commitLogDirCapacity":    formCapacity,
	"sendThreadPoolQueueSize": formNumber, "sendThreadPoolQueueCapacity": formNumber, "sendThreadPoolQueueHeadWaitTimeMills": formNumber,
	"pullThreadPoolQueueSize": formNumber, "pullThreadPoolQueueCapacity": formNumber, "pullThreadPoolQueueHeadWaitTimeMills": formNumber,
	"queryThreadPoolQueueSize": formNumber, "queryThreadPoolQueueCapacity": formNumber, "queryThreadPoolQueueHeadWaitTimeMills": formNumber,
	"EndTransactionQueueSize": formNumber, "EndTransactionThreadPoolQueueCapacity": formNumber,
	"remainHowManyDataToFlush": formBytes, "remainHowManyDataToCommit": formBytes,
	"bootTimestamp": formNumber, "runtime": formRuntime, "brokerVersion": formNumber, "brokerVersionDesc": formVersion,
	"consumeQueueDiskRatio": formDecimal, "commitLogDiskRatio": formDecimal,
	"commitLogMinOffset": formNumber, "commitLogMaxOffset": formNumber,
	"dispatchMaxBuffer": formNumber, "dispatchBehindBytes": formNumber, "pageCacheLockTimeMills": formNumber,
	"getMessageEntireTimeMax": formNumber, "putMessageEntireTimeMax": formNumber,
	"putMessageTimesTotal": formNumber, "putMessageFailedTimes": formNumber, "putMessageSizeTotal": formNumber, "putMessageAverageSize": formDecimal,
	"startAcceptSendRequestTimeStamp": formNumber, "earliestMessageTimeStamp": formNumber, "remainTransientStoreBufferNumbs": formNumber,
	"putLatency99": formDecimal, "putLatency999": formDecimal,
}

func TestRuntimeTableHasWhatToolsRead(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 2})
	leader, follower := newClient(t, cluster.Leader().Addr), newClient(t, cluster.Follower().Addr)
	check := func(c *client) {
		table := c.runtime()
		for _, key := range slices.Sorted(maps.Keys(runtimeKeys)) {
			require.Regexp(t, runtimeKeys[key], table[key], key)
		}
	}
	check(leader) // with nothing in it
	check(follower)
	began := time.Now()
	leader.createTopic("orders", 1, 6)
	leader.sendN("orders", 0, 7)
	leader.send("orders", 0, "later", "DELAY", "2")
	require.Len(t, leader.pull(pullHeader("orders", 0, 0)).msgs, 7)
	leader.pull(pullHeader("orders", 0, 7))
	require.NotEqual(t, protocol.StatusSuccess, leader.call(sendRequest(sendHeader("SCHEDULE_TOPIC_XXXX", 0), "no")).Code)
	check(leader)
	check(follower)

	num := func(table map[string]string, key string) int64 {
		n, err := strconv.ParseInt(table[key], 10, 64)
		require.NoError(t, err, key)
		return n
	}
	table := leader.runtime()
	require.EqualValues(t, 8, num(table, "msgPutTotalTodayNow"))
	require.EqualValues(t, 8, num(table, "putMessageTimesTotal"))
	require.EqualValues(t, 7, num(table, "msgGetTotalTodayNow"))
	require.EqualValues(t, 1, num(table, "putMessageFailedTimes"))
	require.Greater(t, num(table, "putMessageSizeTotal"), int64(8*100))
	require.Positive(t, num(table, "commitLogMaxOffset"))
	require.InDelta(t, began.UnixMilli(), num(table, "earliestMessageTimeStamp"), 60_000)
	require.Regexp(t, formOffsets, table["scheduleMessageOffset_2"])
	total := int64(0)
	for _, bucket := range strings.Fields(table["putMessageDistributeTime"]) {
		n, err := strconv.ParseInt(bucket[strings.LastIndexByte(bucket, ':')+1:], 10, 64)
		require.NoError(t, err)
		total += n
	}
	require.EqualValues(t, 8, total)
	for _, key := range []string{"putTps", "getTransferedTps", "getTotalTps", "getFoundTps", "getMissTps"} {
		first, err := strconv.ParseFloat(strings.Fields(table[key])[0], 64)
		require.NoError(t, err)
		require.Positive(t, first, key)
	}
	require.EqualValues(t, 0, num(follower.runtime(), "msgPutTotalTodayNow"), "what the leader took is the leader's")
}

func TestStatsOfTopicsAndGroups(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 2})
	c, follower := newClient(t, cluster.Leader().Addr), newClient(t, cluster.Follower().Addr)
	c.createTopic("orders", 1, 6)
	c.sendN("orders", 0, 6)
	newLive(t, c.addr, "me", "g", protocol.LanguageJava, 401, nil, "orders")
	h := pullHeader("orders", 0, 0)
	h.ConsumerGroup = []byte("g")
	pulled := follower.pull(h)
	require.Len(t, pulled.msgs, 6)
	resp := c.call(fields(protocol.CodeConsumerSendMsgBack, "offset", strconv.FormatInt(int64(pulled.msgs[2].PhyOffset()), 10), "group", "g", "delayLevel", "3"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	for _, test := range []struct {
		name, key string
		min       int64
	}{
		{"TOPIC_PUT_NUMS", "orders", 6}, {"TOPIC_PUT_SIZE", "orders", 6 * 100}, {"TOPIC_PUT_NUMS", "SCHEDULE_TOPIC_XXXX", 1},
		{"GROUP_GET_NUMS", "orders@g", 6}, {"GROUP_GET_SIZE", "orders@g", 6 * 100}, {"SNDBCK_PUT_NUMS", "orders@g", 1},
		{"GROUP_GET_LATENCY", "orders@g", 0}, {"GROUP_GET_LATENCY", "0@orders@g", 0},
		{"BROKER_PUT_NUMS", "test-cluster", 7}, {"BROKER_GET_NUMS", "test-cluster", 6},
	} {
		for _, asked := range []*client{c, follower} {
			resp := asked.call(fields(protocol.CodeViewBrokerStatsData, "statsName", test.name, "statsKey", test.key))
			require.Equal(t, protocol.StatusSuccess, resp.Code, "%s %s: %s", test.name, test.key, resp.Remark)
			var data protocol.BrokerStatsData
			require.NoError(t, data.Decode(resp.Body))
			for _, w := range []protocol.StatsItem{data.Minute, data.Hour, data.Day} {
				require.GreaterOrEqual(t, w.Sum, test.min, test.name)
			}
		}
	}
	var stats protocol.ConsumeStats
	require.NoError(t, stats.Decode(c.call(fields(protocol.CodeGetConsumeStats, "consumerGroup", "g", "topic", "orders")).Body))
	require.Positive(t, stats.ConsumeTps)
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeDeleteTopicInBroker, "topic", "orders")).Code)
	require.Equal(t, protocol.StatusSystemError, c.call(fields(protocol.CodeViewBrokerStatsData, "statsName", "GROUP_GET_NUMS", "statsKey", "orders@g")).Code)
}

func TestHAStatusComesFromRaft(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	c.createTopic("orders", 1, 6)
	c.sendN("orders", 0, 20)
	ask := func(c *client) (info protocol.HARuntimeInfo) {
		resp := c.call(fields(protocol.CodeGetBrokerHAStatus))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		require.NoError(t, info.Decode(resp.Body))
		return info
	}
	require.Eventually(t, func() bool { return ask(c).InSync == 2 }, waitFor, tick, "both followers have everything")
	info := ask(c)
	require.True(t, info.Master)
	require.Len(t, info.Connections, 2)
	for _, conn := range info.Connections {
		require.Equal(t, info.MasterMaxOffset, conn.AckOffset+conn.Diff)
		require.Less(t, conn.Diff, int64(4096))
	}
	follower := cluster.Follower()
	of := ask(newClient(t, follower.Addr))
	require.False(t, of.Master)
	require.True(t, of.Client.Activated)
	require.Equal(t, leader.Addr, of.Client.MasterAddr)
	require.Positive(t, of.Client.MaxOffset)
	require.InDelta(t, time.Now().UnixMilli(), of.Client.LastRead, 60_000)

	follower.Stop()
	c.sendN("orders", 0, 3)
	require.Eventually(t, func() bool { return ask(c).InSync == 1 }, waitFor, tick, "one is gone")
	behind := int64(0)
	for _, conn := range ask(c).Connections {
		behind = max(behind, conn.Diff)
	}
	require.Greater(t, behind, int64(3*100))
}
