package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/cometmq/cometmq/store/segment"
)

// Problem is something that Inspect found wrong.
type Problem struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"` // physical
	// Damage: bytes that were once durable are not what they were. Otherwise it
	// is what a crash may leave, or in a file that is derived.
	Damage bool   `json:"damage"`
	Text   string `json:"text"`
}

// String is the problem in one line.
func (p Problem) String() string {
	kind := "note"
	if p.Damage {
		kind = "DAMAGE"
	}
	return fmt.Sprintf("%s: %s at offset %d: %s", kind, p.File, p.Offset, p.Text)
}

// SegmentReport is what Inspect found in one segment.
type SegmentReport struct {
	Base      int64  `json:"base"`
	First     uint64 `json:"first"` // 0: no entry
	Last      uint64 `json:"last"`
	FirstTerm uint64 `json:"firstTerm"`
	LastTerm  uint64 `json:"lastTerm"`
	Entries   uint64 `json:"entries"`
	Bytes     int64  `json:"bytes"`  // of entries
	Newest    int64  `json:"newest"` // when its newest entry was appended, UnixNano
}

// Report is what Inspect found in a log.
type Report struct {
	SegmentSize int64           `json:"segmentSize"`
	MarkIndex   uint64          `json:"markIndex"`
	MarkOffset  int64           `json:"markOffset"`
	Clean       bool            `json:"clean"` // closed in an orderly way
	Segments    []SegmentReport `json:"segments"`
	First       uint64          `json:"first"`
	Last        uint64          `json:"last"`
	LastTerm    uint64          `json:"lastTerm"`
	MinOffset   int64           `json:"minOffset"`
	MaxOffset   int64           `json:"maxOffset"`
	Entries     uint64          `json:"entries"`
	Problems    []Problem       `json:"problems"`
}

// Damaged says whether any problem is damage.
func (r *Report) Damaged() bool {
	return slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Damage })
}

// errEnough ends a walk over a part of the log.
var errEnough = errors.New("enough")

// Inspection says what of a log to look at.
type Inspection struct {
	// From and To are the indexes to look at; 0 for the beginning and the end.
	// Segments before From are not read.
	From, To uint64
	// Visit, if set, sees every intact entry in order, with the physical offset of
	// its header. What it gets is valid during the call. Its error ends the
	// inspection and is returned.
	Visit func(e Entry, off int64) error
	// Broken, if set, sees each problem where it is found, between the entries.
	Broken func(p Problem) error
}

// Inspect reads a log that nobody uses and checks every entry, without changing
// anything: it opens what Open would refuse, and goes on behind damage. Of
// cfg only FS, Dir, SegmentSize (0: as the files say) and Logger are used.
func Inspect(cfg Config, what Inspection) (Report, error) {
	size := cfg.SegmentSize
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Report{}, err
	}
	in := &inspection{Inspection: what, l: &Log{cfg: cfg, log: cfg.Logger}}
	if err := in.prepare(size); err != nil {
		return in.report, err
	}
	for i := in.start(); i < len(in.bases); i++ {
		err := in.segment(i)
		if errors.Is(err, errEnough) {
			return in.report, nil
		}
		if err != nil || in.ended {
			return in.report, errors.Join(err, in.behindEnd(i))
		}
	}
	return in.report, in.checkEnd()
}

// inspection is one Inspect under way.
type inspection struct {
	Inspection
	l      *Log
	mark   *mark
	bases  []int64
	report Report
	next   uint64 // index of the entry expected, 0 = any
	term   uint64
	end    int64 // after the last entry
	ended  bool  // the log ends before the last segment
	data   []byte
}

func (in *inspection) path(base int64) string {
	return filepath.Join(in.l.cfg.Dir, segment.Name(base))
}

func (in *inspection) problem(file string, off int64, damage bool, format string, args ...any) error {
	p := Problem{File: filepath.Base(file), Offset: off, Damage: damage, Text: fmt.Sprintf(format, args...)}
	in.report.Problems = append(in.report.Problems, p)
	if in.Broken != nil {
		return in.Broken(p)
	}
	return nil
}

