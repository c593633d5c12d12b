package dledger

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A member in doubt has lost entries that it acknowledged, or its term and vote.
// If it took part in elections as if nothing had happened, it could help a leader
// into office that lacks acknowledged messages, or vote twice in a term. So it
// gives no vote and no pre-vote, stands in no election and lets nobody hand it the
// leadership, until it holds again everything that it can have promised.
// docs/adr/0011 has the argument why that is enough.
//
// That it is in doubt is kept in stable.db, and survives a crash:
//
//   - Of a member that knows its term, every leader it still listens to has all
//     that it acknowledged. It takes entries as ever, and its doubt ends when its
//     log reaches as far as such a leader's did at some moment since.
//   - A member that forgot its term and has a log could listen to a leader that
//     was deposed with its own help. It first asks the others for their terms: of
//     so many that one of them must know of everything it took part in. It listens
//     to no older term than the newest one told. Its forgotten votes are the
//     matter of blank.go: it is blank, too.
//
// A member whose disk is empty is blank and not in doubt.

// keyDoubt keeps a doubt as JSON; empty or absent: there is none.
const keyDoubt = "cometmq.doubt"

// Doubt is why a member does not vote.
type Doubt struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Forgot: term and vote are forgotten too. Floor is the term that a leader
	// must have at least, 0 until the others told.
	Forgot bool   `json:"forgot,omitempty"`
	Floor  uint64 `json:"floor,omitempty"`
	// Target is the index that the log must reach, once it is known.
	Target uint64 `json:"-"`
}

// deaf says that no leader can be told from a deposed one yet.
func (d *Doubt) deaf() bool { return d.Forgot && d.Floor == 0 }

// doubting is a node's doubt, if it has one.
type doubting struct {
	mu       sync.Mutex
	now      *Doubt
	target   doubtTarget
	withheld uint64        // votes and pre-votes that were not given
	wake     chan struct{} // capacity 1: a doubt arose
}

// doubtTarget is an entry of a leader's log.
type doubtTarget struct {
	leader string
	term   uint64 // of the leader
	index  uint64
	of     uint64 // the entry's term
}

// doubt returns a copy of the doubt, nil if there is none.
func (n *Node) doubt() *Doubt {
	n.doubting.mu.Lock()
	defer n.doubting.mu.Unlock()
	if n.doubting.now == nil {
		return nil
	}
	d := *n.doubting.now
	d.Target = n.doubting.target.index
	return &d
}

func (n *Node) withheldVotes() uint64 {
	n.doubting.mu.Lock()
	defer n.doubting.mu.Unlock()
	return n.doubting.withheld
}

// loadDoubt reads what stable.db says; forgot: it was damaged and begun anew.
func (n *Node) loadDoubt(forgot bool) error {
	d, err := n.stable.doubt()
	if err != nil {
		return err
	}
	n.setDoubt(d)
	if forgot {
		return n.enterDoubt("the file of its term and vote was damaged", true)
	}
	return nil
}

func (n *Node) setDoubt(d *Doubt) {
	n.doubting.mu.Lock()
	n.doubting.now, n.doubting.target = d, doubtTarget{}
	n.doubting.mu.Unlock()
	if d == nil {
		return
	}
	select {
	case n.doubting.wake <- struct{}{}:
	default:
	}
}

// enterDoubt makes a doubt durable and lets it count. A doubt that exists is
// made worse only.
func (n *Node) enterDoubt(reason string, forgot bool) error {
	if old := n.doubt(); old != nil && (old.Forgot || !forgot) {
		return nil
	}
	if len(n.cfg.Peers) == 1 {
		return fmt.Errorf("dledger: %s, and this group has no other member that could help; "+
			"restore %s and the store from one copy, or begin an empty store", reason, n.stable.path)
	}
	d := &Doubt{Reason: reason, Since: time.Now().UTC(), Forgot: forgot}
	if err := n.stable.setDoubt(d); err != nil {
		return err
	}
	n.logger.Warn("this member does not vote until it holds again what it may have acknowledged", "reason", reason, "term-forgotten", forgot)
	n.setDoubt(d)
	return nil
}

// withhold answers a call of another member in place of Raft if this member is
// in doubt or blank; it returns false for what Raft may answer.
func (n *Node) withhold(rpc raft.RPC) bool {
	if req, ok := rpc.Command.(*raft.AppendEntriesRequest); ok && n.deafTo(req.Term) {
		rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: n.rpcHeader()}, errDeaf)
		return true
	}
	d := n.doubt()
	if d == nil {
		return false
	}
	switch rpc.Command.(type) {
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest:
		n.doubting.mu.Lock()
		n.doubting.withheld++
		n.doubting.mu.Unlock()
	}
	header := n.rpcHeader()
	var term uint64
	if r := n.running.Load(); r != nil {
		term = r.CurrentTerm()
	}
	switch req := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		rpc.Respond(&raft.RequestVoteResponse{RPCHeader: header, Term: term}, nil)
	case *raft.RequestPreVoteRequest:
		rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: header, Term: term}, nil)
	case *raft.TimeoutNowRequest:
		rpc.Respond(&raft.TimeoutNowResponse{RPCHeader: header}, n.inDoubt(d))
	case *raft.AppendEntriesRequest:
		if !d.Forgot || !d.deaf() && req.Term >= d.Floor {
			return false
		}
		// An error, because an answer of any other kind counts as contact and would
		// keep a deposed leader in office.
		rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: header}, n.inDoubt(d))
	default:
		return false
	}
	return true
}

