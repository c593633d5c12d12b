package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

// rig drives a log and knows what a crash may leave of it.
type rig struct {
	cfg Config
	log *Log
	// acked is what the log must hold; low is how many entries of it are
	// promised to survive (all of them in Sync mode).
	acked []Entry
	low   int
	// What is going on: an append of pending, or a truncation down to keep.
	pending []Entry
	keep    int
	// starts are the indexes that a trim, under way or failed, may have made
	// the first one on disk.
	starts []uint64
}

func newRig(cfg Config) *rig { return &rig{cfg: cfg, keep: -1} }

func (r *rig) open() error {
	l, err := Open(r.cfg)
	if err == nil {
		r.log = l
	}
	return err
}

func (r *rig) promise() {
	if r.log.cfg.Sync {
		r.low = len(r.acked)
	}
}

func (r *rig) append(entries ...Entry) error {
	r.pending = entries
	err := r.log.Append(entries)
	if err == nil {
		r.acked = append(r.acked[:len(r.acked):len(r.acked)], entries...)
		r.promise()
	}
	if !errors.Is(err, ErrFailed) {
		r.pending = nil
	}
	return err
}

func (r *rig) truncate(from uint64) error {
	r.keep = int(from - r.acked[0].Index)
	err := r.log.TruncateSuffix(from)
	if err == nil {
		r.acked = r.acked[:r.keep]
		r.low = min(r.low, r.keep)
	}
	if !errors.Is(err, ErrFailed) {
		r.keep = -1
	}
	return err
}

// trim removes the segments before an index: exactly those that end before it
// in Sync mode, and otherwise as far as they are known to be durable.
func (r *rig) trim(before uint64) error {
	for _, s := range r.log.Segments() {
		if s.First <= before && s.First > r.acked[0].Index {
			r.starts = append(r.starts, s.First)
		}
	}
	_, err := r.log.TrimPrefix(before)
	first := r.log.FirstIndex()
	switch {
	case first != r.acked[0].Index && !slices.Contains(r.starts, first):
		return fmt.Errorf("trimmed before %d, now the first entry is %d (error: %w)", before, first, err)
	case err == nil && r.cfg.Sync && len(r.starts) > 0 && first != r.starts[len(r.starts)-1]:
		return fmt.Errorf("trimmed before %d, now the first entry is %d of %d", before, first, r.starts)
	}
	k := int(first - r.acked[0].Index)
	r.acked, r.low = r.acked[k:], max(r.low-k, 0)
	if err == nil {
		r.starts = nil
	}
	return err
}

func (r *rig) checkpoint() error {
	err := r.log.Checkpoint()
	if err == nil {
		r.low = len(r.acked)
	}
	return err
}

func (r *rig) close() error {
	err := r.log.Close()
	if err == nil {
		r.low = len(r.acked)
	}
	return err
}

// next is the index to append.
func (r *rig) next() uint64 {
	if len(r.acked) == 0 {
		return 1
	}
	return r.acked[len(r.acked)-1].Index + 1
}

// survivor opens a disk after a crash and checks it against what is promised;
// it returns what was found. The log is left open.
func (r *rig) survivor(disk vfs.FS) (*Log, []Entry, error) {
	l, err := Open(withFS(r.cfg, disk))
	if err != nil {
		return nil, nil, err
	}
	got, err := readAll(l)
	if err != nil {
		return l, nil, err
	}
	all := append(r.acked[:len(r.acked):len(r.acked)], r.pending...)
	low := r.low
	if r.keep >= 0 {
		low = min(low, r.keep)
	}
	if len(got) > 0 && slices.Contains(r.starts, got[0].Index) {
		k := int(got[0].Index - all[0].Index)
		all, low = all[k:], max(low-k, 0)
	}
	if len(got) < low {
		return l, got, fmt.Errorf("promised entries are lost: %d of %d are there", len(got), low)
	}
	if len(got) > len(all) {
		return l, got, fmt.Errorf("invented: %d entries, at most %d were written", len(got), len(all))
	}
	for i := range got {
		if !sameEntry(got[i], all[i]) {
			return l, got, fmt.Errorf("entry %d of term %d is not what was written (%d of %d)",
				got[i].Index, got[i].Term, all[i].Index, all[i].Term)
		}
	}
	return l, got, nil
}

