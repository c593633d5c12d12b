package store

import (
	"context"
	"errors"
	"time"

	"github.com/cometmq/cometmq/store/commitlog"
)

// Scrub tells how far the scrubber is. It reads sealed segments one after the
// other, slowly, so that damage at rest is found while other members still have
// the bytes. What the kernel has in memory it does not read from the disk again,
// but that is what was written lately.
type Scrub struct {
	// Passes counts complete readings of the log; Last is when the last one
	// ended.
	Passes int
	Last   time.Time
	// At is the base of the segment being read, -1 between passes; Bytes is what
	// was read since the store was opened.
	At    int64
	Bytes int64
}

// scrubEvery is the time between the beginnings of two passes.
const scrubEvery = 24 * time.Hour

// scrubber reads the log again and again until ctx ends.
func (s *Store) scrubber(ctx context.Context) {
	p := &pacer{ctx: ctx, rate: s.cfg.ScrubRate, s: s}
	for {
		began := time.Now()
		if err := s.scrubPass(p); err != nil {
			return // closed
		}
		s.scrubbed(func(sc *Scrub) {
			sc.Passes++
			sc.Last, sc.At = time.Now(), -1
		})
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(s.scrubEvery-time.Since(began), time.Second)):
		}
	}
}

func (s *Store) scrubbed(fn func(*Scrub)) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	fn(&s.health.scrub)
}

// scrubPass checks every sealed segment there is. Damage has been told to
// corrupt; the pass goes on, so that the report is complete.
func (s *Store) scrubPass(p *pacer) error {
	for next := int64(-1); ; {
		seg, ok := s.sealedFrom(next)
		if !ok {
			return p.ctx.Err()
		}
		s.scrubbed(func(sc *Scrub) { sc.At = seg.Base })
		_, err := s.commit.CheckSegment(seg.Base, p.pay)
		if errors.Is(err, commitlog.ErrClosed) || p.ctx.Err() != nil {
			return errors.Join(err, p.ctx.Err())
		}
		next = seg.Base + 1
	}
}

// sealedFrom is the oldest sealed segment at or after an offset.
func (s *Store) sealedFrom(at int64) (commitlog.SegmentInfo, bool) {
	segs := s.commit.Segments()
	for i, seg := range segs {
		if seg.Base >= at && i+1 < len(segs) {
			return seg, true
		}
	}
	return commitlog.SegmentInfo{}, false
}

// pacer spreads reading over time.
type pacer struct {
	ctx  context.Context
	rate int64
	s    *Store
}

// pay waits as long as so many bytes may take.
func (p *pacer) pay(bytes int) error {
	p.s.scrubbed(func(sc *Scrub) { sc.Bytes += int64(bytes) })
	t := time.NewTimer(time.Duration(float64(bytes) / float64(p.rate) * float64(time.Second)))
	defer t.Stop()
	select {
	case <-p.ctx.Done():
		return p.ctx.Err()
	case <-t.C:
		return nil
	}
}
