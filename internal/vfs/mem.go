package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// Mem is a disk in memory. Beside what programs see it keeps what a power
// failure could not take away: the bytes of each file as of its last Sync and
// the names of each directory as of its last SyncDir. CrashClone returns that
// part as a new disk. Untouched parts of a file cost no memory, so
// preallocating a large segment is free.
type Mem struct {
	mu      sync.Mutex
	live    map[string]*memNode // by clean path; what programs see
	durable map[string]*memNode // by clean path; what a crash leaves
	dirs    map[string]bool
	dirOps  []dirOp // changes of live not yet in durable, oldest first
	locks   map[string]bool
	seq     uint64 // orders writes over all files, for torn writes
	usage   Usage
	quota   uint64 // bytes all files together may have, 0 = any
}

// dirOp is one unsynced change of a directory. node is what name then refers
// to; nil means that the name was removed. from is set for a rename and is
// removed by the same step, which makes renames atomic.
type dirOp struct {
	dir  string
	name string
	from string
	node *memNode
}

func (op dirOp) apply(names map[string]*memNode) {
	if op.from != "" {
		delete(names, op.from)
	}
	if op.node == nil {
		delete(names, op.name)
		return
	}
	names[op.name] = op.node
}

// NewMem returns an empty disk with a terabyte free.
func NewMem() *Mem {
	return &Mem{
		live:    map[string]*memNode{},
		durable: map[string]*memNode{},
		dirs:    map[string]bool{".": true, "/": true},
		locks:   map[string]bool{},
		usage:   Usage{Total: 1 << 40, Free: 1 << 40},
	}
}

// SetQuota makes a disk of so many bytes: a write, a longer length or a
// reservation beyond it fails with ENOSPC, a write after storing what fits, and
// Usage reports what is left. 0 takes the bound away. A file counts with its
// length, holes included, and as long as it has a name.
func (m *Mem) SetQuota(bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quota = bytes
}

// roomLocked is how many bytes files may still grow by.
func (m *Mem) roomLocked() uint64 {
	if m.quota == 0 {
		return 1 << 62
	}
	return m.quota - min(m.usedLocked(), m.quota)
}

func (m *Mem) usedLocked() uint64 {
	used := uint64(0)
	for _, n := range m.live {
		used += uint64(n.size)
	}
	return used
}

// SetUsage sets what Usage reports. It does not make writes fail; see SetQuota.
func (m *Mem) SetUsage(u Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.usage = u
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	name = filepath.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[name] {
		return nil, pathError("open", name, fmt.Errorf("is a directory"))
	}
	n, ok := m.live[name]
	switch {
	case ok && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, pathError("open", name, fs.ErrExist)
	case !ok && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, fs.ErrNotExist)
	case !ok:
		dir := filepath.Dir(name)
		if !m.dirs[dir] {
			return nil, pathError("open", name, fs.ErrNotExist)
		}
		n = newMemNode()
		m.changeLocked(dirOp{dir: dir, name: name, node: n})
	}
	if flag&os.O_TRUNC != 0 && n.size > 0 {
		n.truncate(0, m.nextSeqLocked())
	}
	return &memFile{fs: m, node: n, name: name, writable: flag&(os.O_RDWR|os.O_WRONLY) != 0}, nil
}

func (m *Mem) nextSeqLocked() uint64 {
	m.seq++
	return m.seq
}

func (m *Mem) changeLocked(op dirOp) {
	op.apply(m.live)
	m.dirOps = append(m.dirOps, op)
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	name = filepath.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[name] {
		if len(m.childrenLocked(name)) > 0 {
			return pathError("remove", name, fmt.Errorf("directory not empty"))
		}
		delete(m.dirs, name)
		return nil
	}
	if _, ok := m.live[name]; !ok {
		return pathError("remove", name, fs.ErrNotExist)
	}
	m.changeLocked(dirOp{dir: filepath.Dir(name), name: name})
	return nil
}

