package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// both runs a test on the real disk and on the one in memory, which must
// behave alike.
func both(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Helper()
	t.Run("os", func(t *testing.T) { test(t, OS, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		require.NoError(t, m.MkdirAll("root", 0o755))
		test(t, m, "root")
	})
	t.Run("fault", func(t *testing.T) {
		m := NewMem()
		require.NoError(t, m.MkdirAll("root", 0o755))
		test(t, NewFault(m, func(Op) error { return nil }), "root")
	})
}

func create(t require.TestingT, fsys FS, name, content string) File {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	require.NoError(t, err)
	return f
}

func content(t require.TestingT, fsys FS, name string) string {
	b, err := ReadFile(fsys, name, 1<<20)
	require.NoError(t, err)
	return string(b)
}

func TestFiles(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a", "b")
		_, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoError(t, fsys.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, fsys.MkdirAll(filepath.Dir(name), 0o755))
		_, err = fsys.OpenFile(name, os.O_RDONLY, 0)
		require.ErrorIs(t, err, fs.ErrNotExist)
		f := create(t, fsys, name, "hello")
		require.Equal(t, name, f.Name())
		_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		require.ErrorIs(t, err, fs.ErrExist)

		_, err = f.WriteAt([]byte("x"), 5000)
		require.NoError(t, err)
		b := make([]byte, 10)
		n, err := f.ReadAt(b, 4996)
		require.Equal(t, 5, n)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, "\x00\x00\x00\x00x", string(b[:5]))
		_, err = f.ReadAt(b, 6000)
		require.ErrorIs(t, err, io.EOF)

		require.NoError(t, f.Truncate(3))
		require.NoError(t, f.Preallocate(8))
		require.NoError(t, f.Preallocate(4), "never shortens")
		require.Equal(t, "hel\x00\x00\x00\x00\x00", content(t, fsys, name))
		size, err := f.Size()
		require.NoError(t, err)
		require.EqualValues(t, 8, size)
		require.NoError(t, f.Sync())
		require.NoError(t, fsys.SyncFiles([]File{f, f}))

		other := filepath.Join(dir, "a", "c")
		require.NoError(t, create(t, fsys, other, "old").Close())
		require.NoError(t, fsys.Rename(name, other))
		require.Equal(t, 8, len(content(t, fsys, other)))
		names, err := fsys.ReadDir(filepath.Join(dir, "a"))
		require.NoError(t, err)
		require.Equal(t, []string{"c"}, names)
		info, err := fsys.Stat(other)
		require.NoError(t, err)
		require.EqualValues(t, 8, info.Size())

		require.Error(t, fsys.Remove(filepath.Join(dir, "a")), "not empty")
		require.NoError(t, fsys.Remove(other))
		require.ErrorIs(t, fsys.Remove(other), fs.ErrNotExist)
		n, err = f.ReadAt(b[:3], 0)
		require.NoError(t, err, "an open file outlives its name")
		require.Equal(t, "hel", string(b[:n]))
		require.NoError(t, f.Close())
		require.ErrorIs(t, f.Close(), fs.ErrClosed)
		_, err = f.WriteAt(b, 0)
		require.ErrorIs(t, err, fs.ErrClosed)

		require.NoError(t, fsys.SyncDir(dir))
		require.NoError(t, fsys.RemoveAll(filepath.Join(dir, "a")))
		require.NoError(t, fsys.RemoveAll(filepath.Join(dir, "a")))
		_, err = fsys.Stat(filepath.Join(dir, "a"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		u, err := fsys.Usage(dir)
		require.NoError(t, err)
		require.True(t, u.Free > 0 && u.Total >= u.Free)
	})
}

func TestRenameDirectory(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
		require.NoError(t, fsys.MkdirAll(filepath.Join(from, "deep"), 0o755))
		require.NoError(t, create(t, fsys, filepath.Join(from, "deep", "f"), "x").Close())
		require.NoError(t, fsys.Rename(from, to))
		require.Equal(t, "x", content(t, fsys, filepath.Join(to, "deep", "f")))
		_, err := fsys.Stat(from)
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestReadOnly(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		require.NoError(t, create(t, fsys, name, "abc").Close())
		f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("x"), 0)
		require.Error(t, err)
		require.NoError(t, f.Close())
		f, err = fsys.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Empty(t, content(t, fsys, name))
	})
}

