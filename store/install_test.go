package store

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/commitlog"
)

// source is a member whose log no longer begins at entry 1.
func source(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.hourly(day, 6)
	busy(r)
	r.hourly(day.Add(6*time.Hour), 6)
	r.checkpoint()
	r.used(80)
	r.clean(CleanRequest{Retention: DefaultRetention(), Now: day.Add(75 * time.Hour)})
	require.Greater(t, r.store.Log().FirstIndex(), uint64(1))
	r.texts("T", 0, "", "not in the checkpoint")
	return r
}

// stranger is a member with other contents.
func stranger(t testing.TB) *rig {
	r := newRig(t)
	r.texts("Old", 1, "", "a", "b", "c")
	r.send(AppendCommand(nil, opSet, []byte("zold")))
	r.hourly(day, 3)
	r.checkpoint()
	return r
}

// receive takes up to n entries of the export, all with n = 0. It tells whether
// that was the last one.
func receive(from *Store, x *Export, i *Intake, n int) (done bool, err error) {
	last, _ := i.LastIndex()
	for at := max(last+1, x.FirstIndex); at <= x.Index; at++ {
		e, _, err := from.Log().Read(at)
		if err != nil {
			return false, err
		}
		// Over the wire and back.
		sent, size, err := commitlog.DecodeEntry(e.AppendTo(nil))
		if err != nil || size != len(e.AppendTo(nil)) {
			return false, fmt.Errorf("decoded %d bytes: %w", size, err)
		}
		if err := i.Append([]commitlog.Entry{sent}); err != nil {
			return false, err
		}
		if n--; n == 0 {
			return at == x.Index, nil
		}
	}
	return true, nil
}

// logFiles are the segments up to an offset.
func logFiles(t testing.TB, fsys vfs.FS, end int64) map[string]string {
	t.Helper()
	names, err := fsys.ReadDir("store/commitlog")
	require.NoError(t, err)
	files := map[string]string{}
	for _, name := range names {
		var base int64
		if len(name) != 20 || !strings.HasPrefix(name, "0") {
			continue
		}
		_, err := fmt.Sscanf(name, "%d", &base)
		require.NoError(t, err)
		if base >= end {
			continue
		}
		b, err := vfs.ReadFile(fsys, filepath.Join("store/commitlog", name), 1<<20)
		require.NoError(t, err)
		files[name] = string(b[:min(int64(len(b)), end-base)])
	}
	return files
}

// upTo is what the source shows at the end of its checkpoint.
func upTo(t *testing.T, r *rig) map[string]string {
	t.Helper()
	was := r.kv.Clone()
	x, err := r.store.Export()
	require.NoError(t, err)
	c := &rig{t: t, disk: r.disk.CrashClone(vfs.CrashOptions{}), kv: was}
	c.open()
	require.Equal(t, x.Index, c.store.AppliedIndex())
	return c.state([]string{"T", "U", "Old"}, 2)
}

