package commitlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/segment"
)

// sectorEntry fills one sector of the memory disk exactly, so that a crash may
// lose one entry of a batch and keep the next.
func sectorEntry(index, term uint64, fill byte) Entry {
	e := Entry{Index: index, Term: term, Data: make([]byte, 512-headerSize)}
	for i := range e.Data {
		e.Data[i] = fill
	}
	return e
}

// patch overwrites bytes of a segment behind the log's back, durably.
func patch(t *testing.T, disk vfs.FS, base, off int64, b []byte) {
	t.Helper()
	f, err := disk.OpenFile(fmt.Sprintf("log/%020d", base), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(b, off-base)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// TestLostEntryBeforeKeptOne: of an unacknowledged pair the crash kept only
// the second. When another first one is written in front of it, the second
// must not come to light.
func TestLostEntryBeforeKeptOne(t *testing.T) {
	disk := vfs.NewMem()
	l := openTest(t, testConfig(disk))
	kept := sectorEntry(3, 1, 'k')
	require.NoError(t, l.Append([]Entry{sectorEntry(1, 1, 'a')}))
	crashed := disk.CrashClone(vfs.CrashOptions{})
	require.NoError(t, l.Close())

	cfg := withFS(testConfig(nil), crashed)
	cfg.SegmentSize = 1 << 10
	// Entry 2 would be at 512, entry 3 at 1024, which is the next segment.
	f, err := crashed.OpenFile("log/00000000000000001024", os.O_RDWR|os.O_CREATE, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(append(kept.appendHeader(nil), kept.Data...), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, crashed.SyncDir("log"))
	l = openTest(t, cfg)
	require.EqualValues(t, 1, l.LastIndex())
	require.NoError(t, l.Append([]Entry{sectorEntry(2, 1, 'b')}))
	again := openTest(t, withFS(cfg, crashed.CrashClone(vfs.CrashOptions{})))
	requireEntries(t, again, []Entry{sectorEntry(1, 1, 'a'), sectorEntry(2, 1, 'b')})
}

// The same within one segment.
func TestLostEntryBeforeKeptOneInSegment(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.SegmentSize = 1 << 13
	l := openTest(t, cfg)
	require.NoError(t, l.Append([]Entry{sectorEntry(1, 1, 'a')}))
	kept := sectorEntry(3, 1, 'k')
	crashed := disk.CrashClone(vfs.CrashOptions{})
	patch(t, crashed, 0, 1024, append(kept.appendHeader(nil), kept.Data...))
	cfg.FS = crashed
	l = openTest(t, cfg)
	require.EqualValues(t, 1, l.LastIndex())
	require.NoError(t, l.Append([]Entry{sectorEntry(2, 1, 'b')}))
	cfg.FS = crashed.CrashClone(vfs.CrashOptions{})
	requireEntries(t, openTest(t, cfg), []Entry{sectorEntry(1, 1, 'a'), sectorEntry(2, 1, 'b')})
}

// TestFailedBatchLeavesNothing: a batch failed although all its bytes reached
// the file; a shorter one in its place must not uncover the rest.
func TestFailedBatchLeavesNothing(t *testing.T) {
	for _, size := range []int64{1 << 13, 1 << 10} {
		mem, armed := vfs.NewMem(), false
		cfg := testConfig(nil)
		cfg.SegmentSize = size
		cfg.FS = vfs.NewFault(mem, func(op vfs.Op) error {
			if armed && op.Kind == vfs.OpWrite && (size > 1<<10 || op.Path == "log/00000000000000001024") {
				return &vfs.ShortWrite{N: 1 << 20}
			}
			return nil
		})
		l := openTest(t, cfg)
		require.NoError(t, l.Append([]Entry{sectorEntry(1, 1, 'a')}))
		armed = true
		require.Error(t, l.Append([]Entry{sectorEntry(2, 1, 'x'), sectorEntry(3, 1, 'y')}))
		armed = false
		require.EqualValues(t, 1, l.LastIndex())
		require.NoError(t, l.Append([]Entry{sectorEntry(2, 1, 'b')}))
		cfg.FS = mem.CrashClone(vfs.CrashOptions{})
		requireEntries(t, openTest(t, cfg), []Entry{sectorEntry(1, 1, 'a'), sectorEntry(2, 1, 'b')})
	}
}

// TestOldTermBehindNewOne: an intact entry that continues the indexes but not
// the terms is a leftover.
func TestOldTermBehindNewOne(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 2, 5, 20)))
	old := testEntry(3, 4, 20)
	crashed := disk.CrashClone(vfs.CrashOptions{})
	patch(t, crashed, 0, l.MaxOffset(), append(old.appendHeader(nil), old.Data...))
	requireEntries(t, openTest(t, withFS(cfg, crashed)), testEntries(1, 2, 5, 20))
}