// prepare reads the mark and lists the segments.
func (in *inspection) prepare(size int64) error {
	var err error
	if in.mark, err = in.l.readMark(); err != nil {
		return err
	}
	names, err := in.l.cfg.FS.ReadDir(in.l.cfg.Dir)
	if err != nil {
		return fmt.Errorf("list the commit log: %w", err)
	}
	for _, name := range names {
		if base, ok := segment.ParseName(name); ok {
			in.bases = append(in.bases, base)
		}
	}
	slices.Sort(in.bases)
	m := in.mark
	markPath := filepath.Join(in.l.cfg.Dir, markName)
	if m == nil {
		if slices.Contains(names, markName) {
			err = in.problem(markPath, 0, false, "the durable mark is not readable; a start checks the whole log instead")
		} else {
			err = in.problem(markPath, 0, false, "there is no durable mark; a start checks the whole log")
		}
	} else {
		in.report.MarkIndex, in.report.MarkOffset, in.report.Clean = m.index, m.offset, m.flags&flagClean != 0
		size = m.segmentSize
		in.next = m.first
		for len(in.bases) > 0 && in.bases[0] < m.base {
			err = errors.Join(err, in.problem(in.path(in.bases[0]), in.bases[0], false, "left of a removal of old segments; the next start removes it"))
			in.bases = in.bases[1:]
		}
	}
	if err != nil {
		return err
	}
	if size == 0 && len(in.bases) > 1 {
		size = in.bases[1] - in.bases[0]
	}
	if size == 0 {
		size = DefaultSegmentSize
	}
	in.l.cfg.SegmentSize, in.report.SegmentSize = size, size
	return in.checkNames()
}

// checkNames looks for segments that are missing.
func (in *inspection) checkNames() error {
	var err error
	if m := in.mark; m != nil {
		for at := m.base; at < m.offset || at == m.base; at += in.report.SegmentSize {
			if !slices.Contains(in.bases, at) {
				err = errors.Join(err, in.problem(in.path(at), at, true, "the segment is missing; the durable mark says that the log holds %d to %d", m.base, m.offset))
			}
		}
	}
	for i := 1; i < len(in.bases); i++ {
		if want := in.bases[i-1] + in.report.SegmentSize; in.bases[i] != want && (in.mark == nil || want >= in.mark.offset) {
			err = errors.Join(err, in.problem(in.path(want), want, true, "the segment is missing between others"))
		}
	}
	if len(in.bases) > 0 {
		in.report.MinOffset, in.end = in.bases[0], in.bases[0]
	}
	return err
}

// start is the segment to begin with. Without From that is the first one.
func (in *inspection) start() int {
	if in.From == 0 {
		return 0
	}
	for i := len(in.bases) - 1; i > 0; i-- {
		f, err := segment.OpenFile(in.l.cfg.FS, in.path(in.bases[i]), in.bases[i], in.report.SegmentSize)
		if err != nil {
			continue
		}
		h, reason, err := newScanner(f).entry(in.bases[i])
		_ = f.Release()
		if err == nil && reason == "" && h.index <= in.From {
			in.next = h.index
			return i
		}
	}
	return 0
}

// segment reads one segment from end to end.
func (in *inspection) segment(i int) error {
	base := in.bases[i]
	f, err := segment.OpenFile(in.l.cfg.FS, in.path(base), base, in.report.SegmentSize)
	if err != nil {
		return in.problem(in.path(base), base, true, "%v", err)
	}
	defer func() { _ = f.Release() }()
	if i > 0 && in.bases[i-1]+in.report.SegmentSize != base {
		in.next = 0 // after a hole
	}
	r := SegmentReport{Base: base}
	var ways []waypoint
	sc := newScanner(f)
	off := base
	for {
		h, reason, err := sc.entry(off)
		if err != nil {
			reason = "it cannot be read: " + err.Error()
		}
		if reason == "" {
			if err := in.entry(f, h, off, &r); err != nil {
				in.closeSegment(r)
				return err
			}
			ways = addWaypoint(ways, h.index, off)
			off += h.length
			in.end = off
			continue
		}
		resume, err := in.gap(i, sc, off, reason)
		if err != nil {
			in.closeSegment(r)
			return err
		}
		if resume < 0 {
			break
		}
		off, in.next, ways = resume, 0, nil
	}
	in.closeSegment(r)
	if len(ways) > 0 && ways[0].offset == base {
		return in.sidecar(base, ways, r)
	}
	return nil
}

func (in *inspection) closeSegment(r SegmentReport) {
	if r.Entries > 0 || !in.ended {
		in.report.Segments = append(in.report.Segments, r)
	}
	in.report.Entries += r.Entries
	in.report.MaxOffset = in.end
}

