package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
)

func (r *rig) texts(topic string, queue int32, tag string, bodies ...string) []Result {
	var recs [][]byte
	for _, b := range bodies {
		recs = append(recs, record(r.t, topic, queue, b, tag, r.now+10))
	}
	return r.send(recs...)
}

func TestApplyGivesPlacesInOrder(t *testing.T) {
	r := newRig(t)
	a, b := record(t, "T", 0, "a", "TagA", 5), record(t, "T", 1, "b", "", 5)
	res := r.send(a, b, a, AppendCommand(nil, opSet, []byte("kv")))
	require.Len(t, res, 4)
	require.Equal(t, []message.QueueOffset{0, 0, 1, 0}, []message.QueueOffset{res[0].Queue, res[1].Queue, res[2].Queue, res[3].Queue})
	require.Equal(t, res[0].Phy+message.PhyOffset(len(a)), res[1].Phy)
	require.Equal(t, 1, res[3].Value)
	require.Equal(t, "v", r.machine.values["k"])
	require.Equal(t, []Arrival{{"T", 0, 0, 2598919, a}, {"T", 1, 0, 0, b}, {"T", 0, 1, 2598919, a}}, r.arrivals)
	require.EqualValues(t, 1, r.store.AppliedIndex())
	require.EqualValues(t, 10, r.store.AppliedTime())

	got := r.store.Get(GetRequest{Topic: "T", Offset: 0})
	require.Equal(t, Found, got.Status)
	require.EqualValues(t, 2, got.Next)
	msgs := split(t, got.Messages)
	require.Equal(t, res[0].Phy, msgs[0].PhyOffset())
	require.Equal(t, res[2].Phy, msgs[1].PhyOffset())
}

func TestApplyIsIdempotent(t *testing.T) {
	r := newRig(t)
	e := r.append(KindRecords, slices.Concat(record(t, "T", 0, "a", "", 1), AppendCommand(nil, opMature, nil, record(t, "T", 0, "n", "", 1))))
	require.Len(t, r.store.Apply(e), 2)
	before := r.state([]string{"T"}, 1)
	require.Nil(t, r.store.Apply(e))
	require.Equal(t, before, r.state([]string{"T"}, 1))
	require.Equal(t, []string{"a", "n"}, r.bodies("T", 0, 0))
}

func TestGroupTimeNeverStepsBack(t *testing.T) {
	r := newRig(t)
	r.store.Apply(Entry{Index: 1, Time: 100})
	r.store.Apply(Entry{Index: 2, Time: 50})
	require.EqualValues(t, 100, r.store.AppliedTime())
	r.store.Apply(Entry{Index: 3, Time: 120})
	require.EqualValues(t, 120, r.store.AppliedTime())
}

func TestBadEntriesAreSkippedAsAWhole(t *testing.T) {
	r := newRig(t)
	good := record(t, "T", 0, "good", "", 1)
	require.Nil(t, r.send(good, []byte("garbage that is no record")))
	require.Empty(t, r.bodies("T", 0, 0))
	require.EqualValues(t, 1, r.store.AppliedIndex())
	require.Len(t, r.send(good), 1)
	require.Equal(t, []string{"good"}, r.bodies("T", 0, 0))

	// A message that no queue can hold takes no offset.
	res := r.send(record(t, "..", 0, "x", "", 1), record(t, "a.b", 0, "x", "", 1), record(t, "T", -1, "x", "", 1), good)
	for _, i := range []int{0, 1, 2} {
		require.EqualValues(t, -1, res[i].Queue)
	}
	require.EqualValues(t, 1, res[3].Queue)
}

