package commitlog

import (
	"fmt"
	"slices"

	"github.com/cometmq/cometmq/store/segment"
)

// TruncateSuffix removes the entries from index from to the last one, durably,
// before it returns. Its one legitimate caller is a follower whose newest
// entries conflict with the leader's. An index after the last entry removes
// nothing.
//
// A log that was opened with entries in it is never emptied (ErrTruncateAll);
// one that has held nothing but what was appended since Open may be.
//
// A failure is final (ErrFailed), because then it is not known which entries
// are left.
//
// The order of steps makes every crash leave either the old entries or a
// prefix of them, never a hole: the mark is lowered first; then whole segments
// go, last one first, each with its name durably gone before the next; then
// the sidecar that knows removed entries; and at the end the file is cut. The
// cut shortens the file instead of overwriting it with zeros: a change of
// length happens as a whole or not at all, while of many zero sectors a crash
// may keep any, and a surviving old entry behind a hole would look like damage.
func (l *Log) TruncateSuffix(from uint64) error {
	defer l.report()
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.st.last == 0 || from > l.st.last {
		return nil
	}
	if from <= l.st.first && (from < l.st.first || !l.bornEmpty) {
		return fmt.Errorf("truncate from entry %d of %d to %d: %w", from, l.st.first, l.st.last, ErrTruncateAll)
	}
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	next, tail, err := l.stateBefore(from)
	if err != nil {
		return fmt.Errorf("truncate from entry %d: %w", from, err)
	}
	l.log.Info("truncating the commit log", "from", from, "last", l.st.last, "offset", tail.offset)
	l.adopt(next, tail)
	if err := l.cutAfter(tail); err != nil {
		return l.fail(fmt.Errorf("truncate from entry %d: %w", from, err))
	}
	return nil
}

// stateBefore is the state in which from-1 is the last entry. Nothing changes
// yet, so an error here leaves the log as it was.
func (l *Log) stateBefore(from uint64) (state, position, error) {
	next := l.st
	next.next = from
	if from == l.st.first {
		next.first, next.last, next.term, next.end, next.parts = 0, 0, 0, l.st.base, nil
		return next, position{offset: next.base}, nil
	}
	p, off, err := l.find(l.st, from-1)
	if err != nil {
		return next, position{}, err
	}
	e, length, err := l.readEntry(l.st, p, off, from-1)
	if err != nil {
		return next, position{}, err
	}
	next.last, next.term, next.end = from-1, e.Term, off+length
	i := slices.Index(l.st.parts, p)
	ways, err := l.waysOf(l.st, i)
	if err != nil {
		return next, position{}, err
	}
	for ways[len(ways)-1].offset >= next.end {
		ways = ways[:len(ways)-1]
	}
	// A new part and a copy: readers that copied the old slice before a later
	// append reuses its array must not see it change.
	kept := &part{file: p.file, first: p.first, ways: slices.Clone(ways)}
	next.parts = append(slices.Clone(l.st.parts[:i]), kept)
	return next, position{next.end, next.last, next.term}, nil
}

// adopt makes next what readers see, after those in flight have left.
func (l *Log) adopt(next state, tail position) {
	l.gone.Lock()
	defer l.gone.Unlock()
	l.state.Lock()
	defer l.state.Unlock()
	l.st = next
	if l.synced.offset > tail.offset {
		l.synced = tail
	}
	l.cache.truncate(next.next)
	l.hints.clear()
}

// cutAfter removes the bytes behind tail from disk. Caller holds write and
// upkeep.
func (l *Log) cutAfter(tail position) error {
	if l.mark.offset > tail.offset || l.mark.index > tail.index {
		if err := l.storeMarkLocked(l.markFor(l.st, tail)); err != nil {
			return err
		}
		l.markDue.Store(tail.offset + l.cfg.markDistance)
	}
	home := l.homeOf(tail.offset)
	if err := l.removeAfter(home); err != nil {
		return err
	}
	if err := l.removeSidecar(home.Base()); err != nil {
		return err
	}
	l.partial = sidecar{}
	l.spareTried.Store(-1)
	reserveErr, err := home.Cut(tail.offset)
	if err != nil {
		return err
	}
	if reserveErr != nil {
		l.log.Warn("could not reserve the segment again after cutting it", "error", reserveErr)
	}
	// The durable position stays: the cut synced this segment, but in
	// asynchronous mode older ones may have unsynced bytes.
	l.cur = home
	return nil
}

// homeOf is the segment that an end of the log at offset belongs to. A full
// segment is it until an entry is written to the next one.
func (l *Log) homeOf(offset int64) *segment.File {
	return l.set.Find(max(offset-1, l.st.base))
}

// removeAfter removes the segments after home with their sidecars, newest
// first, so that a crash leaves no hole.
func (l *Log) removeAfter(home *segment.File) error {
	for last := l.set.Last(); last != home; last = l.set.Last() {
		if err := l.removeSidecar(last.Base()); err != nil {
			return err
		}
		if err := l.set.RemoveLast(); err != nil {
			return err
		}
	}
	return nil
}
