package group

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestPullLookupDoesNotAllocate(t *testing.T) {
	c := newTable(ClientsConfig{})
	c.beat(t, 1, consumer("a", "g", sub("T", "x || y", 1)))
	group, topic := []byte("g"), []byte("T")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, s, ok := c.Consumer(group, topic)
		if !ok || s.Match(0) {
			t.Error("subscription is missing")
		}
	}))
}

// BenchmarkHeartbeat is one of 5,000 clients of 100 groups saying again what
// is known.
func BenchmarkHeartbeat(b *testing.B) {
	c := NewClients(ClientsConfig{})
	beats := make([]*protocol.HeartbeatData, 5000)
	for i := range beats {
		g := fmt.Sprintf("group-%02d", i%100)
		beats[i] = consumer(fmt.Sprintf("10.0.0.1@%d", i), g, sub("T1", "a || b", 1), sub("%RETRY%"+g, "*", 1))
		beats[i].Producers = []protocol.ProducerData{{GroupName: "producers"}}
		require.NoError(b, c.Heartbeat(fakeConn(i), protocol.LanguageJava, 401, beats[i]))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := i % len(beats)
		if err := c.Heartbeat(fakeConn(n), protocol.LanguageJava, 401, beats[n]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPullLookup(b *testing.B) {
	c := NewClients(ClientsConfig{})
	require.NoError(b, c.Heartbeat(fakeConn(1), 0, 0, consumer("a", "g", sub("T", "x || y", 1))))
	group, topic := []byte("g"), []byte("T")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, s, _ := c.Consumer(group, topic)
			s.Match(5)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	p := tableProposer{}
	o, err := NewOffsets(OffsetsConfig{Proposer: p})
	require.NoError(b, err)
	require.NoError(b, o.Start(b.Context()))
	defer func() { require.NoError(b, o.Close()) }()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := o.Commit(Commit{"group", "topic", int32(i % 1000), int64(i)}); err != nil {
			b.Fatal(err)
		}
	}
}