// entry takes an intact entry into account.
func (in *inspection) entry(f *segment.File, h header, off int64, r *SegmentReport) error {
	var err error
	switch {
	case in.next != 0 && h.index != in.next:
		err = in.problem(f.Path(), off, true, "entry %d is in the place of entry %d", h.index, in.next)
	case h.term < in.term:
		err = in.problem(f.Path(), off, true, "term %d of entry %d follows term %d", h.term, h.index, in.term)
	}
	if err != nil {
		return err
	}
	in.next, in.term = h.index+1, h.term
	if r.Entries == 0 {
		r.First, r.FirstTerm = h.index, h.term
	}
	r.Entries++
	r.Last, r.LastTerm, r.Newest = h.index, h.term, max(r.Newest, h.appendedAt)
	r.Bytes += h.length
	if in.report.First == 0 {
		in.report.First = h.index
	}
	in.report.Last, in.report.LastTerm = h.index, h.term
	if in.mark != nil && h.index == in.mark.index && (off+h.length != in.mark.offset || h.term != in.mark.term) {
		err := in.problem(f.Path(), off, true, "the durable mark says that entry %d of term %d ends at %d, it is of term %d and ends at %d",
			h.index, in.mark.term, in.mark.offset, h.term, off+h.length)
		if err != nil {
			return err
		}
	}
	if in.To != 0 && h.index > in.To {
		return errEnough
	}
	if in.Visit == nil || h.index < in.From {
		return nil
	}
	return in.visit(f, h, off)
}

func (in *inspection) visit(f *segment.File, h header, off int64) error {
	in.data = slices.Grow(in.data[:0], int(h.length-headerSize))[:h.length-headerSize]
	if err := f.ReadAt(in.data, off+headerSize); err != nil {
		return err
	}
	return in.Visit(Entry{
		Index: h.index, Term: h.term, Kind: h.kind, AppendedAt: h.appendedAt,
		Extensions: in.data[:h.extLen:h.extLen], Data: in.data[h.extLen:],
	}, off)
}

// gap decides what it means that no entry begins at off: where reading goes on
// in this segment, or -1.
func (in *inspection) gap(i int, sc *scanner, off int64, reason string) (int64, error) {
	below := in.mark != nil && off < in.mark.offset
	if h, ok := in.follows(i); ok && reason == reasonBlank && h.index == in.next {
		if _, roll := place(off, sc.file.End(), h.length); roll {
			return -1, nil // it did not fit here
		}
	}
	if m := in.mark; m != nil && !below {
		torn, err := in.torn(i, sc, off)
		if err != nil {
			return -1, err
		}
		if torn {
			in.ended = true
			return -1, in.tail(sc, off, reason)
		}
	}
	w := wanted{origin: off, minIndex: max(in.next, 1), minTerm: in.term, anyIndex: in.next == 0, budget: math.MaxInt64}
	// If only its data is damaged the next entry is where its header says, and
	// the data, which comes from clients, need not be searched.
	start, err := in.behind(sc, off)
	at, h, found := int64(0), header{}, false
	if err == nil {
		if h, reason, eerr := sc.entry(start); eerr != nil || reason != "" || h.index != in.next+1 {
			start = min(off+1, sc.file.End())
		}
		at, h, found, err = sc.find(start, sc.file.End(), &w)
	}
	if err != nil {
		below, found = true, false
		reason = "it cannot be read: " + err.Error()
	}
	if found {
		return at, in.problem(sc.file.Path(), off, true, "%s; the next intact entry is %d at %d", reason, h.index, at)
	}
	if h, ok := in.follows(i); ok {
		return -1, in.problem(sc.file.Path(), off, true, "%s; the next intact entry is %d at %d", reason, h.index, in.bases[i+1])
	}
	if below {
		return -1, in.problem(sc.file.Path(), off, true, "%s; the durable mark says that entries up to %d, which ends at %d, are there",
			reason, in.mark.index, in.mark.offset)
	}
	in.ended = true
	return -1, in.tail(sc, off, reason)
}