// errDeaf keeps a blank member from counting for a leader that may be deposed. An
// error, as below: any other answer counts as contact.
var errDeaf = errors.New("this member's disk was empty: it listens to no leader before it knows which terms are over")

func (n *Node) rpcHeader() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.cfg.SelfID), Addr: []byte(n.cfg.self().Addr)}
}

// mayStand says whether this member may ask for votes.
func (n *Node) mayStand() error {
	if d := n.doubt(); d != nil {
		return n.inDoubt(d)
	}
	return nil
}

func (n *Node) inDoubt(d *Doubt) error {
	return fmt.Errorf("member %q is in doubt about its log: %s", n.cfg.SelfID, d.Reason)
}

// doubtPause is the time between two looks at how far a member in doubt is.
const doubtPause = 50 * time.Millisecond

// resolveDoubt runs until n.stop is closed.
func (n *Node) resolveDoubt() {
	for {
		select {
		case <-n.stop:
			return
		case <-n.doubting.wake:
		}
		asked := time.Time{}
		for d := n.doubt(); d != nil; d = n.doubt() {
			done, err := n.tryResolve(d)
			switch {
			case done:
				n.logger.Info("this member holds again what it may have acknowledged", "reason", d.Reason, "took", time.Since(d.Since).Round(time.Millisecond))
			case err != nil && time.Since(asked) > stallAfter:
				asked = time.Now()
				n.logger.Warn("this member does not vote yet", "reason", d.Reason, "waits-for", err)
			}
			if !n.sleep(doubtPause) {
				return
			}
		}
	}
}

// tryResolve takes the next step out of a doubt. The error says what is missing.
func (n *Node) tryResolve(d *Doubt) (done bool, err error) {
	if d.deaf() {
		return false, n.learnFloor(d)
	}
	leader := n.leaderID()
	if leader == "" || leader == n.cfg.SelfID {
		return false, errors.New("a leader")
	}
	n.doubting.mu.Lock()
	target := n.doubting.target
	n.doubting.mu.Unlock()
	term := n.raft.CurrentTerm()
	if target.term != term || target.leader != leader {
		if target, err = n.leaderEnd(leader, term); err != nil {
			return false, err
		}
		n.doubting.mu.Lock()
		n.doubting.target = target
		n.doubting.mu.Unlock()
	}
	log := n.cfg.Store.Log()
	if log.LastIndex() < target.index {
		return false, fmt.Errorf("entry %d of the leader %q", target.index, leader)
	}
	// An index below the log's begin was received with a checkpoint, which only
	// committed entries are in.
	if target.index >= log.FirstIndex() {
		e, _, err := log.Read(target.index)
		if err != nil || e.Term != target.of {
			return false, fmt.Errorf("entry %d of term %d of the leader %q", target.index, target.of, leader)
		}
	}
	if _, taking := n.installs.list(); taking != nil {
		return false, errors.New("the end of a transfer")
	}
	if err := n.endDoubt(); err != nil {
		return false, err
	}
	return true, nil
}

// endDoubt lets this member vote again, if it is not blank as well.
func (n *Node) endDoubt() error {
	if err := n.stable.setDoubt(nil); err != nil {
		return err
	}
	n.setDoubt(nil)
	return nil
}

// leaderEnd asks a leader how far its log reaches.
func (n *Node) leaderEnd(id string, term uint64) (doubtTarget, error) {
	var s memberState
	addr := n.transport.address(raft.ServerID(id), "")
	if server := serverOf(raft.Configuration{Servers: n.servers()}, id); addr == "" && server != nil {
		addr = server.Address
	}
	if err := n.streams.call(addr, callTimeout, call{Op: opState}, &s); err != nil {
		return doubtTarget{}, fmt.Errorf("an answer of the leader %q: %w", id, err)
	}
	if s.ID != id || s.Role != Leader || s.Term != term || s.LastTerm == 0 {
		return doubtTarget{}, fmt.Errorf("a leader that says so: %q is a %s of term %d", s.ID, s.Role, s.Term)
	}
	return doubtTarget{leader: id, term: term, index: s.LastIndex, of: s.LastTerm}, nil
}

// learnFloor asks the others for their terms. Whatever this member took part in,
// a majority did with it: of the others, one less than a majority. So many of the
// others that only less than that are left must answer, and know their terms.
func (n *Node) learnFloor(d *Doubt) error {
	states := n.survey(n.others(), callTimeout)
	voters, floor, newest := len(n.cfg.Peers), uint64(1), uint64(0)
	answered := 0
	for _, s := range states {
		if s.Deaf || s.Blank != 0 {
			continue
		}
		answered++
		floor = max(floor, s.Term)
		if s.Voters > 0 && s.LastIndex >= newest {
			voters, newest = s.Voters, s.LastIndex
		}
	}
	if needed := voters - (voters/2 + 1) + 1; answered < needed {
		return fmt.Errorf("the terms of %d other members, of which %d answered", needed, answered)
	}
	known := *d
	known.Floor = floor
	if err := n.stable.setDoubt(&known); err != nil {
		return err
	}
	n.logger.Info("learned from the others which terms are over", "floor", floor)
	n.setDoubt(&known)
	return nil
}
