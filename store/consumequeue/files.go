package consumequeue

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/cometmq/cometmq/internal/vfs"
)

// fileKey names a file: a queue, and the position of the file's first byte.
type fileKey struct {
	q    *Queue
	base int64
}

// handle is an open file in the cache. prev and next chain all cached handles
// from the most to the least recently used.
type handle struct {
	vfs.File
	key        fileKey
	refs       int
	evicted    bool
	prev, next *handle
}

// files keeps at most max files open, besides those in use at the moment: with
// ten thousand topics there are more files than descriptors.
type files struct {
	fs  vfs.FS
	dir string
	max int
	// flag is how files are opened.
	flag int

	mu   sync.Mutex
	open map[fileKey]*handle
	ring handle // ring.next is the most recent, ring.prev the oldest
}

func newFiles(fs vfs.FS, dir string, max int, readOnly bool) *files {
	f := &files{fs: fs, dir: dir, max: max, flag: os.O_RDWR, open: make(map[fileKey]*handle)}
	if readOnly {
		f.flag = os.O_RDONLY
	}
	f.ring.prev, f.ring.next = &f.ring, &f.ring
	return f
}

func (f *files) path(key fileKey) string { return filepath.Join(f.dir, fileName(key)) }

func fileName(key fileKey) string {
	t := key.q.topic
	if t.gen == 0 {
		return fmt.Sprintf("%s.%d.%020d", t.name, key.q.id, key.base)
	}
	return fmt.Sprintf("%s.%d.%020d.%d", t.name, key.q.id, key.base, t.gen)
}

// acquire returns an open file; release gives it back. created tells that the
// file did not exist before, which needs create.
func (f *files) acquire(key fileKey, create bool) (h *handle, created bool, err error) {
	if h := f.cached(key); h != nil {
		return h, false, nil
	}
	path := f.path(key)
	file, err := f.fs.OpenFile(path, f.flag, 0)
	if os.IsNotExist(err) && create {
		created = true
		file, err = f.fs.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	}
	if err != nil {
		return nil, false, fmt.Errorf("open consume queue file %s: %w", path, err)
	}
	return f.insert(&handle{File: file, key: key, refs: 1}), created, nil
}

func (f *files) cached(key fileKey) *handle {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.open[key]
	if h != nil {
		h.refs++
		f.unlinkLocked(h)
		f.linkLocked(h)
	}
	return h
}

// insert puts a fresh handle into the cache, or takes the one that another
// goroutine put there meanwhile.
func (f *files) insert(h *handle) *handle {
	var closing []*handle
	f.mu.Lock()
	if other := f.open[h.key]; other != nil {
		other.refs++
		closing = append(closing, h)
		h = other
	} else {
		f.open[h.key] = h
		f.linkLocked(h)
		for len(f.open) > f.max {
			old := f.ring.prev
			if f.evictLocked(old) {
				closing = append(closing, old)
			}
		}
	}
	f.mu.Unlock()
	closeAll(closing)
	return h
}

func (f *files) release(h *handle) {
	f.mu.Lock()
	h.refs--
	last := h.evicted && h.refs == 0
	f.mu.Unlock()
	if last {
		closeAll([]*handle{h})
	}
}

// drop closes the files that keep says no to, each after its last use.
func (f *files) drop(keep func(fileKey) bool) {
	var closing []*handle
	f.mu.Lock()
	for key, h := range f.open {
		if !keep(key) && f.evictLocked(h) {
			closing = append(closing, h)
		}
	}
	f.mu.Unlock()
	closeAll(closing)
}

// evictLocked takes h out of the cache and tells whether nobody uses it.
func (f *files) evictLocked(h *handle) bool {
	delete(f.open, h.key)
	f.unlinkLocked(h)
	h.evicted = true
	return h.refs == 0
}

func (f *files) linkLocked(h *handle) {
	h.prev, h.next = &f.ring, f.ring.next
	h.prev.next, h.next.prev = h, h
}

func (f *files) unlinkLocked(h *handle) {
	h.prev.next, h.next.prev = h.next, h.prev
	h.prev, h.next = nil, nil
}

// closeAll closes outside the lock. An error of Close is of no use here: bytes
// are known to be safe only after a sync, which reports for itself.
func closeAll(handles []*handle) {
	for _, h := range handles {
		_ = h.Close()
	}
}
