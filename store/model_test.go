package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
)

// The model: two stores get the same log. One lives quietly, the other is
// checkpointed, crashed, damaged and reopened at random. The head of both logs is
// removed as far as the wild one's checkpoints allow. What readers see must
// be the same at every moment, and an entry applied again must get the results
// it got the first time, so that no queue offset is ever given twice.

var (
	modelTopics = []string{"A", "B", message.TopicSchedule}
	modelLight  = []string{"%LMQ%a", "%LMQ%b"}
	modelQueues = int32(3)
	modelWords  = []string{"", "a", "b c", "a c"}
)

// modelSegment is little more than the largest entry, so that the log has a
// head to remove.
const modelSegment = 8 << 10

type model struct {
	quiet, wild *rig
	results     map[uint64][]Result
	failKV      bool
	sent        int
}

func newModel(t *rapid.T, tb testing.TB) *model {
	m := &model{results: make(map[uint64][]Result)}
	m.quiet = &rig{t: tb, disk: vfs.NewMem(), kv: NewMemKV(), next: 1, segment: modelSegment, keys: true}
	m.quiet.open()
	m.wild = &rig{t: tb, disk: vfs.NewMem(), kv: NewMemKV(), next: 1, segment: modelSegment}
	m.open(t)
	return m
}

func (m *model) open(t *rapid.T) {
	r := m.wild
	r.machine = newMachine()
	r.kv.OnUpdate = func() error {
		if m.failKV {
			return errors.New("injected")
		}
		return nil
	}
	cfg := testConfig(r.disk, r.kv, r.machine)
	cfg.SegmentSize = modelSegment
	cfg.KeyIndex, cfg.indexEntries = true, rapid.IntRange(3, 30).Draw(t, "indexEntries")
	cfg.tailBytes = rapid.SampledFrom([]int64{64, 256, 1 << 20}).Draw(t, "tailBytes")
	cfg.openFiles = rapid.IntRange(1, 4).Draw(t, "openFiles")
	s, err := Open(cfg)
	require.NoError(t, err)
	r.store = s
}

func (m *model) body() string { m.sent++; return fmt.Sprint("m", m.sent) }

func (m *model) message(t *rapid.T) []byte {
	msg := message.Message{
		Topic: rapid.SampledFrom(modelTopics).Draw(t, "topic"), QueueID: rapid.Int32Range(0, modelQueues-1).Draw(t, "queue"),
		Body: []byte(m.body()), StoreTimestamp: m.quiet.now + 10, BornHost: testHost, StoreHost: testHost,
	}
	for _, name := range []string{message.PropertyTags, message.PropertyKeys, message.PropertyUniqKey} {
		if v := rapid.SampledFrom(modelWords).Draw(t, name); v != "" {
			msg.Properties = message.AppendProperty(msg.Properties, name, v)
		}
	}
	if n := rapid.IntRange(0, 3).Draw(t, "light queues"); n > 0 {
		names := rapid.SliceOfN(rapid.SampledFrom(modelLight), n, n).Draw(t, "names")
		msg.Properties = message.AppendProperty(msg.Properties, message.PropertyInnerMultiDispatch, strings.Join(names, ","))
		msg.Properties = message.AppendLightOffsets(msg.Properties, n)
	}
	b, err := msg.AppendStored(nil)
	require.NoError(t, err)
	return b
}

func (m *model) entry(t *rapid.T) (data []byte) {
	for range rapid.IntRange(1, 6).Draw(t, "records") {
		var nested [][]byte
		if rapid.Bool().Draw(t, "with nested") {
			nested = append(nested, m.message(t), m.message(t))
		}
		switch rapid.IntRange(0, 9).Draw(t, "record") {
		case 0:
			data = AppendCommand(data, opSet, []byte(rapid.StringMatching(`[a-c][a-z]`).Draw(t, "kv")))
		case 1:
			data = AppendCommand(data, opMature, []byte(m.quiet.machine.values["progress"]), nested...)
		case 2:
			data = AppendCommand(data, opMature, []byte("stale"), nested...)
		case 3:
			data = AppendCommand(data, opReverse, nil, nested...)
		case 4:
			data = AppendCommand(data, opDelete, []byte(rapid.SampledFrom(slices.Concat(modelTopics, modelLight)).Draw(t, "deleted")), nested...)
		default:
			data = append(data, m.message(t)...)
		}
	}
	return data
}

func (m *model) apply(t *rapid.T, index uint64) {
	got := m.wild.store.Apply(m.wild.entry(index))
	if want, ok := m.results[index]; ok {
		require.Equal(t, want, got, "entry %d applied again", index)
		return
	}
	m.results[index] = got
}