func readAll(l *Log) ([]Entry, error) {
	var out []Entry
	first, last := l.FirstIndex(), l.LastIndex()
	for i := first; first != 0 && i <= last; i++ {
		e, _, err := l.Read(i)
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
	return out, nil
}

// goesOn checks that a recovered log takes entries and keeps them.
func goesOn(l *Log, disk *vfs.Mem, got []Entry, term uint64) error {
	next := uint64(1)
	if len(got) > 0 {
		next = got[len(got)-1].Index + 1
	}
	more := testEntries(next, 3, term, 260)
	if err := l.Append(more); err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return err
	}
	want := append(got[:len(got):len(got)], more...)
	again, err := Open(withFS(l.cfg, disk.CrashClone(vfs.CrashOptions{})))
	if err != nil {
		return fmt.Errorf("second open: %w", err)
	}
	defer again.Close()
	found, err := readAll(again)
	if err != nil {
		return err
	}
	if len(found) != len(want) {
		return fmt.Errorf("after going on there are %d entries, want %d", len(found), len(want))
	}
	for i := range want {
		if !sameEntry(want[i], found[i]) {
			return fmt.Errorf("after going on entry %d differs", want[i].Index)
		}
	}
	return nil
}

// scenario touches every path that writes: appends over several segments, a
// long batch, truncation within and across segments, marks, clean restart.
// act is called for each step, which it must run and may repeat.
func scenario(r *rig, act func(step func() error) error) error {
	add := func(n int, term uint64, size int) func() error {
		return func() error { return r.append(testEntries(r.next(), n, term, size)...) }
	}
	cut := func(from uint64) func() error { return func() error { return r.truncate(from) } }
	trim := func(before uint64) func() error { return func() error { return r.trim(before) } }
	steps := []func() error{
		r.open, add(1, 1, 100), add(3, 1, 300), add(2, 1, 10), add(9, 1, 200),
		cut(14), add(2, 2, 120), r.checkpoint, add(8, 2, 250), cut(10), add(1, 3, 30),
		add(70, 3, 5), cut(60), add(2, 4, 400), r.checkpoint, add(5, 4, 380), r.close,
		r.open, add(2, 5, 100), cut(62), add(12, 6, 90), r.close, r.open, r.close,
		// The head goes: a part of it, all of it, and after it the end.
		r.open, trim(30), add(9, 6, 300), trim(60), r.checkpoint, trim(1000), add(1, 6, 10), func() error { return r.truncate(r.next() - 1) }, r.close,
		r.open, add(8, 7, 400), r.checkpoint, trim(1000), r.close, r.open, r.close,
	}
	for _, step := range steps {
		if err := act(step); err != nil {
			return err
		}
	}
	return nil
}

func once(step func() error) error { return step() }

var crashKinds = []vfs.CrashOptions{
	{}, {Random: true, Seed: 1}, {Random: true, Seed: 2}, {Random: true, Seed: 3},
	{Torn: true, TornBytes: 0}, {Torn: true, TornBytes: 77}, {Torn: true, TornBytes: 1 << 20},
}

// crashEverywhere runs the scenario once and crashes it before each operation,
// in several ways; recovery itself is crashed too.
func crashEverywhere(t *testing.T, sync bool) {
	mem := vfs.NewMem()
	cfg := testConfig(nil)
	cfg.Sync = sync
	r := newRig(cfg)
	crashes := 0
	disk := vfs.NewFault(mem, func(op vfs.Op) error {
		if !op.Kind.Mutates() || t.Failed() {
			return nil
		}
		for i, kind := range crashKinds {
			kind.Seed += op.N * 10
			crashes++
			clone := mem.CrashClone(kind)
			what := fmt.Sprintf("crash %d before %v", i, op)
			// Crashing recoveries is quadratic; a fifth of them covers each
			// kind of crash and, over both modes, each step.
			if (op.N+uint64(i))%5 == 0 {
				recoverTwice(t, r, clone, what)
				continue
			}
			l, got, err := r.survivor(clone)
			require.NoError(t, err, what)
			require.NoError(t, goesOn(l, clone, got, 9), what)
			require.NoError(t, l.Close())
		}
		return nil
	})
	r.cfg.FS = disk
	require.NoError(t, scenario(r, once))
	require.Greater(t, crashes, 500)
}

// recoverTwice opens a crashed disk, crashing the recovery at each operation.
func recoverTwice(t *testing.T, r *rig, disk *vfs.Mem, what string) {
	t.Helper()
	faulty := vfs.NewFault(disk, func(op vfs.Op) error {
		if op.Kind.Mutates() && op.Kind != vfs.OpOpen {
			for _, kind := range crashKinds[:2] {
				kind.Seed = op.N
				l, _, err := r.survivor(disk.CrashClone(kind))
				require.NoError(t, err, "%s, recovery crashed before %v", what, op)
				require.NoError(t, l.Close())
			}
		}
		return nil
	})
	l, got, err := r.survivor(faulty)
	require.NoError(t, err, what)
	// Only the recovery is to be crashed, not what follows.
	l.Close()
	l, got2, err := r.survivor(disk)
	require.NoError(t, err, what)
	require.Len(t, got2, len(got), what)
	require.NoError(t, goesOn(l, disk, got, 9), what)
	require.NoError(t, l.Close())
}

