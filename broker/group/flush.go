package group

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// run writes batches until ctx ends, and then what is left. It sleeps without
// a timer while nothing is pending.
func (o *Offsets) run(ctx context.Context) {
	// hard ends waiting altogether, StopTimeout after ctx ended.
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(o.cfg.StopTimeout):
			cancel()
		case <-hard.Done():
		}
	})()
	for o.await(ctx) {
		o.flush(hard)
	}
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	for {
		if n, err := o.flush(hard); n == 0 || err != nil {
			return
		}
	}
}

// await returns true when it is time to write: something is pending, and has
// waited for company long enough or is waited for.
func (o *Offsets) await(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-o.wake:
	}
	o.mu.Lock()
	since := o.since
	o.mu.Unlock()
	// What came while the last batch was written has waited already.
	timer := time.NewTimer(o.cfg.FlushInterval - time.Since(since))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-o.kick:
	case <-timer.C:
	}
	return true
}

// flush writes one batch and returns its size. Those who wait learn the
// outcome; the commits of a failed batch go back to the pending ones, unless a
// newer commit stands there, and are written again: storing an offset twice is
// harmless.
func (o *Offsets) flush(hard context.Context) (int, error) {
	commits, epoch := o.take()
	if len(commits) == 0 {
		return 0, nil
	}
	result := make(chan error, 1)
	o.cfg.Proposer.ProposeOffsets(commits, func(err error) { result <- err })
	var err error
	select {
	case err = <-result:
	case <-hard.Done():
		err = fmt.Errorf("%w: no answer in time", ErrOffsetsDropped)
	}
	o.land(epoch, err)
	return len(commits), err
}

// take moves pending commits into flight.
func (o *Offsets) take() ([]Commit, uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(o.pending), o.cfg.FlushMax)
	keys := make([]offsetKey, 0, n)
	for key, p := range o.pending {
		if len(keys) == n {
			signal(o.wake) // the rest goes with the next batch
			signal(o.kick)
			break
		}
		keys = append(keys, key)
		o.flight[key] = p
		delete(o.pending, key)
	}
	slices.SortFunc(keys, offsetKey.compare)
	commits := make([]Commit, n)
	for i, key := range keys {
		commits[i] = Commit{key.group, key.topic, key.queue, o.flight[key].offset}
	}
	return commits, o.epoch
}

// land takes a batch out of flight.
func (o *Offsets) land(epoch uint64, err error) {
	o.mu.Lock()
	if epoch != o.epoch {
		o.mu.Unlock()
		return
	}
	done := make([]pendingOffset, 0, len(o.flight))
	for key, p := range o.flight {
		done = append(done, p)
		if _, newer := o.pending[key]; err != nil && !newer {
			if len(o.pending) == 0 {
				o.since = time.Now() // not again at once
			}
			o.pending[key] = pendingOffset{offset: p.offset}
			signal(o.wake)
		}
	}
	clear(o.flight)
	changed := o.failing != (err != nil)
	o.failing = err != nil
	o.mu.Unlock()
	if changed && err != nil {
		o.log.Warn("cannot write consumer offsets, will try again", "queues", len(done), "error", err)
	} else if changed {
		o.log.Info("consumer offsets are written again")
	}
	finish(done, err)
}
