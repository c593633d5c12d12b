package protocol

import "fmt"

// HAConnectionInfo is what a master knows of one replica.
type HAConnectionInfo struct {
	Addr           string
	AckOffset      int64 // physical offset the replica has reached
	Diff           int64 // bytes behind the master
	InSync         bool
	BytesPerSecond int64
	TransferFrom   int64
}

// HAClientInfo is what a replica knows of itself and its master.
type HAClientInfo struct {
	MasterAddr          string
	BytesPerSecond      int64
	MaxOffset           int64
	LastRead, LastWrite int64 // ms
	FlushOffset         int64
	Activated           bool
}

// HARuntimeInfo is the answer to GET_BROKER_HA_STATUS.
type HARuntimeInfo struct {
	Master          bool
	MasterMaxOffset int64
	InSync          int32
	Connections     []HAConnectionInfo
	Client          HAClientInfo
}

// AppendJSON appends the status.
func (b *HARuntimeInfo) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("haClientRuntimeInfo")
		w.open('{')
		w.boolKV("activated", b.Client.Activated)
		w.intKV("lastReadTimestamp", b.Client.LastRead)
		w.intKV("lastWriteTimestamp", b.Client.LastWrite)
		w.strKVIf("masterAddr", b.Client.MasterAddr)
		w.intKV("masterFlushOffset", b.Client.FlushOffset)
		w.intKV("maxOffset", b.Client.MaxOffset)
		w.intKV("transferredByteInSecond", b.Client.BytesPerSecond)
		w.close('}')
		w.key("haConnectionInfo")
		w.open('[')
		for _, c := range b.Connections {
			w.open('{')
			w.strKV("addr", c.Addr)
			w.intKV("diff", c.Diff)
			w.boolKV("inSync", c.InSync)
			w.intKV("slaveAckOffset", c.AckOffset)
			w.intKV("transferFromWhere", c.TransferFrom)
			w.intKV("transferredByteInSecond", c.BytesPerSecond)
			w.close('}')
		}
		w.close(']')
		w.intKV("inSyncSlaveNums", int64(b.InSync))
		w.boolKV("master", b.Master)
		w.intKV("masterCommitLogMaxOffset", b.MasterMaxOffset)
		w.close('}')
	})
}

// Decode reads the status.
func (b *HARuntimeInfo) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("HA status: %w", err)
	}
	c := v.Get("haClientRuntimeInfo")
	*b = HARuntimeInfo{
		Master:          v.Get("master").Bool(),
		MasterMaxOffset: v.Get("masterCommitLogMaxOffset").Int64(),
		InSync:          v.Get("inSyncSlaveNums").Int32(),
		Client: HAClientInfo{
			MasterAddr:     c.Get("masterAddr").Str(),
			BytesPerSecond: c.Get("transferredByteInSecond").Int64(),
			MaxOffset:      c.Get("maxOffset").Int64(),
			LastRead:       c.Get("lastReadTimestamp").Int64(),
			LastWrite:      c.Get("lastWriteTimestamp").Int64(),
			FlushOffset:    c.Get("masterFlushOffset").Int64(),
			Activated:      c.Get("activated").Bool(),
		},
	}
	for _, it := range v.Get("haConnectionInfo").Items() {
		b.Connections = append(b.Connections, HAConnectionInfo{
			Addr:           it.Get("addr").Str(),
			AckOffset:      it.Get("slaveAckOffset").Int64(),
			Diff:           it.Get("diff").Int64(),
			InSync:         it.Get("inSync").Bool(),
			BytesPerSecond: it.Get("transferredByteInSecond").Int64(),
			TransferFrom:   it.Get("transferFromWhere").Int64(),
		})
	}
	return nil
}

// TopicConfigList is the body of UPDATE_AND_CREATE_TOPIC_LIST (5.x).
type TopicConfigList struct{ Topics []TopicConfig }

// AppendJSON appends the list.
func (b *TopicConfigList) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("topicConfigList")
		w.open('[')
		for i := range b.Topics {
			b.Topics[i].write(w)
		}
		w.close(']')
		w.close('}')
	})
}

// Decode reads the list.
func (b *TopicConfigList) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("topic list: %w", err)
	}
	b.Topics = nil
	for _, it := range v.Get("topicConfigList").Items() {
		b.Topics = append(b.Topics, topicConfigOf(it))
	}
	return nil
}

// SubscriptionGroupList is the body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
// (5.x).
type SubscriptionGroupList struct{ Groups []*SubscriptionGroupConfig }

// AppendJSON appends the list.
func (b *SubscriptionGroupList) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("groupConfigList")
		w.open('[')
		for _, g := range b.Groups {
			g.write(w)
		}
		w.close(']')
		w.close('}')
	})
}

// Decode reads the list.
func (b *SubscriptionGroupList) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("subscription group list: %w", err)
	}
	b.Groups = nil
	for _, it := range v.Get("groupConfigList").Items() {
		b.Groups = append(b.Groups, groupConfigOf(it))
	}
	return nil
}
