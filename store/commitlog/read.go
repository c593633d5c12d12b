package commitlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"sort"
	"sync"
)

// chunks are buffers of waypointDistance+headerSize bytes: enough for every
// header between two waypoints.
var chunks = sync.Pool{New: func() any { b := make([]byte, waypointDistance+headerSize); return &b }}

// readAhead is how much is read together with a header; most entries fit.
const readAhead = 4 << 10

// begin admits a reader until l.gone.RUnlock.
func (l *Log) begin() error {
	l.gone.RLock()
	if l.closed {
		l.gone.RUnlock()
		return ErrClosed
	}
	return nil
}

// Read returns an entry and the physical offset of its first byte of data.
// The checksum was checked, or the entry comes from the cache of the newest
// ones. Reading in order costs no search. Outside of the log: ErrNotFound; not
// what was written: *CorruptError.
func (l *Log) Read(index uint64) (e Entry, dataOff int64, err error) {
	e, dataOff, err = l.read(index, true)
	return e, dataOff, l.tell(err)
}

// tell passes on what a read found and lets the owner know of damage.
func (l *Log) tell(err error) error {
	var bad *CorruptError
	if err != nil && l.cfg.OnCorrupt != nil && errors.As(err, &bad) {
		l.cfg.OnCorrupt(bad)
	}
	return err
}

func (l *Log) read(index uint64, cached bool) (e Entry, dataOff int64, err error) {
	if err := l.begin(); err != nil {
		return Entry{}, 0, err
	}
	defer l.gone.RUnlock()
	l.state.RLock()
	c, ok := l.cache.get(index)
	v := l.st
	l.state.RUnlock()
	if ok && cached {
		return c.entry, c.dataOff, nil
	}
	p, off, err := l.find(v, index)
	if err != nil {
		return Entry{}, 0, err
	}
	e, length, err := l.readEntry(v, p, off, index)
	if err != nil {
		return Entry{}, 0, err
	}
	l.hints.put(index+1, off+length)
	return e, off + headerSize + int64(len(e.Extensions)), nil
}

// Locate returns the physical offset of the first byte of an entry's data.
// Errors as for Read.
func (l *Log) Locate(index uint64) (dataOff int64, err error) {
	// Like Read, because an unchecked header could point anywhere. Recently
	// appended entries, the usual case, come from the cache.
	_, dataOff, err = l.Read(index)
	return dataOff, err
}

// find returns where the entry starts. Caller holds gone for reading.
func (l *Log) find(v state, index uint64) (*part, int64, error) {
	if v.last == 0 || index < v.first || index > v.last {
		return nil, 0, fmt.Errorf("entry %d: %w (it has %d to %d)", index, ErrNotFound, v.first, v.last)
	}
	i := sort.Search(len(v.parts), func(i int) bool { return v.parts[i].first > index }) - 1
	p := v.parts[i]
	if index == p.first {
		return p, p.file.Base(), nil
	}
	if off, ok := l.hints.get(index); ok && off > p.file.Base() && off < p.file.End() {
		return p, off, nil
	}
	ways, err := l.waysOf(v, i)
	if err != nil {
		return nil, 0, err
	}
	off, _, err := l.walk(v, p, wayByIndex(ways, index), func(at uint64, _ int64, _ header) bool { return at == index })
	return p, off, err
}

// limit is where the entries of p end at the latest.
func limit(v state, p *part) int64 { return min(v.end, p.file.End()) }

// unreadable is damage too: a sector that the disk cannot read is not there.
func unreadable(p *part, off int64, err error) error {
	return &CorruptError{File: p.file.Path(), Offset: off, Reason: "it cannot be read: " + err.Error(), Err: err}
}

func corrupt(p *part, off int64, reason string) error {
	return &CorruptError{File: p.file.Path(), Offset: off, Reason: reason}
}

