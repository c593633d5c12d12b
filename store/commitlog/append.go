package commitlog

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cometmq/cometmq/store/segment"
)

// bufferMax is how many bytes are joined into one write. A larger append takes
// several writes, which is cheaper than touching fresh memory for one.
const bufferMax = 1 << 20

// place is where an entry of the given size goes if the log ends at end in the
// segment with the given bounds: there, or at the start of the next segment.
// The first argument of the answer is the offset.
func place(end, segmentEnd, size int64) (at int64, roll bool) {
	if end+size <= segmentEnd {
		return end, false
	}
	return segmentEnd, true
}

// Append adds entries at the end, all or none, and in Sync mode returns when
// they are durable. Readers see them when it returns. The log keeps the
// slices in entries; the caller must not change them afterwards.
//
// The first entry must follow the last one of the log (ErrGap) and terms must
// not step back (ErrTerm). An error that is not ErrFailed leaves the log as it
// was, so the same append may be tried again, e.g. when a full disk has room.
func (l *Log) Append(entries []Entry) error {
	defer l.report()
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	if err := l.check(entries); err != nil {
		return err
	}
	if err := l.store(entries); err != nil {
		return l.rollback(fmt.Errorf("append entries %d to %d: %w",
			entries[0].Index, entries[len(entries)-1].Index, err))
	}
	if l.publish(entries) {
		if l.cfg.inline {
			l.maintainOnce()
		} else {
			select {
			case l.kick <- struct{}{}:
			default: // already told
			}
		}
	}
	return nil
}

// check refuses what must not get into the log, before anything is written.
func (l *Log) check(entries []Entry) error {
	next, term := l.st.next, l.st.term
	if next == 0 {
		next = max(entries[0].Index, 1)
	}
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Index != next || next == math.MaxUint64:
			return fmt.Errorf("append entry %d: %w (expected %d)", e.Index, ErrGap, next)
		case e.Term < term:
			return fmt.Errorf("append entry %d of term %d: %w (last term is %d)", e.Index, e.Term, ErrTerm, term)
		case len(e.Extensions) > extensionsMax:
			return fmt.Errorf("append entry %d: %w: %d bytes of extensions, at most %d",
				e.Index, ErrTooLarge, len(e.Extensions), extensionsMax)
		case e.size() > min(l.cfg.SegmentSize, math.MaxUint32):
			return fmt.Errorf("append entry %d: %w: %d bytes, a segment has %d",
				e.Index, ErrTooLarge, e.size(), l.cfg.SegmentSize)
		}
		next, term = next+1, e.Term
	}
	return nil
}

// store writes and, in Sync mode, syncs entries behind the end.
func (l *Log) store(entries []Entry) error {
	l.buf, l.at, l.touched = l.buf[:0], l.st.end, l.touched[:0]
	for i := range entries {
		if err := l.stage(&entries[i]); err != nil {
			return err
		}
		if l.cfg.Sync && i%syncGroup == syncGroup-1 {
			if err := l.syncTouched(); err != nil {
				return err
			}
		}
	}
	if l.cfg.Sync {
		return l.syncTouched()
	}
	return l.flush()
}

// stage puts one entry into the buffer, after rolling to the next segment if
// it does not fit into this one.
func (l *Log) stage(e *Entry) error {
	if _, roll := place(l.at+int64(len(l.buf)), l.cur.End(), e.size()); roll {
		if err := l.flush(); err != nil {
			return err
		}
		if err := l.roll(); err != nil {
			return err
		}
	}
	if len(l.buf) > 0 && int64(len(l.buf))+e.size() > bufferMax {
		if err := l.flush(); err != nil {
			return err
		}
	}
	l.buf = e.appendHeader(l.buf)
	if e.size() <= bufferMax {
		l.buf = append(l.buf, e.Data...)
		return nil
	}
	// Data larger than the buffer is written from where it is.
	if err := l.flush(); err != nil {
		return err
	}
	if err := l.cur.WriteAt(e.Data, l.at); err != nil {
		return err
	}
	l.at += int64(len(e.Data))
	return nil
}

