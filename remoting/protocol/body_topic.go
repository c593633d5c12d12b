package protocol

import "fmt"

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

// Equal reports whether two versions are the same.
func (b DataVersion) Equal(o DataVersion) bool { return b == o }

// AppendJSON appends the version.
func (b *DataVersion) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) { b.write(w) })
}

func (b *DataVersion) write(w *jsonWriter) {
	w.open('{')
	w.intKV("counter", b.Counter)
	if b.StateVersion != 0 {
		w.intKV("stateVersion", b.StateVersion)
	}
	w.intKV("timestamp", b.Timestamp)
	w.close('}')
}

// Decode reads a version.
func (b *DataVersion) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 64})
	if err != nil {
		return fmt.Errorf("data version: %w", err)
	}
	*b = dataVersionOf(v)
	return nil
}

func dataVersionOf(v Value) DataVersion {
	return DataVersion{
		Timestamp:    v.Get("timestamp").Int64(),
		Counter:      v.Get("counter").Int64(),
		StateVersion: v.Get("stateVersion").Int64(),
	}
}

// AppendJSON appends the configuration.
func (b *TopicConfig) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) { b.write(w) })
}

func (b *TopicConfig) write(w *jsonWriter) {
	filter := b.TopicFilterType
	if filter == "" {
		filter = FilterSingleTag
	}
	w.open('{')
	if len(b.Attributes) > 0 {
		w.key("attributes")
		w.strMap(b.Attributes)
	}
	w.boolKV("order", b.Order)
	w.intKV("perm", int64(b.Perm))
	w.intKV("readQueueNums", int64(b.ReadQueueNums))
	w.strKV("topicFilterType", filter)
	w.strKV("topicName", b.TopicName)
	w.intKV("topicSysFlag", int64(b.TopicSysFlag))
	w.intKV("writeQueueNums", int64(b.WriteQueueNums))
	w.close('}')
}

// Decode reads a configuration.
func (b *TopicConfig) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 4096})
	if err != nil {
		return fmt.Errorf("topic configuration: %w", err)
	}
	*b = topicConfigOf(v)
	return nil
}

func topicConfigOf(v Value) TopicConfig {
	t := TopicConfig{
		TopicName:       v.Get("topicName").Str(),
		ReadQueueNums:   v.Get("readQueueNums").Int32(),
		WriteQueueNums:  v.Get("writeQueueNums").Int32(),
		Perm:            v.Get("perm").Int32(),
		TopicFilterType: v.Get("topicFilterType").StrOr(FilterSingleTag),
		TopicSysFlag:    v.Get("topicSysFlag").Int32(),
		Order:           v.Get("order").Bool(),
	}
	if a := v.Get("attributes"); a.Len() > 0 {
		t.Attributes = a.StrMap()
	}
	return t
}

// AppendJSON appends the table.
func (b *TopicConfigSerializeWrapper) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) { b.write(w) })
}

func (b *TopicConfigSerializeWrapper) write(w *jsonWriter) {
	w.open('{')
	w.key("dataVersion")
	b.DataVersion.write(w)
	w.key("topicConfigTable")
	w.open('{')
	for _, name := range sortedKeys(b.TopicConfigTable) {
		w.key(name)
		b.TopicConfigTable[name].write(w)
	}
	w.close('}')
	w.close('}')
}

// registerLimits allows what fits into one frame: some hundred thousand topics.
var registerLimits = JSONLimits{NodesMax: 2 << 20}

// Decode reads a topic table.
func (b *TopicConfigSerializeWrapper) Decode(body []byte) error {
	v, err := parseObject(body, registerLimits)
	if err != nil {
		return fmt.Errorf("topic table: %w", err)
	}
	*b = topicTableOf(v)
	return nil
}

