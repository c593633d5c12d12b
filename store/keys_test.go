package store

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/index"
)

// keyed encodes a message with a unique id and keys.
func keyed(t testing.TB, topic, body, id, keys string, sysFlag int32, ms int64) []byte {
	t.Helper()
	m := message.Message{
		Topic: topic, Body: []byte(body), SysFlag: sysFlag, StoreTimestamp: ms, BornTimestamp: ms, BornHost: testHost, StoreHost: testHost,
	}
	if id != "" {
		m.Properties = message.AppendProperty(m.Properties, message.PropertyUniqKey, id)
	}
	if keys != "" {
		m.Properties = message.AppendProperty(m.Properties, message.PropertyKeys, keys)
	}
	b, err := m.AppendStored(nil)
	require.NoError(t, err)
	return b
}

func newKeyRig(t testing.TB) *rig {
	r := &rig{t: t, disk: vfs.NewMem(), kv: NewMemKV(), next: 1, keys: true}
	r.open()
	return r
}

// What FindKey does not find is not there: it never takes what it cannot know for
// an answer.
func TestFindKey(t *testing.T) {
	r := newKeyRig(t)
	r.send(
		keyed(t, "T", "first", "id", "", 0, 10),
		keyed(t, "T", "second", "id", "", 0, 20),
		keyed(t, "U", "other topic", "id", "", 0, 30),
	)
	find := func(since int64, body string) (string, error) {
		m, err := r.store.FindKey("T", []byte("id"), since, func(m message.Stored) bool { return body == "" || string(m.Body()) == body })
		if m == nil {
			return "", err
		}
		return string(m.Body()), err
	}
	for _, want := range []struct {
		since     int64
		body, got string
	}{{0, "", "second"}, {0, "first", "first"}, {10, "first", "first"}, {11, "first", ""}, {0, "other topic", ""}, {21, "", ""}} {
		got, err := find(want.since, want.body)
		require.NoError(t, err)
		require.Equal(t, want.got, got, "%+v", want)
	}
	for range keyLookMax {
		r.send(keyed(t, "T", "again", "id", "", 0, 40))
	}
	got, err := find(0, "again")
	require.NoError(t, err)
	require.Equal(t, "again", got)
	_, err = find(0, "first")
	require.ErrorIs(t, err, ErrManyKeyed)
	// As if the disk had refused keys for long.
	require.NoError(t, r.store.keys.Reset())
	_, err = find(0, "first")
	require.ErrorIs(t, err, ErrKeyIndexIncomplete)
}

// byKey returns the bodies of what is found, which lie in the order of the log.
func (r *rig) byKey(topic, key string, limit int) []string {
	r.t.Helper()
	return r.query(KeyQuery{Topic: topic, Key: key, End: math.MaxInt64, Max: limit})
}

func (r *rig) query(q KeyQuery) []string {
	r.t.Helper()
	msgs, err := r.store.QueryKey(q)
	require.NoError(r.t, err)
	got := []string{}
	last := message.PhyOffset(-1)
	for _, m := range msgs {
		require.Greater(r.t, m.PhyOffset(), last)
		last = m.PhyOffset()
		got = append(got, string(m.Body()))
	}
	return got
}

func TestQueryByKey(t *testing.T) {
	r := newKeyRig(t)
	r.send(
		keyed(t, "T", "a", "id-a", "k1 k2", 0, 10),
		keyed(t, "T", "b", "id-b", " k2  k3 ", 0, 20),
		keyed(t, "U", "c", "id-c", "k1", 0, 30),
		keyed(t, "T", "rolled back", "id-d", "k1", message.SysFlagTransactionRollback, 40),
		keyed(t, "T", "half", "id-e", "k1", message.SysFlagTransactionPrepared, 50),
		keyed(t, "T", "none", "", "", 0, 60),
	)
	r.send(AppendCommand(nil, opMature, []byte("stale"), keyed(t, "T", "unpublished", "id-f", "k1", 0, 70)))
	r.send(AppendCommand(nil, opMature, nil, keyed(t, "T", "published", "id-g", "k1", 0, 80)))
	for name, step := range map[string]func(){
		"at once":            func() {},
		"after a checkpoint": r.checkpoint,
		"after a crash":      func() { r.reopen(vfs.CrashOptions{}) },
	} {
		step()
		require.Equal(t, []string{"a", "half", "published"}, r.byKey("T", "k1", 64), name)
		require.Equal(t, []string{"half", "published"}, r.byKey("T", "k1", 2), "the newest")
		require.Equal(t, []string{"a", "b"}, r.byKey("T", "k2", 64))
		require.Equal(t, []string{"c"}, r.byKey("U", "k1", 64))
		require.Equal(t, []string{"b"}, r.byKey("T", "id-b", 64))
		require.Empty(t, r.byKey("T", "id-c", 64), "of another topic")
		require.Empty(t, r.byKey("T", "k", 64))
		require.Empty(t, r.byKey("T", "", 64))
		require.Empty(t, r.byKey("T", "k1", 0))
		require.Equal(t, []string{"half"}, r.query(KeyQuery{Topic: "T", Key: "k1", Begin: 50, End: 50, Max: 64}))
		require.Equal(t, []string{"published"}, r.query(KeyQuery{Topic: "T", Key: "k1", End: math.MaxInt64, Max: 64, MaxBytes: 1}))
		require.Empty(t, r.query(KeyQuery{Topic: "T", Key: "k1", Begin: 90, End: math.MaxInt64, Max: 64}))
	}
}

