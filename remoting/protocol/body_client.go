package protocol

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
