package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cometmq/cometmq/store/segment"
)

// findBudget bounds the work of looking behind a damaged place.
const findBudget = 1 << 30

// recovery collects what Open finds on disk.
type recovery struct {
	l     *Log
	mark  *mark // nil: none, or not readable
	files []*segment.File
	parts []*part
	first uint64
	next  uint64 // index of the entry expected at pos, 0 = any
	pos   position
	home  int // the file that pos is in
	// trusted is set when nothing can lie behind pos.
	trusted bool
}

// recover finds the end of the log, cuts off what is behind it, and fills l.
func (l *Log) recover() error {
	m, err := l.readMark()
	if err != nil {
		return err
	}
	if m != nil && m.segmentSize != l.cfg.SegmentSize {
		return fmt.Errorf("%w: it is %d, configured is %d; set mapedFileSizeCommitLog back",
			ErrSegmentSize, m.segmentSize, l.cfg.SegmentSize)
	}
	if m != nil {
		if err := l.finishTrim(m.base); err != nil {
			return err
		}
	}
	if l.set, err = openSegments(l.cfg); err != nil {
		return err
	}
	if err := l.removeLeftovers(); err != nil {
		return err
	}
	r := &recovery{l: l, mark: m, files: l.set.Files()}
	if len(r.files) == 0 {
		if err := r.create(); err != nil {
			return err
		}
	} else {
		if err := r.belowMark(); err != nil {
			return err
		}
		if !r.trusted {
			if err := r.tail(); err != nil {
				return err
			}
		}
	}
	return r.install()
}

func openSegments(cfg Config) (*segment.Set, error) {
	set, err := segment.Open(segment.Config{FS: cfg.FS, Dir: cfg.Dir, Size: cfg.SegmentSize})
	var missing *segment.MissingError
	if errors.As(err, &missing) {
		name := filepath.Base(missing.Path)
		base, _ := segment.ParseName(name)
		return nil, &CorruptError{File: missing.Path, Offset: base, Reason: "the segment is missing between others"}
	}
	return set, err
}

// removeLeftovers removes half-written files of an interrupted replacement and
// sidecars whose segment is gone.
func (l *Log) removeLeftovers() error {
	names, err := l.cfg.FS.ReadDir(l.cfg.Dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", l.cfg.Dir, err)
	}
	for _, name := range names {
		stem, isSidecar := strings.CutSuffix(name, sidecarExt)
		base, ok := segment.ParseName(stem)
		f := l.set.Find(base)
		orphan := isSidecar && ok && (f == nil || f.Base() != base)
		if !orphan && !strings.HasSuffix(name, ".tmp") {
			continue
		}
		if err := l.cfg.FS.Remove(filepath.Join(l.cfg.Dir, name)); err != nil {
			return fmt.Errorf("remove leftover: %w", err)
		}
	}
	return nil
}

// create begins a log. The segment comes before the mark, so a mark without
// any segment means that they were lost.
func (r *recovery) create() error {
	base, next := r.l.cfg.Base, r.l.cfg.FirstIndex
	if r.mark != nil {
		return &CorruptError{
			File: filepath.Join(r.l.cfg.Dir, segment.Name(r.mark.base)), Offset: r.mark.base,
			Reason: "all segments are missing, but the durable mark exists",
		}
	}
	f, err := r.l.set.Create(base)
	if err != nil {
		return err
	}
	r.files, r.pos, r.next, r.trusted = []*segment.File{f}, position{offset: base}, next, true
	return nil
}

