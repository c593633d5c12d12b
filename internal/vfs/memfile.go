package vfs

import (
	"io"
	"io/fs"
	"maps"
	"syscall"
)

const pageSize = 4096

// page holds pageSize bytes. A frozen page belongs to synced state, perhaps of
// several clones, and is copied before it changes.
type page struct {
	data   [pageSize]byte
	frozen bool
}

// memNode is the content of a file, live and as of its last Sync. It is
// guarded by Mem.mu. A page that is absent reads as zeros.
type memNode struct {
	pages      map[int64]*page
	size       int64
	synced     map[int64]*page
	syncedSize int64
	dirty      map[int64]struct{} // pages that differ between the two
	ops        []fileOp           // what was done since the last Sync
}

// fileOp is one unsynced change of a file: a write, or a change of length.
type fileOp struct {
	seq  uint64
	data []byte // of a write
	off  int64  // of a write
	size int64  // new length otherwise
	meta bool   // a change of length
}

func newMemNode() *memNode {
	return &memNode{pages: map[int64]*page{}, synced: map[int64]*page{}, dirty: map[int64]struct{}{}}
}

// cloneSynced returns a node whose live and durable content is the synced one.
func (n *memNode) cloneSynced() *memNode {
	return &memNode{
		pages: maps.Clone(n.synced), size: n.syncedSize,
		synced: maps.Clone(n.synced), syncedSize: n.syncedSize,
		dirty: map[int64]struct{}{},
	}
}

func (n *memNode) readAt(p []byte, off int64) (int, error) {
	if off >= n.size {
		return 0, io.EOF
	}
	want := len(p)
	if int64(want) > n.size-off {
		p = p[:n.size-off]
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		in := at % pageSize
		part := p[done:min(len(p), done+int(pageSize-in))]
		if pg := n.pages[at/pageSize]; pg != nil {
			copy(part, pg.data[in:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	if len(p) < want {
		return len(p), io.EOF
	}
	return len(p), nil
}

func (n *memNode) own(i int64) *page {
	pg := n.pages[i]
	switch {
	case pg == nil:
		pg = &page{}
		n.pages[i] = pg
	case pg.frozen:
		pg = &page{data: pg.data}
		n.pages[i] = pg
	}
	n.dirty[i] = struct{}{}
	return pg
}

func (n *memNode) store(p []byte, off int64) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		done += copy(n.own(at / pageSize).data[at%pageSize:], p[done:])
	}
	n.size = max(n.size, off+int64(len(p)))
}

func (n *memNode) writeAt(p []byte, off int64, seq uint64) {
	if len(p) == 0 {
		return // as on a real disk, this does not even extend the file
	}
	n.store(p, off)
	n.ops = append(n.ops, fileOp{seq: seq, off: off, data: append([]byte(nil), p...)})
}

func (n *memNode) resize(size int64) {
	if size < n.size {
		for i := range n.pages {
			if i*pageSize >= size {
				delete(n.pages, i)
				n.dirty[i] = struct{}{}
			}
		}
		if in := size % pageSize; in != 0 && n.pages[size/pageSize] != nil {
			clear(n.own(size / pageSize).data[in:])
		}
	}
	n.size = size
}

func (n *memNode) truncate(size int64, seq uint64) {
	n.resize(size)
	n.ops = append(n.ops, fileOp{seq: seq, size: size, meta: true})
}

func (n *memNode) sync() {
	for i := range n.dirty {
		if pg := n.pages[i]; pg != nil {
			pg.frozen = true
			n.synced[i] = pg
		} else {
			delete(n.synced, i)
		}
	}
	clear(n.dirty)
	n.syncedSize = n.size
	n.ops = nil
}

// memFile is one opening of a node.
type memFile struct {
	fs       *Mem
	node     *memNode
	name     string
	writable bool
	closed   bool // guarded by fs.mu
}

// enter locks the disk and refuses a closed file; leave the lock by Unlock.
func (f *memFile) enter(op string, write bool) error {
	f.fs.mu.Lock()
	if f.closed {
		f.fs.mu.Unlock()
		return pathError(op, f.name, fs.ErrClosed)
	}
	if write && !f.writable {
		f.fs.mu.Unlock()
		return pathError(op, f.name, fs.ErrPermission)
	}
	return nil
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	if err := f.enter("read", false); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	return f.node.readAt(p, off)
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("write", f.name, fs.ErrInvalid)
	}
	if err := f.enter("write", true); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	n := len(p)
	if grow := off + int64(n) - f.node.size; n > 0 && grow > 0 && uint64(grow) > f.fs.roomLocked() {
		n = int(max(f.node.size+int64(f.fs.roomLocked())-off, 0))
	}
	f.node.writeAt(p[:n], off, f.fs.nextSeqLocked())
	if n < len(p) {
		return n, pathError("write", f.name, syscall.ENOSPC)
	}
	return n, nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.enter("stat", false); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	return f.node.size, nil
}

func (f *memFile) Truncate(size int64) error {
	if size < 0 {
		return pathError("truncate", f.name, fs.ErrInvalid)
	}
	if err := f.enter("truncate", true); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	if size > f.node.size && uint64(size-f.node.size) > f.fs.roomLocked() {
		return pathError("truncate", f.name, syscall.ENOSPC)
	}
	f.node.truncate(size, f.fs.nextSeqLocked())
	return nil
}

func (f *memFile) Preallocate(size int64) error {
	if err := f.enter("preallocate", true); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	if size > f.node.size && uint64(size-f.node.size) > f.fs.roomLocked() {
		return pathError("preallocate", f.name, syscall.ENOSPC)
	}
	if size > f.node.size {
		f.node.truncate(size, f.fs.nextSeqLocked())
	}
	return nil
}

func (f *memFile) Sync() error {
	if err := f.enter("sync", false); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	f.node.sync()
	return nil
}

func (f *memFile) Close() error {
	if err := f.enter("close", false); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	f.closed = true
	return nil
}