func (m *model) compare(t *rapid.T) {
	require.Equal(t, m.quiet.store.AppliedIndex(), m.wild.store.AppliedIndex())
	require.Equal(t, m.quiet.state(modelTopics, modelQueues), m.wild.state(modelTopics, modelQueues))
	require.Equal(t, m.quiet.state(modelLight, 1), m.wild.state(modelLight, 1))
	m.wild.store.background.Wait() // a rebuild of keys
	for _, topic := range modelTopics {
		for _, key := range []string{"a", "c"} {
			q := KeyQuery{Topic: topic, Key: key, End: math.MaxInt64, Max: rapid.SampledFrom([]int{1, 5, 1000}).Draw(t, "max")}
			require.Equal(t, m.quiet.query(q), m.wild.query(q))
		}
	}
}

func (m *model) crash(t *rapid.T) {
	r := m.wild
	opts := vfs.CrashOptions{Random: rapid.Bool().Draw(t, "random crash"), Seed: rapid.Uint64().Draw(t, "seed")}
	disk, kv := r.disk.CrashClone(opts), r.kv.Clone()
	require.NoError(t, r.store.Close())
	r.disk, r.kv = disk, kv
	cfg := r.config()
	cfg.SegmentSize = 0
	report, err := Verify(cfg)
	require.NoError(t, err)
	require.True(t, report.OK, "%v", report.Problems)
	m.damage(t)
	m.open(t)
	require.LessOrEqual(t, r.store.AppliedIndex(), m.quiet.store.AppliedIndex())
	require.Equal(t, m.quiet.store.Log().LastIndex(), r.store.Log().LastIndex())
	for index := r.store.AppliedIndex() + 1; index <= r.store.Log().LastIndex(); index++ {
		if e, _, err := r.store.Log().Read(index); err != nil || e.Kind == KindRecords {
			require.NoError(t, err)
			m.apply(t, index)
		}
	}
}

// damage removes or cuts files of consume queues and key index, as a repaired disk might.
func (m *model) damage(t *rapid.T) {
	dir := filepath.Join("store", rapid.SampledFrom([]string{"consumequeue", "index"}).Draw(t, "damaged directory"))
	names, err := m.wild.disk.ReadDir(dir)
	require.NoError(t, err)
	if len(names) == 0 || !rapid.Bool().Draw(t, "damage") {
		return
	}
	name := filepath.Join(dir, rapid.SampledFrom(names).Draw(t, "damaged file"))
	if rapid.Bool().Draw(t, "remove") {
		require.NoError(t, m.wild.disk.Remove(name))
		return
	}
	f, err := m.wild.disk.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	require.NoError(t, f.Truncate(rapid.Int64Range(0, size).Draw(t, "cut")))
	require.NoError(t, f.Close())
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt, t)
		defer func() {
			_ = m.wild.store.Close()
			_ = m.quiet.store.Close()
		}()
		var captured []*Checkpoint
		rt.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				kind := KindRecords
				if rapid.IntRange(0, 9).Draw(t, "raft's own") == 0 {
					kind = 1
				}
				data := m.entry(t)
				q, w := m.quiet.append(kind, data), m.wild.append(kind, data)
				if kind != KindRecords {
					return
				}
				m.results[q.Index] = m.quiet.store.Apply(q)
				require.Equal(t, q, w)
				m.apply(t, w.Index)
			},
			"apply again": func(t *rapid.T) {
				first, last := m.wild.store.Log().FirstIndex(), m.wild.store.AppliedIndex()
				if last > 0 && first <= last {
					index := rapid.Uint64Range(first, last).Draw(t, "index")
					require.Nil(t, m.wild.store.Apply(m.wild.entry(index)))
				}
			},
			"capture": func(t *rapid.T) {
				c, err := m.wild.store.Capture()
				require.NoError(t, err)
				captured = append(captured, c)
			},
			"persist": func(t *rapid.T) {
				if len(captured) == 0 {
					return
				}
				c := rapid.SampledFrom(captured).Draw(t, "checkpoint")
				m.failKV = rapid.IntRange(0, 3).Draw(t, "fail") == 0
				err := c.Persist([]KV{{[]byte("index"), fmt.Append(nil, c.Index())}})
				require.True(t, err == nil || m.failKV, err)
				m.failKV = false
			},
			"trim": func(t *rapid.T) {
				// A full disk removes whatever the checkpoint covers.
				m.wild.disk.SetUsage(vfs.Usage{Total: 100})
				_, err := m.wild.store.CleanExpired(CleanRequest{Retention: DefaultRetention()})
				require.NoError(t, err)
				_, err = m.quiet.store.Log().TrimPrefix(m.wild.store.Log().FirstIndex())
				require.NoError(t, err)
			},
			"crash": func(t *rapid.T) {
				m.crash(t)
				captured = nil
			},
			"": m.compare,
		})
	})
}
