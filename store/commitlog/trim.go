package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/cometmq/cometmq/store/segment"
)

// SegmentInfo describes a segment that has entries.
type SegmentInfo struct {
	// Base is the physical offset of its first byte, End the one after its
	// last entry for the newest segment, and after its last byte for others.
	Base, End int64
	// First and Last are the indexes of its entries.
	First, Last uint64
}

// Bytes is what the segment holds.
func (s SegmentInfo) Bytes() int64 { return s.End - s.Base }

// Segments lists the segments that have entries, oldest first. The last one is
// the one being written.
func (l *Log) Segments() []SegmentInfo {
	v := l.view()
	out := make([]SegmentInfo, len(v.parts))
	for i, p := range v.parts {
		out[i] = v.info(i, p)
	}
	return out
}

func (v state) info(i int, p *part) SegmentInfo {
	s := SegmentInfo{Base: p.file.Base(), End: limit(v, p), First: p.first, Last: v.last}
	if i+1 < len(v.parts) {
		s.Last = v.parts[i+1].first - 1
	}
	return s
}

// NewestIn is when the newest entry of a segment was appended: the time in the
// entry itself, which is the same on all members, or the file's time of change
// if the entry has none or cannot be read. Zero when neither is known.
func (l *Log) NewestIn(s SegmentInfo) time.Time {
	if e, _, err := l.Read(s.Last); err == nil && e.AppendedAt != 0 {
		return time.Unix(0, e.AppendedAt)
	}
	info, err := l.cfg.FS.Stat(filepath.Join(l.cfg.Dir, segment.Name(s.Base)))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// TrimPrefix removes whole segments from the head of the log, all of whose
// entries come before index first, and returns them. The newest segment always
// stays, and so does everything that the mark does not vouch for. Reads of the
// removed entries in flight finish; later ones get ErrNotFound.
//
// The new base is written into the durable mark before anything is removed, so
// that a crash leaves a log that begins at the old base or at the new one, and
// Open removes what is left below it. An error with segments means that the log
// begins behind them and their files are removed by the next call or by Open.
func (l *Log) TrimPrefix(first uint64) ([]SegmentInfo, error) {
	defer l.report()
	if err := l.markBeyond(first); err != nil {
		return nil, fmt.Errorf("trim the commit log before entry %d: %w", first, err)
	}
	trimmed, err := l.advance(first)
	if err != nil {
		return nil, fmt.Errorf("trim the commit log before entry %d: %w", first, err)
	}
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	if l.isClosed() {
		return trimmed, nil // Open removes the files
	}
	if err := l.removeTrimmedLocked(); err != nil {
		return trimmed, fmt.Errorf("trim the commit log before entry %d: %w", first, err)
	}
	return trimmed, nil
}

// markBeyond moves the mark to the durable position if that makes more segments
// removable. Appends go on meanwhile.
func (l *Log) markBeyond(first uint64) error {
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	if l.isClosed() {
		return ErrClosed
	}
	if err := l.failed(); err != nil {
		return err
	}
	v := l.view()
	if n := v.before(first); n == 0 || v.parts[n].file.Base() < l.mark.offset {
		return nil
	}
	return l.storeProgressLocked(false)
}

// before counts the leading segments without an entry from index first on; the
// newest never counts.
func (v state) before(first uint64) int {
	n := 0
	for n+1 < len(v.parts) && v.parts[n+1].first <= first {
		n++
	}
	return n
}

// advance moves the log's beginning, on disk and then for readers.
func (l *Log) advance(first uint64) ([]SegmentInfo, error) {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	n := l.st.before(first)
	for n > 0 && l.st.parts[n].file.Base() >= l.mark.offset {
		n--
	}
	if n == 0 {
		return nil, nil
	}
	trimmed := make([]SegmentInfo, n)
	for i := range trimmed {
		trimmed[i] = l.st.info(i, l.st.parts[i])
	}
	next := l.st
	next.parts = slices.Clone(l.st.parts[n:])
	next.base, next.first = next.parts[0].file.Base(), next.parts[0].first
	m := l.mark
	m.base, m.first = next.base, next.first
	err := l.storeMarkLocked(m)
	if isFull(err) {
		// Removing segments must be possible above all when the disk is full.
		l.short.Store(true)
		err = errors.Join(l.releaseReserveLocked(), l.storeMarkLocked(m))
	}
	if err != nil {
		return nil, err
	}
	l.begins(next)
	return trimmed, nil
}

// begins makes next what readers see, after those in flight have left, so that
// nobody reads a removed segment when its file is closed.
func (l *Log) begins(next state) {
	l.gone.Lock()
	defer l.gone.Unlock()
	l.state.Lock()
	defer l.state.Unlock()
	l.st = next
	l.cache.forget(next.first)
	l.hints.clear()
	l.loaded = slices.DeleteFunc(l.loaded, func(p *part) bool { return p.first < next.first })
}

// removeTrimmedLocked removes the files below the log's beginning, oldest
// first, each durably gone before the next, so that a crash leaves no hole.
func (l *Log) removeTrimmedLocked() error {
	base := l.view().base
	for f := l.set.Files()[0]; f.Base() < base; f = l.set.Files()[0] {
		// The sync of the directory that makes the segment's removal durable
		// does the same for the sidecar's.
		if err := l.cfg.FS.Remove(l.sidecarPath(f.Base())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove sidecar: %w", err)
		}
		if err := l.set.RemoveFirst(); err != nil {
			return err
		}
	}
	return nil
}

// finishTrim removes what a trim before a crash left below the log's beginning.
func (l *Log) finishTrim(base int64) error {
	names, err := l.cfg.FS.ReadDir(l.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", l.cfg.Dir, err)
	}
	if !slices.Contains(names, segment.Name(base)) {
		return nil // not the doing of a trim; what is missing is reported
	}
	removed := 0
	for _, name := range names { // sorted, so oldest first
		if at, ok := segment.ParseName(name); !ok || at >= base {
			continue
		}
		if err := l.cfg.FS.Remove(filepath.Join(l.cfg.Dir, name)); err != nil {
			return fmt.Errorf("finish the removal of old segments: %w", err)
		}
		removed++
	}
	if removed == 0 {
		return nil
	}
	l.log.Info("finished the removal of old segments", "segments", removed, "min-offset", base)
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", l.cfg.Dir, err)
	}
	return nil
}
