package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
)

// Kind names a file operation for a fault hook.
type Kind uint8

// The operations a hook sees.
const (
	OpOpen Kind = iota + 1 // OpenFile, whether or not it creates
	OpRemove
	OpRemoveAll
	OpRename
	OpMkdirAll
	OpReadDir
	OpStat
	OpSyncDir
	OpLock
	OpUsage
	OpSyncFiles // one call; the files in it are not reported singly
	OpRead
	OpWrite
	OpTruncate
	OpPreallocate
	OpSync
	OpClose
	OpSize
)

var kindNames = [...]string{
	OpOpen: "open", OpRemove: "remove", OpRemoveAll: "remove-all", OpRename: "rename",
	OpMkdirAll: "mkdir", OpReadDir: "read-dir", OpStat: "stat", OpSyncDir: "sync-dir",
	OpLock: "lock", OpUsage: "usage", OpSyncFiles: "sync-files", OpRead: "read",
	OpWrite: "write", OpTruncate: "truncate", OpPreallocate: "preallocate",
	OpSync: "sync", OpClose: "close", OpSize: "size",
}

// String is the operation in one word.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("op-%d", uint8(k))
}

// Mutates reports whether the operation changes what is on disk or what would
// survive a crash. Opening counts, since it may create.
func (k Kind) Mutates() bool {
	switch k {
	case OpReadDir, OpStat, OpLock, OpUsage, OpRead, OpClose, OpSize:
		return false
	default:
		return true
	}
}

// Op is one operation about to happen.
type Op struct {
	Kind Kind
	Path string // the new name of a rename
	Off  int64  // of reads and writes; the new length of truncate and preallocate
	Len  int    // bytes of reads and writes; number of files of sync-files
	N    uint64 // how many mutating operations began so far, this one included
}

// String describes the operation for test messages.
func (o Op) String() string {
	return fmt.Sprintf("#%d %s %s off=%d len=%d", o.N, o.Kind, o.Path, o.Off, o.Len)
}

// ShortWrite is returned by a hook to let a write store only its first N bytes
// and then fail with Err (io.ErrShortWrite if nil).
type ShortWrite struct {
	N   int
	Err error
}

// Error describes the cut.
func (s *ShortWrite) Error() string {
	return fmt.Sprintf("short write of %d bytes: %v", s.N, s.cause())
}

// Unwrap returns the error that the writer sees.
func (s *ShortWrite) Unwrap() error { return s.cause() }

func (s *ShortWrite) cause() error {
	if s.Err == nil {
		return io.ErrShortWrite
	}
	return s.Err
}

// NewFault wraps base so that hook is called before each operation, from the
// goroutine that performs it. A nil result lets it happen; an error is
// returned to the caller instead of it; a *ShortWrite on a write stores a
// part. The hook may block to hold an operation back. It must be safe for
// concurrent calls.
func NewFault(base FS, hook func(Op) error) FS {
	return &faultFS{base: base, hook: hook}
}

type faultFS struct {
	base FS
	hook func(Op) error
	n    atomic.Uint64
}

func (f *faultFS) before(op Op) error {
	if op.Kind.Mutates() {
		op.N = f.n.Add(1)
	} else {
		op.N = f.n.Load()
	}
	return f.hook(op)
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := f.before(Op{Kind: OpOpen, Path: name}); err != nil {
		return nil, err
	}
	file, err := f.base.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f}, nil
}

func (f *faultFS) Remove(name string) error {
	if err := f.before(Op{Kind: OpRemove, Path: name}); err != nil {
		return err
	}
	return f.base.Remove(name)
}

func (f *faultFS) RemoveAll(name string) error {
	if err := f.before(Op{Kind: OpRemoveAll, Path: name}); err != nil {
		return err
	}
	return f.base.RemoveAll(name)
}

func (f *faultFS) Rename(oldName, newName string) error {
	if err := f.before(Op{Kind: OpRename, Path: newName}); err != nil {
		return err
	}
	return f.base.Rename(oldName, newName)
}

func (f *faultFS) MkdirAll(dir string, perm fs.FileMode) error {
	if err := f.before(Op{Kind: OpMkdirAll, Path: dir}); err != nil {
		return err
	}
	return f.base.MkdirAll(dir, perm)
}

func (f *faultFS) ReadDir(dir string) ([]string, error) {
	if err := f.before(Op{Kind: OpReadDir, Path: dir}); err != nil {
		return nil, err
	}
	return f.base.ReadDir(dir)
}

func (f *faultFS) Stat(name string) (fs.FileInfo, error) {
	if err := f.before(Op{Kind: OpStat, Path: name}); err != nil {
		return nil, err
	}
	return f.base.Stat(name)
}

func (f *faultFS) SyncDir(dir string) error {
	if err := f.before(Op{Kind: OpSyncDir, Path: dir}); err != nil {
		return err
	}
	return f.base.SyncDir(dir)
}

func (f *faultFS) Lock(name string) (io.Closer, error) {
	if err := f.before(Op{Kind: OpLock, Path: name}); err != nil {
		return nil, err
	}
	return f.base.Lock(name)
}

func (f *faultFS) Usage(dir string) (Usage, error) {
	if err := f.before(Op{Kind: OpUsage, Path: dir}); err != nil {
		return Usage{}, err
	}
	return f.base.Usage(dir)
}

func (f *faultFS) SyncFiles(files []File) error {
	if len(files) == 0 {
		return nil
	}
	if err := f.before(Op{Kind: OpSyncFiles, Path: files[0].Name(), Len: len(files)}); err != nil {
		return err
	}
	inner := make([]File, len(files))
	for i, file := range files {
		inner[i] = file
		if ff, ok := file.(*faultFile); ok {
			inner[i] = ff.File
		}
	}
	return f.base.SyncFiles(inner)
}

type faultFile struct {
	File
	fs *faultFS
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.before(Op{Kind: OpRead, Path: f.Name(), Off: off, Len: len(p)}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.fs.before(Op{Kind: OpWrite, Path: f.Name(), Off: off, Len: len(p)})
	if err == nil {
		return f.File.WriteAt(p, off)
	}
	var short *ShortWrite
	if !errors.As(err, &short) {
		return 0, err
	}
	n, werr := f.File.WriteAt(p[:min(max(short.N, 0), len(p))], off)
	if werr != nil {
		return n, werr
	}
	return n, short.cause()
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.before(Op{Kind: OpTruncate, Path: f.Name(), Off: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Preallocate(size int64) error {
	if err := f.fs.before(Op{Kind: OpPreallocate, Path: f.Name(), Off: size}); err != nil {
		return err
	}
	return f.File.Preallocate(size)
}

func (f *faultFile) Sync() error {
	if err := f.fs.before(Op{Kind: OpSync, Path: f.Name()}); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Size() (int64, error) {
	if err := f.fs.before(Op{Kind: OpSize, Path: f.Name()}); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *faultFile) Close() error {
	// The descriptor is closed even when the hook fails the call, as the
	// kernel does, so that a test does not leak descriptors.
	return errors.Join(f.fs.before(Op{Kind: OpClose, Path: f.Name()}), f.File.Close())
}
