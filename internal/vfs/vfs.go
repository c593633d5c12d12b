package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is a file system. Names are paths with the operating system's separator,
// relative or absolute. All methods may be called from any goroutine. Errors
// of missing and existing files satisfy errors.Is with fs.ErrNotExist and
// fs.ErrExist.
type FS interface {
	// OpenFile opens or creates a file; flag takes the os.O_* bits O_RDONLY,
	// O_RDWR, O_CREATE, O_EXCL and O_TRUNC. A created name is durable only
	// after SyncDir.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Remove unlinks a file or an empty directory. Open files stay readable.
	Remove(name string) error
	// RemoveAll unlinks a tree; a missing one is no error.
	RemoveAll(name string) error
	// Rename moves a file or directory, replacing a file of the new name.
	Rename(oldName, newName string) error
	// MkdirAll makes a directory and its parents, durably.
	MkdirAll(dir string, perm fs.FileMode) error
	// ReadDir lists the names in a directory, sorted.
	ReadDir(dir string) ([]string, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable: creations, renames and
	// removals that returned before the call.
	SyncDir(dir string) error
	// Lock takes an exclusive lock that ends with Close or with the process.
	// A lock held elsewhere is a *LockedError.
	Lock(name string) (io.Closer, error)
	// Usage reports the space of the volume that holds dir, in bytes.
	Usage(dir string) (Usage, error)
	// SyncFiles makes the bytes of all files durable. It is one call so that
	// many small files may share the cost. The first error is returned, and
	// then nothing may be assumed about any of the files.
	SyncFiles(files []File) error
}

// File is an open file. ReadAt and WriteAt follow io.ReaderAt and
// io.WriterAt; WriteAt beyond the end extends the file with zeros between.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Name is the name the file was opened under.
	Name() string
	// Size is the length in bytes.
	Size() (int64, error)
	// Truncate sets the length; new bytes read as zero. Cutting is atomic: a
	// crash leaves the old length or the new one.
	Truncate(size int64) error
	// Preallocate reserves space so that writes below size cannot run out of
	// it, and extends the file to size. It never shortens, and existing bytes
	// are kept. A full disk is reported as an error that satisfies
	// errors.Is(err, syscall.ENOSPC).
	Preallocate(size int64) error
	// Sync makes the bytes and the length durable. After a failed Sync the
	// content of the file is unknown and calling it again proves nothing.
	Sync() error
}

// Usage is the space of a volume in bytes. Free is what an ordinary process
// may still use.
type Usage struct {
	Total, Free uint64
}

// LockedError reports that another process holds a lock.
type LockedError struct {
	Path string
	PID  int // 0 when the holder left no readable process id
}

// Error names the file and its holder.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process; stop it first", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d; stop it first", e.Path, e.PID)
}

// WriteFileAtomic replaces a small file so that a crash leaves the old content
// or the new one, and returns when the new one is durable. A crash can leave
// name+".tmp" behind, which the next call overwrites.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	return WriteAtomic(fsys, name, func(f File) error {
		_, err := f.WriteAt(data, 0)
		return err
	})
}

// WriteAtomic is WriteFileAtomic for contents that write puts into the new file
// piece by piece.
func WriteAtomic(fsys FS, name string, write func(File) error) error {
	tmp := name + ".tmp"
	if err := writeSynced(fsys, tmp, write); err != nil {
		return errors.Join(err, ignoreMissing(fsys.Remove(tmp)))
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("sync directory of %s: %w", name, err)
	}
	return nil
}

func writeSynced(fsys FS, name string, write func(File) error) (err error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close %s: %w", name, cerr)
		}
	}()
	if err := write(f); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadFile reads a whole file, refusing one longer than limit bytes, so that a
// damaged length on disk cannot exhaust memory.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", name, err)
	}
	if size > limit {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d expected", name, size, limit)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); err != nil && !(errors.Is(err, io.EOF) && int64(n) == size) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}
