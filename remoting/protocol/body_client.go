package protocol

import (
	"fmt"
	"strconv"
)

// Values of ConsumerData.ConsumeType, MessageModel and ConsumeFromWhere.
const (
	ConsumeActively  = "CONSUME_ACTIVELY"  // pull
	ConsumePassively = "CONSUME_PASSIVELY" // push

	ModelBroadcasting = "BROADCASTING"
	ModelClustering   = "CLUSTERING"

	FromLastOffset  = "CONSUME_FROM_LAST_OFFSET"
	FromFirstOffset = "CONSUME_FROM_FIRST_OFFSET"
	FromTimestamp   = "CONSUME_FROM_TIMESTAMP"
)

// The three enums in the order of RocketMQ's: C++ clients send the ordinal. Values
// that no client of today uses keep their old names.
var (
	consumeTypes   = []string{ConsumeActively, ConsumePassively}
	messageModels  = []string{ModelBroadcasting, ModelClustering}
	consumeOrigins = []string{FromLastOffset, FromLastOffset + "_AND_FROM_MIN_WHEN_BOOT_FIRST", "CONSUME_FROM_MIN_OFFSET",
		"CONSUME_FROM_MAX_OFFSET", FromFirstOffset, FromTimestamp}
)

// enum reads an enum's name, or its ordinal. Unknown values are kept as they came.
func (v Value) enum(names []string) string {
	text := v.Str()
	if i, err := strconv.Atoi(text); err == nil && i >= 0 && i < len(names) {
		return names[i]
	}
	return text
}

// Expression types of a subscription.
const (
	ExpressionTag   = "TAG"
	ExpressionSQL92 = "SQL92"
	SubscribeAll    = "*"
)

// SubscriptionData is what a consumer group wants of one topic.
type SubscriptionData struct {
	Topic           string
	SubString       string // "*", tags joined by "||", or SQL
	TagsSet         []string
	CodeSet         []int32 // as sent; recompute from TagsSet, Go's are wrong beyond ASCII
	SubVersion      int64   // ms; 0 when absent
	ExpressionType  string  // never "": absent means TAG
	ClassFilterMode bool
}

// ConsumerData is one consumer group of a heartbeat.
type ConsumerData struct {
	GroupName        string
	ConsumeType      string
	MessageModel     string
	ConsumeFromWhere string
	Subscriptions    []SubscriptionData
	UnitMode         bool
}

// ProducerData is one producer group of a heartbeat.
type ProducerData struct{ GroupName string }

// HeartbeatData is the body of HEART_BEAT.
type HeartbeatData struct {
	ClientID    string
	Producers   []ProducerData
	Consumers   []ConsumerData
	Fingerprint int32 // heartbeatFingerprint, 5.x
	WithoutSub  bool  // 5.x: subscriptions were left out
}

// MessageQueue names one queue.
type MessageQueue struct {
	Topic      string
	BrokerName string
	QueueID    int32
}

// LockBatchRequest is the body of LOCK_BATCH_MQ and UNLOCK_BATCH_MQ.
type LockBatchRequest struct {
	ConsumerGroup string
	ClientID      string
	Queues        []MessageQueue
}

// LockBatchResponse is the answer to LOCK_BATCH_MQ: the queues now owned.
type LockBatchResponse struct{ Queues []MessageQueue }

// ConsumerList is the answer to GET_CONSUMER_LIST_BY_GROUP.
type ConsumerList struct{ IDs []string }

// CheckClientRequest is the body of CHECK_CLIENT_CONFIG.
type CheckClientRequest struct {
	ClientID     string
	Group        string
	Subscription SubscriptionData
}

// AppendJSON appends the subscription.
func (b *SubscriptionData) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) { b.write(w) })
}

func (b *SubscriptionData) write(w *jsonWriter) {
	expression := b.ExpressionType
	if expression == "" {
		expression = ExpressionTag
	}
	w.open('{')
	w.boolKV("classFilterMode", b.ClassFilterMode)
	w.key("codeSet")
	w.open('[')
	for _, code := range b.CodeSet {
		w.int(int64(code))
	}
	w.close(']')
	w.strKV("expressionType", expression)
	w.strKV("subString", b.SubString)
	w.intKV("subVersion", b.SubVersion)
	w.key("tagsSet")
	w.strs(b.TagsSet)
	w.strKV("topic", b.Topic)
	w.close('}')
}

// Decode reads a subscription.
func (b *SubscriptionData) Decode(body []byte) error {
	v, err := parseObject(body, heartbeatLimits)
	if err != nil {
		return fmt.Errorf("subscription: %w", err)
	}
	*b = subscriptionOf(v)
	return nil
}

// subscriptionOf reads a subscription. Go clients send the numbers of codeSet
// as strings, which Int32 accepts.
func subscriptionOf(v Value) SubscriptionData {
	s := SubscriptionData{
		Topic:           v.Get("topic").Str(),
		SubString:       v.Get("subString").Str(),
		TagsSet:         v.Get("tagsSet").Strs(),
		SubVersion:      v.Get("subVersion").Int64(),
		ExpressionType:  v.Get("expressionType").StrOr(ExpressionTag),
		ClassFilterMode: v.Get("classFilterMode").Bool(),
	}
	for _, code := range v.Get("codeSet").Items() {
		s.CodeSet = append(s.CodeSet, code.Int32())
	}
	return s
}