func TestReceivedLogMakesAMemberLikeTheOther(t *testing.T) {
	from, to := source(t), stranger(t)
	want := upTo(t, from)
	before := to.state([]string{"T", "U", "Old"}, 2)
	x, err := from.store.Export()
	require.NoError(t, err)
	require.Less(t, x.Index, from.store.Log().LastIndex())
	resumed := 0
	for {
		i, err := to.store.OpenIntake(x)
		require.NoError(t, err)
		last, term := i.LastIndex()
		if last > 0 {
			resumed++
			require.EqualValues(t, 1, term)
		}
		done, err := receive(from.store, x, i, 4)
		require.NoError(t, err)
		if !done {
			require.ErrorIs(t, i.Complete(x.State), ErrMalformed, "too early")
			require.NoError(t, i.Close()) // cut
			continue
		}
		require.Equal(t, x.End, i.MaxOffset())
		require.ErrorIs(t, i.Complete(x.State[:40]), ErrMalformed)
		require.NoError(t, i.Complete(x.State))
		break
	}
	require.Greater(t, resumed, 2)
	require.Equal(t, before, to.state([]string{"T", "U", "Old"}, 2), "in use until it is closed")
	to.reopen(vfs.CrashOptions{})
	require.Equal(t, want, to.state([]string{"T", "U", "Old"}, 2))
	require.Equal(t, x.Index, to.store.AppliedIndex())
	require.Equal(t, logFiles(t, from.disk, x.End), logFiles(t, to.disk, x.End))
	require.Equal(t, x.FirstIndex, to.store.Log().FirstIndex())
	_, err = to.disk.Stat("store/incoming")
	require.Error(t, err)

	// It goes on like any other.
	for at := x.Index + 1; at <= from.store.Log().LastIndex(); at++ {
		e, _, err := from.store.Log().Read(at)
		require.NoError(t, err)
		require.NoError(t, to.store.Log().Append([]commitlog.Entry{e}))
	}
	to.replay()
	topics := []string{"T", "U", "Old"}
	require.Equal(t, from.state(topics, 2), to.state(topics, 2))
	to.checkpoint()
	to.reopen(vfs.CrashOptions{})
	require.Equal(t, from.state(topics, 2), to.state(topics, 2))
}

func TestReceivedLogFollowsTheSendersBeginning(t *testing.T) {
	from, to := source(t), stranger(t)
	x, err := from.store.Export()
	require.NoError(t, err)
	i, err := to.store.OpenIntake(x)
	require.NoError(t, err)
	_, err = receive(from.store, x, i, 5)
	require.NoError(t, err)
	require.NoError(t, i.Close())

	// Meanwhile the sender removed old segments.
	from.checkpoint()
	_, err = from.store.Log().TrimPrefix(x.FirstIndex + 4)
	require.NoError(t, err)
	y, err := from.store.Export()
	require.NoError(t, err)
	require.Greater(t, y.Base, x.Base)
	i, err = to.store.OpenIntake(y)
	require.NoError(t, err)
	last, _ := i.LastIndex()
	require.Equal(t, x.FirstIndex+4, last, "what is still of use is kept")
	require.NoError(t, i.Close())

	// Another sender has older ones: this member does without.
	i, err = to.store.OpenIntake(x)
	require.NoError(t, err)
	again, _ := i.LastIndex()
	require.Equal(t, last, again)
	done, err := receive(from.store, x, i, 0)
	require.NoError(t, err)
	require.True(t, done)
	require.NoError(t, i.Complete(x.State))
	to.reopen(vfs.CrashOptions{})
	require.Equal(t, y.FirstIndex, to.store.Log().FirstIndex())
	require.Equal(t, logFiles(t, from.disk, x.End), logFiles(t, to.disk, x.End))
	first, next := to.store.QueueRange("T", 0)
	require.Equal(t, from.bodies("T", 0, first)[:next-first], to.bodies("T", 0, first))

	// A sender whose log begins behind what was received: it begins anew.
	i, err = to.store.OpenIntake(y)
	require.NoError(t, err)
	_, err = receive(from.store, y, i, 2)
	require.NoError(t, err)
	require.NoError(t, i.Close())
	_, err = from.store.Log().TrimPrefix(y.Index - 1)
	require.NoError(t, err)
	z, err := from.store.Export()
	require.NoError(t, err)
	require.Greater(t, z.FirstIndex, y.FirstIndex+1)
	i, err = to.store.OpenIntake(z)
	require.NoError(t, err)
	last, _ = i.LastIndex()
	require.Zero(t, last)
	require.NoError(t, i.Discard())
	_, err = to.disk.Stat("store/incoming")
	require.Error(t, err)
}

