package dledger

import (
	"time"

	"github.com/hashicorp/raft"
)

// Role is what a member currently is in its group.
type Role uint8

// The roles. A node that is closed or not started reports Follower.
const (
	Follower Role = iota
	Candidate
	Leader
)

// String returns the role as operators read it.
func (r Role) String() string {
	switch r {
	case Leader:
		return "leader"
	case Candidate:
		return "candidate"
	default:
		return "follower"
	}
}

func roleOf(s raft.RaftState) Role {
	switch s {
	case raft.Leader:
		return Leader
	case raft.Candidate:
		return Candidate
	default:
		return Follower
	}
}

// RoleChange is one piece of news about who leads.
type RoleChange struct {
	// Leader says that this node leads and has applied everything any earlier
	// leader committed.
	Leader bool
	// Term is the Raft term of the news.
	Term uint64
	// LeaderID is the member that leads, or empty while nobody does.
	LeaderID string
}

// PeerStatus is what this node knows of a member.
type PeerStatus struct {
	ID   string
	Addr string
	// Voter is false for a member that only receives the log.
	Voter bool
	// Contact is when this node last heard from the member: on the leader as a
	// follower, on a follower as its leader, and on a candidate as a voter. Zero
	// if it never had to ask.
	Contact time.Time
	// LastIndex is the end of the member's log as it last told this leader,
	// this member's own included; 0 when unknown.
	LastIndex uint64
}

// Status is a snapshot of the node for operators and metrics.
type Status struct {
	Role     Role
	Term     uint64
	LeaderID string
	// Ready says that this node leads and its state is complete, so that
	// proposals are taken.
	Ready bool

	CommitIndex uint64
	// AppliedIndex is the last index handed to the state machine. Commands up to
	// it may still be in its hands; the store knows what it has finished.
	AppliedIndex uint64
	LastIndex    uint64

	Peers []PeerStatus

	// Standing is what this member is to the group, Members the index of the
	// entry that the list of members is from.
	Standing Standing
	Members  uint64

	// Sending are the members that this leader brings up from its log, Taking is
	// what this member receives in that way.
	Sending []InstallStatus
	Taking  *InstallStatus

	// Compare is the comparison of the members' logs.
	Compare CompareStatus

	// Doubt is why this member does not vote, nil when it does.
	Doubt *Doubt

	Counters Counters
}

// Counters count since New. They only grow, except Waiting and WaitingBytes,
// which are levels.
type Counters struct {
	Proposals    uint64 // accepted by Propose
	Entries      uint64 // entries handed to Raft
	EntryBytes   uint64 // their bytes
	Applied      uint64 // proposals that ended applied
	Refused      uint64 // proposals that ended before the log
	Unknown      uint64 // proposals that ended unknown
	Waiting      int64  // proposals that wait or are in flight
	WaitingBytes int64  // their bytes
	Elections    uint64 // times this node became ready as leader
	Early        uint64 // elections begun because the leader's process was gone
	Checkpoints  uint64 // checkpoints made durable
	Strangers    uint64 // connections refused by the greeting
	Withheld     uint64 // votes and pre-votes not given while in doubt
}

// LeaderID is the member that leads as far as this node knows, or "". It may be
// asked for each request.
func (n *Node) LeaderID() string {
	if !n.started.Load() {
		return ""
	}
	if id := n.leaderID(); id != "" {
		return id
	}
	return n.outsideLeader() // so that a removed member still sends requests on
}

// LeaderTerm is the term that the member which Raft takes for the leader leads in,
// 0 when there is none: the leader that an outsider knows has no term here. Asked
// for after LeaderID, it may already be that of a later leader. It may be asked
// for each request.
func (n *Node) LeaderTerm() uint64 {
	if !n.started.Load() || n.leaderID() == "" {
		return 0
	}
	return n.raft.CurrentTerm()
}

// Status describes the node. It costs a few atomic reads and two short locks,
// so a metrics endpoint may call it as often as it likes.
func (n *Node) Status() Status {
	if !n.started.Load() {
		return Status{}
	}
	s := Status{
		Term:         n.raft.CurrentTerm(),
		LeaderID:     n.leaderID(),
		Ready:        n.ready.Load(),
		CommitIndex:  n.raft.CommitIndex(),
		AppliedIndex: n.raft.AppliedIndex(),
		LastIndex:    n.raft.LastIndex(),
		Counters:     n.collector.snapshot(),
	}
	s.Role = roleOf(n.raft.State())
	s.Standing, s.Members = n.Standing(), n.fsm.configuration().index
	s.Sending, s.Taking = n.installs.list()
	s.Compare = n.compared()
	s.Doubt, s.Counters.Withheld = n.doubt(), n.withheldVotes()
	s.Counters.Elections = n.elections.Load()
	s.Counters.Early = n.early.Load()
	s.Counters.Checkpoints = n.checkpoints.Load()
	s.Counters.Strangers = n.streams.strangers.Load()

	conf := n.raft.GetConfiguration()
	if conf.Error() != nil {
		return s
	}
	for _, server := range conf.Configuration().Servers {
		p := PeerStatus{ID: string(server.ID), Addr: string(server.Address), Voter: server.Suffrage == raft.Voter}
		switch {
		case p.ID == n.cfg.SelfID:
			p.LastIndex = s.LastIndex
		case s.Role == Leader:
			c := n.transport.contact(server.ID)
			p.Contact, p.LastIndex = c.at, c.lastIndex
		case p.ID == s.LeaderID:
			p.Contact = n.raft.LastContact()
		default:
			p.Contact = n.transport.contact(server.ID).at
		}
		s.Peers = append(s.Peers, p)
	}
	return s
}
