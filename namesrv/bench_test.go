package namesrv

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// bigTable is three brokers of a Raft group with 10,000 topics.
func bigTable(b testing.TB) (*RouteTable, []Topic) {
	b.Helper()
	table := NewRouteTable(TableConfig{})
	list := make([]Topic, 10_000)
	for i := range list {
		list[i] = Topic{Name: fmt.Sprintf("topic-%05d", i), ReadQueues: 8, WriteQueues: 8, Perm: 6}
	}
	mustRegister(b, table, 0, master(term(1), topics(list...)))
	mustRegister(b, table, 0, master(id(1), addr(2), term(1)))
	mustRegister(b, table, 0, master(id(2), addr(3), term(1)))
	return table, list
}

func BenchmarkRoute(b *testing.B) {
	table, list := bigTable(b)
	names := make([][]byte, len(list))
	for i := range list {
		names[i] = []byte(list[i].Name)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, ok := table.Route(names[i%len(names)], Standard, Inside); !ok {
				b.Error("no route")
			}
		}
	})
}

func BenchmarkRouteRequest(b *testing.B) {
	s := newServer(b)
	table, _ := bigTable(b)
	s.table = table
	req := protocol.NewRequest(105).SetField("topic", "topic-05000")
	call := remoting.NewCall(nil, req, nil)
	b.ReportAllocs()
	for b.Loop() {
		if s.answer(call, req).Code != 0 {
			b.Fatal("no route")
		}
	}
}

// BenchmarkRegisterUnchanged is the usual registration of a broker with 10,000
// topics, as it comes every 30 s, from the table's point of view.
func BenchmarkRegisterUnchanged(b *testing.B) {
	table, list := bigTable(b)
	r := master(term(1), topics(list...))
	b.ReportAllocs()
	for b.Loop() {
		mustRegister(b, table, 1, r)
	}
}

// BenchmarkRegisterOneNewTopic adds a topic to 10,000 and publishes.
func BenchmarkRegisterOneNewTopic(b *testing.B) {
	table, _ := bigTable(b)
	n := int64(1)
	b.ReportAllocs()
	for b.Loop() {
		n++
		mustRegister(b, table, 1, master(term(1), counter(n), topics(Topic{Name: "topic-00007", ReadQueues: int32(n & 15), Perm: 6})))
	}
}

// BenchmarkRegisterRequest includes reading the body of 10,000 topics.
func BenchmarkRegisterRequest(b *testing.B) {
	s := newServer(b)
	table, list := bigTable(b)
	s.table = table
	body := tableBody(v1(1, 1))
	for _, t := range list {
		body.TopicConfigs.TopicConfigTable[t.Name] = &protocol.TopicConfig{TopicName: t.Name, ReadQueueNums: 8, WriteQueueNums: 8, Perm: 6}
	}
	req := protocol.NewRequest(103).SetField("brokerName", "broker-a").SetField("brokerAddr", "10.0.0.1:10911").
		SetField("clusterName", "c1").SetField("brokerId", "0").SetBody(protocol.Encode(body))
	b.SetBytes(int64(len(req.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if r := s.answer(remoting.NewCall(nil, req, nil), req); r.Code != 0 {
			b.Fatal(r.Remark)
		}
	}
}

// BenchmarkLeaderChange replaces id 0: all 10,000 routes change.
func BenchmarkLeaderChange(b *testing.B) {
	table, list := bigTable(b)
	n := int64(1)
	b.ReportAllocs()
	for b.Loop() {
		n++
		mustRegister(b, table, 1, master(addr(1+int(n&1)), term(n), topics(list...)))
	}
}

// TestRouteDoesNotAllocate guards the read path.
func TestRouteDoesNotAllocate(t *testing.T) {
	table, _ := bigTable(t)
	topic := []byte("topic-00042")
	table.Route(topic, Standard, Inside)
	require.Zero(t, testing.AllocsPerRun(100, func() { table.Route(topic, Standard, Inside) }))
}
