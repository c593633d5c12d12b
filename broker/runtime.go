package broker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/broker/stats"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// statsTopic is the name under which messages of a topic are counted: those that
// wait for a time of their own together, and not by the minute they wait for.
func statsTopic(topic string) string {
	if strings.HasPrefix(topic, message.TimerTopicPrefix) {
		return timerStats
	}
	return topic
}

// timerStats is RocketMQ's topic of waiting messages.
var timerStats = strings.TrimSuffix(message.TimerTopicPrefix, "-")

// waitGauge knows for how long the oldest send waits, from two numbers. Sends
// are answered in the order in which they came, nearly, so that the last one
// answered is just older than the oldest that waits. Times are since the start.
type waitGauge struct{ waiting, since atomic.Int64 }

func (g *waitGauge) enter(at time.Duration) {
	if g.waiting.Add(1) == 1 {
		g.since.Store(int64(at))
	}
}

func (g *waitGauge) leave(began time.Duration) {
	g.since.Store(int64(began))
	g.waiting.Add(-1)
}

func (g *waitGauge) head(now time.Duration) time.Duration {
	if g.waiting.Load() <= 0 {
		return 0
	}
	return max(now-time.Duration(g.since.Load()), 0)
}

// earliestTime remembers the time of the oldest message, which changes only when
// the log's front does.
type earliestTime struct {
	mu    sync.Mutex
	first uint64
	at    int64
}

// earliestProbe is how many entries are looked at for the first with a message:
// a log begins with some of Raft's own.
const earliestProbe = 64

// earliest is the store time of the oldest message of the log in ms, -1 for a log
// without any.
func (b *Broker) earliest() int64 {
	log, e := b.store.Log(), &b.firstTime
	e.mu.Lock()
	defer e.mu.Unlock()
	first := log.FirstIndex()
	if e.at > 0 && e.first == first {
		return e.at
	}
	for i := first; i < first+earliestProbe && i <= b.store.AppliedIndex(); i++ {
		entry, _, err := log.Read(i)
		if err != nil {
			break
		}
		if entry.Kind == store.KindRecords && entry.AppendedAt > 0 {
			e.first, e.at = first, entry.AppendedAt/int64(time.Millisecond)
			return e.at
		}
	}
	return -1
}

// behindBytes is how much of the log is not applied yet.
func (b *Broker) behindBytes() int64 {
	log := b.store.Log()
	applied := b.store.AppliedIndex()
	if applied >= log.LastIndex() {
		return 0
	}
	at, err := log.Locate(applied + 1)
	if err != nil {
		return 0
	}
	return max(log.MaxOffset()-at, 0)
}

// runtimeTable collects pairs; numbers become text as Java prints them.
type runtimeTable map[string]string

func (t runtimeTable) num(key string, v int64)        { t[key] = strconv.FormatInt(v, 10) }
func (t runtimeTable) ms(key string, d time.Duration) { t.num(key, d.Milliseconds()) }

// handleRuntimeInfo serves GET_BROKER_RUNTIME_INFO. Java's mqadmin dereferences
// about twenty of these keys without looking, and rocketmq-exporter drops all
// figures of a broker that lacks one of some forty; runtime_test.go has the list.
//
// Thread pools that we do not have are shown by what takes their place: sends
// wait in the collector, pulls for a reading goroutine, everything else for the
// group.
func (b *Broker) handleRuntimeInfo(context.Context, request) (*protocol.Response, error) {
	return withBody(protocol.Encode(&protocol.KVTable{Table: b.runtimeTable(b.node.Status())}), nil)
}

func (b *Broker) runtimeTable(st dledger.Status) runtimeTable {
	t, now := runtimeTable{}, time.Now()
	b.addIdentity(t, now, st)
	b.addTraffic(t)
	b.addQueues(t, now, st)
	b.addStorage(t)
	b.addDelays(t)
	b.addPending(t)
	b.addHealth(t, st)
	return t
}

