package dledger

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A member whose log is behind, but not behind the beginning of the leader's, is
// sent what it lacks by Raft: 64 entries at a time, as fast as both disks go.
// Senders feel that. So entries that are committed already are sent in small
// pieces at InstallRate, as a transfer beside Raft is (install.go), unless the
// group needs this member to commit anything: then it cannot be too early.

// catchupPiece is how much is sent, and synced by the receiver, in one call.
const catchupPiece = 256 << 10

// catchups pace what members that are behind are sent. The zero value does not.
type catchups struct {
	rate  int64        // bytes a second; 0 or less: as fast as it goes
	end   func() int64 // of the log
	spare func(id raft.ServerID, commit uint64) bool

	mu    sync.Mutex
	peers map[raft.ServerID]*allowance
}

// allowance is how much may be sent to one member at once.
type allowance struct {
	bytes int64
	at    time.Time
	end   int64
}

// take spends n bytes and returns how long to wait before they are sent. The log
// grows meanwhile, and what it grows by is allowed on top: with any rate a member
// comes nearer. What is not used is not saved up.
func (a *allowance) take(n, rate, end int64, now time.Time) time.Duration {
	if a.at.IsZero() {
		a.at, a.end = now, end
	}
	a.bytes += int64(now.Sub(a.at).Seconds()*float64(rate)) + max(end-a.end, 0)
	a.bytes = min(a.bytes, catchupPiece) - n
	a.at, a.end = now, end
	if a.bytes >= 0 {
		return 0
	}
	return time.Duration(float64(-a.bytes) / float64(rate) * float64(time.Second))
}

// wait spends n bytes of a member's allowance. It is false when stop was closed.
func (c *catchups) wait(id raft.ServerID, n int64, stop <-chan struct{}) bool {
	c.mu.Lock()
	a := c.peers[id]
	if a == nil {
		if c.peers == nil {
			c.peers = map[raft.ServerID]*allowance{}
		}
		a = &allowance{}
		c.peers[id] = a
	}
	pause := a.take(n, c.rate, c.end(), time.Now())
	c.mu.Unlock()
	if pause <= 0 {
		return true
	}
	select {
	case <-time.After(pause):
		return true
	case <-stop:
		return false
	}
}

func (c *catchups) forget(id raft.ServerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.peers, id)
}

// paced says whether a request is for a member that is behind, and may take its
// time: it is as long as Raft makes them, and the others have committed it all.
func (c *catchups) paced(id raft.ServerID, req *raft.AppendEntriesRequest) bool {
	n := len(req.Entries)
	return c.rate > 0 && n == maxAppendEntries && req.Entries[n-1].Index <= req.LeaderCommitIndex && c.spare(id, req.LeaderCommitIndex)
}

// appendSlowly sends a request as several small ones. Each is one that Raft could
// have made; the last answer stands for all, and when one fails Raft begins again
// with what the member says it has.
func (t *transport) appendSlowly(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	part := *req
	for rest := req.Entries; len(rest) > 0; {
		n, size := 0, int64(0)
		for n < len(rest) && (n == 0 || size+int64(len(rest[n].Data)) <= catchupPiece) {
			size += int64(len(rest[n].Data))
			n++
		}
		if !t.catchups.wait(id, size, t.streams.stop) {
			return ErrClosed
		}
		part.Entries, rest = rest[:n], rest[n:]
		*resp = raft.AppendEntriesResponse{}
		if err := t.appendEntries(id, to, &part, resp); err != nil || !resp.Success || resp.Term > req.Term {
			return err
		}
		last := part.Entries[n-1]
		part.PrevLogEntry, part.PrevLogTerm = last.Index, last.Term
	}
	return nil
}

// commitsWithout says whether the voters other than one, which answer and have
// what is committed, are enough to commit more.
func (n *Node) commitsWithout(id raft.ServerID, commit uint64) bool {
	voters, able := 0, 0
	for _, s := range n.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID != id && n.missing(s, commit) == "" {
			able++
		}
	}
	return able > voters/2
}
