package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/store/commitlog"
)

const (
	// segmentsPerRound bounds what one CleanExpired removes, as in RocketMQ: a
	// gigabyte's file takes the disk a moment.
	segmentsPerRound = 10
	// manualRounds is for how many rounds a manual request lasts, as in RocketMQ.
	manualRounds = 20
	// cleanWarning is the shortest time between two warnings that nothing can be
	// removed from a full disk.
	cleanWarning = time.Minute
)

// Retention says how long messages stay. Names, defaults and meaning are
// RocketMQ 4.9.4's. Messages of all topics expire together, in whole segments.
type Retention struct {
	// ReservedTime is the age from which a segment may go: fileReservedTime.
	ReservedTime time.Duration
	// DeleteWhen are the hours of the day, local time, in which segments that
	// are old enough go: deleteWhen.
	DeleteWhen []int
	// MaxUsedPercent is the used share of the volume above which they go at any
	// hour: diskMaxUsedSpaceRatio.
	MaxUsedPercent int
	// ForciblyPercent is the share above which the oldest segments go whatever
	// their age, if CleanForcibly (cleanFileForciblyEnable):
	// diskSpaceCleanForciblyRatio.
	CleanForcibly   bool
	ForciblyPercent int
}

// DefaultRetention is RocketMQ's.
func DefaultRetention() Retention {
	return Retention{
		ReservedTime: 72 * time.Hour, DeleteWhen: []int{4},
		MaxUsedPercent: 75, CleanForcibly: true, ForciblyPercent: 85,
	}
}

// ParseDeleteWhen reads the hours of deleteWhen, "04" or "04;16".
func ParseDeleteWhen(text string) ([]int, error) {
	var hours []int
	for part := range strings.SplitSeq(text, ";") {
		h, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || h < 0 || h > 23 {
			return nil, fmt.Errorf("hour %q of %q: give hours from 00 to 23, separated by ;", part, text)
		}
		hours = append(hours, h)
	}
	return hours, nil
}

// CleanRequest is one round of retention.
type CleanRequest struct {
	Retention
	// Now is the group's time, in the zone of DeleteWhen.
	Now time.Time
	// FirstNeeded returns the index of the first entry that somebody above still
	// needs: what Raft reads at a start, and unless forced what a member that
	// lags needs. Nil: nobody needs any.
	FirstNeeded func(forced bool) uint64
}

// Cleaned is what one round did.
type Cleaned struct {
	// Segments are those removed, oldest first, Bytes their size.
	Segments []commitlog.SegmentInfo
	Bytes    int64
	// QueueFiles is how many files of consume queues will go with the next
	// checkpoint.
	QueueFiles int
	// Reason says why segments could go, Kept why the next one stayed.
	Reason, Kept string
	// Unsaved: more could go if there was a newer checkpoint.
	Unsaved bool
}

// cleaning is the state between rounds.
type cleaning struct {
	manual    atomic.Int32
	queuesMin int64     // where the log began when queue files were last looked for
	warned    time.Time // that nothing can be removed
}

// DeleteExpired is the manual request (DELETE_EXPIRED_COMMITLOG): for some
// rounds expired segments go at any hour.
func (s *Store) DeleteExpired() { s.cleaning.manual.Store(manualRounds) }

// CleanExpired removes expired segments from the head of the log, and the queue
// files that then point at nothing. It keeps the newest segment, whatever is not
// covered by a checkpoint on disk, and whatever req.FirstNeeded asks for. To be
// called every ten seconds or so. Any goroutine; it waits for a checkpoint being
// written.
func (s *Store) CleanExpired(req CleanRequest) (Cleaned, error) {
	s.persistMu.Lock()
	defer s.persistMu.Unlock()
	if s.closed {
		return Cleaned{}, fmt.Errorf("remove expired messages: %w", ErrClosed)
	}
	usage, err := s.cfg.FS.Usage(s.cfg.Dir)
	if err != nil {
		// Without it there is still the age.
		s.log.Warn("cannot tell the free space of the store's volume", "error", err)
	}
	c := &clean{s: s, req: req, total: usage.Total, used: usage.Total - usage.Free}
	c.decide()
	err = c.segments()
	err = errors.Join(err, c.derived())
	c.tell()
	return c.done, err
}

// clean is one round.
type clean struct {
	s           *Store
	req         CleanRequest
	total, used uint64
	timeUp      bool
	full        bool // above MaxUsedPercent
	forced      bool // above ForciblyPercent
	done        Cleaned
}