// belowMark takes over what the mark vouches for and checks that it is there.
func (r *recovery) belowMark() error {
	m := r.mark
	if m == nil {
		r.pos, r.next = position{offset: r.files[0].Base()}, r.l.cfg.FirstIndex
		return nil
	}
	if base := r.files[0].Base(); base != m.base {
		return &CorruptError{
			File: filepath.Join(r.l.cfg.Dir, segment.Name(m.base)), Offset: m.base,
			Reason: fmt.Sprintf("the log should begin here, but the first segment is at %d", base),
		}
	}
	if m.index == 0 {
		r.pos, r.next = position{offset: m.base}, m.first
		return r.checkClean()
	}
	f := r.l.set.Find(m.offset - 1)
	if f == nil {
		last := r.files[len(r.files)-1]
		return &CorruptError{
			File: last.Path(), Offset: last.End(),
			Reason: fmt.Sprintf("the durable mark says that there are entries up to %d, but the segments end", m.offset),
		}
	}
	for r.home = 0; r.files[r.home] != f; r.home++ {
		if err := r.sealed(r.files[r.home]); err != nil {
			return err
		}
	}
	if err := r.upToMark(f); err != nil {
		return err
	}
	if r.parts[0].first != m.first {
		return corrupt(r.parts[0], m.base, fmt.Sprintf("the log should begin with entry %d, not %d", m.first, r.parts[0].first))
	}
	r.first, r.next = m.first, m.index+1
	r.pos = position{m.offset, m.index, m.term}
	return r.checkClean()
}

// checkClean decides whether the tail need not be scanned.
func (r *recovery) checkClean() error {
	if r.mark.flags&flagClean == 0 {
		return nil
	}
	// One look at where the next entry would be costs nothing and catches a
	// mark that was put back from a copy.
	for _, at := range []int64{r.pos.offset, r.files[r.home].End()} {
		f := r.l.set.Find(at)
		if f == nil || f.End()-at < headerSize {
			continue
		}
		var b [headerSize]byte
		if err := f.ReadAt(b[:], at); err != nil {
			return err
		}
		if b != [headerSize]byte{} {
			r.l.log.Warn("there are bytes behind the end of a cleanly closed commit log, checking them", "offset", at)
			return nil
		}
	}
	r.trusted = true
	return nil
}

// sealed adds a segment that lies below the mark as a whole. Of its entries
// only the first is looked at, or none if the sidecar knows its index; and
// whether the file is long enough for all of them.
func (r *recovery) sealed(f *segment.File) error {
	p := &part{file: f}
	if s, ok := r.l.readSidecarHead(f.Base()); ok {
		p.first = s.first
		size, err := f.Length()
		if err != nil {
			return err
		}
		if end := f.Base() + size; end < s.end {
			return corrupt(p, end, fmt.Sprintf("the file ends here, its entries at %d", s.end))
		}
	} else {
		h, reason, err := newScanner(f).entry(f.Base())
		if err != nil {
			return err
		}
		if reason != "" {
			return corrupt(p, f.Base(), reason)
		}
		p.first = h.index
	}
	return r.addPart(p)
}

func (r *recovery) addPart(p *part) error {
	if n := len(r.parts); n > 0 && p.first <= r.parts[n-1].first {
		return corrupt(p, p.file.Base(), fmt.Sprintf("segment begins with entry %d, the one before it with %d", p.first, r.parts[n-1].first))
	}
	r.parts = append(r.parts, p)
	return nil
}

// upToMark adds the segment in which the mark lies. What the sidecar does not
// cover is checked entry by entry, at least the last few.
func (r *recovery) upToMark(f *segment.File) error {
	p, m := &part{file: f}, r.mark
	at, index := f.Base(), uint64(0)
	if s, ok := r.l.readSidecar(f.Base()); ok {
		for len(s.ways) > 0 && s.ways[len(s.ways)-1].offset >= m.offset {
			s.ways = s.ways[:len(s.ways)-1]
		}
		if n := len(s.ways); n > 0 {
			p.ways, p.first = s.ways, s.first
			at, index = s.ways[n-1].offset, s.ways[n-1].index
			r.l.partial = sidecar{base: s.base, first: s.first, last: s.last, end: s.end}
		}
	}
	sc := newScanner(f)
	for at < m.offset {
		h, reason, err := sc.entry(at)
		if err != nil {
			return err
		}
		if reason == "" && index != 0 && h.index != index {
			reason = fmt.Sprintf("entry %d is in the place of entry %d", h.index, index)
		}
		if reason == "" && (at+h.length > m.offset || at+h.length == m.offset && h.index != m.index) {
			reason = fmt.Sprintf("the durable mark says that entry %d ends at %d", m.index, m.offset)
		}
		if reason != "" {
			return corrupt(p, at, reason+"; it is below the durable mark, so this is no torn write")
		}
		if p.first == 0 {
			p.first = h.index
		}
		p.ways = addWaypoint(p.ways, h.index, at)
		at, index = at+h.length, h.index+1
	}
	return r.addPart(p)
}

