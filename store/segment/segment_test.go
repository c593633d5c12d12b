package segment

import (
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

func openSet(t *testing.T, fsys vfs.FS) *Set {
	t.Helper()
	s, err := Open(Config{FS: fsys, Dir: "d", Size: 100})
	require.NoError(t, err)
	return s
}

func TestNames(t *testing.T) {
	require.Equal(t, "00000000001073741824", Name(1<<30))
	for _, base := range []int64{0, 1, 1 << 30, 1<<63 - 1} {
		got, ok := ParseName(Name(base))
		require.True(t, ok)
		require.Equal(t, base, got)
	}
	for _, name := range []string{"", "mark", "00000000000000000000.idx", "0000000000000000000x", "+0000000000000000001", "99999999999999999999"} {
		_, ok := ParseName(name)
		require.False(t, ok, name)
	}
}

func TestSet(t *testing.T) {
	disk := vfs.NewMem()
	s := openSet(t, disk)
	require.Nil(t, s.Last())
	require.Nil(t, s.Find(0))
	for base := int64(300); base < 600; base += 100 {
		f, err := s.Create(base)
		require.NoError(t, err)
		require.NoError(t, f.WriteAt([]byte(Name(base)), base+10))
		require.NoError(t, f.Sync())
	}
	_, err := s.Create(700)
	require.ErrorContains(t, err, "the last one ends at 600")
	require.NoError(t, s.RemoveLast())

	s = openSet(t, disk.CrashClone(vfs.CrashOptions{}))
	require.Len(t, s.Files(), 2)
	require.Nil(t, s.Find(299))
	require.Nil(t, s.Find(500))
	f := s.Find(499)
	require.EqualValues(t, 400, f.Base())
	require.EqualValues(t, 500, f.End())
	b := make([]byte, 20)
	require.NoError(t, f.ReadAt(b, 410))
	require.Equal(t, Name(400), string(b))
	require.ErrorIs(t, f.ReadAt(b, 390), io.EOF)
	require.ErrorIs(t, f.ReadAt(b, 490), io.EOF)
	require.Error(t, f.WriteAt(b, 490))

	require.True(t, f.Retain())
	require.NoError(t, s.RemoveLast())
	require.NoError(t, f.ReadAt(b, 410), "retained")
	require.NoError(t, f.Release())
	require.False(t, f.Retain())
	require.NoError(t, s.Close())
}

func TestMissingSegment(t *testing.T) {
	disk := vfs.NewMem()
	s := openSet(t, disk)
	for base := int64(0); base < 300; base += 100 {
		_, err := s.Create(base)
		require.NoError(t, err)
	}
	require.NoError(t, disk.Remove("d/"+Name(100)))
	_, err := Open(Config{FS: disk, Dir: "d", Size: 100})
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "d/"+Name(100), missing.Path)
}

// TestCutIsWhole crashes before each operation of a cut: the bytes behind it
// are all there or all gone, even when they are written again.
func TestCutIsWhole(t *testing.T) {
	mem := vfs.NewMem()
	s, err := Open(Config{FS: mem, Dir: "d", Size: 4096})
	require.NoError(t, err)
	f, err := s.Create(0)
	require.NoError(t, err)
	old := make([]byte, 4096)
	for i := range old {
		old[i] = 'o'
	}
	require.NoError(t, f.WriteAt(old, 0))
	require.NoError(t, f.Sync())
	check := func(vfs.Op) error {
		for seed := range uint64(20) {
			b, err := vfs.ReadFile(mem.CrashClone(vfs.CrashOptions{Random: true, Seed: seed}), "d/"+Name(0), 1<<20)
			require.NoError(t, err)
			b = append(b, make([]byte, 4096-len(b))...)
			require.Equal(t, "o", string(b[99]))
			require.Equal(t, b[100], b[4095])
		}
		return nil
	}
	again, err := Open(Config{FS: vfs.NewFault(mem, check), Dir: "d", Size: 4096})
	require.NoError(t, err)
	reserveErr, err := again.Last().Cut(100)
	require.NoError(t, err)
	require.NoError(t, reserveErr)
	_ = check(vfs.Op{})
	b := make([]byte, 4096)
	require.NoError(t, again.Last().ReadAt(b, 0))
	require.Equal(t, make([]byte, 3996), b[100:])
}

// TestCreateFailsClean fails each operation of Create; the next try succeeds.
func TestCreateFailsClean(t *testing.T) {
	failed := 0
	for _, kind := range []vfs.Kind{vfs.OpOpen, vfs.OpPreallocate, vfs.OpSync, vfs.OpSyncDir} {
		armed := true
		mem := vfs.NewMem()
		s := openSet(t, vfs.NewFault(mem, func(op vfs.Op) error {
			if op.Kind == kind && armed {
				armed = false
				failed++
				return syscall.ENOSPC
			}
			return nil
		}))
		_, err := s.Create(0)
		require.ErrorIs(t, err, syscall.ENOSPC)
		names, err := mem.ReadDir("d")
		require.NoError(t, err)
		require.Empty(t, names)
		_, err = s.Create(0)
		require.NoError(t, err)
		_, err = mem.CrashClone(vfs.CrashOptions{}).Stat("d/" + Name(0))
		require.NoError(t, err)
	}
	require.Equal(t, 4, failed)
}

func TestRealDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{FS: vfs.OS, Dir: dir, Size: 1 << 20})
	require.NoError(t, err)
	f, err := s.Create(0)
	require.NoError(t, err)
	info, err := os.Stat(f.Path())
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, info.Size(), "reserved")
	require.NoError(t, s.Close())
}
