package dledger

import (
	"time"

	"github.com/cometmq/cometmq/internal/histogram"
)

// Operations that take longer than this are worth a warning, one of a kind every
// slowEvery: a disk that is slow once is slow all the time.
const (
	slowAppend     = 500 * time.Millisecond
	slowApply      = 500 * time.Millisecond
	slowCheckpoint = 5 * time.Second
	slowElection   = 2 * time.Second
	slowEvery      = 10 * time.Second
)

// Timings are histograms since New, of durations in nanoseconds.
type Timings struct {
	// Append is one write of entries to the log, its sync included, Commit an entry
	// on the leader from the collector until it is applied, Apply an entry in the
	// state machine, Checkpoint one checkpoint, Election the time for which this
	// member knew of no leader.
	Append, Commit, Apply, Checkpoint, Election histogram.Snapshot
	// Proposals is how many proposals shared an entry.
	Proposals histogram.Snapshot
}

// timings are those that no part of the node owns alone.
type timings struct{ appends, applies, checkpoints, elections *histogram.Histogram }

func newTimings() timings {
	return timings{histogram.Durations(), histogram.Durations(), histogram.Durations(), histogram.Durations()}
}

// newEntrySizes counts proposals in an entry.
func newEntrySizes() *histogram.Histogram {
	return histogram.New(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
}

// Timings returns the histograms, which are empty before Start.
func (n *Node) Timings() Timings {
	if !n.started.Load() {
		return Timings{}
	}
	t, c := &n.timings, n.collector
	return Timings{
		Append: t.appends.Snapshot(), Apply: t.applies.Snapshot(), Checkpoint: t.checkpoints.Snapshot(), Election: t.elections.Snapshot(),
		Commit: c.commits.Snapshot(), Proposals: c.sizes.Snapshot(),
	}
}