func (c *clean) percent() float64 {
	if c.total == 0 {
		return 0
	}
	return 100 * float64(c.used) / float64(c.total)
}

// decide finds out which segments may go.
func (c *clean) decide() {
	used := c.percent()
	c.timeUp = slices.Contains(c.req.DeleteWhen, c.req.Now.Hour())
	c.full = used > float64(c.req.MaxUsedPercent)
	c.forced = c.req.CleanForcibly && used > float64(c.req.ForciblyPercent)
	manual := c.s.cleaning.manual.Load() > 0
	if manual {
		c.s.cleaning.manual.Add(-1)
	}
	switch {
	case c.forced:
		c.done.Reason = fmt.Sprintf("disk %.1f %% used, above diskSpaceCleanForciblyRatio %d", used, c.req.ForciblyPercent)
	case c.full:
		c.done.Reason = fmt.Sprintf("older than fileReservedTime %v, disk %.1f %% used, above diskMaxUsedSpaceRatio %d",
			c.req.ReservedTime, used, c.req.MaxUsedPercent)
	case manual:
		c.done.Reason = fmt.Sprintf("older than fileReservedTime %v, requested by hand", c.req.ReservedTime)
	case c.timeUp:
		c.done.Reason = fmt.Sprintf("older than fileReservedTime %v, hour %02d of deleteWhen", c.req.ReservedTime, c.req.Now.Hour())
	}
}

// segments trims the log.
func (c *clean) segments() error {
	if c.done.Reason == "" {
		return nil
	}
	needed := c.s.saved.Load() + 1
	if c.req.FirstNeeded != nil {
		needed = min(needed, c.req.FirstNeeded(c.forced))
	}
	before, freed := uint64(0), uint64(0)
	for i, seg := range c.s.commit.Segments() {
		c.done.Unsaved = seg.Last > c.s.saved.Load() && seg.Last <= c.s.AppliedIndex()
		if c.done.Kept = c.keep(seg, needed, freed); c.done.Kept == "" && i == segmentsPerRound {
			c.done.Kept = fmt.Sprintf("at most %d in one round", segmentsPerRound)
		}
		if c.done.Kept != "" {
			break
		}
		before = seg.Last + 1
		freed += uint64(seg.Bytes())
	}
	// Also with nothing new: files that an earlier round could not remove.
	trimmed, err := c.s.commit.TrimPrefix(before)
	c.done.Segments = trimmed
	for _, seg := range trimmed {
		c.done.Bytes += seg.Bytes()
	}
	return err
}

// keep says why a segment stays, or "".
func (c *clean) keep(seg commitlog.SegmentInfo, needed uint64, freed uint64) string {
	switch {
	case seg.Last == c.s.commit.LastIndex():
		return "it is the newest segment"
	case seg.Last >= needed:
		return fmt.Sprintf("entries from %d on are needed for a restart or by another member", needed)
	case c.forced && float64(c.used-min(freed, c.used)) > float64(c.req.ForciblyPercent)/100*float64(c.total):
		return ""
	}
	newest := c.s.commit.NewestIn(seg)
	age := c.req.Now.Sub(newest)
	switch {
	case newest.IsZero():
		return "its age is not known"
	case age < c.req.ReservedTime:
		return fmt.Sprintf("its newest message is %v old", age.Round(time.Second))
	}
	return ""
}

// derived finds the files of queues that point below the log's beginning.
func (c *clean) derived() error {
	low := c.s.commit.MinOffset()
	if low == c.s.cleaning.queuesMin {
		return nil
	}
	files, err := c.s.queues.Trim(c.s.minOffset())
	c.done.QueueFiles = files
	if err == nil {
		c.s.cleaning.queuesMin = low
	}
	return err
}

// tell logs what went, or once a minute that a full disk stays full.
func (c *clean) tell() {
	if n := len(c.done.Segments); n > 0 {
		last := c.done.Segments[n-1]
		c.s.log.Info("removed expired messages", "reason", c.done.Reason, "segments", n, "bytes", c.done.Bytes,
			"indexes", fmt.Sprintf("%d-%d", c.done.Segments[0].First, last.Last), "min-offset", c.s.commit.MinOffset(),
			"queue-files", c.done.QueueFiles)
		return
	}
	if c.full && c.req.Now.Sub(c.s.cleaning.warned) >= cleanWarning {
		c.s.cleaning.warned = c.req.Now
		c.s.log.Warn("the disk is filling up and no messages can be removed: add space, or lower fileReservedTime",
			"used-percent", fmt.Sprintf("%.1f", c.percent()), "oldest-segment", c.done.Kept)
	}
}
