package broker_test

import (
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// series are the values of a scrape by name and labels, the common ones left out.
type series map[string]float64

// scraper reads one member's metrics.
type scraper struct {
	t        *testing.T
	registry metrics.Registry
}

func newScraper(t *testing.T, n *testcluster.Node) *scraper {
	t.Helper()
	r, err := n.Broker.NewMetrics("test")
	require.NoError(t, err)
	return &scraper{t, r}
}

// scrape returns everything: name{a=b,…}, histograms as name_count and name_sum.
func (s *scraper) scrape() series {
	s.t.Helper()
	families, err := s.registry.Gather()
	require.NoError(s.t, err)
	out := series{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				switch l.GetName() {
				case "cluster", "node_type", "node_id", "member":
				default:
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			sort.Strings(labels)
			key := "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.Counter != nil:
				out[f.GetName()+key] = m.Counter.GetValue()
			case m.Gauge != nil:
				out[f.GetName()+key] = m.Gauge.GetValue()
			case m.Histogram != nil:
				out[f.GetName()+"_count"+key] = float64(m.Histogram.GetSampleCount())
				out[f.GetName()+"_sum"+key] = m.Histogram.GetSampleSum()
			}
		}
	}
	return out
}

func (s series) with(prefix string) (out []string) {
	for k := range s {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return out
}

func TestMetricsCountWhatHappened(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 2})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	ms, fs := newScraper(t, leader), newScraper(t, cluster.Follower())
	c.createTopic("orders", 1, 6)
	c.sendN("orders", 0, 7)
	c.send("orders", 0, "later", "DELAY", "2")
	c.send("orders", 0, "fifo", "__SHARDINGKEY", "k")
	newLive(t, c.addr, "me", "g", protocol.LanguageJava, 401, nil, "orders")
	h := pullHeader("orders", 0, 0)
	h.ConsumerGroup = []byte("g")
	require.Len(t, c.pull(h).msgs, 8)
	resp := c.call(fields(protocol.CodeUpdateConsumerOffset, "consumerGroup", "g", "topic", "orders", "queueId", "0", "commitOffset", "3"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	c.send("orders", 0, "one more")
	require.NotEqual(t, protocol.StatusSuccess, c.call(sendRequest(sendHeader("SCHEDULE_TOPIC_XXXX", 0), "no")).Code)

	m := ms.scrape()
	for key, want := range map[string]float64{
		"rocketmq_messages_in_total{is_system=false,message_type=normal,topic=orders}":                                   8,
		"rocketmq_messages_in_total{is_system=false,message_type=delay,topic=orders}":                                    1,
		"rocketmq_messages_in_total{is_system=false,message_type=fifo,topic=orders}":                                     1,
		"rocketmq_message_size_count{is_system=false,message_type=normal,topic=orders}":                                  8,
		"rocketmq_messages_out_total{consumer_group=g,is_retry=false,is_system=false,topic=orders}":                      8,
		"rocketmq_consumer_lag_messages{consumer_group=g,is_retry=false,is_system=false,topic=orders}":                   6,
		"rocketmq_consumer_inflight_messages{consumer_group=g,is_retry=false,is_system=false,topic=orders}":              5,
		"rocketmq_consumer_ready_messages{consumer_group=g,is_retry=false,is_system=false,topic=orders}":                 1,
		"rocketmq_consumer_connections{consume_mode=push,consumer_group=g,is_system=false,language=java,version=v4_9_4}": 1,
		"rocketmq_broker_permission{}":                           6,
		"rocketmq_half_messages{topic=RMQ_SYS_TRANS_HALF_TOPIC}": 0,
		"rocketmq_rpc_latency_count{is_long_polling=false,protocol_type=remoting,request_code=send_message_v2,response_code=no_permission,result=success}": 1,
		"rmq_raft_is_leader{}":                              1,
		"rmq_raft_has_leader{}":                             1,
		"rmq_raft_voters{}":                                 2,
		"rmq_raft_last_contact_seconds{}":                   0,
		"rmq_raft_elections_total{}":                        1,
		"rmq_ready{}":                                       1,
		"rmq_disk_refusing_sends{}":                         0,
		"rmq_disk_watermark_ratio{level=refuse}":            0.9,
		"rmq_store_in_doubt{}":                              0,
		"rmq_metrics_series_dropped_total{}":                0,
		"rocketmq_timer_message_snapshot{timer_bound_s=60}": 0,
	} {
		_, there := m[key]
		require.True(t, there, key)
		require.EqualValues(t, want, m[key], key)
	}
	sends := 0.0
	for _, k := range m.with("rocketmq_rpc_latency_count{is_long_polling=false,protocol_type=remoting,request_code=send_message_v2") {
		if strings.Contains(k, "response_code=success") {
			sends += m[k]
		}
	}
	require.EqualValues(t, 10, sends)
	require.Greater(t, m["rocketmq_throughput_in_total{is_system=false,message_type=normal,topic=orders}"], 8*100.0)
	require.Equal(t, m["rocketmq_message_size_sum{is_system=false,message_type=normal,topic=orders}"],
		m["rocketmq_throughput_in_total{is_system=false,message_type=normal,topic=orders}"])
	require.Greater(t, m["rocketmq_storage_size{storage_medium=disk,storage_type=local}"], 10*100.0)
	require.InDelta(t, 0, m["rocketmq_consumer_lag_latency{consumer_group=g,is_retry=false,is_system=false,topic=orders}"], 60_000)
	for _, positive := range []string{
		"rocketmq_topic_number{}", "rocketmq_consumer_group_number{}", "rmq_raft_term{}", "rmq_raft_commit_index{}", "rmq_raft_last_index{}",
		"rmq_raft_append_seconds_count{}", "rmq_raft_apply_seconds_count{}", "rmq_raft_commit_seconds_count{}", "rmq_raft_entry_proposals_sum{}",
		"rmq_raft_leaderless_seconds_count{}", "rmq_disk_free_bytes{}", "rmq_disk_size_bytes{}", "rmq_disk_used_ratio{}", "rmq_connections{port=main}",
		"rmq_raft_proposals_total{result=applied}", "rmq_start_time_seconds{}", "rocketmq_topic_create_execution_time_count{invocation_status=success,is_system=false}",
	} {
		require.Positive(t, m[positive], positive)
	}
	require.Len(t, m.with("rmq_raft_peer_behind_entries{"), 1)

	f := fs.scrape()
	require.EqualValues(t, 0, f["rmq_raft_is_leader{}"])
	require.EqualValues(t, 1, f["rmq_raft_has_leader{}"])
	require.Equal(t, m["rmq_raft_term{}"], f["rmq_raft_term{}"])
	for _, fam := range broker.Families() {
		if fam.LeaderOnly {
			require.Empty(t, f.with(fam.Name+"{"), "a sum over members would count it twice")
		}
	}
	require.Empty(t, f.with("rocketmq_messages_in_total"))

	for _, s := range []*scraper{ms, fs} {
		problems, err := testutil.GatherAndLint(s.registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	}
}

func TestHeldPullsAreTold(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{})
	c := newClient(t, cluster.Leader().Addr)
	c.createTopic("orders", 1, 6)
	s := newScraper(t, cluster.Leader())
	h := pullHeader("orders", 0, 0)
	h.SysFlag |= protocol.PullSuspend
	h.SuspendTimeoutMillis = 30_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.pull(h)
	}()
	require.Eventually(t, func() bool { return s.scrape()["rmq_held_pulls{}"] == 1 }, waitFor, tick)
	newClient(t, cluster.Leader().Addr).send("orders", 0, "here")
	<-done
	m := s.scrape()
	require.EqualValues(t, 0, m["rmq_held_pulls{}"])
	require.EqualValues(t, 1, m["rocketmq_rpc_latency_count{is_long_polling=true,protocol_type=remoting,request_code=pull_message,response_code=success,result=success}"])
}

