package protocol

import (
	"fmt"
	"strconv"
)

// ConsumeTimeSpan is one queue of a ConsumeTimeSpanBody; times in ms.
type ConsumeTimeSpan struct {
	Queue            MessageQueue
	MinTimestamp     int64
	MaxTimestamp     int64
	ConsumeTimestamp int64
	DelayTime        int64
}

// ConsumeTimeSpanBody is the answer to QUERY_CONSUME_TIME_SPAN.
type ConsumeTimeSpanBody struct{ Spans []ConsumeTimeSpan }

// AppendJSON appends the spans.
func (b *ConsumeTimeSpanBody) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("consumeTimeSpanSet")
		w.open('[')
		for _, s := range b.Spans {
			w.open('{')
			w.intKV("consumeTimeStamp", s.ConsumeTimestamp)
			w.intKV("delayTime", s.DelayTime)
			w.intKV("maxTimeStamp", s.MaxTimestamp)
			w.key("messageQueue")
			w.queue(s.Queue)
			w.intKV("minTimeStamp", s.MinTimestamp)
			w.close('}')
		}
		w.close(']')
		w.close('}')
	})
}

// Decode reads the spans.
func (b *ConsumeTimeSpanBody) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("consume time spans: %w", err)
	}
	b.Spans = nil
	for _, it := range v.Get("consumeTimeSpanSet").Items() {
		b.Spans = append(b.Spans, ConsumeTimeSpan{
			Queue:            it.Get("messageQueue").Queue(),
			MinTimestamp:     it.Get("minTimeStamp").Int64(),
			MaxTimestamp:     it.Get("maxTimeStamp").Int64(),
			ConsumeTimestamp: it.Get("consumeTimeStamp").Int64(),
			DelayTime:        it.Get("delayTime").Int64(),
		})
	}
	return nil
}

// StatsItem is one window of BrokerStatsData.
type StatsItem struct {
	Sum   int64
	Tps   float64
	Avgpt float64
}

// BrokerStatsData is the answer to VIEW_BROKER_STATS_DATA.
type BrokerStatsData struct{ Minute, Hour, Day StatsItem }

// AppendJSON appends the windows.
func (b *BrokerStatsData) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		item := func(key string, s StatsItem) {
			w.key(key)
			w.open('{')
			w.floatKV("avgpt", s.Avgpt)
			w.intKV("sum", s.Sum)
			w.floatKV("tps", s.Tps)
			w.close('}')
		}
		w.open('{')
		item("statsDay", b.Day)
		item("statsHour", b.Hour)
		item("statsMinute", b.Minute)
		w.close('}')
	})
}

// Decode reads the windows.
func (b *BrokerStatsData) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 4096})
	if err != nil {
		return fmt.Errorf("broker statistics: %w", err)
	}
	item := func(key string) StatsItem {
		it := v.Get(key)
		return StatsItem{
			Sum:   it.Get("sum").Int64(),
			Tps:   it.Get("tps").Float64(),
			Avgpt: it.Get("avgpt").Float64(),
		}
	}
	*b = BrokerStatsData{Minute: item("statsMinute"), Hour: item("statsHour"), Day: item("statsDay")}
	return nil
}

// ConsumeQueueData is one entry of a ConsumeQueueBody.
type ConsumeQueueData struct {
	PhysicOffset int64
	PhysicSize   int32
	TagsCode     int64
	ExtendData   string // "" = absent
	BitMap       string // "" = absent
	Eval         bool
	Msg          string // "" = absent
}

// ConsumeQueueBody is the answer to QUERY_CONSUME_QUEUE.
type ConsumeQueueBody struct {
	Subscription  *SubscriptionData // nil = absent
	FilterData    string
	QueueData     []ConsumeQueueData
	MaxQueueIndex int64
	MinQueueIndex int64
}

// AppendJSON appends the entries.
func (b *ConsumeQueueBody) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.strKVIf("filterData", b.FilterData)
		w.intKV("maxQueueIndex", b.MaxQueueIndex)
		w.intKV("minQueueIndex", b.MinQueueIndex)
		w.key("queueData")
		w.open('[')
		for i := range b.QueueData {
			b.QueueData[i].write(w)
		}
		w.close(']')
		if b.Subscription != nil {
			w.key("subscriptionData")
			b.Subscription.write(w)
		}
		w.close('}')
	})
}

func (b *ConsumeQueueData) write(w *jsonWriter) {
	w.open('{')
	w.strKVIf("bitMap", b.BitMap)
	w.boolKV("eval", b.Eval)
	w.strKVIf("extendDataJson", b.ExtendData)
	w.strKVIf("msg", b.Msg)
	w.intKV("physicOffset", b.PhysicOffset)
	w.intKV("physicSize", int64(b.PhysicSize))
	w.intKV("tagsCode", b.TagsCode)
	w.close('}')
}

// Decode reads the entries.
func (b *ConsumeQueueBody) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("consume queue entries: %w", err)
	}
	*b = ConsumeQueueBody{
		FilterData:    v.Get("filterData").Str(),
		MaxQueueIndex: v.Get("maxQueueIndex").Int64(),
		MinQueueIndex: v.Get("minQueueIndex").Int64(),
	}
	if sub := v.Get("subscriptionData"); sub.Kind() == KindObject {
		s := subscriptionOf(sub)
		b.Subscription = &s
	}
	for _, it := range v.Get("queueData").Items() {
		b.QueueData = append(b.QueueData, ConsumeQueueData{
			PhysicOffset: it.Get("physicOffset").Int64(),
			PhysicSize:   it.Get("physicSize").Int32(),
			TagsCode:     it.Get("tagsCode").Int64(),
			ExtendData:   it.Get("extendDataJson").Str(),
			BitMap:       it.Get("bitMap").Str(),
			Eval:         it.Get("eval").Bool(),
			Msg:          it.Get("msg").Str(),
		})
	}
	return nil
}

