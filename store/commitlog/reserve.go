package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/store/segment"
)

// The file "reserve" holds Config.Reserve bytes of nothing. On a full disk, when
// the log must go on in a new segment and there is no room for one, it is removed
// and a short segment is made of its space: an append that fails on a leader ends
// its term, and the next leader's first entry would fail as well. The caller
// watches Short and stops taking messages; what the group itself writes is small.
// With room again the segment and the reserve are filled up.
//
// The last reserveForMark bytes are kept for the mark without which the head of
// the log cannot be removed, which is the way out of a full disk.
const (
	reserveName    = "reserve"
	reserveForMark = 16 << 10
	// shortRetry is how often a log that is short looks for room.
	shortRetry = 500 * time.Millisecond
)

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Short says that the disk has no room for what the log will need next: the next
// segment, or the reserve. What is allocated suffices for the group's own entries,
// not for messages. It ends by itself soon after there is room.
func (l *Log) Short() bool { return l.short.Load() }

func (l *Log) reservePath() string { return filepath.Join(l.cfg.Dir, reserveName) }

// shortOf takes note that the newest segment could not be allocated as a whole.
func (l *Log) shortOf(err error) {
	l.short.Store(l.cfg.Reserve > 0 && isFull(err))
	l.log.Warn("could not reserve the newest segment", "error", err)
}

// createShortLocked makes the next segment of the reserve's space. Caller holds
// upkeep.
func (l *Log) createShortLocked(base int64, cause error) (f *segment.File, err error) {
	if l.cfg.Reserve == 0 {
		return nil, cause
	}
	if err := l.shrinkReserveLocked(); err != nil {
		return nil, errors.Join(cause, err)
	}
	if f, err = l.set.CreateShort(base); err != nil {
		return nil, errors.Join(cause, err)
	}
	l.short.Store(true)
	l.log.Error("the disk is full: the commit log goes on in a short segment made of its reserve; free some space",
		"segment", f.Path(), "reserve", l.cfg.Reserve)
	return f, nil
}

// shrinkReserveLocked gives the reserve's space to whoever comes first, but for
// what a mark needs.
func (l *Log) shrinkReserveLocked() error {
	f, err := l.cfg.FS.OpenFile(l.reservePath(), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var size int64
		if size, err = f.Size(); err == nil && size > reserveForMark {
			err = f.Truncate(reserveForMark)
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("release the reserve: %w", err)
	}
	return nil
}

// releaseReserveLocked gives up the rest of the reserve too.
func (l *Log) releaseReserveLocked() error {
	if err := l.cfg.FS.Remove(l.reservePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release the reserve: %w", err)
	}
	return nil
}

// keepReserveLocked makes the reserve, after it has filled up a segment that is
// short. An error that isFull means that there is no room.
func (l *Log) keepReserveLocked() error {
	if l.cfg.Reserve == 0 {
		return nil
	}
	if l.short.Load() {
		if err := l.set.Last().Reserve(); err != nil {
			return err
		}
	}
	if info, err := l.cfg.FS.Stat(l.reservePath()); err == nil && info.Size() >= l.cfg.Reserve {
		return nil
	}
	f, err := l.cfg.FS.OpenFile(l.reservePath(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("make the reserve: %w", err)
	}
	if err = f.Preallocate(l.cfg.Reserve); err != nil {
		err = fmt.Errorf("make the reserve: %w", err)
		if merr := f.Preallocate(min(l.cfg.Reserve, reserveForMark)); merr != nil {
			err = errors.Join(err, merr)
		}
	}
	return errors.Join(err, f.Close())
}