// TestCrashWhileReceivingAndTakingOver crashes before each operation from the
// first byte received to the store's opening over the new log: what is found then
// is the old store or the new one, and receiving can go on.
func TestCrashWhileReceivingAndTakingOver(t *testing.T) {
	from := source(t)
	want := upTo(t, from)
	x, err := from.store.Export()
	require.NoError(t, err)
	topics := []string{"T", "U", "Old"}
	var old map[string]string

	// run receives and takes over on a disk that crashes before operation k; it
	// returns what the crash left, or nil when k was never reached, and whether the
	// log was taken over before. Where that is in k differs a little: the log's
	// upkeep works beside the rest, and its operations count.
	run := func(k int, random bool) (*vfs.Mem, *MemKV, bool) {
		to := stranger(t)
		if old == nil {
			old = to.state(topics, 2)
		}
		require.NoError(t, to.store.Close())
		mem, kv := to.disk, to.kv
		var mu sync.Mutex
		var left *vfs.Mem
		var leftKV *MemKV
		complete, before := false, false
		ops := 0
		boom := errors.New("crash")
		faulty := vfs.NewFault(mem, func(op vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if left != nil {
				return boom
			}
			if !op.Kind.Mutates() {
				return nil
			}
			if ops++; ops == k {
				left = mem.CrashClone(vfs.CrashOptions{Random: random, Seed: uint64(k)})
				leftKV, before = kv.Clone(), complete
				return boom
			}
			return nil
		})
		crashing := &rig{t: t, disk: mem, kv: kv, machine: newMachine()}
		crashing.kv.OnUpdate = func() error {
			mu.Lock()
			defer mu.Unlock()
			if left != nil {
				return boom
			}
			return nil
		}
		defer func() { crashing.kv.OnUpdate = nil }()
		cfg := testConfig(faulty, kv, crashing.machine)
		s, err := Open(cfg)
		if err == nil {
			var i *Intake
			if i, err = s.OpenIntake(x); err == nil {
				if _, err = receive(from.store, x, i, 0); err == nil {
					err = i.Complete(x.State)
				}
				mu.Lock()
				complete = err == nil
				mu.Unlock()
			}
			err = errors.Join(err, s.Close())
			if i != nil {
				_ = i.Close() // of a crashed process, to end its goroutine
			}
		}
		if err == nil {
			if s, err = Open(cfg); err == nil {
				_ = s.Close()
			}
		}
		return left, leftKV, before
	}
	olds, news := 0, 0
	for k := 1; ; k++ {
		disk, kv, complete := run(k, k%2 == 0)
		if disk == nil {
			break
		}
		r := &rig{t: t, disk: disk, kv: kv}
		r.open()
		got := r.state(topics, 2)
		switch {
		case maps.Equal(got, want):
			news++
			require.Equal(t, logFiles(t, from.disk, x.End), logFiles(t, disk, x.End), "operation %d", k)
		case maps.Equal(got, old):
			olds++
			require.False(t, complete, "operation %d: it was complete before", k)
			i, err := r.store.OpenIntake(x)
			require.NoError(t, err, "operation %d", k)
			_, err = receive(from.store, x, i, 0)
			require.NoError(t, err)
			require.NoError(t, i.Complete(x.State))
			r.reopen(vfs.CrashOptions{})
			require.Equal(t, want, r.state(topics, 2), "operation %d", k)
		default:
			require.Fail(t, "neither old nor new", "operation %d: %v", k, got)
		}
	}
	t.Logf("%d crashes left the old store, %d the new one", olds, news)
	require.Greater(t, olds, 20)
	require.Greater(t, news, 20)
}

func FuzzDecodeCheckpoint(f *testing.F) {
	kv := NewMemKV()
	_ = kv.Update(map[string][]KV{bucketMeta: {number(keyIndex, 7)}, bucketMachine: {{Key: []byte("k"), Value: []byte{}}}})
	b, err := encodeCheckpoint(kv)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		kvs, err := decodeCheckpoint(b)
		if err != nil {
			return
		}
		again := NewMemKV()
		require.NoError(t, again.Update(kvs))
	})
}