// OffsetTable is the answer to GET_ALL_CONSUMER_OFFSET: "topic@group" to queue
// id to offset.
type OffsetTable struct{ Offsets map[string]map[int32]int64 }

// AppendJSON appends the table.
func (b *OffsetTable) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("offsetTable")
		w.open('{')
		for _, k := range sortedKeys(b.Offsets) {
			w.key(k)
			w.intOffsets(b.Offsets[k])
		}
		w.close('}')
		w.close('}')
	})
}

// Decode reads the table.
func (b *OffsetTable) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("consumer offsets: %w", err)
	}
	table := v.Get("offsetTable")
	b.Offsets = make(map[string]map[int32]int64, table.Len())
	table.Each(func(k, offsets Value) { b.Offsets[k.Str()] = offsets.intOffsets() })
	return nil
}

// DelayOffsets is the answer to GET_ALL_DELAY_OFFSET: delay level to offset.
type DelayOffsets struct{ Offsets map[int32]int64 }

// AppendJSON appends the offsets.
func (b *DelayOffsets) AppendJSON(dst []byte) []byte {
	return appendIntOffsets(dst, "offsetTable", b.Offsets)
}

// Decode reads the offsets.
func (b *DelayOffsets) Decode(body []byte) (err error) {
	b.Offsets, err = decodeIntOffsets(body, "offsetTable")
	return err
}

// CorrectionOffsets is the answer to QUERY_CORRECTION_OFFSET: queue id to offset.
type CorrectionOffsets struct{ Offsets map[int32]int64 }

// AppendJSON appends the offsets.
func (b *CorrectionOffsets) AppendJSON(dst []byte) []byte {
	return appendIntOffsets(dst, "correctionOffsets", b.Offsets)
}

// Decode reads the offsets.
func (b *CorrectionOffsets) Decode(body []byte) (err error) {
	b.Offsets, err = decodeIntOffsets(body, "correctionOffsets")
	return err
}

func appendIntOffsets(dst []byte, key string, m map[int32]int64) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key(key)
		w.intOffsets(m)
		w.close('}')
	})
}

func decodeIntOffsets(body []byte, key string) (map[int32]int64, error) {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return v.Get(key).intOffsets(), nil
}

// ConsumeDirectlyResult is a client's answer to CONSUME_MESSAGE_DIRECTLY.
type ConsumeDirectlyResult struct {
	Order          bool
	AutoCommit     bool
	ConsumeResult  string // CR_SUCCESS …; a number from Go is turned into its name
	Remark         string
	SpentTimeMills int64
}

// consumeResults are the names behind the numbers that Go clients send.
var consumeResults = [...]string{"CR_SUCCESS", "CR_LATER", "CR_ROLLBACK", "CR_COMMIT",
	"CR_THROW_EXCEPTION", "CR_RETURN_NULL"}

// AppendJSON appends the result.
func (b *ConsumeDirectlyResult) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.boolKV("autoCommit", b.AutoCommit)
		w.strKVIf("consumeResult", b.ConsumeResult)
		w.boolKV("order", b.Order)
		w.strKVIf("remark", b.Remark)
		w.intKV("spentTimeMills", b.SpentTimeMills)
		w.close('}')
	})
}

// Decode reads the result.
func (b *ConsumeDirectlyResult) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 4096})
	if err != nil {
		return fmt.Errorf("consume result: %w", err)
	}
	result := v.Get("consumeResult").Str()
	if n, err := strconv.Atoi(result); err == nil && n >= 0 && n < len(consumeResults) {
		result = consumeResults[n]
	}
	*b = ConsumeDirectlyResult{
		Order:          v.Get("order").Bool(),
		AutoCommit:     v.Get("autoCommit").Bool(),
		ConsumeResult:  result,
		Remark:         v.Get("remark").Str(),
		SpentTimeMills: v.Get("spentTimeMills").Int64(),
	}
	return nil
}

// Allocation is which consumer would get which queues, as mqadmin prints it.
type Allocation struct{ Queues map[string][]MessageQueue }

// AppendJSON appends the queues by consumer.
func (b *Allocation) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("result")
		w.open('{')
		for _, member := range sortedKeys(b.Queues) {
			w.key(member)
			w.queues(b.Queues[member])
		}
		w.close('}')
		w.close('}')
	})
}

// OffsetMovedEvent is the body of a message of OFFSET_MOVED_EVENT: a broker told
// a consumer to go on elsewhere in a queue than it asked for.
type OffsetMovedEvent struct {
	ConsumerGroup string
	Queue         MessageQueue
	OffsetRequest int64
	OffsetNew     int64
}

// AppendJSON appends the event.
func (b *OffsetMovedEvent) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.strKV("consumerGroup", b.ConsumerGroup)
		w.key("messageQueue")
		w.queue(b.Queue)
		w.intKV("offsetNew", b.OffsetNew)
		w.intKV("offsetRequest", b.OffsetRequest)
		w.close('}')
	})
}

// Decode reads an event.
func (b *OffsetMovedEvent) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 64})
	if err != nil {
		return fmt.Errorf("offset moved event: %w", err)
	}
	*b = OffsetMovedEvent{
		ConsumerGroup: v.Get("consumerGroup").Str(),
		Queue:         v.Get("messageQueue").Queue(),
		OffsetRequest: v.Get("offsetRequest").Int64(),
		OffsetNew:     v.Get("offsetNew").Int64(),
	}
	return nil
}
