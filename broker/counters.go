package broker

import (
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/internal/histogram"
	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/message"
)

// countersMax bounds the keys of each table of counters.
const countersMax = 20_000

// counters are what metrics count beside broker/stats, which serves the requests
// that RocketMQ has for statistics. They belong to this member: what it did, not
// what its group did, so that sums over members are right.
type counters struct {
	in         *metrics.Table[inKey, histogram.Histogram] // sizes of messages that came in
	calls      *metrics.Calls
	dead       *metrics.Table[topicGroup, atomic.Int64]         // messages that went to a dead letter queue
	commits    *metrics.Table[string, atomic.Int64]             // transactions committed, by topic
	rollbacks  *metrics.Table[string, atomic.Int64]             // and rolled back
	finished   *metrics.Table[string, histogram.Histogram]      // their durations
	timed      *metrics.Table[string, atomic.Int64]             // messages that wait for a time of their own, by topic
	fired      *metrics.Table[string, atomic.Int64]             // those that were delivered
	creations  *metrics.Table[creationKey, histogram.Histogram] // of topics and groups, by duration
	forwarded  atomic.Int64                                     // requests sent on to the leader
	removed    atomic.Int64                                     // log files removed by retention
	removedLen atomic.Int64                                     // and their bytes
}

type inKey struct {
	topic string
	kind  messageType
}

type topicGroup struct{ topic, group string }

type creationKey struct{ group, system, ok bool }

// messageType is what RocketMQ 5 calls one.
type messageType uint8

const (
	typeNormal messageType = iota
	typeFIFO
	typeDelay
	typeTransaction
)

// String is the value of the label message_type.
func (t messageType) String() string {
	return [...]string{"normal", "fifo", "delay", "transaction"}[t]
}

func newCounters(known func(code int32) bool) *counters {
	count := func() *atomic.Int64 { return new(atomic.Int64) }
	sizes := func() *histogram.Histogram { return histogram.New(1<<10, 4<<10, 512<<10, 1<<20, 2<<20, 4<<20) }
	return &counters{
		in:        metrics.NewTable[inKey](countersMax, sizes),
		calls:     metrics.NewCalls(known),
		dead:      metrics.NewTable[topicGroup](countersMax, count),
		commits:   metrics.NewTable[string](countersMax, count),
		rollbacks: metrics.NewTable[string](countersMax, count),
		finished:  metrics.NewTable[string](countersMax, histogram.Durations),
		timed:     metrics.NewTable[string](countersMax, count),
		fired:     metrics.NewTable[string](countersMax, count),
		creations: metrics.NewTable[creationKey](8, metrics.NewCallHistogram),
	}
}

// received counts messages that a client sent and that were stored. Retried
// messages came in before, and RocketMQ counts them neither.
func (c *counters) received(topic string, kind messageType, messages, bytes int) {
	if messages <= 0 || message.IsRetryTopic(topic) || message.IsDLQTopic(topic) {
		return
	}
	if h := c.in.At(inKey{topic, kind}); h != nil {
		h.ObserveMany(int64(bytes/messages), uint64(messages))
	}
}

// created counts the creation or change of a topic or a group.
func (b *Broker) created(group bool, name string, began time.Time, err error) {
	system := b.meta.SystemTopic(name)
	if group {
		system = b.systemGroup(name)
	}
	b.counters.creations.At(creationKey{group, system, err == nil}).Since(began)
}

func (b *Broker) systemGroup(name string) bool {
	return b.meta.SystemGroup(name) || systemGroupName(name)
}

func add[K comparable](t *metrics.Table[K, atomic.Int64], key K, n int64) {
	if v := t.At(key); v != nil {
		v.Add(n)
	}
}

// forgetTopic drops the counters of a topic that is gone.
func (c *counters) forgetTopic(topic string) {
	is := func(t string) bool { return t == topic }
	c.in.Delete(func(k inKey) bool { return k.topic == topic })
	c.dead.Delete(func(k topicGroup) bool { return k.topic == topic })
	for _, t := range []*metrics.Table[string, atomic.Int64]{c.commits, c.rollbacks, c.timed, c.fired} {
		t.Delete(is)
	}
	c.finished.Delete(is)
}

// refused is how often a table had no room for a key.
func (c *counters) refused() int64 {
	return c.in.Refused() + c.dead.Refused() + c.commits.Refused() + c.rollbacks.Refused() +
		c.finished.Refused() + c.timed.Refused() + c.fired.Refused()
}
