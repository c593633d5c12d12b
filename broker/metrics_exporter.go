package broker

import (
	"strconv"
	"strings"

	"github.com/cometmq/cometmq/broker/stats"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/message"
)

// The names of rocketmq-exporter, for boards and rules that were written for it,
// without its process: metricsExporterDialect=EXPORTER. All are gauges, as there.
// Like the exporter, which asks brokerId 0, only the leader reports them.
//
// What the exporter asks consumers themselves, rocketmq_client_consume_…, is not
// here: a scrape must not wait for clients.
var (
	exporterBroker = []string{"cluster", "brokerIP", "broker"}
	exporterTopic  = []string{"cluster", "broker", "topic"}
	exporterGroup  = []string{"cluster", "broker", "topic", "group"}
	exporterDiff   = []string{"group", "topic", "countOfOnlineConsumers", "msgModel"}

	famXBrokerTPS    = exporterFamily("rocketmq_broker_tps", "Messages a second that were stored, over the last minute.", exporterBroker)
	famXBrokerQPS    = exporterFamily("rocketmq_broker_qps", "Messages a second that were given out, over the last minute.", exporterBroker)
	famXLogDiff      = exporterFamily("rocketmq_broker_commitlog_diff", "Bytes by which the member that is furthest behind is.", exporterBroker)
	famXProducerTPS  = exporterFamily("rocketmq_producer_tps", "Messages a second of a topic that were stored, over the last minute.", exporterTopic)
	famXProducerSize = exporterFamily("rocketmq_producer_message_size", "Their bytes in the last minute.", exporterTopic)
	famXTopicOffset  = exporterFamily("rocketmq_producer_offset", "Sum of the ends of a topic's queues.", exporterTopic)
	famXRetryOffset  = exporterFamily("rocketmq_topic_retry_offset", "The same of a retry topic.", exporterTopic)
	famXDLQOffset    = exporterFamily("rocketmq_topic_dlq_offset", "The same of a dead letter topic.", []string{"cluster", "broker", "group"})
	famXProducers    = exporterFamily("rocketmq_producer_count", "Producers of a producer group.", []string{"cluster", "broker", "group"})
	famXConsumerTPS  = exporterFamily("rocketmq_consumer_tps", "Messages a second that a group was given, over the last minute.", exporterGroup)
	famXConsumerSize = exporterFamily("rocketmq_consumer_message_size", "Their bytes in the last minute.", exporterGroup)
	famXConsumerEnd  = exporterFamily("rocketmq_consumer_offset", "Sum of the ends of the queues that a group consumes.", exporterGroup)
	famXConsumeTPS   = exporterFamily("rocketmq_group_consume_tps", "Messages a second that a group was given, as its statistics say.", exporterGroup)
	famXConsumeTotal = exporterFamily("rocketmq_group_consume_total_offset", "Sum of a group's confirmed offsets.", exporterGroup)
	famXSendBack     = exporterFamily("rocketmq_send_back_nums", "Messages that a group gave back in the last minute.", exporterGroup)
	famXStoreLatency = exporterFamily("rocketmq_group_get_latency_by_storetime", "Age in ms of the oldest message that a group has not confirmed.", exporterGroup)
	famXDiff         = exporterFamily("rocketmq_group_diff", "Messages that a group has not confirmed.", exporterDiff)
	famXRetryDiff    = exporterFamily("rocketmq_group_retrydiff", "The same of its retry topic.", exporterDiff)
	famXDLQDiff      = exporterFamily("rocketmq_group_dlqdiff", "Messages in a group's dead letter topic.", exporterDiff)
	famXGroupCount   = exporterFamily("rocketmq_group_count", "Consumers by client.", []string{"caddr", "localaddr", "group"})
)

// Values of msgModel: the place of the model in RocketMQ's enumeration.
const (
	modelBroadcasting = "0"
	modelClustering   = "1"
)

