package protocol

import "fmt"

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

// Lag is how many messages of the queue the group has not consumed. An offset
// beyond the end is no lag.
func (o ConsumeOffset) Lag() int64 { return max(o.BrokerOffset-o.ConsumerOffset, 0) }

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

// AppendJSON appends the table.
func (b *TopicStatsTable) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("offsetTable")
		w.open('{')
		for _, q := range sortedQueues(b.Offsets) {
			o := b.Offsets[q]
			w.queueKey(q)
			w.open('{')
			w.intKV("lastUpdateTimestamp", o.LastUpdateTimestamp)
			w.intKV("maxOffset", o.MaxOffset)
			w.intKV("minOffset", o.MinOffset)
			w.close('}')
		}
		w.close('}')
		w.close('}')
	})
}

// Decode reads a table of queue ranges.
func (b *TopicStatsTable) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("topic statistics: %w", err)
	}
	table := v.Get("offsetTable")
	b.Offsets = make(map[MessageQueue]TopicOffset, table.Len())
	table.Each(func(q, o Value) {
		b.Offsets[q.Queue()] = TopicOffset{
			MinOffset:           o.Get("minOffset").Int64(),
			MaxOffset:           o.Get("maxOffset").Int64(),
			LastUpdateTimestamp: o.Get("lastUpdateTimestamp").Int64(),
		}
	})
	return nil
}

// AppendJSON appends the statistics.
func (b *ConsumeStats) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) { b.write(w) })
}

func (b *ConsumeStats) write(w *jsonWriter) {
	w.open('{')
	w.floatKV("consumeTps", b.ConsumeTps)
	w.key("offsetTable")
	w.open('{')
	for _, q := range sortedQueues(b.Offsets) {
		o := b.Offsets[q]
		w.queueKey(q)
		w.open('{')
		w.intKV("brokerOffset", o.BrokerOffset)
		w.intKV("consumerOffset", o.ConsumerOffset)
		w.intKV("lastTimestamp", o.LastTimestamp)
		w.close('}')
	}
	w.close('}')
	w.close('}')
}

// Decode reads a group's statistics.
func (b *ConsumeStats) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("consume statistics: %w", err)
	}
	*b = consumeStatsOf(v)
	return nil
}

func consumeStatsOf(v Value) ConsumeStats {
	table := v.Get("offsetTable")
	s := ConsumeStats{
		ConsumeTps: v.Get("consumeTps").Float64(),
		Offsets:    make(map[MessageQueue]ConsumeOffset, table.Len()),
	}
	table.Each(func(q, o Value) {
		s.Offsets[q.Queue()] = ConsumeOffset{
			BrokerOffset:   o.Get("brokerOffset").Int64(),
			ConsumerOffset: o.Get("consumerOffset").Int64(),
			LastTimestamp:  o.Get("lastTimestamp").Int64(),
		}
	})
	return s
}

// AppendJSON appends the list.
func (b *ConsumeStatsList) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.strKV("brokerAddr", b.BrokerAddr)
		w.key("consumeStatsList")
		w.open('[')
		for _, g := range b.Groups {
			w.open('{')
			w.key(g.Group)
			w.open('[')
			for i := range g.Stats {
				g.Stats[i].write(w)
			}
			w.close(']')
			w.close('}')
		}
		w.close(']')
		w.intKV("totalDiff", b.TotalDiff)
		w.close('}')
	})
}

// Decode reads the statistics of all groups of a broker.
func (b *ConsumeStatsList) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("consume statistics list: %w", err)
	}
	*b = ConsumeStatsList{BrokerAddr: v.Get("brokerAddr").Str(), TotalDiff: v.Get("totalDiff").Int64()}
	for _, it := range v.Get("consumeStatsList").Items() {
		it.Each(func(group, stats Value) {
			g := GroupConsumeStats{Group: group.Str()}
			for _, s := range stats.Items() {
				g.Stats = append(g.Stats, consumeStatsOf(s))
			}
			b.Groups = append(b.Groups, g)
		})
	}
	return nil
}

// AppendJSON appends the form with queues as keys. The Go client parses it by
// hand and panics on any other form.
func (b *ResetOffsetBody) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("offsetTable")
		w.queueOffsets(b.Offsets)
		w.close('}')
	})
}

// AppendListJSON appends the form that C++ clients read: a list of objects.
func (b *ResetOffsetBody) AppendListJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("offsetTable")
		w.open('[')
		for _, q := range sortedQueues(b.Offsets) {
			w.open('{')
			w.strKV("brokerName", q.BrokerName)
			w.intKV("offset", b.Offsets[q])
			w.intKV("queueId", int64(q.QueueID))
			w.strKV("topic", q.Topic)
			w.close('}')
		}
		w.close(']')
		w.close('}')
	})
}

// Decode reads any of the forms in use.
func (b *ResetOffsetBody) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("reset offsets: %w", err)
	}
	b.Offsets = v.Get("offsetTable").queueOffsets()
	return nil
}

