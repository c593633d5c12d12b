package metadata

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/store"
)

func manyTopics(tb testing.TB, n int) *world {
	tb.Helper()
	w := newWorld()
	for i := range n {
		w.apply(tb, 1, AppendPutTopic(nil, topic(fmt.Sprintf("topic-%05d", i), 8), Upsert))
	}
	return w
}

func TestHotReadsDoNotAllocate(t *testing.T) {
	w := manyTopics(t, 10)
	w.apply(t, 1, AppendCommitOffsets(nil, []OffsetCommit{{"g", "t", 3, 4}}))
	name := []byte("topic-00003")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, ok := w.TopicBytes(name); !ok {
			t.Error("topic is missing")
		}
		if _, ok := w.Offset("g", "t", 3); !ok {
			t.Error("offset is missing")
		}
	}))
}

func BenchmarkTopicBytes(b *testing.B) {
	w := manyTopics(b, 10_000)
	name := []byte("topic-05000")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w.TopicBytes(name)
		}
	})
}

func BenchmarkCommitOffsets(b *testing.B) {
	w := newWorld()
	commits := make([]OffsetCommit, 0, 1000)
	for i := range 1000 {
		commits = append(commits, OffsetCommit{fmt.Sprintf("group-%03d", i/8), "topic", int32(i % 8), int64(i)})
	}
	data := AppendCommitOffsets(nil, commits)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		w.apply(b, 1, data)
	}
}

func BenchmarkCreateTopics(b *testing.B) {
	w := newWorld()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		data := AppendPutTopic(nil, topic(fmt.Sprintf("topic-%06d", i%TopicsMax), 8), IfAbsent)
		_ = store.EachRecord(data, func(r store.Record) error {
			w.applyRecord(1, r.Op(), r.Payload(), nil)
			return nil
		})
	}
}