func TestLock(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "lock")
		l, err := fsys.Lock(name)
		require.NoError(t, err)
		_, err = fsys.Lock(name)
		var locked *LockedError
		require.ErrorAs(t, err, &locked)
		require.Equal(t, os.Getpid(), locked.PID)
		require.Contains(t, err.Error(), fmt.Sprint(os.Getpid()))
		require.NoError(t, l.Close())
		l, err = fsys.Lock(name)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	})
}

func TestSyncFilesMany(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		var files []File
		for i := range 70 {
			files = append(files, create(t, fsys, filepath.Join(dir, fmt.Sprint(i)), "x"))
		}
		require.NoError(t, fsys.SyncFiles(files))
		require.NoError(t, fsys.SyncFiles(nil))
		for _, f := range files {
			require.NoError(t, f.Close())
		}
	})
}

func TestReadFileRefusesLongFiles(t *testing.T) {
	m := NewMem()
	require.NoError(t, create(t, m, "f", "abcdef").Close())
	_, err := ReadFile(m, "f", 5)
	require.ErrorContains(t, err, "6 bytes, at most 5")
}

// TestWriteFileAtomic crashes before each operation of a replacement.
func TestWriteFileAtomic(t *testing.T) {
	m := NewMem()
	require.NoError(t, WriteFileAtomic(m, "f", []byte("old")))
	seen := map[string]int{}
	faulty := NewFault(m, func(op Op) error {
		for seed := range uint64(30) {
			for _, c := range []CrashOptions{{}, {Random: true, Seed: seed}, {Torn: true, TornBytes: int(seed) % 4}} {
				seen[content(t, m.CrashClone(c), "f")]++
			}
		}
		return nil
	})
	require.NoError(t, WriteFileAtomic(faulty, "f", []byte("new")))
	require.Equal(t, "new", content(t, m.CrashClone(CrashOptions{}), "f"))
	require.Len(t, seen, 2)
	require.Positive(t, seen["old"])
	require.Positive(t, seen["new"])

	for _, kind := range []Kind{OpOpen, OpWrite, OpSync, OpClose, OpRename, OpSyncDir} {
		err := WriteFileAtomic(NewFault(m, func(op Op) error {
			if op.Kind == kind {
				return syscall.EIO
			}
			return nil
		}), "f", []byte("new"))
		require.ErrorIs(t, err, syscall.EIO, "%v", kind)
		require.Equal(t, "new", content(t, m, "f"))
	}
}

func TestCrashKeepsOnlySynced(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.MkdirAll("d", 0o755))
	f := create(t, m, "d/f", "one")
	require.NoError(t, f.Sync())
	_, err := m.CrashClone(CrashOptions{}).Stat("d/f")
	require.ErrorIs(t, err, fs.ErrNotExist, "the name was not synced")
	require.NoError(t, m.SyncDir("d"))
	_, err = f.WriteAt([]byte("two!"), 0)
	require.NoError(t, err)
	c := m.CrashClone(CrashOptions{})
	require.Equal(t, "one", content(t, c, "d/f"))
	require.Equal(t, "two!", content(t, m, "d/f"))
	require.NoError(t, f.Sync())
	require.Equal(t, "one", content(t, c, "d/f"), "a clone is on its own")
	require.Equal(t, "two!", content(t, m.CrashClone(CrashOptions{}), "d/f"))

	require.NoError(t, f.Truncate(1))
	require.NoError(t, m.Remove("d/f"))
	require.Equal(t, "two!", content(t, m.CrashClone(CrashOptions{}), "d/f"))
	require.NoError(t, m.SyncDir("d"))
	_, err = m.CrashClone(CrashOptions{}).Stat("d/f")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestTornWriteIsAPrefix(t *testing.T) {
	m := NewMem()
	f := create(t, m, "f", "0123456789")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	_, err := f.WriteAt([]byte("ab"), 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("cdefgh"), 4)
	require.NoError(t, err)
	require.Equal(t, "ab23cde789", content(t, m.CrashClone(CrashOptions{Torn: true, TornBytes: 3}), "f"))
	require.Equal(t, "ab23cdefgh", content(t, m.CrashClone(CrashOptions{Torn: true, TornBytes: 99}), "f"))
}