func TestNestedMessagesArePublishedByTheirCommandAlone(t *testing.T) {
	r := newRig(t)
	n1, n2 := record(t, "T", 0, "n1", "", 1), record(t, "T", 0, "n2", "", 1)
	res := r.send(AppendCommand(nil, opMature, nil, n1, n2))
	require.Equal(t, true, res[0].Value)
	require.Equal(t, []string{"n1", "n2"}, r.bodies("T", 0, 0))
	// The same again, as two leaders in turn would propose it.
	res = r.send(AppendCommand(nil, opMature, nil, n1, n2))
	require.Equal(t, false, res[0].Value)
	require.Equal(t, []string{"n1", "n2"}, r.bodies("T", 0, 0))
	r.send(AppendCommand(nil, opReverse, nil, n1, n2))
	require.Equal(t, []string{"n1", "n2", "n2", "n1"}, r.bodies("T", 0, 0))

	// They lie at real positions.
	m := split(t, r.store.Get(GetRequest{Topic: "T", Offset: 1}).Messages)[0]
	at, err := r.store.MessageAt(m.PhyOffset())
	require.NoError(t, err)
	require.Equal(t, m, at)
}

func TestDelayedMessagesCarryTheirTime(t *testing.T) {
	r := newRig(t)
	r.send(record(t, message.TopicSchedule, 2, "later", "TagA", 5000))
	due, ok := r.store.TagsCodeAt(message.TopicSchedule, 2, 0)
	require.True(t, ok)
	require.EqualValues(t, 5000+3*1000, due)
	_, ok = r.store.TagsCodeAt(message.TopicSchedule, 2, 1)
	require.False(t, ok)
}

func TestDeletedTopicBeginsAgain(t *testing.T) {
	for _, between := range []string{"nothing", "checkpoint", "crash", "checkpoint and crash"} {
		t.Run(between, func(t *testing.T) {
			r := newRig(t)
			do := func() {
				if strings.Contains(between, "checkpoint") {
					r.checkpoint()
				}
				if strings.Contains(between, "crash") {
					r.reopen(vfs.CrashOptions{})
				}
			}
			r.texts("T", 0, "", "old0", "old1")
			r.texts("U", 0, "", "other")
			do()
			r.send(AppendCommand(nil, opDelete, []byte("T")))
			require.Equal(t, NoMessageInQueue, r.store.Get(GetRequest{Topic: "T"}).Status)
			do()
			r.texts("T", 0, "", "new0")
			do()
			require.Equal(t, []string{"new0"}, r.bodies("T", 0, 0))
			r.send(AppendCommand(nil, opDelete, []byte("T")))
			r.texts("T", 0, "", "newer0")
			do()
			r.checkpoint()
			r.reopen(vfs.CrashOptions{})
			require.Equal(t, []string{"newer0"}, r.bodies("T", 0, 0))
			require.Equal(t, []string{"other"}, r.bodies("U", 0, 0))
			names, err := r.disk.ReadDir("store/consumequeue")
			require.NoError(t, err)
			require.Len(t, names, 2, "only living queues have files: %v", names)
		})
	}
}

func TestGetStatuses(t *testing.T) {
	r := newRig(t)
	require.Equal(t, GetResult{Status: NoMessageInQueue}, r.store.Get(GetRequest{Topic: "none", Offset: 5}))
	r.texts("T", 1, "A", "0", "1", "2")
	get := func(off message.QueueOffset) GetResult {
		return r.store.Get(GetRequest{Topic: "T", QueueID: 1, Offset: off})
	}
	require.Equal(t, NoMessageInQueue, r.store.Get(GetRequest{Topic: "T", QueueID: 0}).Status)
	require.Equal(t, Found, get(2).Status)
	require.Equal(t, GetResult{Status: OffsetOverflowOne, Next: 3, Max: 3}, get(3))
	require.Equal(t, GetResult{Status: OffsetOverflowBadly, Next: 3, Max: 3}, get(4))
	require.Equal(t, GetResult{Status: OffsetTooSmall, Next: 0, Max: 3}, get(-1))
	require.Equal(t, "OFFSET_OVERFLOW_ONE", OffsetOverflowOne.String())
	require.Equal(t, "OFFSET_TOO_SMALL", OffsetTooSmall.String())
}