// torn tells whether a place behind the mark may be the end of the log, by the
// rule of recovery (recovery.end).
func (in *inspection) torn(i int, sc *scanner, off int64) (bool, error) {
	if in.mark.flags&flagSync == 0 {
		return true, nil
	}
	w := wanted{origin: off, minIndex: in.next + syncGroup, minTerm: in.term, budget: findBudget}
	start, err := in.behind(sc, off)
	if err != nil {
		return false, err
	}
	for _, base := range in.bases[i:] {
		if base != sc.file.Base() {
			f, err := segment.OpenFile(in.l.cfg.FS, in.path(base), base, in.report.SegmentSize)
			if err != nil {
				return false, err
			}
			defer func() { _ = f.Release() }()
			sc, start = newScanner(f), base
		}
		if _, _, found, err := sc.find(start, sc.file.End(), &w); err != nil || found {
			return false, err
		}
	}
	return true, nil
}

// behind is recovery.behind.
func (in *inspection) behind(sc *scanner, off int64) (int64, error) {
	r := recovery{next: in.next}
	start, err := r.behind(sc, off)
	return max(start, min(off+1, sc.file.End())), err
}

// follows is the first entry of the next segment, if it is intact and may come
// after what was read so far.
func (in *inspection) follows(i int) (header, bool) {
	if i+1 >= len(in.bases) || in.bases[i+1] != in.bases[i]+in.report.SegmentSize {
		return header{}, false
	}
	base := in.bases[i+1]
	f, err := segment.OpenFile(in.l.cfg.FS, in.path(base), base, in.report.SegmentSize)
	if err != nil {
		return header{}, false
	}
	defer func() { _ = f.Release() }()
	h, reason, err := newScanner(f).entry(base)
	return h, err == nil && reason == "" && h.index >= in.next && h.term >= in.term
}

// tail tells what lies behind the end of the log in its last segment.
func (in *inspection) tail(sc *scanner, off int64, reason string) error {
	last := int64(-1)
	for at := off; at < sc.file.End(); {
		b := make([]byte, min(scanChunk, sc.file.End()-at))
		if err := sc.file.ReadAt(b, at); err != nil {
			return in.problem(sc.file.Path(), at, false, "%v", err)
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			last = at + int64(n)
		}
		at += int64(len(b))
	}
	if last < 0 {
		return nil
	}
	damage := in.mark != nil && in.mark.flags&flagClean != 0
	return in.problem(sc.file.Path(), off, damage, "%s; %d bytes behind the end of the log are an incomplete write and will be cut off", reason, last-off)
}

// behindEnd looks at segments behind the one in which the log ends.
func (in *inspection) behindEnd(i int) error {
	if !in.ended {
		return nil
	}
	for _, base := range in.bases[i+1:] {
		f, err := segment.OpenFile(in.l.cfg.FS, in.path(base), base, in.report.SegmentSize)
		if err != nil {
			return err
		}
		b := make([]byte, min(scanChunk, in.report.SegmentSize))
		err = f.ReadAt(b, base)
		_ = f.Release()
		if err == nil && len(bytes.TrimRight(b, "\x00")) > 0 {
			err = in.problem(in.path(base), base, false, "it lies behind the end of the log and is not blank; the next start removes it")
		}
		if err != nil {
			return err
		}
	}
	return in.checkEnd()
}

// checkEnd compares the end with the mark.
func (in *inspection) checkEnd() error {
	m := in.mark
	if m == nil || m.index == 0 || in.report.Last >= m.index || in.To != 0 {
		return nil
	}
	return in.problem(filepath.Join(in.l.cfg.Dir, markName), m.offset, true, "the durable mark says that the log goes to entry %d, it ends with %d", m.index, in.report.Last)
}

// sidecar compares the waypoints file with the entries.
func (in *inspection) sidecar(base int64, ways []waypoint, r SegmentReport) error {
	path := in.l.sidecarPath(base)
	if _, err := in.l.cfg.FS.Stat(path); err != nil {
		return nil // derived, made when it is needed
	}
	s, ok := in.l.readSidecar(base)
	switch {
	case !ok:
		return in.problem(path, base, false, "the waypoints are not readable; the segment is scanned instead")
	case in.mark == nil || s.end > in.mark.offset:
		return nil // ahead of the mark it is not believed either
	case s.first != r.First || s.last > r.Last || !isPrefix(s.ways, ways):
		return in.problem(path, base, true, "the waypoints do not point at the entries; remove this file")
	}
	return nil
}

// isPrefix: waypoints are placed by offset alone, so whoever made them made these.
func isPrefix(have, own []waypoint) bool {
	return len(have) <= len(own) && slices.Equal(have, own[:len(have)])
}
