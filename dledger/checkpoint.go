package dledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// checkpointer saves a checkpoint every CheckpointInterval while the state
// changes, and earlier after CheckpointBytes of new log. Raft's own schedule
// counts entries, which here are 200 bytes or 256 KiB and say nothing. It also
// looks after members whose log stands still.
func (n *Node) checkpointer() {
	every := min(max(n.cfg.CheckpointInterval/10, 5*time.Millisecond), 500*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	stalls := map[raft.ServerID]stall{}
	var saved time.Time
	var savedEnd int64
	for {
		select {
		case <-n.stop:
			return
		case <-tick.C:
		}
		n.lookForStalls(stalls)
		end := n.cfg.Store.Log().MaxOffset()
		if !n.dirty() || (time.Since(saved) < n.cfg.CheckpointInterval && end-savedEnd < n.cfg.CheckpointBytes) {
			continue
		}
		if err := n.checkpoint(); err != nil {
			n.logger.Error("cannot save a checkpoint: the log keeps every change, but the next start will take longer", "error", err)
		}
		saved, savedEnd = time.Now(), end
	}
}

// dirty says whether the state changed since the last checkpoint.
func (n *Node) dirty() bool {
	if n.failed.Load() {
		return false
	}
	applied := n.cfg.Store.AppliedIndex()
	meta := n.snaps.latest()
	return applied > 0 && (meta == nil || applied > meta.Index)
}

// checkpoint saves one. A configuration that is not applied yet is no error:
// the next tick comes. Raft takes none while it hands the leadership over, which
// lasts an election timeout at most: that is waited out, for the last checkpoint of
// a member that stops has no next tick.
func (n *Node) checkpoint() error {
	began := time.Now()
	err := n.raft.Snapshot().Error()
	for errors.Is(err, raft.ErrLeadershipTransferInProgress) && time.Since(began) < 2*n.cfg.ElectionTimeout {
		time.Sleep(checkpointRetry)
		err = n.raft.Snapshot().Error()
	}
	switch {
	case err == nil:
		n.checkpoints.Add(1)
		if took := n.timings.checkpoints.Since(began); took > slowCheckpoint {
			n.logger.Warn("slow checkpoint", "took", took.Round(time.Millisecond), "applied-index", n.cfg.Store.AppliedIndex())
		}
		return nil
	case errors.Is(err, raft.ErrNothingNewToSnapshot), errors.Is(err, raft.ErrRaftShutdown):
		return nil
	default:
		return fmt.Errorf("dledger: checkpoint: %w", err)
	}
}

// checkpointRetry is the pause before a checkpoint is tried again.
const checkpointRetry = 5 * time.Millisecond

// stall is since when a member's log stands still at an index.
type stall struct {
	index  uint64
	since  time.Time
	warned bool
}

// stallAfter is how long a member may answer heartbeats without its log moving
// while it is behind.
const stallAfter = 10 * time.Second

// lookForStalls warns of a member that answers this leader but gets no further.
// Raft itself says nothing of it: heartbeats look healthy.
func (n *Node) lookForStalls(stalls map[raft.ServerID]stall) {
	if !n.ready.Load() {
		clear(stalls)
		return
	}
	last := n.raft.LastIndex()
	for _, p := range n.servers() {
		id := p.ID
		c := n.transport.contact(id)
		if string(id) == n.cfg.SelfID || c.at.IsZero() || time.Since(c.at) > n.cfg.HeartbeatTimeout || c.lastIndex >= last {
			delete(stalls, id)
			continue
		}
		s, ok := stalls[id]
		if !ok || s.index != c.lastIndex {
			stalls[id] = stall{index: c.lastIndex, since: time.Now()}
			continue
		}
		if !s.warned && time.Since(s.since) > stallAfter {
			n.logger.Warn("a member answers but its log stands still: look at its log file and its disk",
				"peer", id, "its-last-index", c.lastIndex, "our-last-index", last, "for", time.Since(s.since).Round(time.Second))
			s.warned = true
			stalls[id] = s
		}
	}
}
