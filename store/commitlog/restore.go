package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cometmq/cometmq/store/segment"
)

// DamagedExt is the ending of a segment that was put aside.
const DamagedExt = ".damaged"

// Restore replaces one damaged segment of a closed log by the same bytes from
// another member, where they lie at the same offsets. src is the segment from
// its first byte on. The damaged file is kept in the directory aside.
//
// Only a segment that lies below the mark as a whole and ends at or before the
// entry committed can be replaced: of later entries another member may rightly
// have others. The new bytes are checked, entry by entry, against what the mark
// and the neighbours say, before anything changes. A crash leaves the old
// segment, or none and the new one with another name; then call it again.
func Restore(cfg Config, base int64, committed uint64, src io.Reader, aside string) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if err := restore(cfg, base, committed, src, aside); err != nil {
		return fmt.Errorf("restore segment %s: %w", segment.Name(base), err)
	}
	return nil
}

func restore(cfg Config, base int64, committed uint64, src io.Reader, aside string) error {
	l := &Log{cfg: cfg, log: cfg.Logger}
	m, err := l.readMark()
	switch {
	case err != nil:
		return err
	case m == nil:
		return errors.New("the log has no durable mark, so what belongs there is not known")
	case m.segmentSize != cfg.SegmentSize:
		return fmt.Errorf("%w: it is %d, configured is %d", ErrSegmentSize, m.segmentSize, cfg.SegmentSize)
	case base < m.base || base+cfg.SegmentSize > m.offset || (base-m.base)%cfg.SegmentSize != 0:
		return fmt.Errorf("only whole segments from %d up to the durable mark at %d can be restored", m.base, m.offset)
	}
	name := filepath.Join(cfg.Dir, segment.Name(base))
	tmp := name + ".tmp"
	if err := receive(cfg, tmp, src); err != nil {
		return errors.Join(err, cfg.FS.Remove(tmp))
	}
	last, err := l.fits(*m, base, tmp)
	if err == nil && last > committed {
		err = fmt.Errorf("it ends with entry %d, only up to %d is known to be committed; another member may have other entries there", last, committed)
	}
	if err != nil {
		return errors.Join(err, cfg.FS.Remove(tmp))
	}
	return l.exchange(name, tmp, aside)
}

// receive writes at most a segment's bytes to a file, durably.
func receive(cfg Config, path string, src io.Reader) (err error) {
	f, err := cfg.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err := f.Preallocate(cfg.SegmentSize); err != nil {
		return fmt.Errorf("allocate %d bytes: %w", cfg.SegmentSize, err)
	}
	buf := make([]byte, min(scanChunk, cfg.SegmentSize))
	for off := int64(0); off < cfg.SegmentSize; {
		n, err := io.ReadFull(src, buf[:min(int64(len(buf)), cfg.SegmentSize-off)])
		if _, werr := f.WriteAt(buf[:n], off); werr != nil {
			return werr
		}
		off += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
	return f.Sync()
}

// fits checks that the file at path holds the entries that belong between those
// of the segments before and after the one at base, and returns the last index.
func (l *Log) fits(m mark, base int64, path string) (uint64, error) {
	first, term, err := l.lastBefore(m, base)
	if err != nil {
		return 0, err
	}
	f, err := segment.OpenFile(l.cfg.FS, path, base, l.cfg.SegmentSize)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Release() }()
	sc := newScanner(f)
	off := base
	var last header
	for {
		h, reason, err := sc.entry(off)
		switch {
		case err != nil:
			return 0, err
		case reason == reasonBlank && last.index != 0:
			return last.index, l.leadsTo(m, off, last)
		case reason == "" && h.index != first:
			reason = fmt.Sprintf("entry %d is in the place of entry %d", h.index, first)
		case reason == "" && h.term < term:
			reason = fmt.Sprintf("term %d follows term %d", h.term, term)
		}
		if reason != "" {
			return 0, fmt.Errorf("the bytes received do not belong there: at offset %d: %s", off, reason)
		}
		last, first, term, off = h, h.index+1, h.term, off+h.length
	}
}

// lastBefore is the index that the first entry at base must have, and the term
// before it.
func (l *Log) lastBefore(m mark, base int64) (next, term uint64, err error) {
	if base == m.base {
		return m.first, 0, nil
	}
	at := base - l.cfg.SegmentSize
	f, err := segment.OpenFile(l.cfg.FS, filepath.Join(l.cfg.Dir, segment.Name(at)), at, l.cfg.SegmentSize)
	if err != nil {
		return 0, 0, fmt.Errorf("the segment before it is needed to check what belongs here: %w", err)
	}
	defer func() { _ = f.Release() }()
	sc := newScanner(f)
	for {
		h, reason, err := sc.entry(at)
		switch {
		case err != nil:
			return 0, 0, err
		case reason == reasonBlank && next != 0:
			return next, term, nil
		case reason != "":
			return 0, 0, fmt.Errorf("the segment before it is damaged too, restore that first: %w",
				&CorruptError{File: f.Path(), Offset: at, Reason: reason})
		}
		next, term, at = h.index+1, h.term, at+h.length
	}
}

// leadsTo checks that the entry after the last one of a segment, which ends at
// off, is the first one of the next segment.
func (l *Log) leadsTo(m mark, off int64, last header) error {
	at := (off-m.base+l.cfg.SegmentSize-1)/l.cfg.SegmentSize*l.cfg.SegmentSize + m.base
	if at >= m.offset {
		if last.index != m.index || last.term != m.term {
			return fmt.Errorf("the bytes received end with entry %d of term %d, the durable mark says %d of %d", last.index, last.term, m.index, m.term)
		}
		return nil
	}
	f, err := segment.OpenFile(l.cfg.FS, filepath.Join(l.cfg.Dir, segment.Name(at)), at, l.cfg.SegmentSize)
	if err != nil {
		return fmt.Errorf("the segment behind it is needed to check what belongs here: %w", err)
	}
	defer func() { _ = f.Release() }()
	h, reason, err := newScanner(f).entry(at)
	switch {
	case err != nil:
		return err
	case reason == "" && h.index != last.index+1:
		reason = fmt.Sprintf("it begins with entry %d, the bytes received end with %d", h.index, last.index)
	case reason == "" && h.term < last.term:
		reason = fmt.Sprintf("it begins with term %d, the bytes received end with %d", h.term, last.term)
	}
	if reason != "" {
		return fmt.Errorf("the segment behind it does not follow: %s", reason)
	}
	return nil
}

// exchange puts the damaged file aside and the new one in its place.
func (l *Log) exchange(name, tmp, aside string) error {
	fsys := l.cfg.FS
	if err := fsys.MkdirAll(aside, 0o755); err != nil {
		return err
	}
	if err := fsys.Remove(name + sidecarExt); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := fsys.Rename(name, filepath.Join(aside, filepath.Base(name)+DamagedExt))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put the damaged segment aside: %w", err)
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return fmt.Errorf("put the restored segment into its place: %w", err)
	}
	if err := fsys.SyncDir(l.cfg.Dir); err != nil {
		return err
	}
	return fsys.SyncDir(aside)
}
