package namesrv

import (
	"maps"
	"slices"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// encodeRoute writes the TopicRouteData of one topic. The text is compact in
// both dialects: the Go client cuts the address map apart by hand, and a blank
// would turn every broker id into 0.
func encodeRoute(r *route, d Dialect) []byte {
	body := protocol.TopicRouteData{
		OrderTopicConf:    r.order,
		QueueDatas:        make([]protocol.QueueData, 0, len(r.queues)),
		BrokerDatas:       make([]protocol.BrokerData, 0, len(r.brokers)),
		FilterServerTable: map[string][]string{},
	}
	for _, q := range r.queues {
		body.QueueDatas = append(body.QueueDatas, protocol.QueueData{
			BrokerName: q.broker, ReadQueueNums: q.ReadQueues, WriteQueueNums: q.WriteQueues,
			Perm: q.Perm, TopicSysFlag: q.SysFlag,
		})
	}
	for _, v := range r.brokers {
		body.BrokerDatas = append(body.BrokerDatas, v.data())
		maps.Copy(body.FilterServerTable, v.filters)
	}
	if d == Standard {
		return body.AppendStandardJSON(nil)
	}
	return body.AppendJSON(nil)
}

func (v *brokerView) data() protocol.BrokerData {
	return protocol.BrokerData{Cluster: v.cluster, BrokerName: v.name, BrokerAddrs: v.addrs}
}

// encodeClusterInfo writes all brokers and which cluster each is in.
func encodeClusterInfo(s *snapshot) []byte {
	body := protocol.ClusterInfo{
		BrokerAddrTable:  make(map[string]protocol.BrokerData, len(s.brokers)),
		ClusterAddrTable: map[string][]string{},
	}
	for _, name := range slices.Sorted(maps.Keys(s.brokers)) {
		v := s.brokers[name]
		body.BrokerAddrTable[name] = v.data()
		body.ClusterAddrTable[v.cluster] = append(body.ClusterAddrTable[v.cluster], name)
	}
	return body.AppendJSON(nil)
}

func encodeTopicList(topics []string, brokerAddr string) []byte {
	return protocol.Encode(&protocol.TopicList{Topics: topics, BrokerAddr: brokerAddr})
}

// registrationOf reads header and body of REGISTER_BROKER. Its strings are
// copies: the frame goes back to its pool while they stay in the table.
func registrationOf(h *protocol.BrokerHeader, body *protocol.RegisterBrokerBody) Registration {
	v := body.TopicConfigs.DataVersion
	r := Registration{
		Cluster: h.ClusterName, Broker: h.BrokerName, Addr: h.BrokerAddr, HAAddr: h.HAServerAddr, ID: h.BrokerID,
		Version: versionOf(v), Filters: body.FilterServerList,
		Topics: make([]Topic, 0, len(body.TopicConfigs.TopicConfigTable)),
	}
	for name, c := range body.TopicConfigs.TopicConfigTable {
		if c == nil {
			continue
		}
		r.Topics = append(r.Topics, Topic{
			Name: name, ReadQueues: c.ReadQueueNums, WriteQueues: c.WriteQueueNums, Perm: c.Perm, SysFlag: c.TopicSysFlag,
		})
	}
	return r
}

func versionOf(v protocol.DataVersion) Version {
	return Version{Timestamp: v.Timestamp, Counter: v.Counter, Term: v.StateVersion}
}
