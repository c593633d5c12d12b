package commitlog

import (
	"errors"
	"fmt"
	"slices"
)

// CheckSegment reads the sealed segment that begins at base from end to end and
// checks every entry, for a scrubber. pace is told how many bytes come next and
// may wait; its error ends the check and is returned. Appends, reads and
// truncations go on meanwhile; trimming the segment away ends the check early.
// Errors: *CorruptError, ErrNotFound when no sealed segment begins there,
// ErrClosed.
func (l *Log) CheckSegment(base int64, pace func(bytes int) error) (SegmentInfo, error) {
	info, p, err := l.borrow(base)
	if err != nil {
		return info, err
	}
	defer func() { _ = p.file.Release() }() // read only, nothing to lose
	sc := newScanner(p.file)
	off := base
	for index, paid := info.First, base; index <= info.Last; index++ {
		if off >= paid {
			n := min(int64(scanChunk), info.End-paid)
			if err := pace(int(n)); err != nil {
				return info, err
			}
			paid += n
		}
		h, reason, err := sc.entry(off)
		if reason == "" && err == nil && h.index != index {
			reason = fmt.Sprintf("entry %d is in the place of entry %d", h.index, index)
		}
		if reason == "" && err == nil {
			off += h.length
			continue
		}
		// The log may have been cut under this check. What counts is what a
		// reader would get now, from the disk.
		if _, _, err = l.read(index, false); errors.Is(err, ErrNotFound) || err == nil {
			return info, nil
		}
		return info, l.tell(err)
	}
	return info, nil
}

// borrow finds a sealed segment and keeps its file open.
func (l *Log) borrow(base int64) (SegmentInfo, *part, error) {
	if err := l.begin(); err != nil {
		return SegmentInfo{}, nil, err
	}
	defer l.gone.RUnlock()
	v := l.view()
	i := slices.IndexFunc(v.parts, func(p *part) bool { return p.file.Base() == base })
	if i < 0 || i+1 == len(v.parts) || !v.parts[i].file.Retain() {
		return SegmentInfo{}, nil, fmt.Errorf("sealed segment at %d: %w", base, ErrNotFound)
	}
	return v.info(i, v.parts[i]), v.parts[i], nil
}