// AppendJSON appends the status.
func (b *GetConsumerStatusBody) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("consumerTable")
		w.open('{')
		for _, id := range sortedKeys(b.ConsumerTable) {
			w.key(id)
			w.queueOffsets(b.ConsumerTable[id])
		}
		w.close('}')
		w.key("messageQueueTable")
		w.queueOffsets(b.MessageQueueTable)
		w.close('}')
	})
}

// Decode reads a consumer status.
func (b *GetConsumerStatusBody) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 1 << 18})
	if err != nil {
		return fmt.Errorf("consumer status: %w", err)
	}
	table := v.Get("consumerTable")
	*b = GetConsumerStatusBody{
		MessageQueueTable: v.Get("messageQueueTable").queueOffsets(),
		ConsumerTable:     make(map[string]map[MessageQueue]int64, table.Len()),
	}
	table.Each(func(id, offsets Value) { b.ConsumerTable[id.Str()] = offsets.queueOffsets() })
	return nil
}

func (w *jsonWriter) connections(cs []Connection) {
	w.key("connectionSet")
	w.open('[')
	for _, c := range cs {
		w.open('{')
		w.strKV("clientAddr", c.ClientAddr)
		w.strKV("clientId", c.ClientID)
		w.strKV("language", c.Language)
		w.intKV("version", int64(c.Version))
		w.close('}')
	}
	w.close(']')
}

func connectionsOf(v Value) []Connection {
	out := make([]Connection, 0, v.Len())
	for _, it := range v.Items() {
		out = append(out, Connection{
			ClientID:   it.Get("clientId").Str(),
			ClientAddr: it.Get("clientAddr").Str(),
			Language:   it.Get("language").Str(),
			Version:    it.Get("version").Int32(),
		})
	}
	return out
}

// AppendJSON appends the listing.
func (b *ConsumerConnection) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.connections(b.Connections)
		w.strKVIf("consumeFromWhere", b.ConsumeFromWhere)
		w.strKVIf("consumeType", b.ConsumeType)
		w.strKVIf("messageModel", b.MessageModel)
		w.key("subscriptionTable")
		w.open('{')
		for _, topic := range sortedKeys(b.Subscriptions) {
			w.key(topic)
			b.Subscriptions[topic].write(w)
		}
		w.close('}')
		w.close('}')
	})
}

// Decode reads a group's connections.
func (b *ConsumerConnection) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("consumer connections: %w", err)
	}
	table := v.Get("subscriptionTable")
	*b = ConsumerConnection{
		Connections:      connectionsOf(v.Get("connectionSet")),
		Subscriptions:    make(map[string]*SubscriptionData, table.Len()),
		ConsumeType:      v.Get("consumeType").Str(),
		MessageModel:     v.Get("messageModel").Str(),
		ConsumeFromWhere: v.Get("consumeFromWhere").Str(),
	}
	table.Each(func(topic, sub Value) {
		s := subscriptionOf(sub)
		b.Subscriptions[topic.Str()] = &s
	})
	return nil
}

// AppendJSON appends the listing.
func (b *ProducerConnection) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.connections(b.Connections)
		w.close('}')
	})
}

// Decode reads a producer group's connections.
func (b *ProducerConnection) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("producer connections: %w", err)
	}
	b.Connections = connectionsOf(v.Get("connectionSet"))
	return nil
}

// AppendJSON appends the table.
func (b *ProducerTableInfo) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("data")
		w.open('{')
		for _, group := range sortedKeys(b.Data) {
			w.key(group)
			w.open('[')
			for _, p := range b.Data[group] {
				w.open('{')
				w.strKV("clientId", p.ClientID)
				w.strKV("language", p.Language)
				w.intKV("lastUpdateTimestamp", p.LastUpdateTimestamp)
				w.strKV("remoteIP", p.RemoteIP)
				w.intKV("version", int64(p.Version))
				w.close('}')
			}
			w.close(']')
		}
		w.close('}')
		w.close('}')
	})
}

// Decode reads the producers of a broker.
func (b *ProducerTableInfo) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("producer table: %w", err)
	}
	data := v.Get("data")
	b.Data = make(map[string][]ProducerInfo, data.Len())
	data.Each(func(group, list Value) {
		infos := make([]ProducerInfo, 0, list.Len())
		for _, it := range list.Items() {
			infos = append(infos, ProducerInfo{
				ClientID:            it.Get("clientId").Str(),
				RemoteIP:            it.Get("remoteIP").Str(),
				Language:            it.Get("language").Str(),
				Version:             it.Get("version").Int32(),
				LastUpdateTimestamp: it.Get("lastUpdateTimestamp").Int64(),
			})
		}
		b.Data[group.Str()] = infos
	})
	return nil
}

// AppendJSON appends the list.
func (b *GroupList) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("groupList")
		w.strs(b.Groups)
		w.close('}')
	})
}

// Decode reads a list of groups.
func (b *GroupList) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("group list: %w", err)
	}
	b.Groups = v.Get("groupList").Strs()
	return nil
}
