package dledger

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// When a process dies, its kernel closes the connections and refuses new ones.
// A follower that sees both knows at once what its timers would tell it after
// 0.4 to 0.6 s, and stands for election right away; docs/adr/0007 says why that
// is safe. Nothing else starts an early election: not a timeout, not a network
// that drops packets, not a process that stands still, and not a closed
// connection alone.

const (
	// greetAgainAfter is the pause before a member is dialled again that took a
	// connection and dropped it: a dying process closes its listener and its
	// connections one after the other.
	greetAgainAfter = 2 * time.Millisecond

	// earlyPause, in heartbeat timeouts, is the least time between two early
	// elections of one member. What keeps dying or keeps being refused after
	// that is left to the timers.
	earlyPause = 5
)

// watchPeers waits for connections of the leader to end. It runs until n.stop
// is closed.
func (n *Node) watchPeers() {
	var last time.Time
	var term uint64 // whose leader was followed by an early election last
	for {
		select {
		case <-n.stop:
			return
		case id := <-n.streams.gone:
			h := n.transport.others()
			if h.leader != id || h.term <= term || time.Since(last) < n.earlyPause {
				continue
			}
			if n.follow(h) {
				term, last = h.term, time.Now()
			}
		}
	}
}

// follow looks whether the leader whose connection ended is dead, and then tries
// to take its place. It returns whether an election was begun.
//
// Two members that stand at once split the votes and leave the group to its
// timers. So each asks the others how long their logs are: the best one stands
// at once, the next ones later, and nobody while a better one is at it.
func (n *Node) follow(h heard) bool {
	dead := raft.ServerID(h.leader)
	addr, others, ok := n.electorate(dead)
	// Whoever came before us has our vote or leads by now; then this is false.
	wanted := func() bool {
		_, leader := n.raft.LeaderWithID()
		return n.raft.State() == raft.Follower && (leader == "" || leader == dead) && n.mayFollow(h.term)
	}
	if !ok || n.raft.State() != raft.Follower || !n.refuses(n.transport.address(dead, addr)) {
		return false
	}
	n.logger.Warn("the leader's process is gone: its connection was closed and its port refuses", "leader", dead, "term", h.term)
	began := time.Now()
	for {
		states := n.survey(others, surveyTimeout)
		place, better, worse := standings(n.state(), states, h.term)
		for _, s := range others {
			silent := !slices.ContainsFunc(states, func(m memberState) bool { return m.ID == string(s.ID) })
			if silent && string(s.ID) < n.cfg.SelfID {
				place++ // it may be alive and slow, and then one of us has to wait
			}
		}
		waited := time.Since(began)
		// Whoever has the shorter log and stands all the same must have been told
		// so before we stand, in the term after his.
		untold := worse && n.raft.CurrentTerm() == h.term && waited < 2*n.cfg.ElectionStagger
		if !better && !untold && waited >= time.Duration(place)*n.cfg.ElectionStagger {
			break
		}
		if waited > n.cfg.HeartbeatTimeout || !n.sleep(surveyPause) {
			return false
		}
	}
	if !n.transport.timeoutNow(n.cfg.SelfID, wanted) {
		return false
	}
	n.early.Add(1)
	n.logger.Info("standing for election before the timers", "after", time.Since(began))
	return true
}

// surveyTimeout is how long a member may take to say how long its log is, which
// needs no disk; surveyPause is the time between two questions.
const (
	surveyTimeout = 30 * time.Millisecond
	surveyPause   = 10 * time.Millisecond
)

// standings counts those whose claim to follow the leader of a term is better
// than ours: a longer log, or an equal one and the lower ID. It also says whether
// one with a better or a worse claim already stands or leads.
func standings(self memberState, others []memberState, term uint64) (place int, better, worse bool) {
	for _, o := range others {
		if o.Doubt {
			continue // it will not stand, whatever its log holds
		}
		stands := o.Role != Follower || o.Term > term
		if cmp.Or(cmp.Compare(o.LastTerm, self.LastTerm), cmp.Compare(o.LastIndex, self.LastIndex), cmp.Compare(self.ID, o.ID)) > 0 {
			place++
			better = better || stands
		} else {
			worse = worse || stands
		}
	}
	return place, better, worse
}

// electorate lists the voters beside this member and the dead leader, and the
// leader's address. It returns false for a member that does not vote.
func (n *Node) electorate(dead raft.ServerID) (addr raft.ServerAddress, others []raft.Server, ok bool) {
	conf := n.raft.GetConfiguration()
	if n.cfg.ElectionStagger < 0 || conf.Error() != nil || n.isBlank() {
		return "", nil, false
	}
	for _, s := range conf.Configuration().Servers {
		switch {
		case s.ID == dead:
			addr = s.Address
		case s.Suffrage != raft.Voter:
		case string(s.ID) == n.cfg.SelfID:
			ok = true
		default:
			others = append(others, s)
		}
	}
	return addr, others, ok
}

// mayFollow says whether this member could win after the leader of a term:
// nobody has its vote in a later one, that leader has sent it entries, its log
// matches them, and it has everything that it knows to be committed.
func (n *Node) mayFollow(term uint64) bool {
	h := n.transport.others()
	return n.doubt() == nil && h.voting == 0 && h.voted <= term && h.term == term && n.raft.LastIndex() >= h.needed
}

// refuses dials a member whose connection ended: true means that nobody listens
// there any more. Everything else, silence above all, is no proof of a death.
func (n *Node) refuses(addr raft.ServerAddress) bool {
	end := time.Now().Add(n.cfg.HeartbeatTimeout)
	for left := n.cfg.HeartbeatTimeout; left > 0; left = time.Until(end) {
		c, err := n.streams.Dial(addr, left)
		switch {
		case err == nil:
			c.Close()
			return false
		case errors.Is(err, syscall.ECONNREFUSED):
			return true
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			if !n.sleep(greetAgainAfter) {
				return false
			}
		default:
			return false
		}
	}
	return false
}

// sleep waits; it returns false when the node ends meanwhile.
func (n *Node) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-n.stop:
		return false
	case <-timer.C:
		return true
	}
}
