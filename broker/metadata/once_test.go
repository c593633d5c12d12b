package metadata

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

func onceKey(i int) OnceKey { return MakeOnceKey("T", "pg", fmt.Sprint("u", i), 1) }

func TestOnceKeyTellsSendsApart(t *testing.T) {
	seen := map[OnceKey]string{}
	for _, k := range [][3]string{{"T", "pg", "u"}, {"T", "pgu", ""}, {"T", "p", "gu"}, {"Tp", "g", "u"}, {"", "Tpg", "u"}} {
		for count := 1; count <= 2; count++ {
			key := MakeOnceKey(k[0], k[1], k[2], count)
			require.Empty(t, seen[key])
			seen[key] = fmt.Sprint(k, count)
		}
	}
	require.Equal(t, MakeOnceKey("T", []byte("pg"), []byte("u"), 1), MakeOnceKey("T", "pg", "u", 1))
}

func TestSecondSendGetsTheFirstAnswer(t *testing.T) {
	w := newWorld()
	send := func(now int64, i int, queue int32) Sent {
		return w.apply(t, now, AppendOnce(nil, OncePublish, onceKey(i), onceLimits, queue, finalRecord("x"))).(Sent)
	}
	first := send(1000, 1, 3)
	require.False(t, first.Duplicate)
	send(1001, 2, 3)
	again := send(1000+onceLimits.WindowMillis-1, 1, 7)
	require.Equal(t, Sent{Duplicate: true, Queue: 3, Host: addr, Results: first.Results}, again)
	require.Len(t, w.published, 2)
	w.checkpoint()
	w = w.reload(t)
	require.True(t, send(1000+onceLimits.WindowMillis-1, 1, 7).Duplicate, "a restart forgets nothing")
	require.False(t, send(1000+onceLimits.WindowMillis, 1, 7).Duplicate, "the window is over")
	require.True(t, send(1000+onceLimits.WindowMillis+1, 1, 7).Duplicate, "a new one has begun")
}

func TestBatchIsOneSend(t *testing.T) {
	w := newWorld()
	recs := [][]byte{finalRecord("a"), finalRecord("b"), finalRecord("c")}
	// Positions as a store gives them: back to back.
	publish := func(i int) store.Result {
		return store.Result{Phy: message.PhyOffset(5000 + 100*i), Queue: message.QueueOffset(40 + i)}
	}
	apply := func(now int64) Sent {
		var sent Sent
		require.NoError(t, store.EachRecord(AppendOnce(nil, OncePublish, onceKey(1), onceLimits, 2, recs...), func(r store.Record) error {
			ctx := store.NewApplyContext(uint64(now), 1, now, nested(t, r), publish, nil)
			sent = w.Apply(ctx, r.Op(), r.Payload()).(Sent)
			return nil
		}))
		return sent
	}
	first := apply(1)
	require.Len(t, first.Results, 3)
	second := apply(2)
	require.True(t, second.Duplicate)
	require.Equal(t, first.Results, second.Results)
	w.checkpoint()
	w = w.reload(t)
	require.Equal(t, first.Results, apply(3).Results)
	n, newest := w.OnceEntries()
	require.Equal(t, 3, n)
	require.Equal(t, int64(1), newest)
}

func TestPrepareOnce(t *testing.T) {
	w := newWorld()
	data := AppendOnce(nil, OncePrepare, onceKey(1), onceLimits, 2, halfRecord("pg", "x"))
	first := w.apply(t, 1, data).(Sent)
	require.Equal(t, HalfPending, w.HalfState(first.Results[0].Queue))
	second := w.apply(t, 2, data).(Sent)
	require.True(t, second.Duplicate)
	require.Equal(t, first.Results, second.Results)
	require.Equal(t, 1, w.HalfCount())
	err, _ := w.apply(t, 3, AppendOnce(nil, OncePrepare, onceKey(2), onceLimits, 2, finalRecord("x"))).(error)
	require.ErrorIs(t, err, ErrInvalid)
	n, _ := w.OnceEntries()
	require.Equal(t, 1, n, "a refused send is not remembered")
}

func TestOnceIsBounded(t *testing.T) {
	w := newWorld()
	limits := OnceLimits{WindowMillis: 60_000, EntriesMax: 5000}
	for i := range 20_000 {
		w.apply(t, int64(i/100), AppendOnce(nil, OncePublish, onceKey(i), limits, 0, finalRecord("x")))
		n, _ := w.OnceEntries()
		require.LessOrEqual(t, n, 5000)
	}
	require.True(t, w.apply(t, 200, AppendOnce(nil, OncePublish, onceKey(19_999), limits, 0, finalRecord("x"))).(Sent).Duplicate)
	w.checkpoint()
	require.Equal(t, observe(w.State), observe(w.reload(t).State))
	require.Equal(t, 0, w.apply(t, 201, AppendForgetOnce(nil, 199)))
	w.checkpoint()
	require.Len(t, w.stored, 1, "only the number of the next bucket stays")
	require.Empty(t, w.once.buckets)
}

// TestOnceAgainstModel sends random keys over random times and restarts: within
// the window one copy is stored, and what is stored is answered.
func TestOnceAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		limits := OnceLimits{WindowMillis: rapid.Int64Range(1, 1000).Draw(rt, "window"), EntriesMax: 1000}
		type stored struct {
			at   int64
			sent Sent
		}
		model := map[int]stored{}
		now := int64(0)
		for range rapid.IntRange(1, 100).Draw(rt, "sends") {
			now += rapid.Int64Range(0, 400).Draw(rt, "passed")
			i := rapid.IntRange(0, 5).Draw(rt, "key")
			got := w.apply(t, now, AppendOnce(nil, OncePublish, onceKey(i), limits, int32(i), finalRecord("x"))).(Sent)
			first, ok := model[i]
			if ok && now-first.at < limits.WindowMillis {
				first.sent.Duplicate = true
				require.Equal(rt, first.sent, got)
			} else {
				require.False(rt, got.Duplicate)
				model[i] = stored{now, got}
			}
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				w.checkpoint()
				old := w
				w = w.reload(t)
				w.published = old.published
				require.Equal(rt, observe(old.State), observe(w.State))
			}
		}
	})
}

func BenchmarkOnce(b *testing.B) {
	w := newWorld()
	limits := OnceLimits{WindowMillis: 60_000, EntriesMax: 1_000_000}
	rec := finalRecord("x")
	m := []message.Stored{rec}
	payload := AppendOncePayload(nil, OncePublish, limits, 0)
	unique := []byte("7F00000100002A9F4C6F1A2B3C4D0000")
	group := []byte("producer_group")
	publish := func(int) store.Result { return store.Result{} }
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		binary.BigEndian.PutUint32(unique, uint32(i))
		SetOnceKey(payload, MakeOnceKey("TopicTest", group, unique, 1))
		w.Apply(store.NewApplyContext(uint64(i), 1, int64(i/100), m, publish, nil), OpOnce, payload)
		i++
	}
}
