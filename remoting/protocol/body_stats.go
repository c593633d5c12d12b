package protocol

// TopicOffset is one queue's range and last change.
type TopicOffset struct {
	MinOffset           int64
	MaxOffset           int64 // exclusive
	LastUpdateTimestamp int64 // ms, 0 = empty
}

// TopicStatsTable is the answer to GET_TOPIC_STATS_INFO.
type TopicStatsTable struct{ Offsets map[MessageQueue]TopicOffset }

// ConsumeOffset is a group's position in one queue (OffsetWrapper).
type ConsumeOffset struct {
	BrokerOffset   int64
	ConsumerOffset int64
	LastTimestamp  int64 // ms
}

// ConsumeStats is the answer to GET_CONSUME_STATS.
type ConsumeStats struct {
	ConsumeTps float64
	Offsets    map[MessageQueue]ConsumeOffset
}

// ConsumeStatsList is the answer to GET_BROKER_CONSUME_STATS.
type ConsumeStatsList struct {
	BrokerAddr string
	TotalDiff  int64
	Groups     []GroupConsumeStats
}

// GroupConsumeStats is one group's statistics, one entry per topic.
type GroupConsumeStats struct {
	Group string
	Stats []ConsumeStats
}

// ResetOffsetBody maps queues to offsets: the answer to 222 and body of 220.
type ResetOffsetBody struct{ Offsets map[MessageQueue]int64 }

// GetConsumerStatusBody is a client's answer to 221 (MessageQueueTable) and the
// broker's answer to 223 (ConsumerTable by client id).
type GetConsumerStatusBody struct {
	MessageQueueTable map[MessageQueue]int64
	ConsumerTable     map[string]map[MessageQueue]int64
}

// Connection is one client in a connection list.
type Connection struct {
	ClientID   string
	ClientAddr string
	Language   string
	Version    int32
}

// ConsumerConnection is the answer to GET_CONSUMER_CONNECTION_LIST.
type ConsumerConnection struct {
	Connections      []Connection
	Subscriptions    map[string]*SubscriptionData
	ConsumeType      string
	MessageModel     string
	ConsumeFromWhere string
}

// ProducerConnection is the answer to GET_PRODUCER_CONNECTION_LIST.
type ProducerConnection struct{ Connections []Connection }

// ProducerInfo is one producer in a ProducerTableInfo.
type ProducerInfo struct {
	ClientID            string
	RemoteIP            string // "/ip:port", as Java prints it
	Language            string
	Version             int32
	LastUpdateTimestamp int64 // ms
}

// ProducerTableInfo is the answer to GET_ALL_PRODUCER_INFO.
type ProducerTableInfo struct{ Data map[string][]ProducerInfo }

// GroupList is the answer to QUERY_TOPIC_CONSUME_BY_WHO.
type GroupList struct{ Groups []string }

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

// StatsItem is one window of BrokerStatsData.
type StatsItem struct {
	Sum   int64
	Tps   float64
	Avgpt float64
}

// BrokerStatsData is the answer to VIEW_BROKER_STATS_DATA.
type BrokerStatsData struct{ Minute, Hour, Day StatsItem }

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

// OffsetTable is the answer to GET_ALL_CONSUMER_OFFSET: "topic@group" to queue
// id to offset.
type OffsetTable struct{ Offsets map[string]map[int32]int64 }

// DelayOffsets is the answer to GET_ALL_DELAY_OFFSET: delay level to offset.
type DelayOffsets struct{ Offsets map[int32]int64 }

// CorrectionOffsets is the answer to QUERY_CORRECTION_OFFSET: queue id to offset.
type CorrectionOffsets struct{ Offsets map[int32]int64 }

// ConsumeDirectlyResult is a client's answer to CONSUME_MESSAGE_DIRECTLY.
type ConsumeDirectlyResult struct {
	Order          bool
	AutoCommit     bool
	ConsumeResult  string // CR_SUCCESS …; a number from Go is turned into its name
	Remark         string
	SpentTimeMills int64
}