func TestGetFiltersAndMakesProgress(t *testing.T) {
	r := newRig(t)
	for i := range 1000 {
		tag := "rare"
		if i%100 != 50 {
			tag = "common"
		}
		r.texts("T", 0, tag, fmt.Sprint(i))
	}
	want := message.TagsCode([]byte("rare"))
	seen := 0
	match := func(code int64, rec message.Stored) bool {
		if rec != nil {
			seen++
		}
		return code == want
	}
	res := r.store.Get(GetRequest{Topic: "T", Offset: 51, Match: match})
	require.Equal(t, Found, res.Status)
	require.Equal(t, 8, res.Count)
	require.Equal(t, 8, seen, "only what passes is read")
	require.EqualValues(t, 51+scanEntries, res.Next)
	none := func(int64, message.Stored) bool { return false }
	res = r.store.Get(GetRequest{Topic: "T", Offset: 0, Match: none})
	require.Equal(t, NoMatchedMessage, res.Status)
	require.EqualValues(t, scanEntries, res.Next)
	require.Empty(t, res.Messages)
	// By the record.
	res = r.store.Get(GetRequest{Topic: "T", Match: func(_ int64, rec message.Stored) bool {
		return rec == nil || strings.HasSuffix(string(rec.Body()), "7")
	}, MaxMessages: 3})
	require.Equal(t, 3, res.Count)
	require.EqualValues(t, 28, res.Next)
}

func TestGetBounds(t *testing.T) {
	r := newRig(t)
	for i := range 100 {
		r.texts("T", 0, "", fmt.Sprintf("%03d%s", i, strings.Repeat("x", 1000)))
	}
	size := len(split(t, r.store.Get(GetRequest{Topic: "T", MaxMessages: 1}).Messages)[0])
	require.Equal(t, 32, r.store.Get(GetRequest{Topic: "T"}).Count)
	require.Equal(t, 100, r.store.Get(GetRequest{Topic: "T", MaxMessages: 1000}).Count)
	res := r.store.Get(GetRequest{Topic: "T", MaxMessages: 1000, MaxBytes: 3*size + 1, Offset: 10})
	require.Equal(t, 3, res.Count)
	require.EqualValues(t, 13, res.Next)
	res = r.store.Get(GetRequest{Topic: "T", MaxBytes: 1, Offset: 10})
	require.Equal(t, 1, res.Count, "at least one message")
	require.EqualValues(t, 11, res.Next)

	buf := append(make([]byte, 0, 1<<20), "head"...)
	res = r.store.Get(GetRequest{Topic: "T", Buf: buf})
	require.Equal(t, "head", string(res.Messages[:4]))
	require.Same(t, &buf[0], &res.Messages[0], "the caller's buffer is used")
	require.Len(t, split(t, res.Messages[4:]), 32)
}

func TestReadsAreJoined(t *testing.T) {
	reads := 0
	r := &rig{t: t, kv: NewMemKV(), next: 1}
	disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && strings.Contains(op.Path, "commitlog") {
			reads++
		}
		return nil
	})
	s, err := Open(testConfig(disk, r.kv, nil))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	r.store = s
	for range 20 {
		r.send(record(t, "T", 0, "a", "", 1), record(t, "T", 1, "b", "", 1), record(t, "T", 0, "c", "", 1))
	}
	reads = 0
	require.Equal(t, 32, s.Get(GetRequest{Topic: "T"}).Count)
	require.LessOrEqual(t, reads, 2)
}