// Entries of other messages under the same hash neither show nor take a place.
func TestCollidingKeysNeverShow(t *testing.T) {
	r := newKeyRig(t)
	wanted := r.send(keyed(t, "T", "wanted", "", "k1", 0, 10))
	var others []Result
	for i := range 40 {
		others = append(others, r.send(keyed(t, "T", fmt.Sprint(i), "", "other", 0, 20))...)
	}
	require.Positive(t, wanted[0].Phy)
	for _, o := range others {
		r.store.keys.Add(index.Entry{Hash: index.Hash([]byte("T"), []byte("k1")), Phy: int64(o.Phy), Time: 20})
		r.store.keys.Add(index.Entry{Hash: index.Hash([]byte("T"), []byte("k1")), Phy: int64(o.Phy) + 1, Time: 20})
	}
	require.Equal(t, []string{"wanted"}, r.byKey("T", "k1", 8))
}

func TestKeysPerMessageAreBounded(t *testing.T) {
	r := newKeyRig(t)
	words := make([]string, 0, 5000)
	for i := range cap(words) {
		words = append(words, fmt.Sprint(i))
	}
	r.send(keyed(t, "T", "many", "", strings.Join(words, " "), 0, 10))
	_, n := r.store.keys.Size()
	require.EqualValues(t, keysPerMessage, n)
	require.Equal(t, []string{"many"}, r.byKey("T", "999", 8))
}

// An index that is new, was off for a while or lost a file is built again while
// the store goes on; no answer lacks a message.
func TestKeyIndexIsBuiltAgain(t *testing.T) {
	r := newKeyRig(t)
	total := 0
	more := func(n int) {
		for range n {
			r.send(keyed(t, "T", fmt.Sprint(total), fmt.Sprint("id", total), "all", 0, r.now))
			total++
		}
	}
	rebuilt := func(why string) {
		t.Helper()
		more(10)
		require.Eventually(t, func() bool {
			got, err := r.store.QueryKey(KeyQuery{Topic: "T", Key: "all", End: math.MaxInt64, Max: total})
			if err != nil {
				require.ErrorIs(t, err, ErrKeyIndexIncomplete)
				return false
			}
			return len(got) == total
		}, 10*time.Second, time.Millisecond)
		for i := range total {
			require.Equal(t, []string{fmt.Sprint(i)}, r.byKey("T", fmt.Sprint("id", i), 8), why)
		}
	}
	r.indexEntries = 64
	r.reopen(vfs.CrashOptions{})
	more(100)
	r.checkpoint()
	more(20)
	r.reopen(vfs.CrashOptions{})
	rebuilt("replayed")

	r.keys = false
	r.reopen(vfs.CrashOptions{})
	_, err := r.store.QueryKey(KeyQuery{Topic: "T", Key: "all", Max: 1})
	require.ErrorIs(t, err, ErrNoKeyIndex)
	more(50)
	r.checkpoint()
	r.keys = true
	r.reopen(vfs.CrashOptions{})
	rebuilt("off for a while")

	r.checkpoint()
	disk := r.disk
	names, err := disk.ReadDir(filepath.Join("store", "index"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	require.NoError(t, disk.Remove(filepath.Join("store", "index", names[0])))
	require.NoError(t, disk.SyncDir(filepath.Join("store", "index")))
	r.reopen(vfs.CrashOptions{})
	rebuilt("a file is lost")
	r.reopen(vfs.CrashOptions{}) // without a checkpoint that knows of it
	rebuilt("once more")
	require.NoError(t, r.kv.Update(map[string][]KV{bucketIndex: {{Key: []byte(keyStateKey), Value: []byte{1, 2}}}}))
	r.reopen(vfs.CrashOptions{})
	rebuilt("its state is damaged")
}

// What left the log is not found, and its files go.
func TestKeysLeaveWithTheLog(t *testing.T) {
	r := &rig{t: t, disk: vfs.NewMem(), kv: NewMemKV(), next: 1, keys: true, indexEntries: 16, segment: 8 << 10}
	r.open()
	for i := range 400 {
		r.send(keyed(t, "T", fmt.Sprint(i), fmt.Sprint("id", i), "all", 0, r.now))
	}
	r.checkpoint()
	before, _ := r.store.keys.Size()
	_, err := r.store.Log().TrimPrefix(300)
	require.NoError(t, err)
	first := int(r.store.Log().FirstIndex()) - 1
	require.Positive(t, first)
	require.Len(t, r.byKey("T", "all", 1000), 400-first)
	require.Empty(t, r.byKey("T", "id0", 8))
	r.send(keyed(t, "T", "last", "id-last", "", 0, r.now))
	r.checkpoint()
	after, _ := r.store.keys.Size()
	require.Less(t, after, before)
	require.Equal(t, []string{fmt.Sprint(first)}, r.byKey("T", fmt.Sprint("id", first), 8))
}

func BenchmarkIndexMessage(b *testing.B) {
	s := &Store{cfg: Config{}.withDefaults()}
	var err error
	s.keys, err = index.Open(index.Config{FS: vfs.OS, Dir: filepath.Join(b.TempDir(), "index")}, nil)
	require.NoError(b, err)
	m := message.Stored(keyed(b, "TopicTest", "body", "7F00000100002A9F0000000000000000", "order-1234567", 0, 10))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, unique, keys := m.Marks()
		s.indexMessage(m, message.PhyOffset(i), unique, keys)
	}
	require.NoError(b, s.keys.Close())
}