func topicTableOf(v Value) TopicConfigSerializeWrapper {
	table := v.Get("topicConfigTable")
	t := TopicConfigSerializeWrapper{
		DataVersion:      dataVersionOf(v.Get("dataVersion")),
		TopicConfigTable: make(map[string]*TopicConfig, table.Len()),
	}
	table.Each(func(name, value Value) {
		config := topicConfigOf(value)
		config.TopicName = value.Get("topicName").StrOr(name.Str())
		t.TopicConfigTable[name.Str()] = &config
	})
	return t
}

// AppendJSON appends the configuration.
func (b *SubscriptionGroupConfig) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) { b.write(w) })
}

func (b *SubscriptionGroupConfig) write(w *jsonWriter) {
	w.open('{')
	w.intKV("brokerId", b.BrokerID)
	w.boolKV("consumeBroadcastEnable", b.ConsumeBroadcastEnable)
	w.boolKV("consumeEnable", b.ConsumeEnable)
	w.boolKV("consumeFromMinEnable", b.ConsumeFromMinEnable)
	w.strKV("groupName", b.GroupName)
	w.boolKV("notifyConsumerIdsChangedEnable", b.NotifyConsumerIDsChangedEnable)
	w.intKV("retryMaxTimes", int64(b.RetryMaxTimes))
	w.intKV("retryQueueNums", int64(b.RetryQueueNums))
	w.intKV("whichBrokerWhenConsumeSlowly", b.WhichBrokerWhenConsumeSlowly)
	w.close('}')
}

// Decode reads a configuration; what is absent has RocketMQ's default.
func (b *SubscriptionGroupConfig) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 4096})
	if err != nil {
		return fmt.Errorf("subscription group: %w", err)
	}
	*b = *groupConfigOf(v)
	return nil
}

func groupConfigOf(v Value) *SubscriptionGroupConfig {
	c := NewSubscriptionGroupConfig(v.Get("groupName").Str())
	c.ConsumeEnable = v.Get("consumeEnable").BoolOr(c.ConsumeEnable)
	c.ConsumeFromMinEnable = v.Get("consumeFromMinEnable").BoolOr(c.ConsumeFromMinEnable)
	c.ConsumeBroadcastEnable = v.Get("consumeBroadcastEnable").BoolOr(c.ConsumeBroadcastEnable)
	c.NotifyConsumerIDsChangedEnable = v.Get("notifyConsumerIdsChangedEnable").BoolOr(c.NotifyConsumerIDsChangedEnable)
	if n := v.Get("retryQueueNums"); n.Kind() != KindNull {
		c.RetryQueueNums = n.Int32()
	}
	if n := v.Get("retryMaxTimes"); n.Kind() != KindNull {
		c.RetryMaxTimes = n.Int32()
	}
	if n := v.Get("whichBrokerWhenConsumeSlowly"); n.Kind() != KindNull {
		c.WhichBrokerWhenConsumeSlowly = n.Int64()
	}
	c.BrokerID = v.Get("brokerId").Int64()
	return c
}

// AppendJSON appends the table.
func (b *SubscriptionGroupWrapper) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("dataVersion")
		b.DataVersion.write(w)
		w.key("subscriptionGroupTable")
		w.open('{')
		for _, name := range sortedKeys(b.SubscriptionGroupTable) {
			w.key(name)
			b.SubscriptionGroupTable[name].write(w)
		}
		w.close('}')
		w.close('}')
	})
}

// Decode reads a group table.
func (b *SubscriptionGroupWrapper) Decode(body []byte) error {
	v, err := parseObject(body, registerLimits)
	if err != nil {
		return fmt.Errorf("subscription group table: %w", err)
	}
	table := v.Get("subscriptionGroupTable")
	*b = SubscriptionGroupWrapper{
		DataVersion:            dataVersionOf(v.Get("dataVersion")),
		SubscriptionGroupTable: make(map[string]*SubscriptionGroupConfig, table.Len()),
	}
	table.Each(func(name, value Value) {
		config := groupConfigOf(value)
		if config.GroupName == "" {
			config.GroupName = name.Str()
		}
		b.SubscriptionGroupTable[name.Str()] = config
	})
	return nil
}
