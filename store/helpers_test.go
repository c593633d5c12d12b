package store

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
)

// Operations of the test machine.
const (
	opSet     uint16 = 1 // payload key '=' value
	opMature  uint16 = 2 // payload u64 from: publish all nested if progress == from, then progress++
	opDelete  uint16 = 3 // payload topic
	opReverse uint16 = 4 // publish the nested messages in reverse order
)

// testMachine is a Machine small enough to be obviously right.
type testMachine struct {
	values  map[string]string
	changed map[string]bool
}

func newMachine() *testMachine {
	return &testMachine{values: map[string]string{}, changed: map[string]bool{}}
}

func (m *testMachine) put(k, v string) {
	m.values[k] = v
	m.changed[k] = true
}

func (m *testMachine) Apply(ctx *ApplyContext, op uint16, payload []byte) any {
	switch op {
	case opSet:
		m.put(string(payload[:1]), string(payload[1:]))
		return len(m.values)
	case opMature:
		progress := m.values["progress"]
		if progress != string(payload) {
			return false
		}
		m.put("progress", progress+"x")
		for i := range ctx.NestedCount() {
			ctx.Publish(i)
		}
		return true
	case opReverse:
		for i := ctx.NestedCount() - 1; i >= 0; i-- {
			ctx.Publish(i)
		}
	case opDelete:
		delete(m.values, "t"+string(payload))
		ctx.DeleteTopic(string(payload))
	}
	return nil
}

func (m *testMachine) Changes() []KV {
	var kvs []KV
	for k := range m.changed {
		kv := KV{Key: []byte(k)}
		if v, ok := m.values[k]; ok {
			kv.Value = []byte(v)
		}
		kvs = append(kvs, kv)
	}
	clear(m.changed)
	return kvs
}

func (m *testMachine) Load(each func(yield func(k, v []byte) bool)) error {
	clear(m.values)
	clear(m.changed)
	each(func(k, v []byte) bool {
		m.values[string(k)] = string(v)
		return true
	})
	return nil
}

var testHost = netip.MustParseAddrPort("127.0.0.1:10911")

// record encodes a message whose body tells what it is.
func record(t testing.TB, topic string, queue int32, body string, tag string, ms int64) []byte {
	t.Helper()
	m := message.Message{
		Topic: topic, QueueID: queue, Body: []byte(body), StoreTimestamp: ms, BornTimestamp: ms,
		BornHost: testHost, StoreHost: testHost,
	}
	if tag != "" {
		m.Properties = message.AppendProperty(m.Properties, message.PropertyTags, tag)
	}
	b, err := m.AppendStored(nil)
	require.NoError(t, err)
	return b
}

// rig is a store on a memory disk with what a crash needs.
type rig struct {
	t        testing.TB
	disk     *vfs.Mem
	kv       *MemKV
	machine  *testMachine
	store    *Store
	arrivals []Arrival
	next     uint64 // index of the next entry appended by send
	now      int64
	segment  int64 // its size, 0 = 64 KiB

	keys         bool // with a key index
	indexEntries int  // in a file of it, 0 = default
}

func testConfig(disk vfs.FS, kv *MemKV, m Machine) Config {
	return Config{
		FS: disk, Dir: "store", SegmentSize: 64 << 10, Sync: true, Machine: m,
		DelayTime: func(level int) int64 { return int64(level) * 1000 },
		OpenKV:    kv.Open,
	}
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, disk: vfs.NewMem(), kv: NewMemKV(), next: 1}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.machine = newMachine()
	cfg := testConfig(r.disk, r.kv, r.machine)
	if r.segment != 0 {
		cfg.SegmentSize = r.segment
	}
	cfg.KeyIndex, cfg.indexEntries = r.keys, r.indexEntries
	cfg.OnArrival = func(a []Arrival) { r.arrivals = append(r.arrivals, a...) }
	s, err := Open(cfg)
	require.NoError(r.t, err)
	r.store = s
	r.t.Cleanup(func() { _ = s.Close() })
}

