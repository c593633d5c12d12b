package dledger

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Standing is what a member is to its group.
type Standing string

// The standings.
const (
	// Founding: its disk is empty and it knows of no group yet.
	Founding Standing = "founding"
	// Joining: its disk was empty, the group exists, and it is not a member yet
	// or has not yet got what the group had when it came.
	Joining Standing = "joining"
	// Receiving: it gets the log and does not vote.
	Receiving Standing = "non-voter"
	// Voting is what members are as a rule.
	Voting Standing = "voter"
	// Removed: the group goes on without it.
	Removed Standing = "removed"
)

const (
	// memberTick is how often a member looks at its standing.
	memberTick = 500 * time.Millisecond
	// outsideLogEvery is how often a removed member says so.
	outsideLogEvery = time.Minute
)

// memberNews is what watchMembers last knew.
type memberNews struct {
	mu       sync.Mutex
	standing Standing
	leader   string // of the group that removed this member
	config   uint64
	logged   time.Time
	wake     chan struct{} // capacity 1
}

// OnMember registers a function that is called when the members of the group or
// the standing of this one may have changed. It must be called before Start, must
// not block, and may be called for nothing.
func (n *Node) OnMember(fn func()) { n.onMember = fn }

// Standing is what this member is to its group.
func (n *Node) Standing() Standing {
	if !n.started.Load() {
		return Founding
	}
	n.members.mu.Lock()
	removed := n.members.standing == Removed
	n.members.mu.Unlock()
	b, conf := n.blank.Load(), n.servers()
	self := serverOf(raft.Configuration{Servers: conf}, n.cfg.SelfID)
	switch {
	case removed:
		return Removed
	case b != nil && b.Floor == 0 && len(conf) == 0 && n.leaderID() == "":
		return Founding
	case self == nil, b != nil && (b.Floor == 0 || n.raft.AppliedIndex() < b.Floor):
		return Joining
	case self.Suffrage != raft.Voter, b != nil:
		return Receiving
	default:
		return Voting
	}
}

// isBlank says whether this member must neither vote nor stand.
func (n *Node) isBlank() bool { return n.blank.Load() != nil }

// watchMembers founds the group or gets this member into it, notices when it was
// removed, and on the leader measures how the others come on. It runs until
// n.stop is closed.
func (n *Node) watchMembers() {
	n.warnOfDifference()
	var f founding
	for {
		pause := memberTick
		if n.isBlank() {
			pause = n.settle(&f)
		} else {
			n.lookForRemoval()
		}
		n.measure(time.Now())
		n.noticeStanding()
		timer := time.NewTimer(pause)
		select {
		case <-n.stop:
			timer.Stop()
			return
		case <-n.members.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// newsOfMembers makes watchMembers look now.
func (n *Node) newsOfMembers() {
	select {
	case n.members.wake <- struct{}{}:
	default:
	}
}

// noticeStanding calls OnMember when something is different from last time.
func (n *Node) noticeStanding() {
	now, config := n.Standing(), n.fsm.configuration().index
	n.members.mu.Lock()
	differs := now != n.members.standing || config != n.members.config
	n.members.standing, n.members.config = now, config
	n.members.mu.Unlock()
	if differs && n.onMember != nil {
		n.onMember()
	}
}

// warnOfDifference compares the members in the log with the configured list.
func (n *Node) warnOfDifference() {
	conf := raft.Configuration{Servers: n.servers()}
	if len(conf.Servers) == 0 {
		return // of a blank member
	}
	diff := compareConfiguration(conf, n.cfg.Peers)
	switch {
	case diff == "":
	case serverOf(conf, n.cfg.SelfID) == nil:
		n.logger.Error("this member is not in the group's log: it can neither vote nor lead until it is added", "difference", diff)
	default:
		n.logger.Warn("the group's members differ from the configuration: the log decides who is a member; "+
			"bring dLegerPeers up to date, a member with an empty disk looks for the group there", "difference", diff)
	}
}

// lookForRemoval asks the others when no leader talks to this member: one that
// was removed hears nothing more, and often not even that.
func (n *Node) lookForRemoval() {
	m := &n.members
	if n.raft.State() == raft.Leader || n.leaderID() != "" && votesOrReceives(n.servers(), n.cfg.SelfID) {
		m.mu.Lock()
		was := m.standing == Removed
		if was {
			m.standing, m.leader = "", ""
		}
		m.mu.Unlock()
		if was {
			n.logger.Info("this member is back in the group")
		}
		return
	}
	var newest *memberState
	states := n.survey(n.others(), callTimeout/3)
	for i, s := range states {
		if s.Leader != "" && len(s.Members) > 0 && (newest == nil || s.Configuration > newest.Configuration) {
			newest = &states[i]
		}
	}
	known := n.fsm.configuration().index
	if newest == nil || newest.Configuration < known || slices.Contains(newest.Members, n.cfg.SelfID) {
		return
	}
	m.mu.Lock()
	loud := m.standing != Removed || time.Since(m.logged) > outsideLogEvery
	m.standing, m.leader = Removed, newest.Leader
	if loud {
		m.logged = time.Now()
	}
	m.mu.Unlock()
	if loud {
		n.logger.Error("this member was removed from the group: it gets no messages any more; stop it, "+
			"or add it again with mqadmin group add", "member", n.cfg.SelfID, "members", newest.Members, "leader", newest.Leader)
	}
}

func votesOrReceives(servers []raft.Server, id string) bool {
	return serverOf(raft.Configuration{Servers: servers}, id) != nil
}

// outsideLeader is who leads the group that this member is no member of, as far
// as it was told, or "".
func (n *Node) outsideLeader() string {
	n.members.mu.Lock()
	defer n.members.mu.Unlock()
	if n.members.standing != Removed {
		return ""
	}
	return n.members.leader
}