func TestCrashEverywhereSync(t *testing.T)  { crashEverywhere(t, true) }
func TestCrashEverywhereAsync(t *testing.T) { crashEverywhere(t, false) }

// failEverywhere fails each operation of the scenario once.
func failEverywhere(t *testing.T, sync bool, failure error) {
	fatal, retried, cause := 0, 0, failure
	if inner := errors.Unwrap(failure); inner != nil {
		cause = inner
	}
	for k, total := uint64(1), uint64(1); k <= total; k++ {
		mem := vfs.NewMem()
		var failed vfs.Op
		count := uint64(0)
		disk := vfs.NewFault(mem, func(op vfs.Op) error {
			count = op.N
			if op.Kind.Mutates() && op.N == k {
				failed = op
				return failure
			}
			return nil
		})
		cfg := testConfig(disk)
		cfg.Sync = sync
		r := newRig(cfg)
		err := scenario(r, func(step func() error) error {
			err := step()
			if err != nil && !errors.Is(err, ErrFailed) && !errors.Is(err, ErrClosed) {
				require.ErrorIs(t, err, cause, "%v", failed)
				retried++
				if err = step(); r.log != nil && errors.Is(err, ErrClosed) {
					err = nil
				}
			}
			return err
		})
		if err != nil {
			require.ErrorIs(t, err, ErrFailed, "%v", failed)
			fatal++
		}
		total = max(total, count)
		for _, kind := range crashKinds[:4] {
			clone := mem.CrashClone(kind)
			l, got, err := r.survivor(clone)
			require.NoError(t, err, "failed %v", failed)
			require.NoError(t, goesOn(l, clone, got, 9), "failed %v", failed)
			require.NoError(t, l.Close())
		}
	}
	require.Positive(t, fatal)
	require.Positive(t, retried)
}

func TestFailEverywhereSync(t *testing.T)  { failEverywhere(t, true, syscall.EIO) }
func TestFailEverywhereAsync(t *testing.T) { failEverywhere(t, false, syscall.ENOSPC) }

func TestShortWriteEverywhere(t *testing.T) {
	failEverywhere(t, true, &vfs.ShortWrite{N: 150, Err: syscall.ENOSPC})
}

func TestTornWriteAtEveryByte(t *testing.T) {
	mem := vfs.NewMem()
	written := 0
	var r *rig
	disk := vfs.NewFault(mem, func(op vfs.Op) error {
		if op.Kind != vfs.OpSync || len(r.pending) == 0 || written > 0 {
			return nil
		}
		written = int(r.pending[0].size())
		for n := range written + 1 {
			l, got, err := r.survivor(mem.CrashClone(vfs.CrashOptions{Torn: true, TornBytes: n}))
			require.NoError(t, err, "torn at byte %d", n)
			whole := n == written
			require.Equal(t, whole, len(got) > len(r.acked), "torn at byte %d", n)
			require.NoError(t, l.Close())
		}
		return nil
	})
	r = newRig(testConfig(disk))
	require.NoError(t, r.open())
	written = 1
	require.NoError(t, r.append(testEntries(1, 5, 1, 300)...))
	written = 0
	require.NoError(t, r.append(testEntry(6, 1, 333)))
	require.Greater(t, written, 333)
}

// damaged builds a log, flips one bit of one file and reports how it opens.
type damaged struct {
	disk *vfs.Mem
	cfg  Config
	want []Entry
}

// build makes a log of several segments; with clean it is closed, otherwise it
// ends in a crash with a mark somewhere in the middle.
func build(t *testing.T, clean bool) damaged {
	t.Helper()
	disk := vfs.NewMem()
	d := damaged{disk: disk, cfg: testConfig(disk), want: testEntries(1, 30, 1, 120)}
	l := openTest(t, d.cfg)
	require.NoError(t, l.Append(d.want[:22]))
	require.NoError(t, l.Checkpoint())
	require.NoError(t, l.Append(d.want[22:]))
	if clean {
		require.NoError(t, l.Close())
	}
	d.disk = disk.CrashClone(vfs.CrashOptions{})
	return d
}

