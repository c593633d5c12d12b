package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/consumequeue"
	"github.com/cometmq/cometmq/store/segment"
)

const segmentSize = 64 << 10

// flip changes one bit of a file, durably.
func flip(t *testing.T, disk vfs.FS, name string, at int64) {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	require.NoError(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func segmentFile(base int64) string { return filepath.Join("store", "commitlog", segment.Name(base)) }

// damagedStore is closed, has ten segments, and the third one is not what it was.
// good are that segment's bytes.
func damagedStore(t *testing.T) (r *rig, good []byte) {
	r = newRig(t)
	r.hourly(day, 10)
	r.checkpoint()
	require.NoError(t, r.store.Close())
	good, err := vfs.ReadFile(r.disk, segmentFile(2*segmentSize), segmentSize)
	require.NoError(t, err)
	r.disk = r.disk.CrashClone(vfs.CrashOptions{})
	flip(t, r.disk, segmentFile(2*segmentSize), 30<<10)
	return r, good
}

func (r *rig) config() Config { return testConfig(r.disk, r.kv, newMachine()) }

func TestDamagedLogIsInDoubt(t *testing.T) {
	r, good := damagedStore(t)
	told := make(chan error, 8)
	cfg := r.config()
	cfg.OnDamage = func(err error) { told <- err }
	s, err := Open(cfg)
	require.NoError(t, err, "a start does not read old segments")
	require.False(t, s.Health().InDoubt)
	got := s.Get(GetRequest{Topic: "T", QueueID: 0, Offset: 1})
	var damage *DamageError
	require.ErrorAs(t, got.Err, &damage)
	var doubt *InDoubtError
	require.ErrorAs(t, <-told, &doubt)
	require.Contains(t, doubt.Error(), "commitlog/00000000000000131072 at physical offset 131072: checksum does not match")
	_, _, err = s.Log().Read(3)
	var bad *commitlog.CorruptError
	require.ErrorAs(t, err, &bad)
	require.Empty(t, told, "told once")
	h := s.Health()
	require.True(t, h.InDoubt)
	require.Len(t, h.Findings, 1)
	require.Empty(t, h.Queues, "the queue is right")
	require.Equal(t, "read", h.Findings[0].How)
	require.ErrorContains(t, RestoreSegment(cfg, 2*segmentSize, bytes.NewReader(good)), "locked", "not while it is open")
	require.NoError(t, s.Close())

	for range 2 {
		_, err = Open(cfg)
		require.ErrorAs(t, err, &doubt)
		require.EqualValues(t, 10, doubt.Damage.LastIndex)
		require.EqualValues(t, 10, doubt.Damage.Committed)
	}

	// What does not belong there is refused, and nothing changes.
	other, err := vfs.ReadFile(r.disk, segmentFile(3*segmentSize), segmentSize)
	require.NoError(t, err)
	broken := bytes.Clone(good)
	broken[100] ^= 4
	for what, b := range map[string][]byte{"": nil, "does not match": broken, "entry 4 is in the place of entry 3": other, "checksum": good[:len(good)/2]} {
		require.ErrorContains(t, RestoreSegment(cfg, 2*segmentSize, bytes.NewReader(b)), what)
		_, err = Open(cfg)
		require.ErrorAs(t, err, &doubt)
	}
	require.ErrorContains(t, RestoreSegment(cfg, 9*segmentSize, bytes.NewReader(good)), "only whole segments")

	require.NoError(t, RestoreSegment(cfg, 2*segmentSize, bytes.NewReader(good)))
	r.open()
	require.Len(t, r.bodies("T", 0, 0), 5)
	require.False(t, r.store.Health().InDoubt)
	names, err := r.disk.ReadDir(filepath.Join("store", damagedDir))
	require.NoError(t, err)
	require.Equal(t, []string{segment.Name(2*segmentSize) + commitlog.DamagedExt, damageName}, names)
}

// A crash at any moment of a restoration leaves a store that refuses to open, or
// a whole one; a second try succeeds.
func TestRestoreIsCrashSafe(t *testing.T) {
	r, good := damagedStore(t)
	s, err := Open(r.config())
	require.NoError(t, err)
	_, _, err = s.Log().Read(3)
	require.Error(t, err)
	require.NoError(t, s.Close())
	steps := 0
	hook := func(op vfs.Op) error {
		if !op.Kind.Mutates() {
			return nil
		}
		for _, kind := range []vfs.CrashOptions{{}, {Random: true, Seed: op.N}, {Torn: true, TornBytes: 1 << 20}} {
			steps++
			cfg := r.config()
			cfg.FS = r.disk.CrashClone(kind)
			s, err := Open(cfg)
			if err != nil {
				var doubt *InDoubtError
				require.ErrorAs(t, err, &doubt, "%v", op)
				require.NoError(t, RestoreSegment(cfg, 2*segmentSize, bytes.NewReader(good)), "%v", op)
				s, err = Open(cfg)
			}
			require.NoError(t, err, "%v", op)
			_, _, err = s.Log().Read(3)
			require.NoError(t, err, "%v", op)
			require.NoError(t, s.Close())
		}
		return nil
	}
	cfg := r.config()
	cfg.FS = vfs.NewFault(r.disk, hook)
	require.NoError(t, RestoreSegment(cfg, 2*segmentSize, bytes.NewReader(good)))
	require.Greater(t, steps, 30)
}

func TestSetAside(t *testing.T) {
	r, _ := damagedStore(t)
	s, err := Open(r.config())
	require.NoError(t, err)
	_, _, err = s.Log().Read(3)
	require.Error(t, err)
	require.NoError(t, s.Close())
	check := func(cfg Config) {
		d, err := SetAside(cfg)
		require.NoError(t, err)
		s, err := Open(cfg)
		require.NoError(t, err)
		require.Zero(t, s.Log().LastIndex())
		require.NoError(t, s.Close())
		if len(d.Findings) > 0 {
			require.EqualValues(t, 10, d.LastIndex, "to be had again before it votes")
		}
		names, err := cfg.FS.ReadDir(filepath.Join("store", damagedDir))
		require.NoError(t, err)
		require.Contains(t, names, segment.Name(2*segmentSize)+commitlog.DamagedExt)
	}
	cfg := r.config()
	kv := r.kv
	cfg.FS = vfs.NewFault(r.disk, func(op vfs.Op) error {
		if op.Kind.Mutates() {
			c := r.config()
			c.FS, c.OpenKV = r.disk.CrashClone(vfs.CrashOptions{Random: true, Seed: op.N}), NewMemKV().Open
			if _, there, _ := ReadDamage(c); there {
				var doubt *InDoubtError
				c2 := c
				c2.OpenKV = kv.Open
				_, err := Open(c2)
				require.ErrorAs(t, err, &doubt)
				check(c)
			}
		}
		return nil
	})
	_, err = SetAside(cfg)
	require.NoError(t, err)
	cfg.FS, cfg.OpenKV = r.disk, NewMemKV().Open
	check(cfg)
}

// Damage that keeps the log from opening is reported too.
func TestDamageAtOpen(t *testing.T) {
	r := newRig(t)
	r.hourly(day, 3)
	r.checkpoint()
	require.NoError(t, r.store.Close())
	flip(t, r.disk, segmentFile(2*segmentSize), 30<<10)
	var doubt *InDoubtError
	_, err := Open(r.config())
	require.ErrorAs(t, err, &doubt)
	require.EqualValues(t, 3, doubt.Damage.LastIndex)
	require.Equal(t, "open", doubt.Damage.Findings[0].How)
	_, err = Open(r.config())
	require.ErrorAs(t, err, &doubt)
}

// A queue that does not fit an intact log is rebuilt at the next start; the log
// is not in doubt.
func TestDamagedQueueIsRebuilt(t *testing.T) {
	for _, at := range []int64{3, 9, 13} { // physical offset, size, checksum
		r := newRig(t)
		for i := range 20 {
			r.send(record(t, "T", 0, fmt.Sprint(i), "", 1))
		}
		r.send(record(t, "U", 0, "other", "", 1))
		r.checkpoint()
		flip(t, r.disk, filepath.Join("store", "consumequeue", "T.0.00000000000000000000"), 32*7+at)
		got := r.store.Get(GetRequest{Topic: "T"})
		require.Equal(t, 7, got.Count)
		require.Error(t, got.Err)
		h := r.store.Health()
		require.False(t, h.InDoubt)
		require.Equal(t, []consumequeue.Key{{Topic: "T"}}, h.Queues, "byte %d", at)
		r.reopen(vfs.CrashOptions{})
		require.Len(t, r.bodies("T", 0, 0), 20)
		require.Len(t, r.bodies("U", 0, 0), 1)
		require.Empty(t, r.store.Health().Queues)
		left := 0
		require.NoError(t, r.kv.Each(bucketSuspect, func(_, _ []byte) error { left++; return nil }))
		require.Zero(t, left)
	}
}

// A sector that cannot be read is damage.
func TestUnreadableSector(t *testing.T) {
	r, _ := damagedStore(t)
	eio := errors.New("input/output error")
	cfg := r.config()
	cfg.FS = vfs.NewFault(r.disk, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && strings.HasSuffix(op.Path, segment.Name(5*segmentSize)) {
			return eio
		}
		return nil
	})
	s, err := Open(cfg)
	require.NoError(t, err)
	_, _, err = s.Log().Read(6)
	require.ErrorIs(t, err, eio)
	require.True(t, s.Health().InDoubt)
	require.NoError(t, s.Close())
}

func TestScrubber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := damagedStore(t)
		cfg := r.config()
		cfg.ScrubRate = segmentSize
		var told error
		cfg.OnDamage = func(err error) { told = err }
		began := time.Now()
		s, err := Open(cfg)
		require.NoError(t, err)
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		require.NoError(t, told, "two of nine segments are read")
		require.EqualValues(t, 2*segmentSize, s.Health().Scrub.At)
		time.Sleep(time.Second)
		synctest.Wait()
		var doubt *InDoubtError
		require.ErrorAs(t, told, &doubt)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		h := s.Health()
		require.Equal(t, 1, h.Scrub.Passes)
		require.Len(t, h.Findings, 1)
		require.WithinDuration(t, began.Add(9*time.Second), h.Scrub.Last, time.Second)
		require.EqualValues(t, -1, h.Scrub.At)
		time.Sleep(scrubEvery + 9*time.Second)
		synctest.Wait()
		require.Equal(t, 2, s.Health().Scrub.Passes)
		require.NoError(t, s.Close())
	})
}