func (b *Broker) addIdentity(t runtimeTable, now time.Time, st dledger.Status) {
	t.num("brokerVersion", int64(protocol.Version))
	t["brokerVersionDesc"] = protocol.VersionDesc(protocol.Version)
	t.num("bootTimestamp", b.stats.Start().UnixMilli())
	t["runtime"] = runtimeText(now.Sub(b.stats.Start()))
	t["brokerActive"] = strconv.FormatBool(b.leading.Load()) // 5.x
	t["startAcceptSendRequestTimeStamp"] = strconv.FormatInt(b.cfg().StartAccept, 10)
	t["raftRole"] = st.Role.String()
	t.num("raftTerm", int64(st.Term))
	t["raftLeaderId"] = st.LeaderID
	t["raftSelfId"] = b.selfID
	t.num("raftCommitIndex", int64(st.CommitIndex))
	t.num("raftAppliedIndex", int64(st.AppliedIndex))
	t.num("currentTimeMillis", now.UnixMilli())
	t["registered"] = strconv.FormatBool(len(b.cfg().nameServers()) == 0 || b.register.anyReached())
}

func (b *Broker) addTraffic(t runtimeTable) {
	total, rates := b.stats.Totals(), b.stats.Rates()
	today, yesterday := b.stats.Mornings()
	t["putTps"] = rates.Put.String()
	t["getFoundTps"] = rates.Found.String()
	t["getMissTps"] = rates.Missed.String()
	t["getTotalTps"] = rates.Total.String()
	// RocketMQ 4 misspells the key, 5 does not; tools read one or the other.
	t["getTransferedTps"] = rates.Transferred.String()
	t["getTransferredTps"] = rates.Transferred.String()
	t.num("msgPutTotalYesterdayMorning", yesterday.PutMessages)
	t.num("msgPutTotalTodayMorning", today.PutMessages)
	t.num("msgPutTotalTodayNow", total.PutMessages)
	t.num("msgGetTotalYesterdayMorning", yesterday.GetMessages)
	t.num("msgGetTotalTodayMorning", today.GetMessages)
	t.num("msgGetTotalTodayNow", total.GetMessages)
	t.num("putMessageTimesTotal", total.PutMessages)
	t.num("putMessageFailedTimes", total.PutFailed)
	t.num("putMessageSizeTotal", total.PutBytes)
	t["putMessageAverageSize"] = fmt.Sprintf("%.1f", float64(total.PutBytes)/float64(max(total.PutMessages, 1)))
	puts := b.stats.Puts()
	t["putMessageDistributeTime"] = puts.Distribution()
	t.num("putMessageEntireTimeMax", puts.Max())
	t["putLatency99"] = fmt.Sprintf("%.2f", puts.Quantile(0.99).Seconds()*1000)
	t["putLatency999"] = fmt.Sprintf("%.2f", puts.Quantile(0.999).Seconds()*1000)
	t.num("getMessageEntireTimeMax", b.stats.GetMax())
}

func (b *Broker) addQueues(t runtimeTable, now time.Time, st dledger.Status) {
	t.num("sendThreadPoolQueueSize", st.Counters.Waiting)
	t.num("sendThreadPoolQueueCapacity", dledger.DefaultProposalsMax)
	t.ms("sendThreadPoolQueueHeadWaitTimeMills", b.waitingSends.head(now.Sub(b.stats.Start())))
	n, head := b.readers.waiting()
	t.num("pullThreadPoolQueueSize", int64(n))
	t.num("pullThreadPoolQueueCapacity", int64(b.cfg().ReadQueueMax))
	t.ms("pullThreadPoolQueueHeadWaitTimeMills", head)
	b.waitMu.Lock()
	waiting := b.waiting
	b.waitMu.Unlock()
	t.num("queryThreadPoolQueueSize", int64(waiting))
	t.num("queryThreadPoolQueueCapacity", waitersMax)
	// Each has a goroutine from the start: nobody stands at the head of a queue.
	t["queryThreadPoolQueueHeadWaitTimeMills"] = "0"
	t["EndTransactionQueueSize"] = "0"
	t.num("EndTransactionThreadPoolQueueCapacity", waitersMax)
	t.num("heldPulls", b.held.count.Load())
	items, dropped := b.stats.Items()
	t.num("statsItems", int64(items))
	t.num("statsItemsRefused", dropped)
}