// walk hops over headers from a waypoint to the first entry that wanted
// accepts. That there is one is known to the caller; not finding it is damage.
func (l *Log) walk(v state, p *part, from waypoint, wanted func(index uint64, off int64, h header) bool) (int64, header, error) {
	bp := chunks.Get().(*[]byte)
	defer chunks.Put(bp)
	buf := (*bp)[:0]
	start, end := from.offset, limit(v, p)
	for index, off := from.index, from.offset; ; index++ {
		if off+headerSize > end {
			return 0, header{}, corrupt(p, off, fmt.Sprintf("entry %d should be here, but the segment ends", index))
		}
		if len(buf) == 0 || off+headerSize > start+int64(len(buf)) {
			start = off
			buf = (*bp)[:min(int64(len(*bp)), end-off)]
			if err := p.file.ReadAt(buf, off); err != nil {
				return 0, header{}, unreadable(p, off, err)
			}
		}
		h, reason := parseHeader(buf[off-start:], end-off)
		if reason == "" && h.index != index {
			reason = fmt.Sprintf("entry %d is in the place of entry %d", h.index, index)
		}
		if reason != "" {
			return 0, header{}, corrupt(p, off, reason)
		}
		if wanted(index, off, h) {
			return off, h, nil
		}
		off += h.length
	}
}

// readEntry reads and checks the entry that starts at off.
func (l *Log) readEntry(v state, p *part, off int64, index uint64) (Entry, int64, error) {
	bp := chunks.Get().(*[]byte)
	defer chunks.Put(bp)
	room := limit(v, p) - off
	if room < headerSize {
		return Entry{}, 0, corrupt(p, off, fmt.Sprintf("entry %d should be here, but the segment ends", index))
	}
	buf := (*bp)[:min(readAhead, room)]
	if err := p.file.ReadAt(buf, off); err != nil {
		return Entry{}, 0, unreadable(p, off, err)
	}
	h, reason := parseHeader(buf, room)
	if reason == "" && h.index != index {
		reason = fmt.Sprintf("entry %d is in the place of entry %d", h.index, index)
	}
	if reason != "" {
		return Entry{}, 0, corrupt(p, off, reason)
	}
	// The length fits into the segment, so this is at most a segment.
	rest := make([]byte, h.length-headerSize)
	if n := copy(rest, buf[headerSize:]); n < len(rest) {
		if err := p.file.ReadAt(rest[n:], off+headerSize+int64(n)); err != nil {
			return Entry{}, 0, unreadable(p, off, err)
		}
	}
	if crc32.Update(headerSum(buf), castagnoli, rest) != h.sum {
		return Entry{}, 0, corrupt(p, off, reasonChecksum)
	}
	return Entry{
		Index: h.index, Term: h.term, Kind: h.kind, AppendedAt: h.appendedAt,
		Extensions: rest[:h.extLen:h.extLen], Data: rest[h.extLen:],
	}, h.length, nil
}

// EntryAt finds the entry that contains the physical offset off: its index,
// the offset of its header and its length in bytes, all checked. Offsets
// outside of the log, and those between the last entry of a segment and the
// segment's end, are ErrNotFound.
func (l *Log) EntryAt(off int64) (index uint64, entryOff int64, entryLen int, err error) {
	index, entryOff, entryLen, err = l.entryAt(off)
	return index, entryOff, entryLen, l.tell(err)
}

func (l *Log) entryAt(off int64) (index uint64, entryOff int64, entryLen int, err error) {
	if err := l.begin(); err != nil {
		return 0, 0, 0, err
	}
	defer l.gone.RUnlock()
	v := l.view()
	if off < v.base || off >= v.end {
		return 0, 0, 0, notFoundAt(off, v)
	}
	i := sort.Search(len(v.parts), func(i int) bool { return v.parts[i].file.Base() > off }) - 1
	p, last := v.parts[i], v.last
	if i+1 < len(v.parts) {
		last = v.parts[i+1].first - 1
	}
	ways, err := l.waysOf(v, i)
	if err != nil {
		return 0, 0, 0, err
	}
	entryOff, h, err := l.walk(v, p, wayByOffset(ways, off), func(index uint64, at int64, h header) bool {
		return off < at+h.length || index == last
	})
	if err != nil {
		return 0, 0, 0, err
	}
	if off >= entryOff+h.length {
		return 0, 0, 0, notFoundAt(off, v)
	}
	if _, _, err := l.readEntry(v, p, entryOff, h.index); err != nil {
		return 0, 0, 0, err
	}
	return h.index, entryOff, int(h.length), nil
}

