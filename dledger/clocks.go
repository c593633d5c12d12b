package dledger

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The group's clock begins with the wall clock of whoever becomes leader (clock).
// One machine whose clock is ahead would take the group's time ahead with it for
// good: every delayed message early, every file too old. So members ask each other
// for the time now and then, and a new leader whose clock is not the group's begins
// with the one in the middle: of three members one may be wrong in either
// direction. Of an even number it is the earlier of the two, because late is
// better than early, and the log keeps time from going back.
const (
	opClock = "clock" // answered with a clockReading

	// clocksEvery is the time between two rounds of questions, clocksFirst that after
	// the first one, from where it doubles.
	clocksEvery = 10 * time.Second
	clocksFirst = 100 * time.Millisecond
	// clockKept is how long a reading counts. Elections are held without the leader,
	// whose clock is one of the right ones as a rule.
	clockKept = 2 * time.Minute
	// clockSlack is what clocks may differ by before the middle one is taken. The
	// usual difference of machines with NTP is far below, and so is the error of the
	// measurement; each change of the leader would add its own to the group's time if
	// nobody followed the wall clock.
	clockSlack = time.Second
)

// clockReading is what a member's wall clock shows, in unix ns.
type clockReading struct {
	At int64 `json:"at"`
}

// clockOffset is how far a member's wall clock is from this node's monotonic one.
// It holds whatever happens to this node's wall clock.
type clockOffset struct {
	wall int64         // unix ns
	at   time.Duration // by clock.mono
}

// peerClocks are the others' clocks as last read.
type peerClocks struct {
	mu   sync.Mutex
	read map[string]clockOffset
}

func (p *peerClocks) put(id string, o clockOffset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.read == nil {
		p.read = map[string]clockOffset{}
	}
	p.read[id] = o
}

// keep forgets all but these members.
func (p *peerClocks) keep(ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.read {
		if !slices.Contains(ids, id) {
			delete(p.read, id)
		}
	}
}

// middle returns the clock in the middle of own and of the others' that were read
// within clockKept before now, all in unix ns.
func (p *peerClocks) middle(own int64, now time.Duration) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []int64{own}
	for _, o := range p.read {
		if now-o.at <= clockKept {
			all = append(all, o.wall+int64(now-o.at))
		}
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// watchClocks reads the others' clocks until n.stop is closed.
func (n *Node) watchClocks() {
	wrong := false
	for pause := clocksFirst; ; pause = min(2*pause, clocksEvery) {
		n.readClocks()
		ahead := n.clock.ahead()
		if now := ahead.Abs() > clockSlack; now != wrong {
			if wrong = now; wrong {
				n.logger.Warn("this machine's clock differs from most members' clocks: look at its NTP or PTP service", "ahead", ahead.Round(time.Millisecond))
			} else {
				n.logger.Info("this machine's clock is right again")
			}
		}
		select {
		case <-n.stop:
			return
		case <-time.After(pause):
		}
	}
}

// readClocks asks all other members for the time at once.
func (n *Node) readClocks() {
	var asking sync.WaitGroup
	var ids []string
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == n.cfg.SelfID {
			continue
		}
		ids = append(ids, string(s.ID))
		asking.Go(func() { n.readClock(s) })
	}
	n.clock.others.keep(ids)
	asking.Wait()
}

// readClock asks a member for the time. It was that at some moment between the
// question and the answer, and counts as if it had been at the last one: a clock
// that is taken over is then late by a part of a round trip, and never early. What
// took long is not used.
func (n *Node) readClock(s raft.Server) {
	var r clockReading
	addr := n.transport.address(s.ID, s.Address)
	asked := n.clock.mono()
	if err := n.streams.call(addr, callTimeout, call{Op: opClock}, &r); err != nil {
		n.logger.Debug("a member does not tell the time", "peer", s.ID, "error", err)
		return
	}
	if now := n.clock.mono(); now-asked < clockSlack {
		n.clock.others.put(string(s.ID), clockOffset{wall: r.At, at: now})
	}
}