// TestRandomCrash: each sector of a file is one of its unsynced or synced
// values, the length is one it had, the same seed gives the same disk, and
// different seeds give many.
func TestRandomCrash(t *testing.T) {
	m := NewMem()
	old, young := make([]byte, 4*sectorSize), make([]byte, 6*sectorSize)
	for i := range old {
		old[i] = 'o'
	}
	for i := range young {
		young[i] = 'y'
	}
	f := create(t, m, "f", string(old))
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	_, err := f.WriteAt(young, 0)
	require.NoError(t, err)
	kinds := map[string]bool{}
	for seed := range uint64(100) {
		got := content(t, m.CrashClone(CrashOptions{Random: true, Seed: seed}), "f")
		require.Equal(t, got, content(t, m.CrashClone(CrashOptions{Random: true, Seed: seed}), "f"))
		require.Zero(t, len(got)%sectorSize)
		require.GreaterOrEqual(t, len(got), len(old))
		for i := 0; i < len(got); i += sectorSize {
			s := got[i : i+sectorSize]
			require.True(t, s == string(old[:sectorSize]) || s == string(young[:sectorSize]) ||
				i >= len(old) && s == string(make([]byte, sectorSize)))
		}
		kinds[got] = true
	}
	require.Greater(t, len(kinds), 20)
}

// TestMemAgainstBytes compares a file with a byte slice, and a synced crash
// with what the slice was at the last sync.
func TestMemAgainstBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMem()
		f := create(t, m, "f", "")
		require.NoError(t, m.SyncDir("."))
		var now, synced []byte
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				p := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "bytes")
				off := rapid.IntRange(0, 9000).Draw(t, "offset")
				_, err := f.WriteAt(p, int64(off))
				require.NoError(t, err)
				if len(p) > 0 {
					now = append(now, make([]byte, max(0, off+len(p)-len(now)))...)
					copy(now[off:], p)
				}
			},
			"truncate": func(t *rapid.T) {
				size := rapid.IntRange(0, 12000).Draw(t, "size")
				require.NoError(t, f.Truncate(int64(size)))
				now = append(now, make([]byte, max(0, size-len(now)))...)[:size]
			},
			"sync": func(t *rapid.T) {
				require.NoError(t, f.Sync())
				synced = append([]byte(nil), now...)
			},
			"": func(t *rapid.T) {
				require.Equal(t, string(now), content(t, m, "f"))
				require.Equal(t, string(synced), content(t, m.CrashClone(CrashOptions{}), "f"))
			},
		})
	})
}

func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	var ops []string
	var next func(Op) error
	m := NewMem()
	fsys := NewFault(m, func(op Op) error {
		ops = append(ops, op.String())
		if next != nil {
			return next(op)
		}
		return nil
	})
	f := create(t, fsys, "f", "abc")
	require.NoError(t, f.Sync())
	b := make([]byte, 3)
	_, err := f.ReadAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, fsys.SyncFiles([]File{f}))
	require.Equal(t, []string{
		"#1 open f off=0 len=0", "#2 write f off=0 len=3", "#3 sync f off=0 len=0",
		"#3 read f off=0 len=3", "#4 sync-files f off=0 len=1",
	}, ops)

	next = func(Op) error { return &ShortWrite{N: 2, Err: boom} }
	n, err := f.WriteAt([]byte("xyz"), 0)
	require.ErrorIs(t, err, boom)
	require.Equal(t, 2, n)
	require.Equal(t, "xyc", content(t, m, "f"))
	next = func(Op) error { return &ShortWrite{N: 1} }
	_, err = f.WriteAt([]byte("z"), 0)
	require.ErrorIs(t, err, io.ErrShortWrite)

	next = func(Op) error { return boom }
	for _, call := range []func() error{
		f.Sync, f.Close, func() error { return f.Truncate(1) }, func() error { return f.Preallocate(9) },
		func() error { return fsys.Remove("f") }, func() error { return fsys.Rename("f", "g") },
		func() error { return fsys.SyncDir(".") }, func() error { return fsys.MkdirAll("x", 0) },
		func() error { return fsys.RemoveAll("f") }, func() error { return fsys.SyncFiles([]File{f}) },
		func() error { _, err := fsys.ReadDir("."); return err },
		func() error { _, err := fsys.Stat("f"); return err },
		func() error { _, err := fsys.Lock("l"); return err },
		func() error { _, err := fsys.Usage("."); return err },
		func() error { _, err := f.Size(); return err },
		func() error { _, err := fsys.OpenFile("f", os.O_RDONLY, 0); return err },
	} {
		require.ErrorIs(t, call(), boom)
	}
	require.Equal(t, "zyc", content(t, m, "f"), "nothing of it happened")
}
