package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/cometmq/cometmq/internal/vfs"
)

// Config of a Set.
type Config struct {
	FS   vfs.FS
	Dir  string // made if missing
	Size int64  // capacity of each file, bytes
}

// Set is the segments of one directory, oldest first.
type Set struct {
	cfg Config
	// files is replaced as a whole by the owner and never changed in place,
	// so readers use what they loaded without a lock.
	files atomic.Pointer[[]*File]
}

// MissingError reports a hole between two segments.
type MissingError struct {
	Path string // the file that should be there
}

// Error names the file and what to do.
func (e *MissingError) Error() string {
	return fmt.Sprintf("segment %s is missing between others; restore it from a copy, or empty the "+
		"directory so that the broker is rebuilt from its group", e.Path)
}

// Open opens the segments of cfg.Dir. Files with other names are left alone.
func Open(cfg Config) (*Set, error) {
	if cfg.Size <= 0 {
		return nil, fmt.Errorf("segment size %d: must be positive", cfg.Size)
	}
	s := &Set{cfg: cfg}
	s.files.Store(&[]*File{})
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", cfg.Dir, err)
	}
	bases, err := s.list()
	if err != nil {
		return nil, err
	}
	for _, base := range bases {
		f, err := cfg.FS.OpenFile(s.path(base), os.O_RDWR, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open segment: %w", err), s.Close())
		}
		s.add(newFile(f, base, cfg.Size))
	}
	return s, nil
}

func (s *Set) list() ([]int64, error) {
	names, err := s.cfg.FS.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.cfg.Dir, err)
	}
	var bases []int64
	for _, name := range names {
		if base, ok := ParseName(name); ok {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	for i := 1; i < len(bases); i++ {
		if want := bases[i-1] + s.cfg.Size; bases[i] != want {
			return nil, &MissingError{Path: s.path(want)}
		}
	}
	return bases, nil
}

func (s *Set) path(base int64) string { return filepath.Join(s.cfg.Dir, Name(base)) }

func (s *Set) add(f *File) {
	files := append(slices.Clone(s.Files()), f)
	s.files.Store(&files)
}

// Files returns the segments, oldest first. The slice must not be changed.
func (s *Set) Files() []*File { return *s.files.Load() }

// Last is the newest segment, nil if there is none.
func (s *Set) Last() *File {
	files := s.Files()
	if len(files) == 0 {
		return nil
	}
	return files[len(files)-1]
}

// Find returns the segment that holds position off, nil if none does.
func (s *Set) Find(off int64) *File {
	files := s.Files()
	if len(files) == 0 || off < files[0].base {
		return nil
	}
	i := (off - files[0].base) / s.cfg.Size
	if i >= int64(len(files)) {
		return nil
	}
	return files[i]
}

// Create makes the segment after the last one, or the first one at the given
// base, with its space reserved and its name durable. On failure nothing is
// left behind that Open would stumble over.
func (s *Set) Create(base int64) (*File, error) {
	return s.create(base, func(f *File) error { return f.Reserve() })
}

// CreateShort is Create with as much space as there is, for a full disk; File.
// Reserve asks for the rest later.
func (s *Set) CreateShort(base int64) (*File, error) {
	return s.create(base, func(f *File) error { return f.ReserveSome(base) })
}

func (s *Set) create(base int64, reserve func(*File) error) (*File, error) {
	if last := s.Last(); last != nil && base != last.End() {
		return nil, fmt.Errorf("create segment at %d: the last one ends at %d", base, last.End())
	}
	path := s.path(base)
	// O_TRUNC: a crash can leave the name of a file whose removal was not
	// durable yet, and a segment starts empty.
	f, err := s.cfg.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	file := newFile(f, base, s.cfg.Size)
	err = reserve(file)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		if derr := s.cfg.FS.SyncDir(s.cfg.Dir); derr != nil {
			err = fmt.Errorf("sync directory %s: %w", s.cfg.Dir, derr)
		}
	}
	if err != nil {
		return nil, errors.Join(err, file.Release(), s.cfg.FS.Remove(path))
	}
	s.add(file)
	return file, nil
}

// RemoveLast unlinks the newest segment, durably. Those who retained it can
// still read it.
func (s *Set) RemoveLast() error {
	files := s.Files()
	if len(files) == 0 {
		return nil
	}
	last := files[len(files)-1]
	if err := s.unlink(last); err != nil {
		return err
	}
	rest := slices.Clone(files[:len(files)-1])
	s.files.Store(&rest)
	return last.Release()
}

// RemoveFirst unlinks the oldest segment, durably. Those who retained it can
// still read it. The newest segment stays.
func (s *Set) RemoveFirst() error {
	files := s.Files()
	if len(files) < 2 {
		return nil
	}
	if err := s.unlink(files[0]); err != nil {
		return err
	}
	rest := slices.Clone(files[1:])
	s.files.Store(&rest)
	return files[0].Release()
}

func (s *Set) unlink(f *File) error {
	if err := s.cfg.FS.Remove(f.Path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove segment: %w", err)
	}
	if err := s.cfg.FS.SyncDir(s.cfg.Dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", s.cfg.Dir, err)
	}
	return nil
}

// Close closes all segments; nothing is synced.
func (s *Set) Close() error {
	files := s.Files()
	s.files.Store(&[]*File{})
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Release())
	}
	return errors.Join(errs...)
}