// tail checks the entries behind the mark and finds the end.
func (r *recovery) tail() error {
	sc := newScanner(r.files[r.home])
	for {
		h, reason, err := r.check(sc, r.pos.offset)
		if err != nil {
			return err
		}
		if reason == "" {
			r.accept(h, r.pos.offset)
			continue
		}
		// No entry here. If the next one did not fit, the log goes on in the
		// next segment.
		if r.home+1 < len(r.files) && r.pos.index != 0 {
			next := newScanner(r.files[r.home+1])
			base := next.file.Base()
			h, why, err := r.check(next, base)
			if err != nil {
				return err
			}
			if why == "" {
				if _, roll := place(r.pos.offset, base, h.length); roll {
					r.home++
					sc = next
					r.accept(h, base)
					continue
				}
			}
		}
		return r.end(sc, reason)
	}
}

// check is scanner.entry for the entry that is expected next.
func (r *recovery) check(sc *scanner, off int64) (header, string, error) {
	h, reason, err := sc.entry(off)
	switch {
	case err != nil || reason != "":
	case r.next != 0 && h.index != r.next:
		reason = fmt.Sprintf("entry %d is in the place of entry %d", h.index, r.next)
	case h.term < r.pos.term:
		reason = fmt.Sprintf("term %d follows term %d", h.term, r.pos.term)
	}
	return h, reason, err
}

func (r *recovery) accept(h header, off int64) {
	f := r.files[r.home]
	if n := len(r.parts); n == 0 || r.parts[n-1].file != f {
		r.parts = append(r.parts, &part{file: f, first: h.index})
	}
	p := r.parts[len(r.parts)-1]
	p.ways = addWaypoint(p.ways, h.index, off)
	if r.first == 0 {
		r.first = h.index
	}
	r.next = h.index + 1
	r.pos = position{off + h.length, h.index, h.term}
}

// end is called where the entries stop. It refuses when that can not be the
// doing of a crash.
func (r *recovery) end(sc *scanner, reason string) error {
	m := r.mark
	if m != nil && m.flags&flagSync == 0 {
		// Written without syncs: a crash may leave any part of it.
		return r.warnTorn(reason)
	}
	limit := r.files[len(r.files)-1].End()
	if m != nil {
		// Marks are written each markDistance bytes; twice that is generous.
		limit = min(limit, m.offset+2*r.l.cfg.markDistance)
	}
	w := wanted{origin: r.pos.offset, minIndex: r.next + syncGroup, minTerm: r.pos.term, budget: findBudget}
	if m == nil {
		// Without a mark nothing is known to be durable, but losing the mark
		// is damage in itself: be strict and let people look.
		w.minIndex, w.anyIndex = r.next+1, r.next == 0
	}
	for _, f := range r.files[r.home:] {
		if f != sc.file {
			sc = newScanner(f)
		}
		start, err := r.behind(sc, max(r.pos.offset, f.Base()))
		if err != nil {
			return err
		}
		off, h, found, err := sc.find(start, min(limit, f.End()), &w)
		if err != nil {
			return err
		}
		if found {
			return &CorruptError{
				File: r.files[r.home].Path(), Offset: r.pos.offset,
				Reason: fmt.Sprintf("%s, yet entry %d at %d, written later, is intact; so this is no torn write", reason, h.index, off),
			}
		}
	}
	return r.warnTorn(reason)
}