func TestDamagedMessageIsNeverDelivered(t *testing.T) {
	r := newRig(t)
	var at []Result
	for i := range 5 {
		at = append(at, r.texts("T", 0, "", fmt.Sprintf("body %d", i))...)
	}
	f, err := r.disk.OpenFile("store/commitlog/00000000000000000000", 2, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{'B'}, int64(at[3].Phy)+88)
	require.NoError(t, err)
	res := r.store.Get(GetRequest{Topic: "T"})
	require.Equal(t, Found, res.Status)
	require.Equal(t, 3, res.Count)
	require.EqualValues(t, 3, res.Next)
	var damage *DamageError
	require.ErrorAs(t, res.Err, &damage)
	require.EqualValues(t, 3, damage.Offset)

	res = r.store.Get(GetRequest{Topic: "T", Offset: 3})
	require.Equal(t, OffsetFoundNull, res.Status)
	require.EqualValues(t, 3, res.Next, "asked again, not passed over")
	require.ErrorAs(t, res.Err, &damage)
	require.Empty(t, res.Messages)
	require.Equal(t, 1, r.store.Get(GetRequest{Topic: "T", Offset: 4}).Count)
}

func TestOffsetByTime(t *testing.T) {
	r := newRig(t)
	require.Zero(t, r.store.OffsetByTime("T", 0, 100, Nearest))
	for _, ms := range []int64{100, 200, 200, 200, 300, 400} {
		r.send(record(t, "T", 0, "x", "", ms))
	}
	for ms, want := range map[int64]message.QueueOffset{
		-1 << 62: 0, 99: 0, 100: 0, 149: 0, 150: 0, 151: 1, 200: 1, 201: 3, 249: 3, 250: 3, 251: 4, 300: 4, 400: 5, 401: 5, 1 << 62: 5,
	} {
		require.Equal(t, want, r.store.OffsetByTime("T", 0, ms, Nearest), "nearest to %d", ms)
	}
	for ms, want := range map[int64][2]message.QueueOffset{ // at or after, at or before
		-1 << 62: {0, 0}, 99: {0, 0}, 100: {0, 0}, 101: {1, 0}, 199: {1, 0}, 200: {1, 3}, 201: {4, 3}, 300: {4, 4}, 399: {5, 4}, 400: {5, 5},
		401: {6, 5}, 1 << 62: {6, 5},
	} {
		require.Equal(t, want[0], r.store.OffsetByTime("T", 0, ms, AtOrAfter), "at %d or after", ms)
		require.Equal(t, want[1], r.store.OffsetByTime("T", 0, ms, AtOrBefore), "at %d or before", ms)
	}
	ms, ok := r.store.StoreTimeAt("T", 0, 4)
	require.True(t, ok)
	require.EqualValues(t, 300, ms)
	_, ok = r.store.StoreTimeAt("T", 0, 6)
	require.False(t, ok)
	_, ok = r.store.StoreTimeAt("T", 1, 0)
	require.False(t, ok)
}

func TestMessageAtAcceptsBeginningsOnly(t *testing.T) {
	r := newRig(t)
	starts := map[message.PhyOffset]string{}
	res := r.texts("T", 0, "", "a", "b")
	starts[res[0].Phy], starts[res[1].Phy] = "a", "b"
	n := record(t, "T", 1, "nested", "", 1)
	res = r.send(record(t, "T", 0, "c", "", 1), AppendCommand(nil, opMature, nil, n), record(t, "T", 0, "d", "", 1))
	starts[res[0].Phy], starts[res[2].Phy] = "c", "d"
	starts[res[1].Phy+commandHeader] = "nested"
	unapplied := r.append(KindRecords, record(t, "T", 0, "not yet", "", 1))
	other := r.append(1, record(t, "T", 0, "raft's own", "", 1))

	for p := message.PhyOffset(-1); p <= other.Offset+300; p++ {
		m, err := r.store.MessageAt(p)
		if body, ok := starts[p]; ok {
			require.NoError(t, err)
			require.Equal(t, body, string(m.Body()))
			require.Equal(t, p, m.PhyOffset())
			continue
		}
		require.ErrorIs(t, err, ErrNotFound, "at %d", p)
	}
	m, err := r.store.MessageAt(res[2].Phy)
	require.NoError(t, err)
	require.Equal(t, res[2].Queue, m.QueueOffset())
	m[0] = 0xff // a copy
	_, err = r.store.MessageAt(res[2].Phy)
	require.NoError(t, err)
	r.store.Apply(unapplied)
	_, err = r.store.MessageAt(unapplied.Offset)
	require.NoError(t, err)
}