// append puts an entry into the log without applying it.
func (r *rig) append(kind uint8, data []byte) Entry {
	r.t.Helper()
	r.now += 10
	e := commitlog.Entry{Index: r.next, Term: 1, Kind: kind, Extensions: binary.BigEndian.AppendUint64(nil, uint64(r.now)), Data: data}
	require.NoError(r.t, r.store.Log().Append([]commitlog.Entry{e}))
	r.next++
	return r.entry(e.Index)
}

// entry reads an entry as the FSM would be given it.
func (r *rig) entry(index uint64) Entry {
	r.t.Helper()
	e, off, err := r.store.Log().Read(index)
	require.NoError(r.t, err)
	return Entry{
		Index: e.Index, Term: e.Term, Time: int64(binary.BigEndian.Uint64(e.Extensions)),
		Offset: message.PhyOffset(off), Data: e.Data,
	}
}

// send appends and applies records as one entry.
func (r *rig) send(records ...[]byte) []Result {
	r.t.Helper()
	return r.store.Apply(r.append(KindRecords, slices.Concat(records...)))
}

func (r *rig) checkpoint() {
	r.t.Helper()
	c, err := r.store.Capture()
	require.NoError(r.t, err)
	require.NoError(r.t, c.Persist(nil))
}

// reopen crashes (the disk keeps what was synced) and replays the log.
func (r *rig) reopen(c vfs.CrashOptions) {
	r.t.Helper()
	disk, kv := r.disk.CrashClone(c), r.kv.Clone()
	require.NoError(r.t, r.store.Close())
	r.disk, r.kv = disk, kv
	r.open()
	r.replay()
}

func (r *rig) replay() {
	r.t.Helper()
	for index := r.store.AppliedIndex() + 1; index <= r.store.Log().LastIndex(); index++ {
		e, _, err := r.store.Log().Read(index)
		require.NoError(r.t, err)
		if e.Kind == KindRecords {
			r.store.Apply(r.entry(index))
		}
	}
	r.next = r.store.Log().LastIndex() + 1
}

// bodies reads a queue from an offset to its end.
func (r *rig) bodies(topic string, queue int32, from message.QueueOffset) []string {
	r.t.Helper()
	var got []string
	for {
		res := r.store.Get(GetRequest{Topic: topic, QueueID: queue, Offset: from})
		require.NoError(r.t, res.Err)
		if res.Status != Found {
			require.Contains(r.t, []Status{OffsetOverflowOne, NoMessageInQueue}, res.Status)
			return got
		}
		for i, m := range split(r.t, res.Messages) {
			if !message.IsLightQueue(topic) { // else they are the message's own
				require.Equal(r.t, from+message.QueueOffset(i), m.QueueOffset())
				require.Equal(r.t, topic, string(m.Topic()))
			}
			got = append(got, string(m.Body()))
		}
		from = res.Next
	}
}

func split(t testing.TB, b []byte) (msgs []message.Stored) {
	t.Helper()
	for len(b) > 0 {
		m, err := message.ParseStored(b)
		require.NoError(t, err)
		msgs = append(msgs, m)
		b = b[len(m):]
	}
	return msgs
}

// state is everything a reader can see.
func (r *rig) state(topics []string, queues int32) map[string]string {
	r.t.Helper()
	got := make(map[string]string)
	for _, topic := range topics {
		for q := range queues {
			low, next := r.store.QueueRange(topic, q)
			if next == 0 {
				continue
			}
			key := fmt.Sprintf("%s-%d", topic, q)
			got[key] = fmt.Sprint(low, next, r.bodies(topic, q, low))
			for off := low; off < next; off++ {
				tags, ok := r.store.TagsCodeAt(topic, q, off)
				require.True(r.t, ok)
				ms, ok := r.store.StoreTimeAt(topic, q, off)
				require.True(r.t, ok)
				got[key] += fmt.Sprintf(" %d@%d", tags, ms)
			}
		}
	}
	for k, v := range r.machine.values {
		got["machine "+k] = v
	}
	got["time"] = fmt.Sprint(r.store.AppliedTime())
	return maps.Clone(got)
}