// behind is where to look for entries after the one that should be at off. If
// its header is intact its inside is not searched: that comes from clients and
// may well look like entries.
func (r *recovery) behind(sc *scanner, off int64) (int64, error) {
	room := sc.file.End() - off
	if room < headerSize {
		return sc.file.End(), nil
	}
	b, err := sc.bytes(off, headerSize)
	if err != nil {
		return 0, err
	}
	if h, reason := parseHeader(b, room); reason == "" && h.index == r.next {
		return off + h.length, nil
	}
	return off, nil
}

func (r *recovery) warnTorn(reason string) error {
	f := r.files[r.home]
	var b [headerSize]byte
	n := min(headerSize, f.End()-r.pos.offset)
	if err := f.ReadAt(b[:n], r.pos.offset); err != nil {
		return err
	}
	if !bytes.Equal(b[:], make([]byte, headerSize)) {
		r.l.log.Warn("cutting off an incomplete write at the end of the commit log",
			"segment", f.Path(), "offset", r.pos.offset, "next-index", r.next, "reason", reason)
	}
	return nil
}

// install fills the log and, unless nothing can be there, removes what lies
// behind the end. Everything kept is synced before it counts as durable: it
// may so far be in the page cache only.
func (r *recovery) install() error {
	l := r.l
	l.st = state{
		first: r.first, last: r.pos.index, next: r.next, term: r.pos.term,
		base: r.files[0].Base(), end: r.pos.offset, parts: r.parts,
	}
	l.synced = r.pos
	l.spareTried.Store(-1)
	l.cur = l.homeOf(r.pos.offset)
	if !r.trusted {
		if err := r.discard(); err != nil {
			return err
		}
	} else if err := l.cur.Reserve(); err != nil {
		l.shortOf(err)
	}
	for i, p := range r.parts {
		if i+1 < len(r.parts) && p.ways != nil {
			l.keepLoadedLocked(p)
		}
	}
	if err := r.storeMark(); err != nil {
		return err
	}
	l.markDue.Store(r.pos.offset + l.cfg.markDistance)
	return nil
}

// storeMark writes the mark of what was found. A full disk must not keep a member
// from starting: room for it is taken from the reserve, and then from the
// allocated part of the newest segment that holds nothing yet.
func (r *recovery) storeMark() error {
	l := r.l
	m := l.markFor(l.st, r.pos)
	err := l.storeMarkLocked(m)
	if isFull(err) && l.cfg.Reserve > 0 {
		l.short.Store(true)
		err = errors.Join(l.releaseReserveLocked(), l.storeMarkLocked(m))
	}
	if isFull(err) && l.cfg.Reserve > 0 {
		if err = l.cur.Shrink(r.pos.offset); err == nil {
			err = l.storeMarkLocked(m)
		}
		if rerr := l.cur.ReserveSome(r.pos.offset); rerr != nil {
			l.log.Warn("could not reserve the newest segment", "error", rerr)
		}
	}
	return err
}

// discard makes what is kept durable and removes the rest.
func (r *recovery) discard() error {
	l := r.l
	l.keepTorn(r.pos.offset)
	if err := l.removeAfter(l.cur); err != nil {
		return err
	}
	if l.partial.base != l.cur.Base() || l.partial.end > r.pos.offset || l.partial.first == 0 {
		if err := l.removeSidecar(l.cur.Base()); err != nil {
			return err
		}
		l.partial = sidecar{}
	}
	for _, f := range l.set.Files() {
		if f.Base() >= l.cur.Base() {
			break
		}
		if r.mark == nil || f.End() > r.mark.offset {
			if err := l.syncFile(f); err != nil {
				return err
			}
		}
	}
	reserveErr, err := l.cur.Cut(r.pos.offset)
	if err != nil {
		return err
	}
	if reserveErr != nil {
		l.shortOf(reserveErr)
	}
	return nil
}
