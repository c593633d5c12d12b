package metadata

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// heap is what lives after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What a client can make a broker remember costs what the documentation says.
func TestMemoryOfManyEntries(t *testing.T) {
	const n = 200_000
	w := newWorld()
	next := message.QueueOffset(0)
	publish := func(int) store.Result { next++; return store.Result{Queue: next, Phy: message.PhyOffset(next)} }
	rec := []message.Stored{finalRecord("x")}
	half := []message.Stored{halfRecord("producer_group", "x")}

	before := heap()
	for range n {
		w.Apply(store.NewApplyContext(1, 1, 1, half, publish, nil), OpPrepare, AppendPreparePayload(nil, 0))
	}
	w.Changes()
	perHalf := (heap() - before) / n
	require.Equal(t, n, w.HalfCount())

	before = heap()
	payload := AppendOncePayload(nil, OncePublish, OnceLimits{WindowMillis: 60_000, EntriesMax: OnceEntriesMax}, 0)
	unique := make([]byte, 8)
	for i := range uint64(n) {
		binary.BigEndian.PutUint64(unique, i)
		SetOnceKey(payload, MakeOnceKey("T", []byte("pg"), unique, 1))
		w.Apply(store.NewApplyContext(1, 1, int64(i/10), rec, publish, nil), OpOnce, payload)
	}
	w.Changes()
	perSend := (heap() - before) / n
	count, _ := w.OnceEntries()
	require.Equal(t, n, count)
	t.Logf("%d bytes a pending transaction, %d a remembered send", perHalf, perSend)
	require.Less(t, perHalf, int64(150))
	require.Less(t, perSend, int64(150))
	runtime.KeepAlive(w)
}
