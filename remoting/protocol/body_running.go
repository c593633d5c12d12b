package protocol

import "fmt"

// ProcessQueueInfo is what a consumer holds of one queue; times in ms.
type ProcessQueueInfo struct {
	CommitOffset            int64
	CachedMsgMinOffset      int64
	CachedMsgMaxOffset      int64
	CachedMsgCount          int32
	CachedMsgSizeInMiB      int32
	TransactionMsgMinOffset int64
	TransactionMsgMaxOffset int64
	TransactionMsgCount     int32
	Locked                  bool
	TryUnlockTimes          int64
	LastLockTimestamp       int64
	Droped                  bool
	LastPullTimestamp       int64
	LastConsumeTimestamp    int64
}

// ConsumeStatus is how fast a consumer takes one topic.
type ConsumeStatus struct {
	PullRT, PullTPS, ConsumeRT, ConsumeOKTPS, ConsumeFailedTPS float64
	ConsumeFailedMsgs                                          int64
}

// ConsumerRunningInfo is a consumer's answer to GET_CONSUMER_RUNNING_INFO.
type ConsumerRunningInfo struct {
	Properties    map[string]string
	Subscriptions []SubscriptionData
	Queues        map[MessageQueue]ProcessQueueInfo
	Status        map[string]ConsumeStatus // by topic
	Jstack        string                   // "" = not asked for
}

// Keys of ConsumerRunningInfo.Properties.
const (
	PropConsumeType    = "PROP_CONSUME_TYPE"
	PropConsumeOrderly = "PROP_CONSUMEORDERLY"
	PropStartTimestamp = "PROP_CONSUMER_START_TIMESTAMP"
	PropConsumerGroup  = "consumerGroup"
)

// AppendJSON appends the information.
func (b *ConsumerRunningInfo) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.strKVIf("jstack", b.Jstack)
		w.key("mqTable")
		w.open('{')
		for _, q := range sortedQueues(b.Queues) {
			w.queueKey(q)
			p := b.Queues[q]
			p.write(w)
		}
		w.close('}')
		w.key("properties")
		w.strMap(b.Properties)
		w.key("statusTable")
		w.open('{')
		for _, topic := range sortedKeys(b.Status) {
			w.key(topic)
			s := b.Status[topic]
			s.write(w)
		}
		w.close('}')
		w.key("subscriptionSet")
		w.open('[')
		for i := range b.Subscriptions {
			b.Subscriptions[i].write(w)
		}
		w.close(']')
		w.close('}')
	})
}

func (b *ProcessQueueInfo) write(w *jsonWriter) {
	w.open('{')
	w.intKV("cachedMsgCount", int64(b.CachedMsgCount))
	w.intKV("cachedMsgMaxOffset", b.CachedMsgMaxOffset)
	w.intKV("cachedMsgMinOffset", b.CachedMsgMinOffset)
	w.intKV("cachedMsgSizeInMiB", int64(b.CachedMsgSizeInMiB))
	w.intKV("commitOffset", b.CommitOffset)
	w.boolKV("droped", b.Droped)
	w.intKV("lastConsumeTimestamp", b.LastConsumeTimestamp)
	w.intKV("lastLockTimestamp", b.LastLockTimestamp)
	w.intKV("lastPullTimestamp", b.LastPullTimestamp)
	w.boolKV("locked", b.Locked)
	w.intKV("transactionMsgCount", int64(b.TransactionMsgCount))
	w.intKV("transactionMsgMaxOffset", b.TransactionMsgMaxOffset)
	w.intKV("transactionMsgMinOffset", b.TransactionMsgMinOffset)
	w.intKV("tryUnlockTimes", b.TryUnlockTimes)
	w.close('}')
}

func (b *ConsumeStatus) write(w *jsonWriter) {
	w.open('{')
	w.intKV("consumeFailedMsgs", b.ConsumeFailedMsgs)
	w.floatKV("consumeFailedTPS", b.ConsumeFailedTPS)
	w.floatKV("consumeOKTPS", b.ConsumeOKTPS)
	w.floatKV("consumeRT", b.ConsumeRT)
	w.floatKV("pullRT", b.PullRT)
	w.floatKV("pullTPS", b.PullTPS)
	w.close('}')
}

// Decode reads the information.
func (b *ConsumerRunningInfo) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 1 << 20})
	if err != nil {
		return fmt.Errorf("consumer running info: %w", err)
	}
	*b = ConsumerRunningInfo{
		Properties: v.Get("properties").StrMap(),
		Queues:     make(map[MessageQueue]ProcessQueueInfo),
		Status:     make(map[string]ConsumeStatus),
		Jstack:     v.Get("jstack").Str(),
	}
	for _, it := range v.Get("subscriptionSet").Items() {
		b.Subscriptions = append(b.Subscriptions, subscriptionOf(it))
	}
	v.Get("mqTable").Each(func(q, p Value) {
		b.Queues[q.Queue()] = ProcessQueueInfo{
			CommitOffset:            p.Get("commitOffset").Int64(),
			CachedMsgMinOffset:      p.Get("cachedMsgMinOffset").Int64(),
			CachedMsgMaxOffset:      p.Get("cachedMsgMaxOffset").Int64(),
			CachedMsgCount:          p.Get("cachedMsgCount").Int32(),
			CachedMsgSizeInMiB:      p.Get("cachedMsgSizeInMiB").Int32(),
			TransactionMsgMinOffset: p.Get("transactionMsgMinOffset").Int64(),
			TransactionMsgMaxOffset: p.Get("transactionMsgMaxOffset").Int64(),
			TransactionMsgCount:     p.Get("transactionMsgCount").Int32(),
			Locked:                  p.Get("locked").Bool(),
			TryUnlockTimes:          p.Get("tryUnlockTimes").Int64(),
			LastLockTimestamp:       p.Get("lastLockTimestamp").Int64(),
			Droped:                  p.Get("droped").Bool(),
			LastPullTimestamp:       p.Get("lastPullTimestamp").Int64(),
			LastConsumeTimestamp:    p.Get("lastConsumeTimestamp").Int64(),
		}
	})
	v.Get("statusTable").Each(func(topic, s Value) {
		b.Status[topic.Str()] = ConsumeStatus{
			PullRT: s.Get("pullRT").Float64(), PullTPS: s.Get("pullTPS").Float64(),
			ConsumeRT: s.Get("consumeRT").Float64(), ConsumeOKTPS: s.Get("consumeOKTPS").Float64(),
			ConsumeFailedTPS: s.Get("consumeFailedTPS").Float64(), ConsumeFailedMsgs: s.Get("consumeFailedMsgs").Int64(),
		}
	})
	return nil
}