// ExporterFamily tells the families with rocketmq-exporter's names. They are what
// they are there, even where Prometheus would have it otherwise.
func ExporterFamily(f *metrics.Family) bool { return exporterFamilies[f] }

var exporterFamilies = map[*metrics.Family]bool{}

func exporterFamily(name, help string, labels []string) *metrics.Family {
	// The common label cluster has the same meaning, and a label may be there once.
	own := make([]string, 0, len(labels))
	for _, l := range labels {
		if l != "cluster" {
			own = append(own, l)
		}
	}
	f := families.AddLeader(metrics.Gauge, name, help, own...)
	exporterFamilies[f] = true
	return f
}

// runtimeMetric is one figure of the runtime table under the exporter's name.
type runtimeMetric struct {
	fam *metrics.Family
	key string
	// nth is which of several numbers it is: the place among three rates, or in
	// the capacity of the disk, or in the distribution of put times.
	nth int
}

// runtimeMetrics are all figures of rocketmq_brokeruntime_….
var runtimeMetrics = func() (out []runtimeMetric) {
	labels := []string{"cluster", "brokerIP", "brokerHost", "des", "boottime", "broker_version"}
	add := func(name, key string, nth int) {
		help := "The runtime table's " + key + "."
		out = append(out, runtimeMetric{exporterFamily("rocketmq_brokeruntime_"+name, help, labels), key, nth})
	}
	for i, name := range []string{
		"0ms", "0to10ms", "10to50ms", "50to100ms", "100to200ms", "200to500ms", "500to1s", "1to2s", "2to3s", "3to4s", "4to5s", "5to10s", "10stomore",
	} {
		add("pmdt_"+name, "putMessageDistributeTime", i)
	}
	for _, m := range [][2]string{
		{"msg_put_total_today_now", "msgPutTotalTodayNow"}, {"msg_gettotal_today_now", "msgGetTotalTodayNow"},
		{"msg_puttotal_todaymorning", "msgPutTotalTodayMorning"}, {"msg_gettotal_todaymorning", "msgGetTotalTodayMorning"},
		{"msg_puttotal_yesterdaymorning", "msgPutTotalYesterdayMorning"}, {"msg_gettotal_yesterdaymorning", "msgGetTotalYesterdayMorning"},
		{"dispatch_behind_bytes", "dispatchBehindBytes"}, {"dispatch_maxbuffer", "dispatchMaxBuffer"},
		{"put_message_size_total", "putMessageSizeTotal"}, {"put_message_average_size", "putMessageAverageSize"},
		{"putmessage_times_total", "putMessageTimesTotal"}, {"putmessage_entire_time_max", "putMessageEntireTimeMax"},
		{"getmessage_entire_time_max", "getMessageEntireTimeMax"}, {"put_latency_99", "putLatency99"}, {"put_latency_999", "putLatency999"},
		{"remain_transientstore_buffer_numbs", "remainTransientStoreBufferNumbs"}, {"remain_howmanydata_toflush", "remainHowManyDataToFlush"},
		{"earliest_message_timestamp", "earliestMessageTimeStamp"}, {"start_accept_sendrequest_time", "startAcceptSendRequestTimeStamp"},
		{"pagecache_lock_time_mills", "pageCacheLockTimeMills"},
		{"send_threadpool_queue_size", "sendThreadPoolQueueSize"}, {"send_threadpoolqueue_capacity", "sendThreadPoolQueueCapacity"},
		{"send_threadpoolqueue_headwait_timemills", "sendThreadPoolQueueHeadWaitTimeMills"},
		{"pull_threadpoolqueue_size", "pullThreadPoolQueueSize"}, {"pull_threadpoolqueue_capacity", "pullThreadPoolQueueCapacity"},
		{"pull_threadpoolqueue_headwait_timemills", "pullThreadPoolQueueHeadWaitTimeMills"},
		{"query_threadpoolqueue_size", "queryThreadPoolQueueSize"}, {"query_threadpool_queue_capacity", "queryThreadPoolQueueCapacity"},
		{"query_threadpoolqueue_headwait_timemills", "queryThreadPoolQueueHeadWaitTimeMills"},
		{"commitlog_disk_ratio", "commitLogDiskRatio"}, {"consumequeue_disk_ratio", "consumeQueueDiskRatio"},
		{"commitlog_maxoffset", "commitLogMaxOffset"}, {"commitlog_minoffset", "commitLogMinOffset"},
	} {
		add(m[0], m[1], 0)
	}
	for i, suffix := range []string{"10", "60", "600"} {
		for _, m := range [][2]string{
			{"put_tps", "putTps"}, {"getfound_tps", "getFoundTps"}, {"getmiss_tps", "getMissTps"}, {"gettotal_tps", "getTotalTps"}, {"gettransfered_tps", "getTransferedTps"},
		} {
			add(m[0]+suffix, m[1], i)
		}
	}
	add("commitlogdir_capacity_total", "commitLogDirCapacity", 0)
	add("commitlogdir_capacity_free", "commitLogDirCapacity", 1)
	return out
}()