// RemoveAll implements FS. The directories vanish at once and durably, the
// files in them as unsynced removals.
func (m *Mem) RemoveAll(name string) error {
	name = filepath.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range sortedNames(m.live) {
		if p == name || under(name, p) {
			m.changeLocked(dirOp{dir: filepath.Dir(p), name: p})
		}
	}
	for d := range m.dirs {
		if d == name || under(name, d) {
			delete(m.dirs, d)
		}
	}
	return nil
}

// Rename implements FS. Renaming a directory is durable when its parent is
// synced, file by file, all or nothing in a crash that keeps synced state.
func (m *Mem) Rename(oldName, newName string) error {
	oldName, newName = filepath.Clean(oldName), filepath.Clean(newName)
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.live[oldName]; ok {
		if !m.dirs[filepath.Dir(newName)] || m.dirs[newName] {
			return pathError("rename", newName, fs.ErrNotExist)
		}
		m.changeLocked(dirOp{dir: filepath.Dir(newName), name: newName, from: oldName, node: n})
		return nil
	}
	if !m.dirs[oldName] {
		return pathError("rename", oldName, fs.ErrNotExist)
	}
	if m.dirs[newName] && len(m.childrenLocked(newName)) > 0 {
		return pathError("rename", newName, fs.ErrExist)
	}
	parent := filepath.Dir(newName)
	for _, p := range sortedNames(m.live) {
		if under(oldName, p) {
			m.changeLocked(dirOp{dir: parent, name: newName + p[len(oldName):], from: p, node: m.live[p]})
		}
	}
	for d := range m.dirs {
		if under(oldName, d) {
			delete(m.dirs, d)
			m.dirs[newName+d[len(oldName):]] = true
		}
	}
	delete(m.dirs, oldName)
	m.dirs[newName] = true
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for dir = filepath.Clean(dir); !m.dirs[dir]; dir = filepath.Dir(dir) {
		if _, ok := m.live[dir]; ok {
			return pathError("mkdir", dir, fs.ErrExist)
		}
		m.dirs[dir] = true
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(dir string) ([]string, error) {
	dir = filepath.Clean(dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return nil, pathError("readdir", dir, fs.ErrNotExist)
	}
	return m.childrenLocked(dir), nil
}

func (m *Mem) childrenLocked(dir string) []string {
	var names []string
	for p := range m.live {
		if filepath.Dir(p) == dir {
			names = append(names, filepath.Base(p))
		}
	}
	for d := range m.dirs {
		if d != dir && filepath.Dir(d) == dir {
			names = append(names, filepath.Base(d))
		}
	}
	sort.Strings(names)
	return names
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	name = filepath.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.live[name]; ok {
		return memInfo{name: filepath.Base(name), size: n.size}, nil
	}
	if m.dirs[name] {
		return memInfo{name: filepath.Base(name), dir: true}, nil
	}
	return nil, pathError("stat", name, fs.ErrNotExist)
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	dir = filepath.Clean(dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return pathError("sync", dir, fs.ErrNotExist)
	}
	kept := m.dirOps[:0]
	for _, op := range m.dirOps {
		if op.dir == dir {
			op.apply(m.durable)
		} else {
			kept = append(kept, op)
		}
	}
	clear(m.dirOps[len(kept):])
	m.dirOps = kept
	return nil
}

// Lock implements FS within this disk; a crash clone starts unlocked.
func (m *Mem) Lock(name string) (io.Closer, error) {
	name = filepath.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, &LockedError{Path: name, PID: os.Getpid()}
	}
	m.locks[name] = true
	return &memLock{fs: m, name: name}, nil
}

type memLock struct {
	fs   *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.locks, l.name)
	})
	return nil
}

// Usage implements FS.
func (m *Mem) Usage(string) (Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.quota != 0 {
		return Usage{Total: m.quota, Free: m.roomLocked()}, nil
	}
	return m.usage, nil
}

// SyncFiles implements FS.
func (m *Mem) SyncFiles(files []File) error { return syncEach(files) }

func under(dir, name string) bool {
	return strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

func sortedNames(names map[string]*memNode) []string {
	out := make([]string, 0, len(names))
	for p := range names {
		out = append(out, p)
	}
	sort.Strings(out)
	return out
}

type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) Sys() any           { return nil }

func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