func (b *Broker) addStorage(t runtimeTable) {
	log := b.store.Log()
	t.num("commitLogMinOffset", log.MinOffset())
	t.num("commitLogMaxOffset", log.MaxOffset())
	t.num("earliestMessageTimeStamp", b.earliest())
	t.num("dispatchBehindBytes", b.behindBytes())
	// Messages go from the log to their queues as they are applied, without a
	// buffer between; the log is written, not mapped, so that no page is locked.
	t["dispatchMaxBuffer"] = "0"
	t["pageCacheLockTimeMills"] = "0"
	t["remainTransientStoreBufferNumbs"] = "0"
	t["remainHowManyDataToCommit"] = "0 B"
	t["remainHowManyDataToFlush"] = sizeText(uint64(max(log.MaxOffset()-log.DurableOffset(), 0)))
	ratio, root := "0.0", b.cfg().StoreRoot
	capacity := "Total : 0.0 GiB, Free : 0.0 GiB."
	if u, err := b.fs.Usage(root); err == nil && u.Total > 0 {
		ratio = fmt.Sprintf("%.4f", float64(u.Total-u.Free)/float64(u.Total))
		// The exporter cuts this text at its spaces and takes both for GiB.
		const gib = 1 << 30
		capacity = fmt.Sprintf("Total : %.1f GiB, Free : %.1f GiB.", float64(u.Total)/gib, float64(u.Free)/gib)
	}
	t["commitLogDiskRatio"], t["consumeQueueDiskRatio"] = ratio, ratio
	t["commitLogDiskRatio_"+root] = ratio
	t["commitLogDirCapacity"] = capacity
}

// addPending counts what becomes a message of a topic later: a broker that has
// some is not empty, however far consumers are. mqadmin cluster drain reads it.
func (b *Broker) addPending(t runtimeTable) {
	delayed, timers := int64(0), int64(0)
	for level := int32(1); level <= int32(len(b.levels)); level++ {
		_, end := b.store.QueueRange(message.TopicSchedule, level-1)
		delayed += max(int64(end)-int64(b.meta.DelayProgress(level)), 0)
	}
	for _, slot := range b.timerSlots() {
		// What was dealt with is counted from the slot's first message on.
		_, end := b.store.QueueRange(message.TimerTopic(slot), 0)
		timers += max(int64(end)-int64(b.meta.TimersDone(slot)), 0)
	}
	t.num("pendingDelayed", delayed)
	t.num("pendingTimers", timers)
	t.num("pendingTransactions", int64(b.meta.HalfCount()))
}

// addDelays shows each delay level in use: how far it was delivered and how far
// it reaches.
func (b *Broker) addDelays(t runtimeTable) {
	for level := int32(1); level <= int32(len(b.levels)); level++ {
		if _, end := b.store.QueueRange(message.TopicSchedule, level-1); end > 0 {
			t["scheduleMessageOffset_"+itoa(int(level))] = fmt.Sprintf("%d,%d", b.meta.DelayProgress(level), end)
		}
	}
}

// runtimeText is RocketMQ's way to print an uptime.
func runtimeText(d time.Duration) string {
	d = d.Truncate(time.Second)
	day := 24 * time.Hour
	return fmt.Sprintf("[ %d days, %d hours, %d minutes, %d seconds ]", d/day, d%day/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second)
}

// sizeText is RocketMQ's way to print bytes.
func sizeText(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < 5 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit])
}

// handleViewStats serves VIEW_BROKER_STATS_DATA.
func (b *Broker) handleViewStats(_ context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	name, key := f.Str("statsName"), f.Str("statsKey")
	if err := f.Err(); err != nil {
		return nil, err
	}
	w, ok := b.stats.View(name, key)
	if !ok {
		return nil, refuse(protocol.StatusSystemError, "The stats <%s> <%s> not exist", name, key)
	}
	item := func(w stats.Window) protocol.StatsItem {
		return protocol.StatsItem{Sum: w.Sum, Tps: w.PerSec, Avgpt: w.Average}
	}
	return withBody(protocol.Encode(&protocol.BrokerStatsData{Minute: item(w.Minute), Hour: item(w.Hour), Day: item(w.Day)}), nil)
}
