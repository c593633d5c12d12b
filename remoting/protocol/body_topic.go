package protocol

// DataVersion dates a table. Two are equal when all parts are.
type DataVersion struct {
	Timestamp    int64 // ms
	Counter      int64
	StateVersion int64 // 5.x; written only when not 0
}

// Topic filter types.
const (
	FilterSingleTag = "SINGLE_TAG"
	FilterMultiTag  = "MULTI_TAG"
)

// TopicConfig is a topic's configuration on a broker.
type TopicConfig struct {
	TopicName       string
	ReadQueueNums   int32
	WriteQueueNums  int32
	Perm            int32
	TopicFilterType string // "" is written as SINGLE_TAG
	TopicSysFlag    int32
	Order           bool
	Attributes      map[string]string // 5.x; written only when not empty
}

// TopicConfigSerializeWrapper is a topic table with its version.
type TopicConfigSerializeWrapper struct {
	DataVersion      DataVersion
	TopicConfigTable map[string]*TopicConfig
}

// RegisterBrokerBody is the body of REGISTER_BROKER.
type RegisterBrokerBody struct {
	TopicConfigs     TopicConfigSerializeWrapper
	FilterServerList []string
}

// SubscriptionGroupConfig is a consumer group's configuration on a broker.
type SubscriptionGroupConfig struct {
	GroupName                      string
	ConsumeEnable                  bool
	ConsumeFromMinEnable           bool
	ConsumeBroadcastEnable         bool
	RetryQueueNums                 int32
	RetryMaxTimes                  int32
	BrokerID                       int64
	WhichBrokerWhenConsumeSlowly   int64
	NotifyConsumerIDsChangedEnable bool
}

// NewSubscriptionGroupConfig returns RocketMQ's defaults for a group.
func NewSubscriptionGroupConfig(group string) *SubscriptionGroupConfig {
	return &SubscriptionGroupConfig{
		GroupName: group, ConsumeEnable: true, ConsumeFromMinEnable: true, ConsumeBroadcastEnable: true,
		RetryQueueNums: 1, RetryMaxTimes: 16, WhichBrokerWhenConsumeSlowly: 1, NotifyConsumerIDsChangedEnable: true,
	}
}

// SubscriptionGroupWrapper is a group table with its version.
type SubscriptionGroupWrapper struct {
	DataVersion            DataVersion
	SubscriptionGroupTable map[string]*SubscriptionGroupConfig
}