func flip(t *testing.T, disk vfs.FS, name string, at int64) {
	t.Helper()
	f, err := disk.OpenFile(name, 2, 0)
	require.NoError(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	require.NoError(t, err)
	b[0] ^= 1 << (at % 8)
	_, err = f.WriteAt(b[:], at)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// TestFlippedBitAnywhere flips one bit in each byte of each file. A wrong byte
// is never served, and what the mark vouches for is never trimmed away.
func TestFlippedBitAnywhere(t *testing.T) {
	for _, clean := range []bool{true, false} {
		d := build(t, clean)
		names, err := d.disk.ReadDir("log")
		require.NoError(t, err)
		vouched := 22
		if clean {
			vouched = len(d.want)
		}
		refused := map[string]int{}
		for _, name := range names {
			size := fileSize(t, d.disk, "log/"+name)
			for at := range size {
				disk := d.disk.CrashClone(vfs.CrashOptions{})
				flip(t, disk, "log/"+name, at)
				what := fmt.Sprintf("clean=%v %s byte %d", clean, name, at)
				if d.served(t, disk, vouched, what) {
					refused[name]++
				}
			}
		}
		for _, name := range names {
			harmless := strings.HasSuffix(name, sidecarExt) || name == markName || isBlank(t, d.disk, "log/"+name)
			require.Equal(t, harmless, refused[name] == 0, "%s: %d refusals", name, refused[name])
		}
	}
}

func fileSize(t *testing.T, disk vfs.FS, name string) int64 {
	t.Helper()
	info, err := disk.Stat(name)
	require.NoError(t, err)
	return info.Size()
}

// served opens a damaged disk, checks what it serves and reports whether
// anything was refused.
func (d damaged) served(t *testing.T, disk vfs.FS, vouched int, what string) (refused bool) {
	t.Helper()
	var bad *CorruptError
	l, err := Open(withFS(d.cfg, disk))
	if err != nil {
		require.ErrorAs(t, err, &bad, what)
		return true
	}
	defer l.Close()
	require.GreaterOrEqual(t, l.LastIndex(), uint64(vouched), what)
	require.LessOrEqual(t, l.LastIndex(), uint64(len(d.want)), what)
	for i := l.FirstIndex(); i <= l.LastIndex(); i++ {
		e, off, err := l.Read(i)
		if err != nil {
			require.ErrorAs(t, err, &bad, what)
			refused = true
			continue
		}
		requireSame(t, d.want[i-1], e)
		index, _, _, err := l.EntryAt(off)
		if err != nil {
			require.ErrorAs(t, err, &bad, what)
			refused = true
			continue
		}
		require.Equal(t, i, index, what)
	}
	return refused || l.LastIndex() < uint64(len(d.want))
}

func TestDamageBehindMarkIsNotTorn(t *testing.T) {
	build := func(behind int) (*vfs.Mem, Config, int64) {
		disk := vfs.NewMem()
		cfg := testConfig(disk)
		cfg.markDistance = 1 << 20
		l := openTest(t, cfg)
		for i := range behind + 10 {
			require.NoError(t, l.Append(testEntries(uint64(i+1), 1, 1, 20)))
		}
		off, err := l.Locate(10)
		require.NoError(t, err)
		return disk.CrashClone(vfs.CrashOptions{}), cfg, off
	}
	disk, cfg, off := build(syncGroup)
	flip(t, disk, "log/00000000000000000000", off)
	_, err := Open(withFS(cfg, disk))
	var bad *CorruptError
	require.ErrorAs(t, err, &bad)
	require.Contains(t, bad.Reason, "entry 74")

	disk, cfg, off = build(syncGroup - 1)
	flip(t, disk, "log/00000000000000000000", off)
	requireEntries(t, openTest(t, withFS(cfg, disk)), testEntries(1, 9, 1, 20))

	// Asynchronous writes may vanish anywhere, so there nothing is refused.
	disk, cfg, off = build(syncGroup)
	cfg.Sync = false
	l := openTest(t, withFS(cfg, disk))
	require.NoError(t, l.Append(testEntries(75, 100, 1, 20)))
	flipAt, err := l.Locate(80)
	require.NoError(t, err)
	disk = disk.CrashClone(vfs.CrashOptions{Torn: true, TornBytes: 1 << 20})
	flip(t, disk, fmt.Sprintf("log/%020d", flipAt/(1<<10)*(1<<10)), flipAt%(1<<10))
	require.EqualValues(t, 79, openTest(t, withFS(cfg, disk)).LastIndex())
	_ = off
}

func TestLostFilesAreRefused(t *testing.T) {
	d := build(t, true)
	names, err := d.disk.ReadDir("log")
	require.NoError(t, err)
	for _, name := range names {
		disk := d.disk.CrashClone(vfs.CrashOptions{})
		require.NoError(t, disk.Remove("log/"+name))
		l, err := Open(withFS(d.cfg, disk))
		if len(name) > 20 || name == markName || name == names[len(names)-2] && fileSize(t, d.disk, "log/"+name) > 0 && isBlank(t, d.disk, "log/"+name) {
			require.NoError(t, err, name)
			requireEntries(t, l, d.want)
			continue
		}
		var bad *CorruptError
		require.ErrorAs(t, err, &bad, name)
	}
}

func isBlank(t *testing.T, disk vfs.FS, name string) bool {
	t.Helper()
	b, err := vfs.ReadFile(disk, name, 1<<20)
	require.NoError(t, err)
	return bytes.Equal(b, make([]byte, len(b)))
}
