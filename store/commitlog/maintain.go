package commitlog

import (
	"context"
	"fmt"
	"time"
)

// maintain is the goroutine of the log. It ends when ctx does; Close waits.
func (l *Log) maintain(ctx context.Context) {
	var tick <-chan time.Time
	if !l.cfg.Sync {
		t := time.NewTicker(l.cfg.FlushInterval)
		defer t.Stop()
		tick = t.C
	}
	var again <-chan time.Time
	for {
		if again == nil && l.short.Load() {
			again = time.After(shortRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
			l.maintainOnce()
			l.report()
		case <-again:
			again = nil
			l.maintainOnce()
			l.report()
		case <-tick:
			l.upkeep.Lock()
			_ = l.flushLocked() // final, and told by report
			l.upkeep.Unlock()
			if l.durable().offset >= l.markDue.Load() {
				l.maintainOnce()
			}
			l.report()
		}
	}
}

// maintainOnce does what Append left for later: the next segment, sidecars,
// the mark. None of it is needed for correctness, so trouble is a warning.
func (l *Log) maintainOnce() {
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	if l.failure.Load() != nil {
		return
	}
	l.makeRoomLocked()
	if err := l.storeSidecarsLocked(); err != nil {
		l.log.Warn("could not write a sidecar", "error", err)
	}
	if l.durable().offset < l.markDue.Load() {
		return
	}
	if err := l.storeProgressLocked(false); err != nil {
		// Otherwise each append would try again.
		l.markDue.Add(l.cfg.markDistance)
		l.log.Warn("could not write the durable mark", "error", err)
	}
}

// makeRoomLocked allocates what the log will need next: the reserve, and in time
// the next segment. Without room for them the log is short.
func (l *Log) makeRoomLocked() {
	was := l.short.Load()
	if was {
		l.spareTried.Store(-1) // in vain, but there may be room now
	}
	reserve := l.keepReserveLocked()
	if reserve != nil && !was {
		l.log.Warn("the disk has no room for the reserve of the commit log", "error", reserve)
	}
	spare := l.prepareLocked()
	if spare != nil && !was {
		l.log.Warn("could not prepare the next segment of the commit log, will try again when it is needed", "error", spare)
	}
	short := l.cfg.Reserve > 0 && (isFull(reserve) || isFull(spare))
	if l.short.Store(short); was && !short {
		l.log.Info("the disk has room again for the commit log")
	}
}

func (l *Log) durable() position {
	l.state.RLock()
	defer l.state.RUnlock()
	return l.synced
}

// wantsSpare reports whether the newest segment is three quarters full and the
// next one neither exists nor was tried. Caller holds write or state.
func (l *Log) wantsSpare(end int64) bool {
	last := l.set.Last()
	return end-last.Base() >= l.cfg.SegmentSize/4*3 && l.spareTried.Load() != last.End()
}

// prepareLocked makes the next segment before it is needed, since reserving a
// gigabyte takes a moment and a disk that is too full for it should be heard
// of early.
func (l *Log) prepareLocked() error {
	if !l.wantsSpare(l.view().end) {
		return nil
	}
	base := l.set.Last().End()
	l.spareTried.Store(base)
	_, err := l.set.Create(base)
	return err
}

// Sync returns when every entry appended before the call is durable.
func (l *Log) Sync() error {
	defer l.report()
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	if l.isClosed() {
		return ErrClosed
	}
	return l.flushLocked()
}

// flushLocked syncs what is between the durable position and the end. Appends
// go on meanwhile. Caller holds upkeep.
func (l *Log) flushLocked() error {
	if err := l.failed(); err != nil {
		return err
	}
	l.state.RLock()
	from, to := l.synced.offset, position{l.st.end, l.st.last, l.st.term}
	l.state.RUnlock()
	if from >= to.offset {
		return nil
	}
	for _, f := range l.set.Files() {
		if f.End() <= from || f.Base() >= to.offset {
			continue
		}
		if err := l.syncFile(f); err != nil {
			return l.fail(err)
		}
	}
	l.state.Lock()
	defer l.state.Unlock()
	l.synced = to
	return nil
}

// Checkpoint makes everything durable and moves the mark there, so that a
// restart scans only what is appended later. It costs one sync of the log in
// asynchronous mode and three small file operations.
func (l *Log) Checkpoint() error {
	defer l.report()
	l.upkeep.Lock()
	defer l.upkeep.Unlock()
	if l.isClosed() {
		return ErrClosed
	}
	return l.checkpointLocked(false)
}

func (l *Log) isClosed() bool {
	l.gone.RLock()
	defer l.gone.RUnlock()
	return l.closed
}

func (l *Log) checkpointLocked(clean bool) error {
	if err := l.flushLocked(); err != nil {
		return err
	}
	if err := l.storeSidecarsLocked(); err != nil {
		return err
	}
	return l.storeProgressLocked(clean)
}

// storeSidecarsLocked writes the missing sidecars of sealed segments.
func (l *Log) storeSidecarsLocked() error {
	v := l.view()
	for i := 0; i+1 < len(v.parts); i++ {
		p, next := v.parts[i], v.parts[i+1]
		l.state.RLock()
		ways, stored := p.ways, p.stored
		l.state.RUnlock()
		if stored || ways == nil {
			continue
		}
		// Its entries must be durable first, or a crash could leave a sidecar
		// of entries that never were.
		if l.durable().index < next.first-1 {
			continue
		}
		end, err := l.endOfPart(v, p, next.first-1, ways)
		if err != nil {
			return err
		}
		s := sidecar{base: p.file.Base(), first: p.first, last: next.first - 1, end: end, ways: ways}
		if err := l.storeSidecar(s); err != nil {
			return fmt.Errorf("write sidecar of segment %d: %w", s.base, err)
		}
		l.state.Lock()
		p.stored = true
		l.keepLoadedLocked(p)
		l.state.Unlock()
	}
	return nil
}

// endOfPart is the offset after the last entry of a sealed part.
func (l *Log) endOfPart(v state, p *part, last uint64, ways []waypoint) (int64, error) {
	off, h, err := l.walk(v, p, ways[len(ways)-1], func(index uint64, _ int64, _ header) bool { return index == last })
	return off + h.length, err
}

// storeProgressLocked writes the mark for the durable position, and the
// sidecar of the newest segment if the mark would get too far ahead of it or
// the log is being closed. Caller holds upkeep.
func (l *Log) storeProgressLocked(clean bool) error {
	l.state.RLock()
	v, pos := l.st, l.synced
	l.state.RUnlock()
	m := l.markFor(v, pos)
	if clean {
		m.flags |= flagClean
	}
	if m == l.mark {
		return nil
	}
	if n := len(v.parts); n > 0 && pos.index != 0 {
		if err := l.storePartialLocked(v.parts[n-1], pos, clean); err != nil {
			return err
		}
	}
	if err := l.storeMarkLocked(m); err != nil {
		return err
	}
	l.markDue.Store(m.offset + l.cfg.markDistance)
	return nil
}

func (l *Log) markFor(v state, pos position) mark {
	m := mark{segmentSize: l.cfg.SegmentSize, base: v.base, first: v.first, offset: pos.offset, index: pos.index, term: pos.term}
	if pos.index == 0 {
		m.first = v.next
		if v.first != 0 {
			m.first = v.first
		}
	}
	if l.cfg.Sync {
		m.flags |= flagSync
	}
	return m
}

// storePartialLocked writes the sidecar of the newest segment up to pos.
func (l *Log) storePartialLocked(p *part, pos position, always bool) error {
	base := p.file.Base()
	if pos.offset <= base {
		return nil
	}
	covered := base
	if l.partial.base == base && l.partial.first == p.first {
		covered = l.partial.end
	}
	if covered == pos.offset || !always && pos.offset-covered < l.cfg.sidecarDistance {
		return nil
	}
	ways := l.waysInMemory(p)
	for len(ways) > 0 && ways[len(ways)-1].offset >= pos.offset {
		ways = ways[:len(ways)-1]
	}
	s := sidecar{base: base, first: p.first, last: pos.index, end: pos.offset, ways: ways}
	if err := l.storeSidecar(s); err != nil {
		return fmt.Errorf("write sidecar of segment %d: %w", base, err)
	}
	s.ways = nil
	l.partial = s
	return nil
}
