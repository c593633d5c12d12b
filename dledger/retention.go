package dledger

import (
	"time"

	"github.com/hashicorp/raft"
)

// laggingFor is how long ago a member may have answered for its place in the
// log to hold messages back. One that is away for longer is brought up from a
// snapshot when it returns.
const laggingFor = time.Hour

// Checkpoint saves the state now, so that the log before it may be removed.
func (n *Node) Checkpoint() error {
	if !n.started.Load() || n.closed.Load() || !n.dirty() {
		return nil
	}
	return n.checkpoint()
}

// FirstNeeded returns the index of the first entry of the log that Raft still
// needs; those before it may be removed by retention. What comes after the last
// checkpoint is read at every start. On the leader a member that lags holds back
// what it has not got, unless the disk is so full that forced says it must not.
func (n *Node) FirstNeeded(forced bool) uint64 {
	if !n.started.Load() {
		return 0
	}
	meta := n.snaps.latest()
	if meta == nil {
		return 0
	}
	needed := meta.Index + 1
	if forced || !n.ready.Load() {
		return needed
	}
	for _, s := range meta.Configuration.Servers {
		if s.ID == raft.ServerID(n.cfg.SelfID) {
			continue
		}
		if next, running := n.installs.firstNeeded(string(s.ID)); running {
			needed = min(needed, next)
			continue
		}
		c := n.transport.contact(s.ID)
		// Its last entry too: Raft names it when it sends the next one. What is
		// gone already cannot be kept for it; it is sent the whole log.
		if gone := c.lastIndex+1 < n.cfg.Store.Log().FirstIndex(); !gone && time.Since(c.at) < laggingFor {
			needed = min(needed, c.lastIndex)
		}
	}
	return needed
}
