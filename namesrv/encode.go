package namesrv

import (
	"maps"
	"slices"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// encodeRoute writes the TopicRouteData of one topic. The text is compact in
// both dialects: the Go client cuts the address map apart by hand, and a blank
// would turn every broker id into 0.
func encodeRoute(r *route, d Dialect, a Audience) []byte {
	body := protocol.TopicRouteData{
		QueueDatas:        make([]protocol.QueueData, 0, len(r.queues)),
		BrokerDatas:       make([]protocol.BrokerData, 0, len(r.brokers)),
		FilterServerTable: map[string][]string{},
	}
	if r.tell {
		body.OrderTopicConf = r.order
	}
	for _, q := range r.queues {
		body.QueueDatas = append(body.QueueDatas, protocol.QueueData{
			BrokerName: q.broker, ReadQueueNums: q.ReadQueues, WriteQueueNums: q.WriteQueues,
			Perm: q.Perm, TopicSysFlag: q.SysFlag,
		})
	}
	for _, v := range r.brokers {
		body.BrokerDatas = append(body.BrokerDatas, v.data(a))
		maps.Copy(body.FilterServerTable, v.filters)
	}
	appendStandIns(&body, r, a)
	if d == Standard {
		return body.AppendStandardJSON(nil)
	}
	return body.AppendJSON(nil)
}

func (v *brokerView) data(a Audience) protocol.BrokerData {
	return protocol.BrokerData{Cluster: v.cluster, BrokerName: v.name, BrokerAddrs: v.addrs[a]}
}

// encodeClusterInfo writes all brokers and which cluster each is in.
func encodeClusterInfo(s *snapshot, a Audience) []byte {
	body := protocol.ClusterInfo{
		BrokerAddrTable:  make(map[string]protocol.BrokerData, len(s.brokers)),
		ClusterAddrTable: map[string][]string{},
	}
	for _, name := range slices.Sorted(maps.Keys(s.brokers)) {
		v := s.brokers[name]
		body.BrokerAddrTable[name] = v.data(a)
		body.ClusterAddrTable[v.cluster] = append(body.ClusterAddrTable[v.cluster], name)
	}
	return body.AppendJSON(nil)
}

func encodeTopicList(topics []string, brokerAddr string) []byte {
	return protocol.Encode(&protocol.TopicList{Topics: topics, BrokerAddr: brokerAddr})
}

func versionOf(v protocol.DataVersion) Version {
	return Version{Timestamp: v.Timestamp, Counter: v.Counter, Term: v.StateVersion}
}