// heartbeatLimits is enough for hundreds of subscriptions and keeps what any
// connected client can make us build to a few megabytes.
var heartbeatLimits = JSONLimits{NodesMax: 1 << 16}

// AppendJSON appends the heartbeat.
func (b *HeartbeatData) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.strKV("clientID", b.ClientID)
		w.key("consumerDataSet")
		w.open('[')
		for i := range b.Consumers {
			b.Consumers[i].write(w)
		}
		w.close(']')
		if b.Fingerprint != 0 {
			w.intKV("heartbeatFingerprint", int64(b.Fingerprint))
		}
		w.key("producerDataSet")
		w.open('[')
		for _, p := range b.Producers {
			w.open('{')
			w.strKV("groupName", p.GroupName)
			w.close('}')
		}
		w.close(']')
		if b.WithoutSub {
			w.boolKV("withoutSub", true)
		}
		w.close('}')
	})
}

func (b *ConsumerData) write(w *jsonWriter) {
	w.open('{')
	w.strKV("consumeFromWhere", b.ConsumeFromWhere)
	w.strKV("consumeType", b.ConsumeType)
	w.strKV("groupName", b.GroupName)
	w.strKV("messageModel", b.MessageModel)
	w.key("subscriptionDataSet")
	w.open('[')
	for i := range b.Subscriptions {
		b.Subscriptions[i].write(w)
	}
	w.close(']')
	w.boolKV("unitMode", b.UnitMode)
	w.close('}')
}

// Decode reads a heartbeat. Missing sets are empty; unknown enum values are kept
// as they came.
func (b *HeartbeatData) Decode(body []byte) error {
	v, err := parseObject(body, heartbeatLimits)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	*b = HeartbeatData{
		ClientID:    v.Get("clientID").Str(),
		Fingerprint: v.Get("heartbeatFingerprint").Int32(),
		WithoutSub:  v.Get("withoutSub").Bool(),
	}
	for _, it := range v.Get("producerDataSet").Items() {
		b.Producers = append(b.Producers, ProducerData{GroupName: it.Get("groupName").Str()})
	}
	for _, it := range v.Get("consumerDataSet").Items() {
		c := ConsumerData{
			GroupName:        it.Get("groupName").Str(),
			ConsumeType:      it.Get("consumeType").enum(consumeTypes),
			MessageModel:     it.Get("messageModel").enum(messageModels),
			ConsumeFromWhere: it.Get("consumeFromWhere").enum(consumeOrigins),
			UnitMode:         it.Get("unitMode").Bool(),
		}
		for _, sub := range it.Get("subscriptionDataSet").Items() {
			c.Subscriptions = append(c.Subscriptions, subscriptionOf(sub))
		}
		b.Consumers = append(b.Consumers, c)
	}
	return nil
}

// AppendJSON appends the queue's name.
func (b *MessageQueue) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) { w.queue(*b) })
}

// Decode reads a queue's name.
func (b *MessageQueue) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 64})
	if err != nil {
		return fmt.Errorf("message queue: %w", err)
	}
	*b = v.Queue()
	return nil
}

// AppendJSON appends the request.
func (b *LockBatchRequest) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.strKV("clientId", b.ClientID)
		w.strKV("consumerGroup", b.ConsumerGroup)
		w.key("mqSet")
		w.queues(b.Queues)
		w.close('}')
	})
}

// Decode reads a lock or unlock request.
func (b *LockBatchRequest) Decode(body []byte) error {
	v, err := parseObject(body, heartbeatLimits)
	if err != nil {
		return fmt.Errorf("lock request: %w", err)
	}
	*b = LockBatchRequest{
		ConsumerGroup: v.Get("consumerGroup").Str(),
		ClientID:      v.Get("clientId").Str(),
		Queues:        v.Get("mqSet").queues(),
	}
	return nil
}

// AppendJSON appends the answer.
func (b *LockBatchResponse) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("lockOKMQSet")
		w.queues(b.Queues)
		w.close('}')
	})
}

// Decode reads the answer to a lock request.
func (b *LockBatchResponse) Decode(body []byte) error {
	v, err := parseObject(body, heartbeatLimits)
	if err != nil {
		return fmt.Errorf("lock response: %w", err)
	}
	b.Queues = v.Get("lockOKMQSet").queues()
	return nil
}

func (w *jsonWriter) queues(qs []MessageQueue) {
	w.open('[')
	for _, q := range qs {
		w.queue(q)
	}
	w.close(']')
}

// AppendJSON appends the list.
func (b *ConsumerList) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("consumerIdList")
		w.strs(b.IDs)
		w.close('}')
	})
}

// Decode reads a list of client ids.
func (b *ConsumerList) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("consumer list: %w", err)
	}
	b.IDs = v.Get("consumerIdList").Strs()
	return nil
}

// AppendJSON appends the request.
func (b *CheckClientRequest) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.strKV("clientId", b.ClientID)
		w.strKV("group", b.Group)
		w.key("subscriptionData")
		b.Subscription.write(w)
		w.close('}')
	})
}

// Decode reads a check request.
func (b *CheckClientRequest) Decode(body []byte) error {
	v, err := parseObject(body, heartbeatLimits)
	if err != nil {
		return fmt.Errorf("client check: %w", err)
	}
	*b = CheckClientRequest{
		ClientID:     v.Get("clientId").Str(),
		Group:        v.Get("group").Str(),
		Subscription: subscriptionOf(v.Get("subscriptionData")),
	}
	return nil
}