func TestReadyFollowsTheGroup(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 2})
	leader, follower := cluster.Leader(), cluster.Follower()
	require.NoError(t, leader.Broker.Ready())
	require.NoError(t, follower.Broker.Ready())
	b, s := leader.Broker, newScraper(t, leader)
	follower.Stop()
	require.Eventually(t, func() bool { return b.Ready() != nil }, waitFor, tick, "one of two is no majority")
	require.ErrorContains(t, b.Ready(), "has no leader")
	require.EqualValues(t, 0, s.scrape()["rmq_ready{}"])
	follower.Restart()
	require.Eventually(t, func() bool { return b.Ready() == nil && follower.Broker.Ready() == nil }, waitFor, tick)
	leader.Stop()
	require.ErrorContains(t, b.Ready(), "stopped")
	m := s.scrape()
	require.EqualValues(t, 0, m["rmq_ready{}"])
	require.Empty(t, m.with("rmq_raft_"), "nothing is known of a broker that is gone")
	require.WithinDuration(t, time.Now(), time.UnixMilli(int64(m["rmq_start_time_seconds{}"]*1000)), time.Minute)
}

// TestExporterDialect compares what rocketmq-exporter would show with the tables
// that it would have read.
func TestExporterDialect(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 2, Settings: map[string]string{"metricsExporterDialect": "EXPORTER"}})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	s, f := newScraper(t, leader), newScraper(t, cluster.Follower())
	c.createTopic("orders", 2, 6)
	c.sendN("orders", 0, 7)
	c.sendN("orders", 1, 2)
	newLive(t, c.addr, "me", "g", protocol.LanguageJava, 401, nil, "orders")
	h := pullHeader("orders", 0, 0)
	h.ConsumerGroup = []byte("g")
	pulled := c.pull(h)
	require.Len(t, pulled.msgs, 7)
	c.commit("g", "orders", 0, 4)
	resp := c.call(fields(protocol.CodeConsumerSendMsgBack, "offset", strconv.FormatInt(int64(pulled.msgs[2].PhyOffset()), 10), "group", "g", "delayLevel", "-1"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)

	m := s.scrape()
	addr := leader.Broker.Addr().String()
	for key, want := range map[string]float64{
		"rocketmq_producer_offset{broker=broker-a,topic=orders}":                           9,
		"rocketmq_topic_dlq_offset{broker=broker-a,group=g}":                               1,
		"rocketmq_topic_retry_offset{broker=broker-a,topic=%RETRY%g}":                      0,
		"rocketmq_consumer_offset{broker=broker-a,group=g,topic=orders}":                   9,
		"rocketmq_group_consume_total_offset{broker=broker-a,group=g,topic=orders}":        4,
		"rocketmq_group_diff{countOfOnlineConsumers=1,group=g,msgModel=1,topic=orders}":    5,
		"rocketmq_group_dlqdiff{countOfOnlineConsumers=1,group=g,msgModel=1,topic=%DLQ%g}": 1,
		"rocketmq_send_back_nums{broker=broker-a,group=g,topic=orders}":                    1,
	} {
		v, there := m[key]
		require.True(t, there, "%s in %v", key, m.with(key[:strings.IndexByte(key, '{')]))
		require.EqualValues(t, want, v, key)
	}
	for _, positive := range []string{
		"rocketmq_broker_tps{broker=broker-a,brokerIP=" + addr + "}", "rocketmq_broker_qps{broker=broker-a,brokerIP=" + addr + "}",
		"rocketmq_producer_tps{broker=broker-a,topic=orders}", "rocketmq_producer_message_size{broker=broker-a,topic=orders}",
		"rocketmq_consumer_tps{broker=broker-a,group=g,topic=orders}", "rocketmq_consumer_message_size{broker=broker-a,group=g,topic=orders}",
		"rocketmq_group_consume_tps{broker=broker-a,group=g,topic=orders}",
	} {
		require.Positive(t, m[positive], positive)
	}
	require.Len(t, m.with("rocketmq_group_count{"), 1)
	require.Len(t, m.with("rocketmq_producer_count{"), 1)
	require.Len(t, m.with("rocketmq_broker_commitlog_diff{"), 1)

	table := c.runtime()
	labels := "{boottime=" + table["bootTimestamp"] + ",brokerHost=broker-a,brokerIP=" + addr + ",broker_version=" + table["brokerVersion"] + ",des=" + table["brokerVersionDesc"] + "}"
	for _, fam := range broker.Families() {
		if strings.HasPrefix(fam.Name, "rocketmq_brokeruntime_") {
			_, there := m[fam.Name+labels]
			require.True(t, there, "%s: got %v", fam.Name+labels, m.with(fam.Name))
		}
	}
	// A put into the dead letter topic is one as well.
	require.EqualValues(t, 10, m["rocketmq_brokeruntime_msg_put_total_today_now"+labels])
	require.EqualValues(t, 7, m["rocketmq_brokeruntime_msg_gettotal_today_now"+labels])
	puts := 0.0
	for _, bucket := range m.with("rocketmq_brokeruntime_pmdt_") {
		puts += m[bucket]
	}
	require.EqualValues(t, 9, puts)
	require.Greater(t, m["rocketmq_brokeruntime_commitlogdir_capacity_total"+labels], m["rocketmq_brokeruntime_commitlogdir_capacity_free"+labels])
	require.Positive(t, m["rocketmq_brokeruntime_put_tps600"+labels])

	require.Empty(t, m.with("rocketmq_messages_in_total"), "not in this dialect")
	require.NotEmpty(t, m.with("rmq_raft_term"), "ours always are")
	require.Empty(t, f.scrape().with("rocketmq_"), "the exporter asks the leader")
	resp = c.update("metricsExporterDialect=BOTH")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	m = s.scrape()
	require.NotEmpty(t, m.with("rocketmq_messages_in_total"), "it changes at once")
	require.NotEmpty(t, m.with("rocketmq_group_diff"))
}
