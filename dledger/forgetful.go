package dledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A member that comes back with an old copy of its disk, or with one that lost
// writes it had called durable, looks sound to itself: all checksums fit. It lacks
// entries that it acknowledged, and could vote a leader into office that lacks them
// too. The leader that it acknowledged them to knows better: within one leader's
// term a log that matches never becomes shorter. So the leader tells it, and the
// member is in doubt (doubt.go) until it has everything again.
//
// Nobody knows once that leader is gone as well: an old copy of a disk may be put
// in only while the group has its leader.
const opForgot = "forgot" // with a loss; answered with nothing

// loss is what a member had acknowledged and has no more.
type loss struct {
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`  // of the leader
	Index  uint64 `json:"index"` // the last entry that it had acknowledged
}

// losses are the members that have to be told.
type losses struct {
	mu   sync.Mutex
	open map[raft.ServerID]loss
	wake chan struct{} // capacity 1
}

// note is called for an answer that says less than an earlier one.
func (l *losses) note(id raft.ServerID, lost loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.open[id]; old.Term == lost.Term {
		lost.Index = max(lost.Index, old.Index)
	}
	l.open[id] = lost
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// list returns a copy.
func (l *losses) list() map[raft.ServerID]loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.open)
}

// done forgets what a member was told, if nothing was added since.
func (l *losses) done(id raft.ServerID, told loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[id] == told {
		delete(l.open, id)
	}
}

// forgotPause is the time until a member that did not answer is told again.
const forgotPause = 200 * time.Millisecond

// tellForgetful tells members what they lack until n.stop is closed.
func (n *Node) tellForgetful() {
	for {
		select {
		case <-n.stop:
			return
		case <-n.losses.wake:
		}
		for open := n.losses.list(); len(open) > 0; open = n.losses.list() {
			for id, lost := range open {
				if n.raft.State() != raft.Leader || n.raft.CurrentTerm() != lost.Term {
					n.losses.done(id, lost) // the next leader's matter, who does not know
					continue
				}
				if err := n.tellLoss(id, lost); err != nil {
					n.logger.Debug("a member was not told what it lacks", "peer", id, "error", err)
					continue
				}
				n.losses.done(id, lost)
			}
			if len(n.losses.list()) > 0 && !n.sleep(forgotPause) {
				return
			}
		}
	}
}

func (n *Node) tellLoss(id raft.ServerID, lost loss) error {
	body, err := json.Marshal(lost)
	if err != nil {
		return err
	}
	var addr raft.ServerAddress
	if s := serverOf(raft.Configuration{Servers: n.servers()}, string(id)); s != nil {
		addr = s.Address
	}
	var answer struct{}
	err = n.streams.call(n.transport.address(id, addr), callTimeout, call{Op: opForgot, Body: body}, &answer)
	if refused := refusal(""); errors.As(err, &refused) {
		n.logger.Warn("a member does not want to know what it lacks", "peer", id, "says", refused)
		return nil
	}
	return err
}

// lacks is the member's side. It looks for itself: an answer to a heartbeat can
// be older than what was acknowledged after it, and come later.
func (n *Node) lacks(body []byte, from string) error {
	var lost loss
	if err := json.Unmarshal(body, &lost); err != nil {
		return fmt.Errorf("%w: %w", errStranger, err)
	}
	if r := n.running.Load(); r == nil || lost.Leader != from || lost.Term < r.CurrentTerm() || n.isBlank() {
		return nil
	}
	last := n.cfg.Store.Log().LastIndex()
	if last >= lost.Index {
		return nil
	}
	return n.enterDoubt(fmt.Sprintf("its log ended with entry %d, and it had acknowledged entry %d to the leader %q: "+
		"this is an old copy of its disk, or the disk lost what it had called durable", last, lost.Index, lost.Leader), false)
}