func notFoundAt(off int64, v state) error {
	return fmt.Errorf("offset %d: %w (it has %d to %d)", off, ErrNotFound, v.base, v.end)
}

// ReadAt fills p with raw bytes of the log from the physical offset off. They
// are not checked: whoever reads parts of entries has checksums of his own.
// ErrNotFound if any of the bytes is outside of the log.
func (l *Log) ReadAt(p []byte, off int64) error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.gone.RUnlock()
	v := l.view()
	if off < v.base || off > v.end || int64(len(p)) > v.end-off {
		return fmt.Errorf("%d bytes at offset %d: %w (it has %d to %d)", len(p), off, ErrNotFound, v.base, v.end)
	}
	for len(p) > 0 {
		f := l.set.Find(off)
		n := min(int64(len(p)), f.End()-off)
		if err := f.ReadAt(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// partsLoadedMax bounds the sealed segments whose waypoints are in memory;
// each has up to 16 bytes per 16 KiB, a megabyte for the default size.
const partsLoadedMax = 8

// waysOf returns the waypoints of v.parts[i], from memory, from the sidecar or
// by scanning the segment.
func (l *Log) waysOf(v state, i int) ([]waypoint, error) {
	p := v.parts[i]
	p.used.Store(l.clock.Add(1))
	if ways := l.waysInMemory(p); ways != nil {
		return ways, nil
	}
	l.load.Lock()
	defer l.load.Unlock()
	if ways := l.waysInMemory(p); ways != nil {
		return ways, nil
	}
	// Only sealed parts are ever without, so there is a next one.
	last := v.parts[i+1].first - 1
	s, ok := l.readSidecar(p.file.Base())
	ok = ok && s.first == p.first && s.last == last
	if !ok {
		var err error
		if s, err = scanPart(p, last); err != nil {
			return nil, err
		}
	}
	l.state.Lock()
	defer l.state.Unlock()
	p.ways, p.stored = s.ways, ok
	l.keepLoadedLocked(p)
	return s.ways, nil
}

func (l *Log) waysInMemory(p *part) []waypoint {
	l.state.RLock()
	defer l.state.RUnlock()
	return p.ways
}

// keepLoadedLocked adds a sealed part to those with waypoints in memory and
// drops the longest unused one, if its sidecar exists, when there are too
// many. Caller holds state.
func (l *Log) keepLoadedLocked(p *part) {
	l.loaded = append(l.loaded, p)
	if len(l.loaded) <= partsLoadedMax {
		return
	}
	oldest := -1
	for i, q := range l.loaded {
		if q != p && q.stored && (oldest < 0 || q.used.Load() < l.loaded[oldest].used.Load()) {
			oldest = i
		}
	}
	if oldest >= 0 {
		l.loaded[oldest].ways = nil
		l.loaded = append(l.loaded[:oldest], l.loaded[oldest+1:]...)
	}
}

// scanPart checks every entry of a sealed part and collects its waypoints.
func scanPart(p *part, last uint64) (sidecar, error) {
	s := sidecar{base: p.file.Base(), first: p.first, last: last, end: p.file.Base()}
	sc := newScanner(p.file)
	for index := p.first; index <= last; index++ {
		h, reason, err := sc.entry(s.end)
		if err != nil {
			return s, err
		}
		if reason == "" && h.index != index {
			reason = fmt.Sprintf("entry %d is in the place of entry %d", h.index, index)
		}
		if reason != "" {
			return s, corrupt(p, s.end, reason)
		}
		s.ways = addWaypoint(s.ways, index, s.end)
		s.end += h.length
	}
	return s, nil
}