// TestStaleSidecar: after a truncation the sidecar of the segment knows
// entries that are gone; it must not lead anyone to where they were.
func TestStaleSidecar(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.SegmentSize, cfg.sidecarDistance = 1<<20, 1<<30
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 40, 1, 3000)))
	require.NoError(t, l.Close())
	l = openTest(t, cfg)
	require.NoError(t, l.TruncateSuffix(5))
	want := append(testEntries(1, 4, 1, 3000), testEntries(5, 40, 2, 2777)...)
	require.NoError(t, l.Append(want[4:]))
	require.NoError(t, l.Checkpoint())
	requireEntries(t, openTest(t, withFS(cfg, disk.CrashClone(vfs.CrashOptions{}))), want)
}

// TestSidecarAheadOfMark: the crash came between sidecar and mark, and an entry
// that the sidecar covers is damaged and cut off.
func TestSidecarAheadOfMark(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.SegmentSize, cfg.sidecarDistance, cfg.markDistance = 1<<20, 1<<30, 1<<30
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 3, 1, 3000)))
	require.NoError(t, l.Checkpoint())
	require.NoError(t, l.Append(testEntries(4, 37, 1, 3000)))
	s, err := scanPart(l.st.parts[0], 40)
	require.NoError(t, err)
	require.NoError(t, l.storeSidecar(s))
	off, err := l.Locate(5)
	require.NoError(t, err)
	cfg.FS = disk.CrashClone(vfs.CrashOptions{})
	patch(t, cfg.FS, 0, off, []byte("torn"))

	l = openTest(t, cfg)
	want := append(testEntries(1, 4, 1, 3000), testEntries(5, 40, 2, 2777)...)
	require.NoError(t, l.Append(want[4:]))
	require.NoError(t, l.Checkpoint())
	cfg.FS = cfg.FS.(*vfs.Mem).CrashClone(vfs.CrashOptions{})
	requireEntries(t, openTest(t, cfg), want)
}

func TestStaleHint(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentSize, cfg.CacheEntries = 1<<20, 1
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 20, 1, 100)))
	_, _, err := l.Read(10)
	require.NoError(t, err)
	require.NoError(t, l.TruncateSuffix(5))
	require.NoError(t, l.Append(testEntries(5, 16, 2, 77)))
	e, _, err := l.Read(11)
	require.NoError(t, err)
	requireSame(t, testEntry(11, 2, 77), e)
}

func TestCleanFlagIsTakenBack(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	for range 2 {
		l := openTest(t, cfg)
		m, err := l.readMark()
		require.NoError(t, err)
		require.Zero(t, m.flags&flagClean, "an open log is not clean")
		require.NoError(t, l.Append(testEntries(l.LastIndex()+1, 2, 1, 20)))
		require.NoError(t, l.Close())
		m, err = l.readMark()
		require.NoError(t, err)
		require.NotZero(t, m.flags&flagClean)
	}
}

// TestProcessCrash: the process ended, the machine did not, so recovery finds
// bytes that were never synced. What it counts as there must be durable.
func TestProcessCrash(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.Sync, cfg.markDistance = false, 1<<20
	want := testEntries(1, 30, 1, 200)
	require.NoError(t, openTest(t, cfg).Append(want))
	requireEntries(t, openTest(t, cfg), want)
	requireEntries(t, openTest(t, withFS(cfg, disk.CrashClone(vfs.CrashOptions{}))), want)
}

// TestLostSegmentTail: without syncs a crash lost an entry in the first segment
// but not the segments behind it; new entries must not run into the old ones.
func TestLostSegmentTail(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.Sync, cfg.markDistance = false, 1<<20
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 20, 1, 200)))
	off, err := l.Locate(2)
	require.NoError(t, err)
	disk = disk.CrashClone(vfs.CrashOptions{Torn: true, TornBytes: 1 << 20})
	patch(t, disk, 0, off, []byte("lost"))
	cfg.FS = disk
	l = openTest(t, cfg)
	require.EqualValues(t, 1, l.LastIndex())
	want := testEntries(1, 7, 1, 200)
	require.NoError(t, l.Append(want[1:]))
	require.NoError(t, l.Sync())
	cfg.FS = disk.CrashClone(vfs.CrashOptions{})
	requireEntries(t, openTest(t, cfg), want)
}

