package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

func heldAt(topic string, queue int32, offset int64, conn uint64, match matchFunc) *heldPull {
	return &heldPull{pull: &pullRequest{topic: topic, queue: queue, offset: message.QueueOffset(offset)}, conn: conn, match: match}
}

func TestHoldTableExpiresOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		woken := map[*heldPull]time.Duration{}
		table := newHoldTable(func(h *heldPull) {
			mu.Lock()
			defer mu.Unlock()
			woken[h] = time.Since(start)
		})
		want := map[*heldPull]time.Duration{}
		for _, d := range []time.Duration{time.Millisecond, time.Second, 15 * time.Second} {
			h := heldAt("t", 0, 0, 1, nil)
			require.True(t, table.park(h, d, 10))
			want[h] = d
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, want, woken)
		require.Empty(t, table.byQueue)
		require.Empty(t, table.byConn)
	})
}

func TestHoldTableArrivals(t *testing.T) {
	woken := map[*heldPull]int{}
	table := newHoldTable(func(h *heldPull) { woken[h]++ })
	all := heldAt("t", 0, 5, 1, nil)
	tagged := heldAt("t", 0, 5, 1, func(code int64, _ message.Stored) bool { return code == 7 })
	ahead := heldAt("t", 0, 6, 1, nil)
	otherQueue := heldAt("t", 1, 5, 1, nil)
	otherTopic := heldAt("u", 0, 5, 1, nil)
	for _, h := range []*heldPull{all, tagged, ahead, otherQueue, otherTopic} {
		require.True(t, table.park(h, time.Hour, 10))
	}
	table.arrived(&store.Arrival{Topic: "t", Offset: 5, TagsCode: 1})
	require.Equal(t, map[*heldPull]int{all: 1}, woken)
	table.arrived(&store.Arrival{Topic: "t", Offset: 6, TagsCode: 7})
	require.Equal(t, map[*heldPull]int{all: 1, tagged: 1, ahead: 1}, woken)
	table.releaseAll(true)
	require.Equal(t, map[*heldPull]int{all: 1, tagged: 1, ahead: 1, otherQueue: 1, otherTopic: 1}, woken)
	require.False(t, table.park(heldAt("t", 0, 0, 1, nil), time.Hour, 10), "closed")
}

// Whatever happens, each pull leaves once, and the table forgets it.
func TestHoldTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		woken := map[*heldPull]int{}
		table := newHoldTable(func(h *heldPull) { woken[h]++ })
		inside := map[*heldPull]bool{}
		leave := func(h *heldPull, awake bool) {
			delete(inside, h)
			if got, want := woken[h], map[bool]int{true: 1, false: 0}[awake]; got != want {
				t.Fatalf("woken %d times, want %d", got, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"park": func(t *rapid.T) {
				h := heldAt("t", rapid.Int32Range(0, 2).Draw(t, "queue"), rapid.Int64Range(0, 3).Draw(t, "offset"), rapid.Uint64Range(1, 3).Draw(t, "conn"), nil)
				if took := table.park(h, time.Hour, limit); took != (len(inside) < limit) {
					t.Fatalf("park is %v with %d of %d", took, len(inside), limit)
				} else if took {
					inside[h] = true
				}
			},
			"arrive": func(t *rapid.T) {
				queue, offset := rapid.Int32Range(0, 2).Draw(t, "queue"), rapid.Int64Range(0, 3).Draw(t, "offset")
				table.arrived(&store.Arrival{Topic: "t", QueueID: queue, Offset: message.QueueOffset(offset)})
				for h := range inside {
					if h.pull.queue == queue && int64(h.pull.offset) <= offset {
						leave(h, true)
					}
				}
			},
			"close": func(t *rapid.T) {
				conn := rapid.Uint64Range(1, 3).Draw(t, "conn")
				table.dropConn(conn)
				for h := range inside {
					if h.conn == conn {
						leave(h, false)
					}
				}
			},
			"release": func(t *rapid.T) {
				for h := range inside {
					table.release(h)
					table.release(h)
					leave(h, true)
					break
				}
			},
			"": func(t *rapid.T) {
				if got := table.count.Load(); got != int64(len(inside)) {
					t.Fatalf("count is %d, want %d", got, len(inside))
				}
				n := 0
				for _, set := range table.byQueue {
					n += len(set)
				}
				m := 0
				for _, set := range table.byConn {
					m += len(set)
				}
				if n != len(inside) || m != len(inside) {
					t.Fatalf("%d by queue, %d by connection, want %d", n, m, len(inside))
				}
			},
		})
		for h := range inside {
			h.timer.Stop()
		}
	})
}

func TestWorkersRunEverythingOnce(t *testing.T) {
	w := newWorkers(3)
	var ran atomic.Int64
	block := make(chan struct{})
	for range 3 {
		require.True(t, w.try(100, func() { <-block }))
	}
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.head == len(w.queue)
	}, 10*time.Second, time.Millisecond)
	for range 1000 {
		w.must(func() { ran.Add(1) })
	}
	require.False(t, w.try(1000, func() {}), "the queue is at its bound")
	require.True(t, w.try(1001, func() { ran.Add(1) }))
	close(block)
	w.close()
	require.EqualValues(t, 1001, ran.Load(), "close lets queued work finish")
	require.False(t, w.try(10, func() {}))
	w.must(func() { ran.Add(1) })
	require.EqualValues(t, 1001, ran.Load())
	require.LessOrEqual(t, len(w.queue), 2048, "taken work is forgotten")
}

// An arrival that nobody waits for must cost next to nothing: there is one for
// each message.
func BenchmarkArrival(b *testing.B) {
	for _, held := range []int{0, 1000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			table := newHoldTable(func(*heldPull) {})
			for i := range held {
				table.park(heldAt("other", int32(i), 0, 1, nil), time.Hour, held)
			}
			b.ReportAllocs()
			for b.Loop() {
				table.arrived(&store.Arrival{Topic: "t", Offset: 5, TagsCode: 7})
			}
			b.StopTimer()
			table.releaseAll(true)
		})
	}
}