// flush writes the buffer.
func (l *Log) flush() error {
	if len(l.buf) == 0 {
		return nil
	}
	if n := len(l.touched); n == 0 || l.touched[n-1] != l.cur {
		l.touched = append(l.touched, l.cur)
	}
	if err := l.cur.WriteAt(l.buf, l.at); err != nil {
		return err
	}
	l.at += int64(len(l.buf))
	l.buf = l.buf[:0]
	return nil
}

// syncTouched writes the buffer and makes what was written durable, older
// segments first. A failed sync is final: the kernel may have dropped the
// dirty pages and would report success the next time.
func (l *Log) syncTouched() error {
	if err := l.flush(); err != nil {
		return err
	}
	for _, f := range l.touched {
		if err := l.syncFile(f); err != nil {
			return l.fail(err)
		}
	}
	l.touched = l.touched[:0]
	return nil
}

func (l *Log) syncFile(f *segment.File) error {
	start := time.Now()
	err := f.Sync()
	if took := l.syncs.Since(start); took > slowSync {
		l.slow.Warn("slow sync of the commit log, the disk is overloaded or failing",
			"segment", f.Path(), "took", took.Round(time.Millisecond))
	}
	return err
}

// roll moves to the next segment, which was prepared or is made now.
func (l *Log) roll() error {
	base := l.cur.End()
	next := l.set.Find(base)
	if next == nil {
		l.upkeep.Lock()
		defer l.upkeep.Unlock()
		if next = l.set.Find(base); next == nil {
			var err error
			if next, err = l.set.Create(base); isFull(err) {
				next, err = l.createShortLocked(base, err)
			}
			if err != nil {
				return err
			}
		}
	}
	l.cur, l.at = next, base
	return nil
}

// rollback takes back what a failed append may have written, durably: half an
// entry could otherwise come to light behind a shorter one that is written in
// its place. The failure of this is final.
func (l *Log) rollback(cause error) error {
	if l.failure.Load() != nil {
		return cause
	}
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	home := l.homeOf(l.st.end)
	for l.set.Last() != home {
		if err := l.set.RemoveLast(); err != nil {
			return l.fail(errors.Join(cause, err))
		}
	}
	l.cur = home
	reserveErr, err := home.Cut(l.st.end)
	if err != nil {
		return l.fail(errors.Join(cause, err))
	}
	if reserveErr != nil {
		l.log.Warn("could not reserve the segment again after a failed append", "error", reserveErr)
	}
	return cause
}

// publish shows the stored entries to readers and reports whether there is
// background work to do.
func (l *Log) publish(entries []Entry) (work bool) {
	l.state.Lock()
	defer l.state.Unlock()
	st := &l.st
	var p *part
	if n := len(st.parts); n > 0 {
		p = st.parts[n-1]
	}
	for i := range entries {
		e := &entries[i]
		at, roll := st.end, false
		if p != nil {
			at, roll = place(st.end, p.file.End(), e.size())
		}
		if p == nil || roll {
			p = &part{file: l.set.Find(at), first: e.Index}
			// Full slice expression: the old array stays as readers have it.
			st.parts = append(st.parts[:len(st.parts):len(st.parts)], p)
			work = true
		}
		p.ways = addWaypoint(p.ways, e.Index, at)
		l.cache.add(*e, at+headerSize+int64(len(e.Extensions)))
		st.end = at + e.size()
	}
	last := &entries[len(entries)-1]
	if st.first == 0 {
		st.first = entries[0].Index
	}
	st.last, st.next, st.term = last.Index, last.Index+1, last.Term
	if l.cfg.Sync {
		l.synced = position{st.end, st.last, st.term}
		work = work || l.synced.offset >= l.markDue.Load()
	}
	return work || l.wantsSpare(st.end) || l.short.Load()
}
