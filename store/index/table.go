package index

import (
	"fmt"
	"math/bits"
	"os"
	"slices"

	"github.com/cometmq/cometmq/internal/vfs"
)

// chunkEntries is how much a table grows at a time: what is added is never copied, and an idle store holds one chunk.
const chunkEntries = 8 << 10

// writeBlock is how much of a run or tail is encoded and written at a time.
const writeBlock = 2730 * entrySize // nearly 64 KiB

// table is a run in the making, in arrival order.
type table struct {
	gen uint64

	// Under Index.mu.
	chunks [][]Entry
	count  int
	isRun  bool // the run is durable, so the tail is of no use any more

	// Under Index.flushMu.
	written int      // entries in the tail file
	tail    vfs.File // nil until the first Flush
}

func (t *table) add(e Entry) {
	if t.count%chunkEntries == 0 {
		t.chunks = append(t.chunks, make([]Entry, 0, chunkEntries))
	}
	last := &t.chunks[len(t.chunks)-1]
	*last = append(*last, e)
	t.count++
}

// view is what the table holds now. It stays valid, since entries are only added. Index.mu is held.
func (t *table) view() [][]Entry { return slices.Clone(t.chunks) }

// sortEntries returns the entries by hash and offset. Hashes are uniform, so that dealing them out by their first bits
// leaves a handful in each place, which is several times faster than comparing all with all.
func sortEntries(chunks [][]Entry, count int) []Entry {
	width := max(bits.Len(uint(count))-3, 1)
	shift := 64 - width
	next := make([]uint32, 1<<width+1)
	for _, c := range chunks {
		for i := range c {
			next[c[i].Hash>>shift+1]++
		}
	}
	for i := 1; i < len(next); i++ {
		next[i] += next[i-1]
	}
	out := make([]Entry, count)
	for _, c := range chunks {
		for i := range c {
			p := &next[c[i].Hash>>shift]
			out[*p] = c[i]
			*p++
		}
	}
	start := uint32(0)
	for _, end := range next[:1<<width] {
		if end-start > 1 {
			slices.SortFunc(out[start:end], compareEntries)
		}
		start = end
	}
	return out
}

// writeEntries encodes entries into a file from a position on, a block at a time, and shows each block to also.
func writeEntries(f vfs.File, at int64, entries []Entry, also func(block []byte)) error {
	b := make([]byte, 0, min(len(entries)*entrySize, writeBlock))
	for len(entries) > 0 {
		n := min(len(entries), writeBlock/entrySize)
		b = b[:0]
		for i := range entries[:n] {
			b = appendEntry(b, entries[i])
		}
		if also != nil {
			also(b)
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
		entries = entries[n:]
	}
	return nil
}

// writeRun writes a table as a run file.
func (x *Index) writeRun(t *table) (*run, error) {
	path := x.path(t.gen, ".run")
	entries := sortEntries(t.chunks, t.count) // full, so that it changes no more
	err := vfs.WriteAtomic(x.cfg.FS, path, func(f vfs.File) error { return encodeRun(f, entries) })
	if err != nil {
		return nil, err
	}
	return openRun(x.cfg.FS, path, t.gen)
}

func (x *Index) loadTail(gen, count uint64) (*table, error) {
	t := &table{gen: gen}
	switch count {
	case 0:
		return t, nil
	case isRun:
		return nil, fmt.Errorf("%s is missing", x.path(gen, ".run"))
	}
	f, err := x.cfg.FS.OpenFile(x.path(gen, ".tail"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && uint64(size)/entrySize < count {
		err = fmt.Errorf("%s: %d bytes hold less than %d entries", f.Name(), size, count)
	}
	var b []byte
	if err == nil {
		b = make([]byte, count*entrySize)
		_, err = f.ReadAt(b, 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	for ; len(b) > 0; b = b[entrySize:] {
		t.add(decodeEntry(b))
	}
	t.tail, t.written = f, t.count
	return t, nil
}

// writeTail appends what the tail lacks; nil if it lacks nothing. flushMu is held.
func (x *Index) writeTail(p part) (vfs.File, error) {
	t := p.t
	if t.written >= p.count {
		return nil, nil
	}
	if t.tail == nil {
		f, err := x.cfg.FS.OpenFile(x.path(t.gen, ".tail"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return nil, fmt.Errorf("create key index tail: %w", err)
		}
		if err := x.cfg.FS.SyncDir(x.cfg.Dir); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("sync key index directory: %w", err)
		}
		t.tail = f
	}
	for t.written < p.count {
		chunk := p.chunks[t.written/chunkEntries]
		from := t.written % chunkEntries
		part := chunk[from:min(len(chunk), from+p.count-t.written)]
		if err := writeEntries(t.tail, int64(t.written)*entrySize, part, nil); err != nil {
			return nil, fmt.Errorf("write key index tail: %w", err)
		}
		t.written += len(part)
	}
	return t.tail, nil
}
