package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/cometmq/cometmq/internal/vfs"
)

// nameDigits is the length of a file name. RocketMQ's tools expect 20.
const nameDigits = 20

// Name is the file name of a segment that starts at base.
func Name(base int64) string { return fmt.Sprintf("%0*d", nameDigits, base) }

// ParseName is the inverse of Name; false for any other name.
func ParseName(name string) (base int64, ok bool) {
	if len(name) != nameDigits {
		return 0, false
	}
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return 0, false
		}
	}
	base, err := strconv.ParseInt(name, 10, 64)
	return base, err == nil
}

// File is one segment. Reads and writes may run concurrently as far as their
// bytes do not overlap.
type File struct {
	file vfs.File
	base int64
	size int64 // capacity, not the current length
	// refs counts the Set and those who called Retain. The descriptor is
	// closed by whoever leaves last, so that a slow reader of a removed
	// segment (a snapshot stream) is not cut off.
	refs atomic.Int32
}

func newFile(f vfs.File, base, size int64) *File {
	s := &File{file: f, base: base, size: size}
	s.refs.Store(1)
	return s
}

// OpenFile opens one file for reading as the segment at base, whatever its name.
// Release closes it.
func OpenFile(fsys vfs.FS, path string, base, size int64) (*File, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return newFile(f, base, size), nil
}

// Base is the position of the first byte.
func (f *File) Base() int64 { return f.base }

// End is the position after the last byte the file may hold.
func (f *File) End() int64 { return f.base + f.size }

// Length is how many bytes the file on disk has now, at most End-Base.
func (f *File) Length() (int64, error) {
	n, err := f.file.Size()
	if err != nil {
		return 0, fmt.Errorf("length of %s: %w", f.Path(), err)
	}
	return n, nil
}

// Path is the name the file was opened under.
func (f *File) Path() string { return f.file.Name() }

// Retain keeps the descriptor open until Release, even if the segment is
// removed meanwhile. It reports false when the file is closed already.
func (f *File) Retain() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release ends a Retain.
func (f *File) Release() error {
	if f.refs.Add(-1) == 0 {
		return f.file.Close()
	}
	return nil
}

// ReadAt fills p with the bytes from position off. Bytes that were never
// written read as zeros up to the end of the segment, however long the file
// on disk is at the moment; beyond the end is io.EOF.
func (f *File) ReadAt(p []byte, off int64) error {
	if off < f.base || off+int64(len(p)) > f.End() {
		return fmt.Errorf("read %d bytes at %d of %s: %w", len(p), off, f.Path(), io.EOF)
	}
	n, err := f.file.ReadAt(p, off-f.base)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %d bytes at %d of %s: %w", len(p), off, f.Path(), err)
	}
	return nil
}

// WriteAt stores p at position off, all of it within the segment. After an
// error an unknown part of p may be stored.
func (f *File) WriteAt(p []byte, off int64) error {
	if off < f.base || off+int64(len(p)) > f.End() {
		return fmt.Errorf("write %d bytes at %d of %s: outside the segment", len(p), off, f.Path())
	}
	n, err := f.file.WriteAt(p, off-f.base)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write %d bytes at %d of %s: %w", len(p), off, f.Path(), err)
	}
	return nil
}

// Cut removes the bytes from position off on, durably: after a crash during it
// they are all there, and after it they are all gone. The space is reserved
// again only behind the sync, so that nothing depends on the order in which a
// file system journals the two.
// reserveErr reports that the space could not be had again; the segment is
// usable all the same and the next write may then find the disk full.
func (f *File) Cut(off int64) (reserveErr, err error) {
	if off < f.base || off > f.End() {
		return nil, fmt.Errorf("cut %s at %d: outside the segment", f.Path(), off)
	}
	if err := f.Shrink(off); err != nil {
		return nil, err
	}
	if err := f.Reserve(); err != nil {
		return errors.Join(err, f.ReserveSome(off)), nil
	}
	return nil, nil
}

// Shrink is Cut without allocating the space again.
func (f *File) Shrink(off int64) error {
	if err := f.file.Truncate(off - f.base); err != nil {
		return fmt.Errorf("cut %s at %d: %w", f.Path(), off, err)
	}
	return f.Sync()
}

// ReserveSome allocates as much behind off as there is room for, in halves of
// what is left. An error says that there was not even a page.
func (f *File) ReserveSome(off int64) error {
	for room := (f.End() - off) / 2; room >= reserveMin; room /= 2 {
		err := f.file.Preallocate(off - f.base + room)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return fmt.Errorf("allocate %d bytes for %s: %w", room, f.Path(), err)
		}
	}
	return fmt.Errorf("allocate %d bytes for %s: %w", reserveMin, f.Path(), syscall.ENOSPC)
}

// reserveMin is the least that is worth a segment.
const reserveMin = 4 << 10

// Reserve makes sure that the segment's whole size is allocated.
func (f *File) Reserve() error {
	if err := f.file.Preallocate(f.size); err != nil {
		return fmt.Errorf("allocate %d bytes for %s (free some disk space): %w", f.size, f.Path(), err)
	}
	return nil
}

// Sync makes all bytes written so far durable.
func (f *File) Sync() error {
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.Path(), err)
	}
	return nil
}
