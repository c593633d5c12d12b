package dledger

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
)

// BenchmarkGroup sends 128-byte messages to three members in one process, on
// real files, with many outstanding. It measures the whole way: collector,
// raft, log, loopback TCP, followers, queues.
func BenchmarkGroup(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, outstanding := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("sync=%v/outstanding=%d", sync, outstanding), func(b *testing.B) {
				benchmarkGroup(b, sync, outstanding)
			})
		}
	}
}

func benchmarkGroup(b *testing.B, sync bool, outstanding int) {
	g := newGroup(b, groupOptions{disk: true, sync: sync, segment: 64 << 20, config: func(_ string, c *Config) {
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 0, 0, 0 // the defaults must hold under load
		c.CheckpointInterval = DefaultCheckpointInterval
	}})
	leader := g.leader()
	msg := message.Message{Topic: testTopic, BornHost: testHost, StoreHost: testHost, Body: make([]byte, 128)}
	data, err := msg.AppendStored(nil)
	require.NoError(b, err)
	stamp := []int32{int32(message.StoreTimestampPos(data))}
	free := make(chan *Proposal, outstanding)
	failed := make(chan error, 1)
	for range outstanding {
		free <- &Proposal{Data: data, Stamps: stamp, Records: 1, Done: func(p *Proposal) {
			if p.Err != nil {
				select {
				case failed <- p.Err:
				default:
				}
			}
			free <- p
		}}
	}
	entries := leader.node.Status().Counters.Entries
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		leader.node.Propose(<-free)
	}
	for range outstanding {
		<-free
	}
	b.StopTimer()
	select {
	case err := <-failed:
		require.NoError(b, err)
	default:
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(b.N)/float64(leader.node.Status().Counters.Entries-entries), "msg/entry")
}
