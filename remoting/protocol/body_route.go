package protocol

import "fmt"

// Permission bits of a topic on a broker (PermName).
const (
	PermPriority int32 = 1 << 3
	PermRead     int32 = 1 << 2
	PermWrite    int32 = 1 << 1
	PermInherit  int32 = 1 << 0
)

// MasterID is the broker id of the leader in routes.
const MasterID int64 = 0

// QueueData is one broker's share of a topic.
type QueueData struct {
	BrokerName     string
	ReadQueueNums  int32
	WriteQueueNums int32
	Perm           int32
	TopicSysFlag   int32
}

// BrokerData is one broker group: its members' addresses by broker id.
type BrokerData struct {
	Cluster     string
	BrokerName  string
	BrokerAddrs map[int64]string
}

// TopicRouteData is the body of GET_ROUTEINFO_BY_TOPIC.
type TopicRouteData struct {
	OrderTopicConf    string // "" = absent
	QueueDatas        []QueueData
	BrokerDatas       []BrokerData
	FilterServerTable map[string][]string
}

// ClusterInfo is the body of GET_BROKER_CLUSTER_INFO.
type ClusterInfo struct {
	BrokerAddrTable  map[string]BrokerData
	ClusterAddrTable map[string][]string
}

// TopicList is a list of topic names with an optional broker address.
type TopicList struct {
	Topics     []string
	BrokerAddr string // "" = absent
}

// KVTable is a string map: order-topic configuration, runtime info.
type KVTable struct{ Table map[string]string }

// AppendJSON appends the form with bare broker ids.
func (b *TopicRouteData) AppendJSON(dst []byte) []byte { return b.appendJSON(dst, false) }

// AppendStandardJSON appends the form with quoted broker ids, which every known
// client reads. It is compact: Go clients cut brokerAddrs at commas and colons
// by hand, and a blank would turn every id into 0.
func (b *TopicRouteData) AppendStandardJSON(dst []byte) []byte { return b.appendJSON(dst, true) }

func (b *TopicRouteData) appendJSON(dst []byte, quoted bool) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("brokerDatas")
		w.open('[')
		for i := range b.BrokerDatas {
			b.BrokerDatas[i].write(w, quoted)
		}
		w.close(']')
		w.key("filterServerTable")
		w.strsMap(b.FilterServerTable)
		w.strKVIf("orderTopicConf", b.OrderTopicConf)
		w.key("queueDatas")
		w.open('[')
		for i := range b.QueueDatas {
			q := &b.QueueDatas[i]
			w.open('{')
			w.strKV("brokerName", q.BrokerName)
			w.intKV("perm", int64(q.Perm))
			w.intKV("readQueueNums", int64(q.ReadQueueNums))
			w.intKV("topicSysFlag", int64(q.TopicSysFlag))
			w.intKV("writeQueueNums", int64(q.WriteQueueNums))
			w.close('}')
		}
		w.close(']')
		w.close('}')
	})
}

// Decode reads a route in either form.
func (b *TopicRouteData) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("topic route: %w", err)
	}
	*b = TopicRouteData{
		OrderTopicConf:    v.Get("orderTopicConf").Str(),
		FilterServerTable: v.Get("filterServerTable").strsMap(),
	}
	for _, it := range v.Get("brokerDatas").Items() {
		b.BrokerDatas = append(b.BrokerDatas, brokerDataOf(it))
	}
	for _, it := range v.Get("queueDatas").Items() {
		sysFlag := it.Get("topicSysFlag")
		if sysFlag.Kind() == KindNull {
			sysFlag = it.Get("topicSynFlag") // the misspelt name of older releases
		}
		b.QueueDatas = append(b.QueueDatas, QueueData{
			BrokerName:     it.Get("brokerName").Str(),
			ReadQueueNums:  it.Get("readQueueNums").Int32(),
			WriteQueueNums: it.Get("writeQueueNums").Int32(),
			Perm:           it.Get("perm").Int32(),
			TopicSysFlag:   sysFlag.Int32(),
		})
	}
	return nil
}

func (b *BrokerData) write(w *jsonWriter, quoted bool) {
	w.open('{')
	w.key("brokerAddrs")
	w.open('{')
	for _, id := range sortedKeys(b.BrokerAddrs) {
		w.intKey(id, quoted)
		w.str(b.BrokerAddrs[id])
	}
	w.close('}')
	w.strKV("brokerName", b.BrokerName)
	w.strKV("cluster", b.Cluster)
	w.close('}')
}

func brokerDataOf(v Value) BrokerData {
	addrs := v.Get("brokerAddrs")
	b := BrokerData{
		Cluster:     v.Get("cluster").Str(),
		BrokerName:  v.Get("brokerName").Str(),
		BrokerAddrs: make(map[int64]string, addrs.Len()),
	}
	addrs.Each(func(id, addr Value) { b.BrokerAddrs[id.Int64()] = addr.Str() })
	return b
}

// AppendJSON appends the form with bare broker ids.
func (b *ClusterInfo) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("brokerAddrTable")
		w.open('{')
		for _, name := range sortedKeys(b.BrokerAddrTable) {
			w.key(name)
			data := b.BrokerAddrTable[name]
			data.write(w, false)
		}
		w.close('}')
		w.key("clusterAddrTable")
		w.strsMap(b.ClusterAddrTable)
		w.close('}')
	})
}

// Decode reads a cluster listing with bare or quoted broker ids.
func (b *ClusterInfo) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("cluster info: %w", err)
	}
	brokers := v.Get("brokerAddrTable")
	*b = ClusterInfo{
		BrokerAddrTable:  make(map[string]BrokerData, brokers.Len()),
		ClusterAddrTable: v.Get("clusterAddrTable").strsMap(),
	}
	brokers.Each(func(name, data Value) { b.BrokerAddrTable[name.Str()] = brokerDataOf(data) })
	return nil
}

// AppendJSON appends the list.
func (b *TopicList) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.strKVIf("brokerAddr", b.BrokerAddr)
		w.key("topicList")
		w.strs(b.Topics)
		w.close('}')
	})
}

// Decode reads a topic list.
func (b *TopicList) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("topic list: %w", err)
	}
	*b = TopicList{Topics: v.Get("topicList").Strs(), BrokerAddr: v.Get("brokerAddr").Str()}
	return nil
}

// AppendJSON appends the table.
func (b *KVTable) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("table")
		w.strMap(b.Table)
		w.close('}')
	})
}

// Decode reads a table of strings.
func (b *KVTable) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("key-value table: %w", err)
	}
	b.Table = v.Get("table").StrMap()
	return nil
}

// strsMap writes a map of string lists in sorted order.
func (w *jsonWriter) strsMap(m map[string][]string) {
	w.open('{')
	for _, k := range sortedKeys(m) {
		w.key(k)
		w.strs(m[k])
	}
	w.close('}')
}

// strsMap reads an object of string lists; never nil.
func (v Value) strsMap() map[string][]string {
	m := make(map[string][]string, v.Len())
	v.Each(func(k, list Value) { m[k.Str()] = list.Strs() })
	return m
}
