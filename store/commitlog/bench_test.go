package commitlog

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

// discard drops the bytes written, so that what is measured is the log and not
// the disk.
type discard struct{ vfs.FS }

type discardFile struct{ vfs.File }

func (d discard) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	return discardFile{f}, err
}

func (discardFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func benchAppend(b *testing.B, cfg Config, size, batch int) {
	l, err := Open(cfg)
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() }) // fails where writes were discarded
	entries := testEntries(1, batch, 1, size)
	b.SetBytes(int64(size * batch))
	b.ReportAllocs()
	b.ResetTimer()
	next := uint64(1)
	for b.Loop() {
		for i := range entries {
			entries[i].Index = next
			next++
		}
		if err := l.Append(entries); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, size := range []int{256, 64 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("sync=%v/size=%d", sync, size), func(b *testing.B) {
				benchAppend(b, Config{Dir: b.TempDir(), SegmentSize: 64 << 20, Sync: sync}, size, 1)
			})
		}
	}
}

// BenchmarkAppendCPU is the cost of the log itself: copying, checksum, books.
func BenchmarkAppendCPU(b *testing.B) {
	for _, size := range []int{256, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			benchAppend(b, Config{FS: discard{vfs.NewMem()}, Dir: "log", SegmentSize: 1 << 40}, size, 1)
		})
	}
}

func BenchmarkRead(b *testing.B) {
	l, err := Open(Config{Dir: b.TempDir(), SegmentSize: 64 << 20, CacheEntries: 64})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, l.Close()) })
	const n = 20000
	require.NoError(b, l.Append(testEntries(1, n, 1, 2000)))
	run := func(name string, index func(i uint64) uint64) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(2000)
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				if _, _, err := l.Read(index(i)); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
	run("cached", func(i uint64) uint64 { return n - i%64 })
	run("in-order", func(i uint64) uint64 { return i%(n-100) + 1 })
	run("anywhere", func(i uint64) uint64 { return i*7919%(n-100) + 1 })
}

func BenchmarkRecovery(b *testing.B) {
	disk := vfs.NewMem()
	l, err := Open(Config{FS: disk, Dir: "log", SegmentSize: 64 << 20})
	require.NoError(b, err)
	require.NoError(b, l.Append(testEntries(1, 500, 1, 64<<10)))
	require.NoError(b, l.Sync())
	b.SetBytes(l.MaxOffset())
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		cfg := Config{FS: disk.CrashClone(vfs.CrashOptions{}), Dir: "log", SegmentSize: 64 << 20}
		b.StartTimer()
		r, err := Open(cfg)
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, r.Close())
		b.StartTimer()
	}
	require.NoError(b, l.Close())
}

// TestAppendAllocatesNothing guards the hot path: the entries are not copied
// and the buffers are reused. Waypoints grow now and then, hence less than one.
func TestAppendAllocatesNothing(t *testing.T) {
	l, err := Open(Config{FS: discard{vfs.NewMem()}, Dir: "log", SegmentSize: 256 << 20})
	require.NoError(t, err)
	defer l.Close()
	e := testEntries(1, 1, 1, 64<<10)
	allocs := testing.AllocsPerRun(500, func() {
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
		e[0].Index++
	})
	require.Less(t, allocs, 1.0)
}