// number takes the nth number out of a value of the runtime table. Forms are
// those of runtime_test.go: "12", "1.50 1.50 0.30", "[<=0ms]:3 [0~10ms]:1",
// "Total : 9.5 GiB, Free : 3.1 GiB.", "12.0 KiB".
func number(text string, nth int) (float64, bool) {
	seen := 0
	unit := 1.0
	words := strings.Fields(text)
	if len(words) == 2 && strings.HasSuffix(words[1], "B") {
		unit, words = bytesIn(words[1]), words[:1]
	}
	for _, word := range words {
		word = word[strings.LastIndexByte(word, ':')+1:]
		v, err := strconv.ParseFloat(word, 64)
		if err != nil {
			continue
		}
		if seen == nth {
			return v * unit, true
		}
		seen++
	}
	return 0, false
}

// bytesIn is the size of a unit of sizeText.
func bytesIn(unit string) float64 {
	if len(unit) < 3 {
		return 1
	}
	size := 1024.0
	for i := strings.IndexByte("KMGTPE", unit[0]); i > 0; i-- {
		size *= 1024
	}
	return size
}

// collectExporter writes the exporter's families.
func (b *Broker) collectExporter(w *metrics.Writer, st dledger.Status) {
	if !b.leading.Load() {
		return
	}
	b.collectRuntime(w, st)
	ip, cluster := b.Addr().String(), b.cfg().ClusterName
	w.Value(famXBrokerTPS, b.perSecond(stats.BrokerPutNums, cluster), ip, b.brokerName)
	w.Value(famXBrokerQPS, b.perSecond(stats.BrokerGetNums, cluster), ip, b.brokerName)
	behind := int64(0)
	for _, p := range st.Peers {
		if p.ID != b.selfID && p.LastIndex > 0 {
			behind = max(behind, b.store.Log().MaxOffset()-b.endOf(p.LastIndex))
		}
	}
	w.Value(famXLogDiff, float64(behind), ip, b.brokerName)
	b.collectTopics(w)
	b.collectGroups(w)
	for _, name := range b.clients.ProducerGroups() {
		w.Value(famXProducers, float64(len(b.clients.Producers(name))), b.brokerName, name)
	}
}

// collectRuntime writes the figures of the runtime table.
func (b *Broker) collectRuntime(w *metrics.Writer, st dledger.Status) {
	table := b.runtimeTable(st)
	labels := []string{
		b.Addr().String(), b.brokerName, table["brokerVersionDesc"], table["bootTimestamp"], table["brokerVersion"],
	}
	for _, m := range runtimeMetrics {
		if v, ok := number(table[m.key], m.nth); ok {
			w.Value(m.fam, v, labels...)
		}
	}
}