func TestIdentityAndLock(t *testing.T) {
	disk, kv := vfs.NewMem(), NewMemKV()
	cfg := testConfig(disk, kv, nil)
	cfg.Cluster, cfg.Group = "DefaultCluster", "broker-a"
	s, err := Open(cfg)
	require.NoError(t, err)
	_, err = Open(cfg)
	var locked *vfs.LockedError
	require.ErrorAs(t, err, &locked)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice does no harm")

	other := cfg
	other.Group = "broker-b"
	_, err = Open(other)
	require.ErrorIs(t, err, ErrIdentity)
	require.NotContains(t, err.Error(), "\n")
	require.Contains(t, err.Error(), `group "broker-a", not of "broker-b"`)
	other = cfg
	other.Cluster = "Other"
	_, err = Open(other)
	require.ErrorIs(t, err, ErrIdentity)

	s, err = Open(cfg)
	require.NoError(t, err, "a refused open leaves no lock behind")
	require.NoError(t, s.Close())
}

func TestLogBehindTheCheckpointIsRefused(t *testing.T) {
	r := newRig(t)
	r.texts("T", 0, "", "a")
	r.checkpoint()
	require.NoError(t, r.store.Close())
	require.NoError(t, r.disk.RemoveAll("store/commitlog"))
	_, err := Open(testConfig(r.disk, r.kv, nil))
	require.ErrorIs(t, err, ErrLogBehind)
}

func TestConfigIsChecked(t *testing.T) {
	_, err := Open(Config{SegmentSize: -1, FlushInterval: -1})
	for _, key := range []string{"Dir", "SegmentSize", "FlushInterval"} {
		require.ErrorContains(t, err, key)
	}
}

// The store on a real disk with a real metadata file.
func TestOnARealDisk(t *testing.T) {
	open := func(m Machine) *Store {
		cfg := testConfig(vfs.OS, nil, m)
		cfg.Dir, cfg.OpenKV = t.TempDir(), nil
		if m.(*dirMachine).dir != "" {
			cfg.Dir = m.(*dirMachine).dir
		}
		m.(*dirMachine).dir = cfg.Dir
		s, err := Open(cfg)
		require.NoError(t, err)
		return s
	}
	m := &dirMachine{testMachine: newMachine()}
	s := open(m)
	data := slices.Concat(record(t, "T", 0, "a", "", 1), AppendCommand(nil, opSet, []byte("kv")), AppendCommand(nil, opSet, []byte("xy")))
	require.NoError(t, s.Log().Append([]commitlog.Entry{{Index: 1, Term: 7, Data: data}}))
	off, err := s.Log().Locate(1)
	require.NoError(t, err)
	s.Apply(Entry{Index: 1, Term: 7, Time: 99, Offset: message.PhyOffset(off), Data: data})
	c, err := s.Capture()
	require.NoError(t, err)
	require.EqualValues(t, 1, c.Index())
	require.EqualValues(t, 7, c.Term())
	require.NoError(t, c.Persist([]KV{{[]byte("meta"), []byte("one")}, {[]byte("gone"), []byte("x")}}))
	require.NoError(t, c.Persist([]KV{{[]byte("gone"), nil}}), "once more, only the extra")
	require.NoError(t, s.Close())
	require.ErrorIs(t, c.Persist(nil), ErrClosed)

	m = &dirMachine{testMachine: newMachine(), dir: m.dir}
	s = open(m)
	defer func() { require.NoError(t, s.Close()) }()
	require.Equal(t, map[string]string{"k": "v", "x": "y"}, m.values)
	require.EqualValues(t, 1, s.AppliedIndex())
	require.EqualValues(t, 7, s.AppliedTerm())
	require.EqualValues(t, 99, s.AppliedTime())
	v, ok := s.RaftMeta("meta")
	require.True(t, ok)
	require.Equal(t, "one", string(v))
	_, ok = s.RaftMeta("gone")
	require.False(t, ok)
	require.Equal(t, 1, s.Get(GetRequest{Topic: "T"}).Count)
}

