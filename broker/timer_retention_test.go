package broker

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
	"github.com/cometmq/cometmq/store/commitlog"
)

// The log stays from the oldest message on that waits for its time.
func TestFirstTimerNeeded(t *testing.T) {
	b := &Broker{meta: metadata.New(metadata.Config{})}
	kv := store.NewMemKV()
	var err error
	b.store, err = store.Open(store.Config{FS: vfs.NewMem(), Dir: "store", SegmentSize: 1 << 20, Machine: b.meta, OpenKV: kv.Open})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.store.Close()) }()
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	index := uint64(0)
	apply := func(data []byte) {
		index++
		require.NoError(t, b.store.Log().Append([]commitlog.Entry{{Index: index, Term: 1, Data: data}}))
		at, err := b.store.Log().Locate(index)
		require.NoError(t, err)
		b.store.Apply(store.Entry{Index: index, Term: 1, Time: int64(index), Offset: message.PhyOffset(at), Data: data})
	}
	send := func(topic string) {
		m := message.Message{Topic: topic, BornHost: host, StoreHost: host, Properties: []byte("TIMER_OUT_MS\x015")}
		rec, err := m.AppendStored(nil)
		require.NoError(t, err)
		apply(rec)
	}
	const none = 1 << 62
	require.EqualValues(t, none, b.firstTimer(none))
	send("orders")
	send(message.TimerTopic(9)) // entry 2
	send(message.TimerTopic(9)) // entry 3
	send(message.TimerTopic(7)) // entry 4
	send("orders")
	require.EqualValues(t, 2, b.firstTimer(none))
	require.EqualValues(t, 1, b.firstTimer(1), "Raft needs more")
	apply(metadata.AppendFire(nil, 9, []metadata.Timer{{Offset: 0}}))
	require.EqualValues(t, 3, b.firstTimer(none))
	apply(metadata.AppendFire(nil, 9, []metadata.Timer{{Offset: 1}}))
	require.EqualValues(t, 4, b.firstTimer(none), "a slot that is done with needs nothing")
	apply(metadata.AppendFire(nil, 7, []metadata.Timer{{Offset: 0}}))
	apply(metadata.AppendCloseSlot(nil, 7))
	require.EqualValues(t, none, b.firstTimer(none))
	require.Equal(t, []int64{9}, b.timerSlots())
}
