package store

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
)

func benchRecord(b *testing.B, topic string, queue int32) []byte {
	m := message.Message{
		Topic: topic, QueueID: queue, Body: make([]byte, 128), StoreTimestamp: 1, BornTimestamp: 1,
		BornHost: testHost, StoreHost: testHost,
		Properties: []byte("UNIQ_KEY\x017F00000100002A9A18B4AAC216C50000\x02CLUSTER\x01DefaultCluster\x02TAGS\x01TagA"),
	}
	rec, err := m.AppendStored(nil)
	require.NoError(b, err)
	return rec
}

// benchStore is on a real directory, so that tails are really written.
func benchStore(b *testing.B) *Store {
	cfg := testConfig(vfs.OS, nil, nil)
	cfg.Dir, cfg.SegmentSize, cfg.Sync, cfg.OpenKV = b.TempDir(), 256<<20, false, nil
	s, err := Open(cfg)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

const benchMessages = 145

// An entry of 145 messages is what 512 senders of 128-byte messages make.
func BenchmarkApply(b *testing.B) {
	b.Run("4 queues", func(b *testing.B) {
		benchApply(b, func(i int) (string, int32) { return "BenchTopic", int32(i % 4) })
	})
	b.Run("10000 topics", func(b *testing.B) {
		benchApply(b, func(i int) (string, int32) { return fmt.Sprintf("Topic-%05d", i*7919%10_000), 0 })
	})
}

func benchApply(b *testing.B, place func(i int) (string, int32)) {
	s := benchStore(b)
	var entries [][]byte
	for i := 0; i < 10_000; {
		var data []byte
		for range benchMessages {
			topic, queue := place(i)
			data = append(data, benchRecord(b, topic, queue)...)
			i++
		}
		entries = append(entries, data)
	}
	index, off := uint64(0), message.PhyOffset(0)
	apply := func() {
		data := entries[index%uint64(len(entries))]
		index++
		off += message.PhyOffset(len(data))
		s.Apply(Entry{Index: index, Term: 1, Time: int64(index), Offset: off, Data: data})
	}
	for range entries {
		apply()
	}
	// Making files is the price of a new queue, not of a message.
	c, err := s.Capture()
	require.NoError(b, err)
	require.NoError(b, c.Persist(nil))
	b.ReportAllocs()
	n, cpu := 0, cpuTime(b)
	for b.Loop() {
		apply()
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*benchMessages), "ns/msg")
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(n*benchMessages), "cpu-ns/msg")
	b.ReportMetric(0, "ns/op")
}

// cpuTime is the processor time used so far, in ns: what counts on a machine that
// does other things too.
func cpuTime(b *testing.B) int64 {
	var ru syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &ru))
	return ru.Utime.Nano() + ru.Stime.Nano()
}

// One pull of 32 messages from a queue whose records lie in 4-queue entries.
func BenchmarkGet(b *testing.B) {
	for _, body := range []int{128, 4096} {
		b.Run(fmt.Sprintf("32 of %d bytes", body), func(b *testing.B) {
			s := benchStore(b)
			for index := uint64(1); index <= 50; index++ {
				var data []byte
				for i := range 64 {
					data = append(data, record(b, "BenchTopic", int32(i%4), strings.Repeat("x", body), "TagA", 1)...)
				}
				require.NoError(b, s.Log().Append([]commitlog.Entry{{Index: index, Term: 1, Extensions: make([]byte, 8), Data: data}}))
				off, err := s.Log().Locate(index)
				require.NoError(b, err)
				s.Apply(Entry{Index: index, Term: 1, Offset: message.PhyOffset(off), Data: data})
			}
			buf := make([]byte, 0, 512<<10)
			b.ReportAllocs()
			b.SetBytes(int64(32 * (body + 91)))
			for b.Loop() {
				res := s.Get(GetRequest{Topic: "BenchTopic", QueueID: 2, Offset: 100, Buf: buf})
				if res.Count != 32 {
					b.Fatal(res.Status, res.Count, res.Err)
				}
			}
		})
	}
}

func BenchmarkCheckpoint10000Topics(b *testing.B) {
	s := benchStore(b)
	var entries [][]byte
	for i := 0; i < 10_000; {
		var data []byte
		for range 100 {
			data = append(data, benchRecord(b, fmt.Sprintf("Topic-%05d", i), 0)...)
			i++
		}
		entries = append(entries, data)
	}
	index := uint64(0)
	checkpoint := func() {
		for _, data := range entries {
			index++
			s.Apply(Entry{Index: index, Term: 1, Data: data})
		}
		c, err := s.Capture()
		require.NoError(b, err)
		require.NoError(b, c.Persist(nil))
	}
	checkpoint() // makes the files
	b.ReportAllocs()
	for b.Loop() {
		checkpoint()
	}
}