func TestDigest(t *testing.T) {
	a, b := newRig(t), newRig(t)
	for _, r := range []*rig{a, b} {
		r.hourly(day, 10)
		r.checkpoint()
	}
	da, err := a.store.Log().Digest(2, 9, nil)
	require.NoError(t, err)
	db, err := b.store.Log().Digest(2, 9, func(int) error { return nil })
	require.NoError(t, err)
	require.Equal(t, da, db)
	require.EqualValues(t, segmentSize, da.Offset)
	less, err := a.store.Log().Digest(2, 8, nil)
	require.NoError(t, err)
	require.NotEqual(t, da.Sum, less.Sum)
	b.hourly(day, 1) // an older time than the one before it: other bytes
	a.hourly(day.Add(10*time.Hour), 1)
	da, err = a.store.Log().Digest(10, 11, nil)
	require.NoError(t, err)
	db, err = b.store.Log().Digest(10, 11, nil)
	require.NoError(t, err)
	require.NotEqual(t, da.Sum, db.Sum)
	for _, rng := range [][2]uint64{{0, 1}, {5, 4}, {11, 12}} {
		_, err = a.store.Log().Digest(rng[0], rng[1], nil)
		require.ErrorIs(t, err, commitlog.ErrNotFound)
	}
	_, err = a.store.Log().Digest(1, 5, func(int) error { return io.EOF })
	require.ErrorIs(t, err, io.EOF)
}

// A log that came from the group replaces a damaged one, report and all.
func TestReceivedLogEndsDoubt(t *testing.T) {
	from := newRig(t)
	from.hourly(day, 6)
	from.checkpoint()
	x, err := from.store.Export()
	require.NoError(t, err)
	r := stranger(t)
	in, err := r.store.OpenIntake(x)
	require.NoError(t, err)
	done, err := receive(from.store, x, in, 0)
	require.NoError(t, err)
	require.True(t, done)
	require.NoError(t, in.Complete(x.State))
	require.NoError(t, r.store.Close())
	require.NoError(t, vfs.WriteFileAtomic(r.disk, filepath.Join("store", damageName), []byte(`{"version":1}`)))
	r.open()
	require.Equal(t, x.Index, r.store.AppliedIndex())
	_, there, err := ReadDamage(r.config())
	require.NoError(t, err)
	require.False(t, there)
}