// perSecond is a statistic's rate over the last minute, 0 for one that is not
// kept.
func (b *Broker) perSecond(name, key string) float64 {
	windows, _ := b.stats.View(name, key)
	return windows.Minute.PerSec
}

func (b *Broker) sumOfMinute(name, key string) float64 {
	windows, _ := b.stats.View(name, key)
	return float64(windows.Minute.Sum)
}

// collectTopics writes rates and ends of topics.
func (b *Broker) collectTopics(w *metrics.Writer) {
	topics := b.meta.Topics()
	for i, t := range topics {
		if w.Full(famXTopicOffset) {
			w.Skip(3 * (len(topics) - i))
			return
		}
		total := int64(0)
		for q := range max(t.WriteQueueNums, t.ReadQueueNums) {
			_, end := b.store.QueueRange(t.TopicName, q)
			total += int64(end)
		}
		switch {
		case message.IsRetryTopic(t.TopicName):
			w.Value(famXRetryOffset, float64(total), b.brokerName, t.TopicName)
		case message.IsDLQTopic(t.TopicName):
			w.Value(famXDLQOffset, float64(total), b.brokerName, strings.TrimPrefix(t.TopicName, message.DLQPrefix))
		default:
			w.Value(famXTopicOffset, float64(total), b.brokerName, t.TopicName)
		}
		if _, counted := b.stats.View(stats.TopicPutNums, t.TopicName); counted {
			w.Value(famXProducerTPS, b.perSecond(stats.TopicPutNums, t.TopicName), b.brokerName, t.TopicName)
			w.Value(famXProducerSize, b.sumOfMinute(stats.TopicPutSize, t.TopicName), b.brokerName, t.TopicName)
		}
	}
}

// collectGroups writes where consumer groups stand, and who is in them.
func (b *Broker) collectGroups(w *metrics.Writer) {
	skipped := b.eachLag(b.cfg().SeriesMax, func(l *groupLag) {
		model := modelClustering
		if l.broadcast {
			model = modelBroadcasting
		}
		diff := []string{l.group, l.topic, itoa(l.online), model}
		if l.retry {
			w.Value(famXRetryDiff, float64(l.lag), diff...)
		} else {
			w.Value(famXDiff, float64(l.lag), diff...)
		}
		labels, key := []string{b.brokerName, l.topic, l.group}, l.topic+"@"+l.group
		w.Value(famXConsumerEnd, float64(l.end), labels...)
		w.Value(famXConsumeTotal, float64(l.confirmed), labels...)
		w.Value(famXStoreLatency, float64(l.lagAge), labels...)
		w.Value(famXConsumeTPS, b.perSecond(stats.GroupGetNums, key), labels...)
		w.Value(famXConsumerTPS, b.perSecond(stats.GroupGetNums, key), labels...)
		w.Value(famXConsumerSize, b.sumOfMinute(stats.GroupGetSize, key), labels...)
		w.Value(famXSendBack, b.sumOfMinute(stats.SendBackNums, key), labels...)
	})
	w.Skip(8 * skipped)
	for _, cfg := range b.meta.Groups() {
		name := cfg.GroupName
		if dlq, ok := b.meta.Topic(message.DLQTopic(name)); ok {
			total := int64(0)
			for q := range dlq.WriteQueueNums {
				first, end := b.store.QueueRange(dlq.TopicName, q)
				total += int64(end - first)
			}
			w.Value(famXDLQDiff, float64(total), name, dlq.TopicName, itoa(len(b.clients.ConsumerIDs(name))), modelClustering)
		}
	}
	for _, name := range b.clients.ConsumerGroups() {
		// Two connections of one client to different members look alike here.
		seen := map[[2]string]int{}
		for _, c := range b.clients.Consumers(name) {
			seen[[2]string{unmapped(c.Conn.RemoteAddr()).String(), c.ID}]++
		}
		for k, n := range seen {
			w.Value(famXGroupCount, float64(n), k[0], k[1], name)
		}
	}
}
