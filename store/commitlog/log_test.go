package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

// testConfig is a log of small segments whose background work happens inside
// Append, so that the order of file operations is the same in each run.
func testConfig(fsys vfs.FS) Config {
	return Config{FS: fsys, Dir: "log", SegmentSize: 1 << 10, Sync: true, CacheEntries: 4, inline: true,
		markDistance: 3 << 10, sidecarDistance: 512}
}

func openTest(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// testEntry is recognisable: its data says which index and term it was made for.
func testEntry(index, term uint64, size int) Entry {
	data := bytes.Repeat([]byte(fmt.Sprintf("%d/%d.", index, term)), size/4+1)[:size]
	return Entry{
		Index: index, Term: term, Kind: uint8(index % 3), AppendedAt: int64(index) * 1000,
		Extensions: []byte(fmt.Sprintf("x%d", index)), Data: data,
	}
}

func testEntries(from uint64, n int, term uint64, size int) []Entry {
	out := make([]Entry, n)
	for i := range out {
		out[i] = testEntry(from+uint64(i), term, size)
	}
	return out
}

// requireEntries checks that the log holds exactly want, by every way to read.
func requireEntries(t require.TestingT, l *Log, want []Entry) {
	if len(want) == 0 {
		require.Zero(t, l.LastIndex())
		require.Equal(t, l.MinOffset(), l.MaxOffset())
		return
	}
	require.Equal(t, want[0].Index, l.FirstIndex())
	require.Equal(t, want[len(want)-1].Index, l.LastIndex())
	end := l.MinOffset()
	for _, w := range want {
		got, off, err := l.Read(w.Index)
		require.NoError(t, err)
		requireSame(t, w, got)
		loc, err := l.Locate(w.Index)
		require.NoError(t, err)
		require.Equal(t, off, loc)
		raw := make([]byte, len(w.Data))
		require.NoError(t, l.ReadAt(raw, off))
		require.True(t, bytes.Equal(w.Data, raw))
		start := off - headerSize - int64(len(w.Extensions))
		index, entryOff, n, err := l.EntryAt(max(off-1, start))
		require.NoError(t, err)
		require.Equal(t, w.Index, index)
		require.Equal(t, start, entryOff)
		require.EqualValues(t, w.size(), n)
		require.GreaterOrEqual(t, start, end)
		end = start + w.size()
	}
	require.Equal(t, end, l.MaxOffset())
	_, _, err := l.Read(want[0].Index - 1)
	require.ErrorIs(t, err, ErrNotFound)
	_, _, err = l.Read(want[len(want)-1].Index + 1)
	require.ErrorIs(t, err, ErrNotFound)
	_, _, _, err = l.EntryAt(end)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, l.ReadAt(make([]byte, 1), end), ErrNotFound)
}

func requireSame(t require.TestingT, want, got Entry) {
	require.True(t, sameEntry(want, got), "want entry %d of term %d, got %d of %d", want.Index, want.Term, got.Index, got.Term)
}

func sameEntry(a, b Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Kind == b.Kind && a.AppendedAt == b.AppendedAt &&
		bytes.Equal(a.Extensions, b.Extensions) && bytes.Equal(a.Data, b.Data)
}

func TestAppendReadReopen(t *testing.T) {
	for _, sync := range []bool{true, false} {
		disk := vfs.NewMem()
		cfg := testConfig(disk)
		cfg.Sync = sync
		l := openTest(t, cfg)
		requireEntries(t, l, nil)
		var want []Entry
		for i := range 40 {
			batch := testEntries(uint64(len(want)+1), i%5+1, uint64(i/10), i*7%300)
			require.NoError(t, l.Append(batch))
			want = append(want, batch...)
		}
		requireEntries(t, l, want)
		require.NoError(t, l.Close())
		_, _, err := l.Read(1)
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, l.Append(testEntries(1, 1, 1, 1)), ErrClosed)
		require.NoError(t, l.Close())

		requireEntries(t, openTest(t, cfg), want)
	}
}