type dirMachine struct {
	*testMachine
	dir string
}

func TestFailedCheckpointLosesNothing(t *testing.T) {
	r := newRig(t)
	failing := true
	r.kv.OnUpdate = func() error {
		if failing {
			return errors.New("no space")
		}
		return nil
	}
	r.texts("T", 0, "", "a")
	r.send(AppendCommand(nil, opSet, []byte("kv")))
	c, err := r.store.Capture()
	require.NoError(t, err)
	require.ErrorContains(t, c.Persist(nil), "no space")
	r.send(AppendCommand(nil, opSet, []byte("xy")))
	failing = false
	r.checkpoint()
	require.NoError(t, c.Persist(nil), "done by the later one")
	before := r.state([]string{"T"}, 1)
	kv := r.kv.Clone()
	require.NoError(t, r.store.Close())
	r.disk, r.kv = r.disk.CrashClone(vfs.CrashOptions{}), kv
	r.open()
	require.EqualValues(t, 3, r.store.AppliedIndex(), "nothing to replay")
	require.Equal(t, before, r.state([]string{"T"}, 1))
}

func TestStampPositions(t *testing.T) {
	data := slices.Concat(record(t, "T", 0, "a", "", 1), AppendCommand(nil, 9, []byte("p"), record(t, "T", 0, "b", "", 2)), record(t, "T", 0, "c", "", 3))
	stamps, err := AppendStamps(nil, data)
	require.NoError(t, err)
	var got []uint64
	for _, p := range stamps {
		got = append(got, binary.BigEndian.Uint64(data[p:]))
	}
	require.Equal(t, []uint64{1, 2, 3}, got)
	_, err = AppendStamps(nil, data[:len(data)-1])
	require.ErrorIs(t, err, ErrMalformed)
}

func FuzzEachRecord(f *testing.F) {
	f.Add(slices.Concat(record(f, "T", 0, "a", "", 1), AppendCommand(nil, 9, []byte("p"), record(f, "T", 0, "b", "x", 2))))
	f.Add(AppendCommand(nil, 1, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		err := EachRecord(data, func(r Record) error {
			if !r.IsCommand() {
				require.NotEmpty(t, r.Message().Topic())
				again = append(again, r.Bytes...)
				return nil
			}
			var nested [][]byte
			require.NoError(t, r.EachNested(func(pos int, m message.Stored) error {
				require.Equal(t, []byte(m), data[pos:pos+len(m)])
				nested = append(nested, m)
				return nil
			}))
			flags := binary.BigEndian.Uint16(r.Bytes[10:])
			again = AppendCommand(again, r.Op(), r.Payload(), nested...)
			binary.BigEndian.PutUint16(again[len(again)-len(r.Bytes)+10:], flags)
			return nil
		})
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.True(t, slices.Equal(data, again))
		for at := -1; at <= len(data); at++ {
			if m := messageIn(data, int64(at)); m != nil {
				require.Equal(t, []byte(m), data[at:at+len(m)])
			}
		}
	})
}

func FuzzKeptDecisions(f *testing.F) {
	f.Add(encodeActions([]action{{nested: 3}, {topic: "T"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		actions, err := decodeActions(b)
		if err != nil {
			return
		}
		again, err := decodeActions(encodeActions(actions))
		require.NoError(t, err)
		require.Equal(t, actions, again)
	})
}
