package dledger

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// reporter calls the OnRole callbacks in order from one goroutine. The queue
// between keeps a slow callback from holding up Raft; it grows by elections
// only.
type reporter struct {
	callbacks []func(RoleChange)
	wake      chan struct{}
	done      sync.WaitGroup

	mu     sync.Mutex
	queue  []RoleChange
	closed bool
}

func newReporter(callbacks []func(RoleChange)) *reporter {
	r := &reporter{callbacks: callbacks, wake: make(chan struct{}, 1)}
	r.done.Go(r.run)
	return r
}

func (r *reporter) report(c RoleChange) {
	r.mu.Lock()
	r.queue = append(r.queue, c)
	r.mu.Unlock()
	r.nudge()
}

func (r *reporter) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// close delivers what is queued and returns when the last callback did.
func (r *reporter) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.nudge()
	r.done.Wait()
}

func (r *reporter) run() {
	for range r.wake {
		r.mu.Lock()
		queue, closed := r.queue, r.closed
		r.queue = nil
		r.mu.Unlock()
		for _, c := range queue {
			for _, fn := range r.callbacks {
				fn(c)
			}
		}
		if closed {
			return
		}
	}
}

// operations are goroutines that wait for an answer of Raft's. Raft must run
// until they have it.
type operations struct {
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

// start runs fn on a goroutine, or returns false after end.
func (o *operations) start(fn func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return false
	}
	o.running.Go(fn)
	return true
}

// end waits for all of them and lets no more begin.
func (o *operations) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.running.Wait()
}

// barrierDone is the end of the barrier of one tenure.
type barrierDone struct {
	tenure uint64
	term   uint64
	err    error
}

// watchRole follows Raft's leadership and turns it into ours: leader means that
// everything an earlier leader committed is applied, which a barrier proves.
// It runs until n.stop is closed.
//
// Raft tells through two channels. notify has every gain and loss of leadership
// in order, and Raft's main goroutine waits for us to take it, so nothing in
// here may block. observed says that a leader is known or gone; it may drop
// news, so only the fact that there was some is used.
func (n *Node) watchRole() {
	var tenure uint64
	barriers := make(chan barrierDone, 1)
	known := ""
	unled := leaderless{since: time.Now()}
	for {
		select {
		case <-n.stop:
			return

		case gained := <-n.notify:
			tenure++
			if gained {
				n.clock.reset()
				n.startBarrier(tenure, barriers)
				continue
			}
			known = n.leaderID()
			n.loseLeadership(known)
			unled.note(n, known)

		case b := <-barriers:
			if b.tenure != tenure {
				continue
			}
			if b.err != nil {
				// Leadership was lost again, which notify tells next, or the
				// disk is full and Raft steps down by itself.
				n.logger.Debug("barrier of a new leader failed", "term", b.term, "error", b.err)
				continue
			}
			known = n.cfg.SelfID
			n.gainLeadership(b.term)
			unled.note(n, known)

		case <-n.observed:
			leader := n.leaderID()
			if leader == known || leader == n.cfg.SelfID {
				continue // our own leadership is reported after its barrier
			}
			known = leader
			unled.note(n, leader)
			if !n.ready.Load() {
				n.reporter.report(RoleChange{Term: n.raft.CurrentTerm(), LeaderID: leader})
			}
		}
	}
}

// leaderless measures for how long no leader was known.
type leaderless struct{ since time.Time } // zero while there is one

func (l *leaderless) note(n *Node, leader string) {
	switch {
	case leader == "" && l.since.IsZero():
		l.since = time.Now()
	case leader != "" && !l.since.IsZero():
		took := n.timings.elections.Since(l.since)
		l.since = time.Time{}
		if took > slowElection {
			n.logger.Warn("the group was without a leader", "for", took.Round(time.Millisecond), "leader", leader, "term", n.raft.CurrentTerm())
		}
	}
}

// startBarrier waits beside the role goroutine for everything before this
// leadership to be applied.
func (n *Node) startBarrier(tenure uint64, to chan<- barrierDone) {
	n.operations.start(func() {
		future := n.raft.Barrier(0)
		b := barrierDone{tenure: tenure, err: future.Error(), term: n.raft.CurrentTerm()}
		// Leadership may have moved on meanwhile: the barrier's own entry knows
		// the term it was written in.
		if f, ok := future.(raft.IndexFuture); ok && b.err == nil {
			var l raft.Log
			if err := n.logs.GetLog(f.Index(), &l); err == nil {
				b.term = l.Term
			}
		}
		select {
		case to <- b:
		case <-n.stop:
		}
	})
}

// gainLeadership opens the collector before anybody hears of it, so that a
// callback may propose.
func (n *Node) gainLeadership(term uint64) {
	n.elections.Add(1)
	n.ready.Store(true)
	n.collector.open(term)
	n.logger.Info("leads the group", "term", term, "last-index", n.raft.LastIndex())
	n.reporter.report(RoleChange{Leader: true, Term: term, LeaderID: n.cfg.SelfID})
}

// loseLeadership refuses what waits and tells everybody.
func (n *Node) loseLeadership(leader string) {
	was := n.ready.Swap(false)
	n.collector.shut(ErrNotLeader)
	if leader == n.cfg.SelfID {
		leader = ""
	}
	if was {
		n.logger.Info("no longer leads the group", "term", n.raft.CurrentTerm(), "leader", leader)
	}
	n.reporter.report(RoleChange{Term: n.raft.CurrentTerm(), LeaderID: leader})
	select {
	case n.lost <- struct{}{}:
	default:
	}
}

// leaderID is the member Raft takes for the leader, or "".
func (n *Node) leaderID() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}
