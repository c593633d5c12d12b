package namesrv

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Stand-in names. RocketMQ's producers look routes up every 30 s and, when a
// send fails, try again on *another broker name*. A replica group has one name,
// so that a producer finds nobody until it looks again. With stand-ins the route
// of a topic of broker-a names broker-a@1, broker-a@2 … too, each with as many
// write queues and no read queues, and with the address of a follower as its id
// 0: followers send everything on to the leader, where a message lands in the
// real queue of the same number.
//
// The names are slots, not members: which member one leads to changes with the
// group, but neither their number nor that of their queues does. So producers
// that choose a queue by hash(key) % number of queues get the same queue number
// whatever the number of stand-ins, even while broker-a itself has no leader:
// the number of queues stays a multiple of one name's. With several groups of
// unequal numbers of queues that holds as long as each of them has a leader.
// Topics with order=true or an order configuration, whether clients are told of
// it or not, have no stand-ins: who asks for strict order wants sends to fail
// rather than to take another way.
//
// The names are in routes only: neither the list of clusters nor any registration
// knows them.

// standInIDs returns for each stand-in name the broker id that it leads to: the
// followers in turn, or the leader if there are none.
func (b *broker) standInIDs() []int64 {
	if b.standIns == 0 || len(b.addrs) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(b.addrs))
	if ids[0] == masterID && len(ids) > 1 {
		ids = ids[1:]
	}
	out := make([]int64, b.standIns)
	for i := range out {
		out[i] = ids[i%len(ids)]
	}
	return out
}

// standInName is the name of slot i, from 0.
func standInName(broker string, i int) string { return broker + "@" + strconv.Itoa(i+1) }

// standsIn reports whether a topic gets stand-ins: those that applications send
// to. Templates (inherit) are not sent to, retries and dead letters are sent by
// the broker.
func (t *Topic) standsIn() bool {
	return t.Perm&permWrite != 0 && t.Perm&permInherit == 0 && !t.Ordered &&
		!strings.HasPrefix(t.Name, "%RETRY%") && !strings.HasPrefix(t.Name, "%DLQ%") && !strings.HasPrefix(t.Name, "rmq_sys_") &&
		!strings.HasPrefix(t.Name, "RMQ_SYS_") && !strings.HasSuffix(t.Name, "_REPLY_TOPIC")
}

// appendStandIns adds the stand-ins to a route.
func appendStandIns(body *protocol.TopicRouteData, r *route, a Audience) {
	if r.order != "" {
		return
	}
	for _, v := range r.brokers {
		at := slices.IndexFunc(r.queues, func(q queue) bool { return q.broker == v.name })
		if at < 0 || !r.queues[at].standsIn() {
			continue
		}
		for i, id := range v.standIn {
			name := standInName(v.name, i)
			body.QueueDatas = append(body.QueueDatas, protocol.QueueData{
				BrokerName: name, WriteQueueNums: r.queues[at].WriteQueues, Perm: permWrite, TopicSysFlag: r.queues[at].SysFlag,
			})
			body.BrokerDatas = append(body.BrokerDatas, protocol.BrokerData{
				Cluster: v.cluster, BrokerName: name, BrokerAddrs: map[int64]string{masterID: v.addrs[a][id]},
			})
		}
	}
}