func TestAppendRefusals(t *testing.T) {
	l := openTest(t, testConfig(vfs.NewMem()))
	require.NoError(t, l.Append(nil))
	require.ErrorIs(t, l.Append([]Entry{{Index: 0}}), ErrGap)
	require.NoError(t, l.Append(testEntries(7, 3, 5, 10)), "an empty log may begin anywhere")
	require.ErrorIs(t, l.Append(testEntries(9, 1, 5, 10)), ErrGap)
	require.ErrorIs(t, l.Append(testEntries(11, 1, 5, 10)), ErrGap)
	require.ErrorIs(t, l.Append([]Entry{testEntry(10, 5, 1), testEntry(12, 5, 1)}), ErrGap)
	require.ErrorIs(t, l.Append(testEntries(10, 1, 4, 10)), ErrTerm)
	require.ErrorIs(t, l.Append(testEntries(10, 1, 5, 1<<10)), ErrTooLarge)
	require.ErrorIs(t, l.Append([]Entry{{Index: 10, Term: 5, Extensions: make([]byte, 1<<16)}}), ErrTooLarge)
	exact := Entry{Index: 10, Term: 5, Data: make([]byte, 1<<10-headerSize)}
	require.NoError(t, l.Append([]Entry{exact}), "an entry may fill a segment")
	requireEntries(t, l, append(testEntries(7, 3, 5, 10), exact))
}

func TestRollDependsOnOffsetsOnly(t *testing.T) {
	entries := testEntries(1, 60, 1, 150)
	one := openTest(t, testConfig(vfs.NewMem()))
	require.NoError(t, one.Append(entries))
	many := openTest(t, testConfig(vfs.NewMem()))
	for i := range entries {
		require.NoError(t, many.Append(entries[i:i+1]))
	}
	require.Equal(t, one.MaxOffset(), many.MaxOffset())
	a, b := make([]byte, one.MaxOffset()), make([]byte, one.MaxOffset())
	require.NoError(t, one.ReadAt(a, 0))
	require.NoError(t, many.ReadAt(b, 0))
	require.True(t, bytes.Equal(a, b))
}

func TestEntryAtEveryByte(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	l := openTest(t, cfg)
	want := testEntries(1, 30, 1, 170)
	require.NoError(t, l.Append(want))
	covered := int64(0)
	for off := range l.MaxOffset() {
		index, start, n, err := l.EntryAt(off)
		if err != nil {
			require.ErrorIs(t, err, ErrNotFound)
			continue
		}
		covered++
		require.True(t, start <= off && off < start+int64(n))
		require.EqualValues(t, want[index-1].size(), n)
	}
	sum := int64(0)
	for i := range want {
		sum += want[i].size()
	}
	require.Equal(t, sum, covered, "every byte of an entry and no other")
}

func TestTruncateSuffix(t *testing.T) {
	for from := uint64(2); from <= 41; from++ {
		disk := vfs.NewMem()
		cfg := testConfig(disk)
		l := openTest(t, cfg)
		want := testEntries(1, 40, 1, 170)
		require.NoError(t, l.Append(want))
		require.NoError(t, l.TruncateSuffix(from))
		want = want[:from-1]
		requireEntries(t, l, want)
		requireEntries(t, openTest(t, withFS(cfg, disk.CrashClone(vfs.CrashOptions{}))), want)
		more := testEntries(from, 20, 2, 90)
		require.NoError(t, l.Append(more))
		want = append(want[:len(want):len(want)], more...)
		requireEntries(t, l, want)
		require.NoError(t, l.Close())
		requireEntries(t, openTest(t, cfg), want)
	}
}

func withFS(cfg Config, fsys vfs.FS) Config {
	cfg.FS = fsys
	return cfg
}

