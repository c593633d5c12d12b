package broker

import (
	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/internal/wall"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// groupLag is where a group stands in one topic.
type groupLag struct {
	topic, group                 string
	lag, inflight, ready         int64
	end, confirmed               int64
	lagOldest, readyOldest       int64 // store times in ms of the oldest such message, 0 without one
	lagAge, readyAge             int64 // ms
	online                       int
	broadcast, retry, deadLetter bool
}

// lagReadsMax bounds the messages whose time is looked up for one scrape: one for
// each queue with a lag, and another where messages are in flight.
const lagReadsMax = 20_000

// eachLag calls fn for every topic of every consumer group, up to limit pairs,
// and returns how many it left out.
//
// Groups that broadcast keep their offsets themselves; nobody here knows their
// lag.
func (b *Broker) eachLag(limit int, fn func(*groupLag)) (skipped int) {
	now, reads := wall.Now().UnixMilli(), lagReadsMax
	for _, cfg := range b.meta.Groups() {
		info, live := b.clients.ConsumerInfo(cfg.GroupName)
		broadcast := live && info.MessageModel == protocol.ModelBroadcasting
		for _, topic := range b.lagTopics(cfg.GroupName) {
			if limit--; limit < 0 {
				skipped++
				continue
			}
			l := groupLag{
				topic: topic.TopicName, group: cfg.GroupName, broadcast: broadcast,
				retry: message.IsRetryTopic(topic.TopicName), deadLetter: message.IsDLQTopic(topic.TopicName),
			}
			for q := range topic.ReadQueueNums {
				b.addLag(&l, q, &reads)
			}
			if l.lagOldest > 0 {
				l.lagAge = max(now-l.lagOldest, 0)
			}
			if l.readyOldest > 0 {
				l.readyAge = max(now-l.readyOldest, 0)
			}
			if live {
				l.online = len(b.clients.ConsumerIDs(cfg.GroupName))
			}
			fn(&l)
		}
	}
	return skipped
}

// lagTopics are the topics in which a group has offsets or that it subscribes.
func (b *Broker) lagTopics(group string) []*protocol.TopicConfig {
	topics := b.topicsOf(group, "", false)
	known := make(map[string]bool, len(topics))
	for _, t := range topics {
		known[t.TopicName] = true
	}
	for name := range b.clients.Subscriptions(group) {
		if cfg, ok := b.meta.Topic(name); ok && !known[name] {
			topics = append(topics, cfg)
		}
	}
	return topics
}

// addLag adds one queue.
func (b *Broker) addLag(l *groupLag, queue int32, reads *int) {
	first, last := b.store.QueueRange(l.topic, queue)
	end := int64(last)
	// Replicated only, which is a tenth of a second behind: a scrape writes nothing.
	offset, known := b.meta.Offset(l.group, l.topic, queue)
	confirmed := min(max(offset, int64(first)), end)
	if !known {
		confirmed = int64(first)
	}
	// What was given out is known where it was given out, since the start.
	given, ok := b.stats.Pulled(l.topic, l.group, queue)
	if given = min(max(given, confirmed), end); !ok {
		given = confirmed
	}
	l.end += end
	l.confirmed += confirmed
	l.lag += end - confirmed
	l.inflight += given - confirmed
	l.ready += end - given
	at := func(off int64) int64 {
		if *reads--; *reads < 0 {
			return 0
		}
		t, _ := b.store.StoreTimeAt(l.topic, queue, message.QueueOffset(off))
		return t
	}
	older := func(a, b int64) int64 {
		if a == 0 || b > 0 && b < a {
			return b
		}
		return a
	}
	if confirmed < end {
		oldest := at(confirmed)
		l.lagOldest = older(l.lagOldest, oldest)
		if given == confirmed {
			l.readyOldest = older(l.readyOldest, oldest)
		}
	}
	if given < end && given > confirmed {
		l.readyOldest = older(l.readyOldest, at(given))
	}
}

// collectLag writes RocketMQ 5's families of lag.
func (b *Broker) collectLag(w *metrics.Writer) {
	skipped := b.eachLag(b.cfg().SeriesMax, func(l *groupLag) {
		if l.broadcast {
			return
		}
		labels := []string{l.topic, l.group, boolText(l.retry), b.isSystem(l.topic, l.group)}
		w.Value(famLag, float64(l.lag), labels...)
		w.Value(famLagLatency, float64(l.lagAge), labels...)
		w.Value(famInflight, float64(l.inflight), labels...)
		w.Value(famQueueing, float64(l.readyAge), labels...)
		w.Value(famReady, float64(l.ready), labels...)
	})
	w.Skip(5 * skipped)
}
