package commitlog

import (
	"errors"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/segment"
)

func TestTrimPrefix(t *testing.T) {
	disk := vfs.NewMem()
	l := openTest(t, testConfig(disk))
	removed, err := l.TrimPrefix(100)
	require.NoError(t, err)
	require.Empty(t, removed, "an empty log")
	want := testEntries(1, 40, 1, 200)
	require.NoError(t, l.Append(want))
	segs := l.Segments()
	require.Greater(t, len(segs), 5)
	require.Equal(t, uint64(40), segs[len(segs)-1].Last)

	// One entry too few for the third segment.
	removed, err = l.TrimPrefix(segs[2].First - 1)
	require.NoError(t, err)
	require.Equal(t, segs[:1], removed)
	require.Equal(t, segs[1].Base, l.MinOffset())
	requireEntries(t, l, want[segs[1].First-1:])
	require.ErrorIs(t, l.ReadAt(make([]byte, 1), segs[1].Base-1), ErrNotFound)
	_, _, _, err = l.EntryAt(segs[1].Base - 1)
	require.ErrorIs(t, err, ErrNotFound)

	// The newest stays whatever is asked for.
	removed, err = l.TrimPrefix(1 << 60)
	require.NoError(t, err)
	last := segs[len(segs)-1]
	require.Equal(t, segs[1:len(segs)-1], removed)
	requireEntries(t, l, want[last.First-1:])
	names, err := disk.ReadDir("log")
	require.NoError(t, err)
	require.LessOrEqual(t, len(names), 4, "newest segment, perhaps the next one, perhaps a sidecar, and the mark: %v", names)

	// The end may still be cut, but not beyond the new beginning.
	require.ErrorIs(t, l.TruncateSuffix(last.First-1), ErrTruncateAll)
	require.NoError(t, l.TruncateSuffix(40))
	requireEntries(t, l, want[last.First-1:39])
	require.NoError(t, l.Close())
	l = openTest(t, testConfig(disk))
	requireEntries(t, l, want[last.First-1:39])
	_, err = l.TrimPrefix(39)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = l.TrimPrefix(39)
	require.ErrorIs(t, err, ErrClosed)
}

// A removal that fails is made up for by the next trim, or by Open; the log
// begins behind it at once.
func TestTrimIsFinishedLater(t *testing.T) {
	for _, later := range []string{"trim", "open", "open without the mark"} {
		armed := false
		mem := vfs.NewMem()
		disk := vfs.NewFault(mem, func(op vfs.Op) error {
			if _, ok := segment.ParseName(filepath.Base(op.Path)); armed && op.Kind == vfs.OpRemove && ok {
				return syscall.EIO
			}
			return nil
		})
		l := openTest(t, testConfig(disk))
		want := testEntries(1, 40, 1, 200)
		require.NoError(t, l.Append(want))
		segs := l.Segments()
		armed = true
		removed, err := l.TrimPrefix(segs[3].First)
		require.ErrorIs(t, err, syscall.EIO)
		require.Equal(t, segs[:3], removed)
		rest := want[segs[3].First-1:]
		requireEntries(t, l, rest)
		armed = false
		switch later {
		case "trim":
			removed, err = l.TrimPrefix(0)
			require.NoError(t, err)
			require.Empty(t, removed)
		case "open":
			require.NoError(t, l.Close())
			l = openTest(t, testConfig(mem))
		default:
			require.NoError(t, l.Close())
			require.NoError(t, mem.Remove("log/"+markName))
			requireEntries(t, openTest(t, testConfig(mem)), want)
			continue
		}
		requireEntries(t, l, rest)
		_, err = mem.Stat("log/" + segment.Name(segs[0].Base))
		require.Error(t, err)
	}
}

// Readers at full speed while the head goes away under them: each read gives
// the entry or says that it is gone.
func TestReadersDuringTrim(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.inline = false
	l := openTest(t, cfg)
	want := testEntries(1, 400, 1, 200)
	require.NoError(t, l.Append(want))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				index := i%400 + 1
				e, off, err := l.Read(index)
				if err == nil {
					_, _, _, err = l.EntryAt(off)
				}
				if err != nil && !errors.Is(err, ErrNotFound) || err == nil && !sameEntry(e, want[index-1]) {
					t.Errorf("entry %d: %v", index, err)
					return
				}
			}
		})
	}
	for before := uint64(10); before < 400; before += 10 {
		_, err := l.TrimPrefix(before)
		require.NoError(t, err)
	}
	close(stop)
	wg.Wait()
	requireEntries(t, l, want[l.FirstIndex()-1:])
}

func TestNewestIn(t *testing.T) {
	l := openTest(t, testConfig(vfs.NewMem()))
	entries := testEntries(1, 20, 1, 200)
	require.NoError(t, l.Append(entries))
	for _, s := range l.Segments() {
		require.Equal(t, time.Unix(0, entries[s.Last-1].AppendedAt), l.NewestIn(s))
	}
	dir := t.TempDir()
	cfg := testConfig(vfs.OS)
	cfg.Dir = dir
	l = openTest(t, cfg)
	e := testEntry(1, 1, 10)
	e.AppendedAt = 0
	require.NoError(t, l.Append([]Entry{e}))
	require.WithinDuration(t, time.Now(), l.NewestIn(l.Segments()[0]), time.Minute, "the file's time")
}
