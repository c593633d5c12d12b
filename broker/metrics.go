package broker

import (
	"strings"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/internal/wall"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Metrics are read when somebody scrapes: what is shown here is counted
// elsewhere. Names and labels without the prefix rmq_ are RocketMQ 5's, their
// meaning too; durations of those are in milliseconds, and in seconds in ours.
//
// All samples carry the labels cluster, node_type, node_id (the broker's name, as
// in RocketMQ 5) and member (this member's id in its group). Counters are of what
// this member did. What is the group's is reported by its leader alone, so that
// sums over members are right; while the group has no leader nobody does.

// families are all metrics of a broker, in the order of the documentation.
var families metrics.Families

// Families returns all metrics of a broker.
func Families() []*metrics.Family { return families.List() }

// RocketMQ 5's names.
var (
	famMessagesIn    = families.Add(metrics.Counter, "rocketmq_messages_in_total", "Messages that clients sent and that were stored, retried ones left out.", "topic", "message_type", "is_system")
	famBytesIn       = families.Add(metrics.Counter, "rocketmq_throughput_in_total", "Their bytes as stored.", "topic", "message_type", "is_system")
	famMessageSize   = families.Add(metrics.Histogram, "rocketmq_message_size", "Their sizes in bytes.", "topic", "message_type", "is_system")
	famMessagesOut   = families.Add(metrics.Counter, "rocketmq_messages_out_total", "Messages that consumer groups were given.", "topic", "consumer_group", "is_retry", "is_system")
	famBytesOut      = families.Add(metrics.Counter, "rocketmq_throughput_out_total", "Their bytes.", "topic", "consumer_group", "is_retry", "is_system")
	famRPCLatency    = families.Add(metrics.Histogram, "rocketmq_rpc_latency", "Time from a request's arrival to its answer in ms. A request that one member sends on is counted by both.", metrics.CallLabels...)
	famLag           = families.AddLeader(metrics.Gauge, "rocketmq_consumer_lag_messages", "Messages that a group has not confirmed: the end of each queue minus the confirmed offset.", "topic", "consumer_group", "is_retry", "is_system")
	famLagLatency    = families.AddLeader(metrics.Gauge, "rocketmq_consumer_lag_latency", "Age in ms of the oldest message that is not confirmed, 0 when all are.", "topic", "consumer_group", "is_retry", "is_system")
	famInflight      = families.AddLeader(metrics.Gauge, "rocketmq_consumer_inflight_messages", "Messages that were given to consumers and not confirmed.", "topic", "consumer_group", "is_retry", "is_system")
	famQueueing      = families.AddLeader(metrics.Gauge, "rocketmq_consumer_queueing_latency", "Age in ms of the oldest message that was not given to a consumer, 0 when all were.", "topic", "consumer_group", "is_retry", "is_system")
	famReady         = families.AddLeader(metrics.Gauge, "rocketmq_consumer_ready_messages", "Messages that were not given to a consumer.", "topic", "consumer_group", "is_retry", "is_system")
	famProducers     = families.AddLeader(metrics.Gauge, "rocketmq_producer_connections", "Producers of the group's clients, each producer group of each client once.", "language", "version")
	famConsumers     = families.AddLeader(metrics.Gauge, "rocketmq_consumer_connections", "Consumers of a consumer group.", "consumer_group", "language", "version", "consume_mode", "is_system")
	famDeadLetters   = families.Add(metrics.Counter, "rocketmq_send_to_dlq_messages_total", "Messages that went to a group's dead letter topic, by the topic they came from.", "topic", "consumer_group", "is_system")
	famCommits       = families.Add(metrics.Counter, "rocketmq_commit_messages_total", "Transactions that were committed.", "topic")
	famRollbacks     = families.Add(metrics.Counter, "rocketmq_rollback_messages_total", "Transactions that were rolled back.", "topic")
	famFinish        = families.Add(metrics.Histogram, "rocketmq_finish_message_latency", "Time in ms from a half message to the end of its transaction.", "topic")
	famHalf          = families.AddLeader(metrics.Gauge, "rocketmq_half_messages", "Transactions that wait for their end, of all topics together.", "topic")
	famWatermark     = families.Add(metrics.Gauge, "rocketmq_processor_watermark", "Requests that wait: sends for their commit, pulls for a reading goroutine, others for the group, and those sent on to the leader.", "processor")
	famPermission    = families.Add(metrics.Gauge, "rocketmq_broker_permission", "brokerPermission: 6 reads and writes, 4 reads only, 2 writes only.")
	famTopics        = families.AddLeader(metrics.Gauge, "rocketmq_topic_number", "Topics, those of the system included.")
	famGroups        = families.AddLeader(metrics.Gauge, "rocketmq_consumer_group_number", "Consumer groups, those of the system included.")
	famTopicCreate   = families.Add(metrics.Histogram, "rocketmq_topic_create_execution_time", "Time in ms that creating or changing a topic took.", "is_system", "invocation_status")
	famGroupCreate   = families.Add(metrics.Histogram, "rocketmq_consumer_group_create_execution_time", "Time in ms that creating or changing a consumer group took.", "is_system", "invocation_status")
	famStorage       = families.Add(metrics.Gauge, "rocketmq_storage_size", "Bytes of the commit log.", "storage_type", "storage_medium")
	famFlushBehind   = families.Add(metrics.Gauge, "rocketmq_storage_flush_behind_bytes", "Bytes of the commit log that are not synced.", "storage_type", "storage_medium")
	famApplyBehind   = families.Add(metrics.Gauge, "rocketmq_storage_dispatch_behind_bytes", "Bytes of the commit log that are not in queues yet.", "storage_type", "storage_medium")
	famReserve       = families.Add(metrics.Gauge, "rocketmq_storage_message_reserve_time", "Age in ms of the oldest message.", "storage_type", "storage_medium")
	famTimerIn       = families.Add(metrics.Counter, "rocketmq_timer_enqueue_total", "Messages that were put aside for a time of their own.", "topic")
	famTimerOut      = families.Add(metrics.Counter, "rocketmq_timer_dequeue_total", "Messages that were delivered at their time.", "topic")
	famTimerLag      = families.AddLeader(metrics.Gauge, "rocketmq_timer_dequeue_lag", "Messages in minutes that are over and not delivered.")
	famTimerLatency  = families.AddLeader(metrics.Gauge, "rocketmq_timer_dequeue_latency", "Time in ms since the end of the oldest such minute, 0 without one.")
	famTiming        = families.AddLeader(metrics.Gauge, "rocketmq_timing_messages", "Messages that wait for a time of their own, of all topics together.", "topic")
	famTimerSnapshot = families.AddLeader(metrics.Gauge, "rocketmq_timer_message_snapshot", "Messages that wait for a time at most so many seconds away.", "timer_bound_s")
)

// storageLabels are the values of storage_type and storage_medium.
var storageLabels = []string{"local", "disk"}

// NewMetrics makes the registry of this broker's metrics. version is shown by
// cometmq_build_info. It may be scraped before Start, after Close, and at any
// time between.
func (b *Broker) NewMetrics(version string) (metrics.Registry, error) {
	cfg := b.cfg()
	return metrics.NewRegistry(metrics.Config{
		Families: &families, SeriesMax: cfg.SeriesMax, Version: version, Collect: b.collect,
		Common: [][2]string{{"cluster", cfg.ClusterName}, {"node_type", "broker"}, {"node_id", b.brokerName}, {"member", b.selfID}},
	})
}

// collect writes the samples of one scrape.
func (b *Broker) collect(w *metrics.Writer) {
	b.collectState(w)
	if !b.started.Load() {
		return
	}
	st := b.node.Status()
	b.collectRaft(w, st)
	b.collectServer(w, st)
	if cfg := b.cfg(); cfg.native() {
		b.collectNative(w, st)
	}
	if b.cfg().exporter() {
		b.collectExporter(w, st)
	}
}

// collectNative writes RocketMQ 5's families.
func (b *Broker) collectNative(w *metrics.Writer, st dledger.Status) {
	b.collectFlows(w)
	b.collectCalls(w)
	b.collectStorage(w)
	b.collectQueues(w, st)
	w.Value(famPermission, float64(b.cfg().Permission))
	if !b.leading.Load() {
		return
	}
	b.collectLag(w)
	b.collectClients(w)
	b.collectTimers(w)
	w.Value(famTopics, float64(len(b.meta.Topics())))
	w.Value(famGroups, float64(len(b.meta.Groups())))
	w.Value(famHalf, float64(b.meta.HalfCount()), message.TopicTransHalf)
}

func (b *Broker) isSystem(topic, group string) string {
	return boolText(b.meta.SystemTopic(topic) || group != "" && b.systemGroup(group))
}

func boolText(v bool) string {
	if v {
		return "true"
	}
	return "false"
}

// What histograms in nanoseconds are divided by.
const (
	inMillis  = float64(time.Millisecond)
	inSeconds = float64(time.Second)
)

// collectFlows writes what went in and out.
func (b *Broker) collectFlows(w *metrics.Writer) {
	c := b.counters
	for k, s := range snapshots(c.in) {
		labels := []string{k.topic, k.kind.String(), b.isSystem(k.topic, "")}
		w.Value(famMessagesIn, float64(s.Count()), labels...)
		w.Value(famBytesIn, float64(s.Sum), labels...)
		w.Histogram(famMessageSize, s, 1, labels...)
	}
	for _, f := range b.stats.Flows() {
		labels := []string{f.Topic, f.Group, boolText(message.IsRetryTopic(f.Topic)), b.isSystem(f.Topic, f.Group)}
		w.Value(famMessagesOut, float64(f.Messages), labels...)
		w.Value(famBytesOut, float64(f.Bytes), labels...)
	}
	for k, n := range counts(c.dead) {
		w.Value(famDeadLetters, n, k.topic, k.group, b.isSystem(k.topic, k.group))
	}
	for topic, n := range counts(c.commits) {
		w.Value(famCommits, n, topic)
	}
	for topic, n := range counts(c.rollbacks) {
		w.Value(famRollbacks, n, topic)
	}
	for topic, s := range snapshots(c.finished) {
		w.Histogram(famFinish, s, inMillis, topic)
	}
	for topic, n := range counts(c.timed) {
		w.Value(famTimerIn, n, topic)
	}
	for topic, n := range counts(c.fired) {
		w.Value(famTimerOut, n, topic)
	}
}

// collectCalls writes how requests were answered.
func (b *Broker) collectCalls(w *metrics.Writer) {
	b.counters.calls.Write(w, famRPCLatency)
	for k, s := range snapshots(b.counters.creations) {
		fam, status := famTopicCreate, "failure"
		if k.group {
			fam = famGroupCreate
		}
		if k.ok {
			status = "success"
		}
		w.Histogram(fam, s, inMillis, boolText(k.system), status)
	}
}

// collectStorage writes what lies on the disk.
func (b *Broker) collectStorage(w *metrics.Writer) {
	log := b.store.Log()
	w.Value(famStorage, float64(log.MaxOffset()-log.MinOffset()), storageLabels...)
	w.Value(famFlushBehind, float64(max(log.MaxOffset()-log.DurableOffset(), 0)), storageLabels...)
	w.Value(famApplyBehind, float64(b.behindBytes()), storageLabels...)
	age := int64(0)
	if at := b.earliest(); at > 0 {
		age = max(wall.Now().UnixMilli()-at, 0)
	}
	w.Value(famReserve, float64(age), storageLabels...)
}

// collectQueues writes who waits.
func (b *Broker) collectQueues(w *metrics.Writer, st dledger.Status) {
	reads, _ := b.readers.waiting()
	b.waitMu.Lock()
	others := b.waiting
	b.waitMu.Unlock()
	w.Value(famWatermark, float64(st.Counters.Waiting), "send")
	w.Value(famWatermark, float64(reads), "pull")
	w.Value(famWatermark, float64(others), "admin")
	w.Value(famWatermark, float64(b.forward.pending()), "forward")
}

// timerBounds are the seconds of RocketMQ's snapshot of waiting messages.
var timerBounds = []int64{60, 10 * 60, 60 * 60, 12 * 60 * 60, 24 * 60 * 60, 3 * 24 * 60 * 60}

// collectTimers writes how many messages wait for a time of their own. A minute
// counts by its end.
func (b *Broker) collectTimers(w *metrics.Writer) {
	now := b.node.Now()
	total, late, oldest := 0, 0, int64(0)
	within := make([]int, len(timerBounds))
	for _, slot := range b.timerSlots() {
		first, end := b.store.QueueRange(message.TimerTopic(slot), 0)
		left := max(int(end)-max(b.meta.TimersDone(slot), int(first)), 0)
		if left == 0 {
			continue
		}
		total += left
		over := (slot + 1) * message.TimerSlotMillis
		if over < now {
			late, oldest = late+left, max(oldest, now-over)
		}
		for i, s := range timerBounds {
			if over <= now+s*1000 {
				within[i] += left
			}
		}
	}
	w.Value(famTiming, float64(total), timerStats)
	w.Value(famTimerLag, float64(late))
	w.Value(famTimerLatency, float64(oldest))
	for i, s := range timerBounds {
		w.Value(famTimerSnapshot, float64(within[i]), itoa(int(s)))
	}
}

// collectClients counts clients by what they are.
func (b *Broker) collectClients(w *metrics.Writer) {
	type producer struct{ language, version string }
	producers := map[producer]int{}
	for _, name := range b.clients.ProducerGroups() {
		for _, c := range b.clients.Producers(name) {
			producers[producer{strings.ToLower(c.Language.String()), strings.ToLower(protocol.VersionDesc(c.Version))}]++
		}
	}
	for p, n := range producers {
		w.Value(famProducers, float64(n), p.language, p.version)
	}
	for _, name := range b.clients.ConsumerGroups() {
		info, ok := b.clients.ConsumerInfo(name)
		if !ok {
			continue
		}
		consumers := map[producer]int{}
		for _, c := range b.clients.Consumers(name) {
			consumers[producer{strings.ToLower(c.Language.String()), strings.ToLower(protocol.VersionDesc(c.Version))}]++
		}
		for c, n := range consumers {
			w.Value(famConsumers, float64(n), name, c.language, c.version, consumeMode(info.ConsumeType), b.isSystem("", name))
		}
	}
}

// consumeMode is RocketMQ 5's word for how a group is given messages.
func consumeMode(consumeType string) string {
	if consumeType == protocol.ConsumeActively {
		return "pull"
	}
	return "push"
}