func TestTruncateAll(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(5, 20, 1, 100)))
	require.ErrorIs(t, l.TruncateSuffix(4), ErrTruncateAll)
	require.NoError(t, l.TruncateSuffix(5), "it has held nothing else since it was empty")
	requireEntries(t, l, nil)
	require.ErrorIs(t, l.Append(testEntries(6, 1, 1, 1)), ErrGap)
	requireEntries(t, openTest(t, withFS(cfg, disk.CrashClone(vfs.CrashOptions{}))), nil)
	require.NoError(t, l.Append(testEntries(5, 3, 2, 100)))
	require.NoError(t, l.Close())
	l = openTest(t, cfg)
	require.ErrorIs(t, l.TruncateSuffix(5), ErrTruncateAll)
	require.NoError(t, l.TruncateSuffix(9), "nothing to remove")
	requireEntries(t, l, testEntries(5, 3, 2, 100))
}

func TestBaseAndFirstIndex(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.Base, cfg.FirstIndex = 5<<10, 1000
	l := openTest(t, cfg)
	require.EqualValues(t, 5<<10, l.MinOffset())
	require.ErrorIs(t, l.Append(testEntries(1, 1, 1, 1)), ErrGap)
	require.NoError(t, l.Append(testEntries(1000, 20, 1, 100)))
	require.NoError(t, l.Close())
	cfg.Base, cfg.FirstIndex = 0, 0
	requireEntries(t, openTest(t, cfg), testEntries(1000, 20, 1, 100))
}

func TestSegmentSizeMustNotChange(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	require.NoError(t, openTest(t, cfg).Close())
	cfg.SegmentSize *= 2
	_, err := Open(cfg)
	require.ErrorIs(t, err, ErrSegmentSize)
}

// countReads returns how many bytes Open reads from segments.
func openCounting(t *testing.T, cfg Config) (*Log, int) {
	t.Helper()
	read := 0
	cfg.FS = vfs.NewFault(cfg.FS, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && len(op.Path) == len("log/")+20 {
			read += op.Len
		}
		return nil
	})
	return openTest(t, cfg), read
}

func TestCleanRestartScansNothing(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.SegmentSize, cfg.markDistance, cfg.sidecarDistance = 4<<20, 64<<20, 64<<20
	l := openTest(t, cfg)
	want := testEntries(1, 3000, 1, 5000)
	require.NoError(t, l.Append(want))
	crashed := disk.CrashClone(vfs.CrashOptions{})
	require.NoError(t, l.Close())

	l, read := openCounting(t, cfg)
	require.LessOrEqual(t, read, scanChunk+2*headerSize, "one window to check the last entries")
	requireEntries(t, l, want)
	l, read = openCounting(t, withFS(cfg, crashed))
	require.Greater(t, read, 15<<20, "after a crash everything behind the mark is checked")
	requireEntries(t, l, want)
}

func TestReadersDoNotWaitForSync(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	armed := false
	disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if armed && op.Kind == vfs.OpSync {
			close(entered)
			<-release
		}
		return nil
	})
	cfg := testConfig(disk)
	cfg.CacheEntries = 1
	l := openTest(t, cfg)
	want := testEntries(1, 3, 1, 10)
	require.NoError(t, l.Append(want))
	armed = true
	done := make(chan error)
	go func() { done <- l.Append(testEntries(4, 1, 1, 10)) }()
	<-entered
	requireEntries(t, l, want)
	armed = false
	close(release)
	require.NoError(t, <-done)
	require.EqualValues(t, 4, l.LastIndex())
}

func TestFailedSyncIsFinal(t *testing.T) {
	boom, fail := errors.New("boom"), false
	disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if fail && op.Kind == vfs.OpSync {
			return boom
		}
		return nil
	})
	var told []error
	cfg := testConfig(disk)
	cfg.OnFailure = func(err error) { told = append(told, err) }
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 2, 1, 10)))
	fail = true
	err := l.Append(testEntries(3, 1, 1, 10))
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, err, boom)
	fail = false
	require.ErrorIs(t, l.Append(testEntries(3, 1, 1, 10)), ErrFailed)
	require.ErrorIs(t, l.TruncateSuffix(2), ErrFailed)
	require.ErrorIs(t, l.Checkpoint(), ErrFailed)
	require.Len(t, told, 1)
	requireEntries(t, l, testEntries(1, 2, 1, 10))
	require.ErrorIs(t, l.Close(), ErrFailed, "no clean mark after a failure")
}
