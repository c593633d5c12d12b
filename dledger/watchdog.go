package dledger

import (
	"fmt"
	"sync"
	"time"
)

// A disk that hangs is worse than one that fails. Raft's heartbeats run on
// goroutines of their own, so a leader whose write never returns keeps its
// followers quiet for ever while nothing commits. No timeout around the write
// helps, because the write goes on behind it and would land in a log that has
// moved on. The only safe answer is to end the process; the watchdog gives it.

// watch is one place where the node waits for a disk. Its operations are
// serial.
type watch struct {
	limit time.Duration

	mu      sync.Mutex
	op      func() string // describes the running operation, nil when idle
	started time.Time
}

// begin notes that an operation starts. describe is called only when it took
// too long, from another goroutine, and must not touch what changes meanwhile.
func (w *watch) begin(describe func() string) {
	w.mu.Lock()
	w.op, w.started = describe, time.Now()
	w.mu.Unlock()
}

// end notes that the operation is over.
func (w *watch) end() {
	w.mu.Lock()
	w.op = nil
	w.mu.Unlock()
}

// overdue returns a sentence when the running operation took longer than the
// limit.
func (w *watch) overdue() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.op == nil {
		return nil
	}
	took := time.Since(w.started)
	if took <= w.limit {
		return nil
	}
	return fmt.Errorf("dledger: %s has not returned for %s (limit %s): the disk hangs, "+
		"this process gives up so that the group can go on without it; check the disk before starting it again",
		w.op(), took.Round(time.Millisecond), w.limit)
}

// runWatchdog looks at the watches until stop is closed or one is overdue,
// which it tells fatal.
func runWatchdog(watches []*watch, stop <-chan struct{}, fatal func(error)) {
	shortest := watches[0].limit
	for _, w := range watches {
		shortest = min(shortest, w.limit)
	}
	tick := time.NewTicker(min(max(shortest/10, 5*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for _, w := range watches {
			if err := w.overdue(); err != nil {
				fatal(err)
				return
			}
		}
	}
}