// TestSealedSegmentIsCutShort: the sidecar says how long the file must be.
func TestSealedSegmentIsCutShort(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 40, 1, 200)))
	require.NoError(t, l.Close())
	sealed := l.Segments()[0]
	require.Greater(t, len(l.Segments()), 2)
	path := filepath.Join(cfg.Dir, segment.Name(sealed.Base))
	f, err := disk.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size/2))
	require.NoError(t, f.Close())
	_, err = Open(cfg)
	var damage *CorruptError
	require.ErrorAs(t, err, &damage)
	require.Equal(t, path, damage.File)
	require.Equal(t, sealed.Base+size/2, damage.Offset)
}

// TestAppendDuringFlush: what is appended while a background sync runs is not
// covered by it.
func TestAppendDuringFlush(t *testing.T) {
	var l *Log
	disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if l != nil && op.Kind == vfs.OpSync && l.LastIndex() == 2 {
			require.NoError(t, l.Append(testEntries(3, 1, 1, 20)))
		}
		return nil
	})
	cfg := testConfig(disk)
	cfg.Sync = false
	l = openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 2, 1, 20)))
	require.NoError(t, l.Sync())
	require.EqualValues(t, 3, l.LastIndex())
	require.EqualValues(t, 2, l.durable().index)
}

// TestMarkIsLost: without a mark everything is verified and rebuilt; damage is
// then never taken for a torn write if anything intact follows.
func TestMarkIsLost(t *testing.T) {
	d := build(t, true)
	for name := range map[string]bool{markName: true, "00000000000000000000.idx": true, "00000000000000001024.idx": true} {
		require.NoError(t, d.disk.Remove("log/"+name))
	}
	l := openTest(t, withFS(d.cfg, d.disk))
	requireEntries(t, l, d.want)
	require.NoError(t, l.Close())
	requireEntries(t, openTest(t, withFS(d.cfg, d.disk)), d.want)

	for _, index := range []uint64{1, 9, 29} {
		d := build(t, true)
		l := openTest(t, withFS(d.cfg, d.disk))
		off, err := l.Locate(index)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.NoError(t, d.disk.Remove("log/"+markName))
		patch(t, d.disk, off/(1<<10)*(1<<10), off, []byte("damage"))
		_, err = Open(withFS(d.cfg, d.disk))
		var bad *CorruptError
		require.ErrorAs(t, err, &bad)
	}
}

// What is cut off is kept aside, a few times over; nothing is kept where
// nothing was.
func TestTornBytesAreKept(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	var l *Log
	for i := range uint64(tornFiles + 2) {
		l = openTest(t, withFS(cfg, disk))
		require.NoError(t, l.Append(testEntries(3*i+1, 3, 1, 100)))
		off, err := l.Locate(3*i + 3)
		require.NoError(t, err)
		raw := make([]byte, 100)
		require.NoError(t, l.ReadAt(raw, off))
		disk = disk.CrashClone(vfs.CrashOptions{})
		flip(t, disk, "log/"+segment.Name(off/cfg.SegmentSize*cfg.SegmentSize), off%cfg.SegmentSize+50)
		raw[50] ^= 1 << ((off%cfg.SegmentSize + 50) % 8)

		l = openTest(t, withFS(cfg, disk))
		require.Equal(t, 3*i+2, l.LastIndex())
		e := testEntry(3*i+3, 1, 100)
		at := off - headerSize - int64(len(e.Extensions))
		kept, err := vfs.ReadFile(disk, "log/"+segment.Name(at)+tornExt, tornBytes)
		require.NoError(t, err)
		require.Contains(t, string(kept), string(raw))
		require.NoError(t, l.Append(testEntries(3*i+3, 1, 1, 100)))
		require.NoError(t, l.Close())
	}
	names, err := disk.ReadDir("log")
	require.NoError(t, err)
	torn := 0
	for _, name := range names {
		if strings.HasSuffix(name, tornExt) {
			torn++
		}
	}
	require.Equal(t, tornFiles, torn)
	disk = disk.CrashClone(vfs.CrashOptions{})
	openTest(t, withFS(cfg, disk))
	again, err := disk.ReadDir("log")
	require.NoError(t, err)
	require.Equal(t, names, again, "nothing more to keep")
}
