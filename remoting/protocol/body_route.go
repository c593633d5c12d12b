package protocol

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
