package dledger

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// newcomer makes a member that is not in the group and not started. Its list has
// the group's members and itself.
func (g *group) newcomer(id string) *member {
	g.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(g.t, err)
	m := &member{group: g, id: id, addr: l.Addr().String(), bind: l.Addr().String(), exited: make(chan error, 1), join: true}
	require.NoError(g.t, l.Close())
	m.peers = append(slices.Clone(g.peers), m.peer())
	m.empty()
	g.members = append(g.members, m)
	return m
}

// calm makes leaders stay, also on a busy machine: these tests are about something
// else.
func calm(_ string, c *Config) {
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Second, time.Second, time.Second
}

func (m *member) peer() Peer { return Peer{ID: m.id, Addr: m.addr} }

// change repeats a step until it succeeds: the leader may change, or find that
// somebody is not ready.
func (g *group) change(step func(leader *Node) error) {
	g.t.Helper()
	err := errors.New("no leader")
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); {
		if n := g.anyLeader(); n != nil {
			err = step(n)
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // before it is asked again
		}
	}
	require.NoError(g.t, err)
}

// list is what a member takes for the group: "n0 n1 (n3)", in braces who does
// not vote.
func (m *member) list() string {
	var out []string
	for _, s := range m.node.servers() {
		if s.Suffrage == raft.Voter {
			out = append(out, string(s.ID))
		} else {
			out = append(out, fmt.Sprintf("(%s)", s.ID))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (g *group) awaitList(want string, members ...*member) {
	g.t.Helper()
	for _, m := range members {
		g.await(m, want, m.list)
	}
}

func (m *member) awaitStanding(want Standing) {
	m.group.t.Helper()
	m.group.await(m, string(want), func() string { return string(m.node.Standing()) })
}

// await waits for what a member says of itself.
func (g *group) await(m *member, want string, says func() string) {
	g.t.Helper()
	got := says()
	for end := time.Now().Add(20 * time.Second); got != want && time.Now().Before(end); got = says() {
		time.Sleep(2 * time.Millisecond) // before it is asked again
	}
	require.Equal(g.t, want, got, "of %s", m.id)
}

// Row 34: members come and go while messages are sent, the leader among them.
func TestMembersComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{})
	old := g.leader()
	h := newHistory()
	stop := make(chan struct{})
	fourth := g.newcomer("n3")
	senders := g.load(h, 4, 8, 50, stop)
	require.Eventually(t, func() bool { return h.ackedCount() > 200 }, 20*time.Second, time.Millisecond)

	fourth.start(nil)
	fourth.awaitStanding(Founding)
	g.change(func(n *Node) error { return n.AddMember(t.Context(), fourth.peer()) })
	fourth.awaitStanding(Receiving)
	g.awaitList("(n3) n0 n1 n2", fourth, old)
	require.False(t, votes(raft.Configuration{Servers: fourth.node.servers()}, "n3"))
	g.change(func(n *Node) error { return n.PromoteMember(t.Context(), "n3") })
	fourth.awaitStanding(Voting)

	// The leader of the beginning leaves: it hands over first.
	require.Eventually(t, func() bool {
		n := g.anyLeader()
		return n != nil && (n.cfg.SelfID == old.id || n.TransferLeadershipTo(t.Context(), old.id) == nil) && old.node.ready.Load()
	}, 20*time.Second, 10*time.Millisecond)
	require.ErrorIs(t, old.node.RemoveMember(t.Context(), old.id), ErrNotLeader)
	g.change(func(n *Node) error { return n.RemoveMember(t.Context(), old.id) })
	old.awaitStanding(Removed)
	before := h.ackedCount()
	require.Eventually(t, func() bool { return h.ackedCount() > before+200 }, 20*time.Second, time.Millisecond)
	close(stop)
	senders.Wait()

	require.NotEmpty(t, old.node.LeaderID(), "a removed member knows whom to send requests to")
	old.crash()
	g.members = slices.DeleteFunc(g.members, func(m *member) bool { return m == old })
	g.settle()
	h.check(g)
	g.requireSameBytes()
}

func TestStepsThatWouldLoseTheQuorumAreRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{config: calm})
	leader, rest := g.followers()
	g.settle()
	for _, m := range g.members {
		m.awaitStanding(Voting)
	}
	n := leader.node
	gone, stays := rest[0], rest[1]
	add := func(p Peer) error { return n.AddMember(t.Context(), p) }

	require.ErrorContains(t, add(Peer{ID: stays.id, Addr: stays.addr}), "is a member already")
	require.ErrorContains(t, add(Peer{ID: "n9", Addr: stays.addr}), "has the address")
	require.ErrorContains(t, add(Peer{ID: "n9", Addr: "127.0.0.1:1"}), "raftJoin=true")
	require.ErrorContains(t, add(Peer{ID: "a-b", Addr: "127.0.0.1:1"}), "is no id")
	require.ErrorContains(t, add(Peer{ID: "n9", Addr: "here"}), "host:port")
	require.ErrorContains(t, n.PromoteMember(t.Context(), "n9"), "add it first")
	require.ErrorContains(t, n.PromoteMember(t.Context(), stays.id), "is a voter already")
	require.ErrorContains(t, n.RemoveMember(t.Context(), "n9"), "is not a member")
	require.ErrorIs(t, stays.node.RemoveMember(t.Context(), gone.id), ErrNotLeader)
	require.ErrorContains(t, n.TransferLeadershipTo(t.Context(), leader.id), "leads already")
	require.ErrorContains(t, n.DemoteMember(t.Context(), leader.peer()), "transfer the leadership first")

	gone.crash()
	require.Eventually(t, func() bool {
		return n.missing(raft.Server{ID: raft.ServerID(gone.id)}, 0) != ""
	}, 10*time.Second, 5*time.Millisecond)
	err := n.RemoveMember(t.Context(), stays.id)
	require.ErrorIs(t, err, ErrStep)
	require.ErrorContains(t, err, gone.id+" has not answered since")
	require.ErrorContains(t, err, "without a quorum")
	require.ErrorContains(t, n.TransferLeadershipTo(t.Context(), gone.id), "has not answered since")

	// The one that is gone may be removed, and then nobody else.
	require.NoError(t, n.RemoveMember(t.Context(), gone.id))
	left := []string{leader.id, stays.id}
	slices.Sort(left)
	g.awaitList(strings.Join(left, " "), leader)
	require.NoError(t, n.RemoveMember(t.Context(), stays.id))
	require.ErrorContains(t, n.RemoveMember(t.Context(), leader.id), "the only voter")
	_, err = n.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
}

// Row 27: the disk of a member is gone. It comes back empty, does not vote until
// it has everything, and needs nobody's help.
func TestEmptyDiskDoesNotVote(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{})
	leader, rest := g.followers()
	behind, wiped := rest[0], rest[1]
	g.settle()
	behind.crash()
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 2, 8, 50, stop)
	require.Eventually(t, func() bool { return h.ackedCount() > 100 }, 20*time.Second, time.Millisecond)
	close(stop)
	senders.Wait()

	// What was acknowledged is on the leader and on the disk that is lost now.
	wiped.crash()
	leader.crash()
	wiped.empty()
	behind.start(nil)
	wiped.start(nil)
	require.Eventually(t, func() bool { return wiped.node.state().Blank != 0 && behind.node.raft.State() == raft.Candidate },
		10*time.Second, time.Millisecond)
	var saw memberState
	require.NoError(t, behind.node.streams.call(raft.ServerAddress(wiped.addr), time.Second, call{Op: opState}, &saw))
	require.Empty(t, saw.Leader)
	term := behind.node.raft.CurrentTerm()
	var answer raft.RequestVoteResponse
	require.NoError(t, behind.node.transport.NetworkTransport.RequestVote(raft.ServerID(wiped.id), raft.ServerAddress(wiped.addr), &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(behind.id), Addr: []byte(behind.addr)},
		Term:      term + 5, LastLogIndex: 1 << 40, LastLogTerm: term, LeadershipTransfer: true,
	}, &answer))
	require.False(t, answer.Granted, "a blank member votes for nobody")
	require.False(t, behind.node.ready.Load() || wiped.node.ready.Load())

	leader.start(nil)
	wiped.awaitStanding(Voting)
	require.False(t, wiped.node.isBlank())
	g.awaitList("n0 n1 n2", g.members...)
	g.settle()
	h.check(g)
	g.requireSameBytes()

	// And it is a full voter: with one of the others gone it elects.
	g.leader().crash()
	_, err := g.leader().node.Do(t.Context(), command(3), 1)
	require.NoError(t, err)
}

// A voter is not taken off when the others could not go on without it.
func TestBlankMemberStaysAVoterWhileItIsNeeded(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{config: calm})
	leader, rest := g.followers()
	g.settle()
	other, wiped, n := rest[0], rest[1], leader.node
	n.changing.Lock() // nothing is done about it before the other one is gone
	wiped.crash()
	wiped.empty()
	wiped.start(nil)
	require.Eventually(t, func() bool {
		return wiped.node.blank.Load().Floor > 0 && n.missing(raft.Server{ID: raft.ServerID(wiped.id)}, 0) == ""
	}, 20*time.Second, time.Millisecond)
	other.crash()
	require.Eventually(t, func() bool { return n.missing(raft.Server{ID: raft.ServerID(other.id)}, 0) != "" }, 20*time.Second, time.Millisecond)
	n.changing.Unlock()
	require.Eventually(t, func() bool { return strings.Contains(wiped.node.admitted.Load().Note, "without a quorum") },
		20*time.Second, 5*time.Millisecond)
	_, err := g.leader().node.Do(t.Context(), command(1), 1)
	require.NoError(t, err, "what it stores counts")
	require.Equal(t, "n0 n1 n2", leader.list())
	require.True(t, wiped.node.isBlank())
	other.start(nil)
	wiped.awaitStanding(Voting)
	g.settle()
	g.requireSameBytes()
}

// The leader dies between the two halves of a readmission, at random moments;
// whoever leads next does the rest.
func TestKilledDuringReadmission(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{})
	g.settle()
	h := newHistory()
	for round := range 3 {
		leader, rest := g.followers()
		stop := make(chan struct{})
		senders := g.load(h, 2, 4, 50, stop)
		wiped := rest[round%2]
		wiped.crash()
		wiped.empty()
		wiped.start(nil)
		// After the first half, or as soon as anything happened.
		require.Eventually(t, func() bool {
			switch round {
			case 0:
				return wiped.node.blank.Load() == nil || wiped.node.blank.Load().Floor > 0
			case 1:
				return !votes(raft.Configuration{Servers: leader.node.servers()}, wiped.id) || !wiped.node.isBlank()
			default:
				return wiped.node.fsm.configuration().index > 1
			}
		}, 20*time.Second, time.Millisecond)
		leader.crash()
		leader.start(nil)
		wiped.awaitStanding(Voting)
		close(stop)
		senders.Wait()
		g.awaitList("n0 n1 n2", g.members...)
		g.settle()
	}
	h.check(g)
	g.requireSameBytes()
}

// A group is founded by a majority, too; who comes later is let in.
func TestFoundedWithoutOne(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{config: func(id string, c *Config) {
		if id == "n2" { // stands for a member that nobody has started yet
			c.Peers = append(slices.Clone(c.Peers), Peer{ID: "n8", Addr: "127.0.0.1:1"})
		}
	}})
	g.leaderAmong(g.members[0], g.members[1])
	require.NotContains(t, g.members[0].node.knownFounders(), "n2")
	g.members[2].awaitStanding(Voting)
	g.settle()
	g.requireSameBytes()
	_, err := g.leader().node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
}

// One that belongs to the founders and is told so late is not taken off.
func TestFoundersNeedNoReadmission(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{})
	g.settle()
	for _, m := range g.members {
		m.awaitStanding(Voting)
		require.Equal(t, uint64(1), m.node.fsm.configuration().index, "the members are those of the first entry")
		require.Len(t, m.node.knownFounders(), 3)
	}
}

// A member that dies before it knows whether it is new begins again there.
func TestBlankSurvivesARestart(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{})
	g.settle()
	late := g.newcomer("n3")
	late.start(nil)
	late.awaitStanding(Founding)
	first := late.node.blank.Load().Incarnation
	late.crash()
	late.start(nil)
	require.Equal(t, first, late.node.blank.Load().Incarnation)
	// A term without a log, as a heartbeat leaves it behind.
	require.NoError(t, late.node.stable.SetUint64([]byte(keyTerm), g.leader().node.Status().Term))
	late.crash()
	late.start(nil)
	g.change(func(n *Node) error { return n.AddMember(t.Context(), late.peer()) })
	late.awaitStanding(Receiving)
	require.True(t, late.node.isBlank(), "it has not voted yet and does not")
	late.crash()
	late.start(nil)
	g.change(func(n *Node) error { return n.PromoteMember(t.Context(), "n3") })
	late.awaitStanding(Voting)
	late.crash()
	late.start(nil)
	late.awaitStanding(Voting)
}

// The same id with an empty disk on another machine; the files of the others
// still name the old address.
func TestReplacedAtAnotherAddress(t *testing.T) {
	t.Parallel()
	out := &logSink{}
	g := newGroup(t, groupOptions{logger: logTo(out)})
	leader, rest := g.followers()
	g.settle()
	moved, stays := rest[0], rest[1]
	moved.crash()
	old := moved.addr
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	moved.addr, moved.bind, moved.join = l.Addr().String(), l.Addr().String(), true
	moved.peers = []Peer{moved.peer(), leader.peer(), stays.peer()}
	moved.empty()
	moved.start(l)
	g.change(func(n *Node) error { return n.DemoteMember(t.Context(), moved.peer()) })
	g.change(func(n *Node) error {
		err := n.PromoteMember(t.Context(), moved.id)
		if err != nil && strings.Contains(err.Error(), "is a voter already") {
			return nil // it asked for that itself
		}
		return err
	})
	moved.awaitStanding(Voting)
	g.settle()

	// Also after everybody started again with the old files.
	for _, m := range g.members {
		m.stop()
	}
	for _, m := range g.members {
		m.start(nil)
	}
	_, err = g.leader().node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	g.settle()
	require.Contains(t, out.String(), "differ from the configuration")
	require.NotEqual(t, old, moved.addr)
	g.requireSameBytes()
}

// Row 35 and R6: leadership goes round while one member after the other is cut
// off in the middle of it; the group must end with a leader that takes entries.
func TestTransferStorm(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{})
	g.settle()
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 2, 4, 50, stop)
	var done, refused atomic.Int64
	for i := range 24 {
		n := g.anyLeader()
		if n == nil {
			g.leader()
			continue
		}
		to := g.members[i%3]
		if i%8 == 7 && to.running() && to.node != n {
			// The target dies while it is told to take over.
			told := make(chan error, 1)
			go func() { told <- n.TransferLeadershipTo(t.Context(), to.id) }()
			to.crash()
			<-told
			to.start(nil)
			continue
		}
		switch err := n.TransferLeadershipTo(t.Context(), to.id); {
		case err == nil:
			done.Add(1)
		case errors.Is(err, ErrStep), errors.Is(err, ErrNotLeader):
			refused.Add(1)
		}
	}
	before := h.ackedCount()
	require.Eventually(t, func() bool { return h.ackedCount() > before+100 }, 20*time.Second, time.Millisecond,
		"nothing is taken any more after %d transfers", done.Load())
	close(stop)
	senders.Wait()
	require.Positive(t, done.Load())
	t.Logf("%d transfers, %d refused", done.Load(), refused.Load())
	g.settle()
	h.check(g)
	g.requireSameBytes()
}

// A removed member does not disturb the others when it goes on trying, and says
// what it is when it starts again.
func TestRemovedMemberIsQuiet(t *testing.T) {
	t.Parallel()
	out := &logSink{}
	g := newGroup(t, groupOptions{logger: logTo(out), config: calm})
	leader, rest := g.followers()
	g.settle()
	out1 := rest[0]
	out1.crash() // it does not hear of its removal
	require.NoError(t, leader.node.RemoveMember(t.Context(), out1.id))
	term := leader.node.Status().Term
	out1.start(nil)
	out1.awaitStanding(Removed)
	require.Contains(t, out.String(), "this member was removed from the group")
	require.Eventually(t, func() bool { return out1.node.LeaderID() == leader.id }, 10*time.Second, 5*time.Millisecond)
	_, err := leader.node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	require.Equal(t, term, leader.node.Status().Term)
	require.True(t, leader.node.Status().Ready)

	// It may come back with the disk it has.
	require.NoError(t, leader.node.AddMember(t.Context(), out1.peer()))
	out1.awaitStanding(Receiving)
	g.change(func(n *Node) error { return n.PromoteMember(t.Context(), out1.id) })
	out1.awaitStanding(Voting)
	g.settle()
	g.requireSameBytes()
}

// The members are those of the log after a restart, whatever the file says.
func TestRestartKeepsTheMembersOfTheLog(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{})
	leader, rest := g.followers()
	g.settle()
	require.NoError(t, leader.node.RemoveMember(t.Context(), rest[0].id))
	g.awaitList(strings.TrimSpace(strings.Replace("n0 n1 n2 ", rest[0].id+" ", "", 1)), leader, rest[1])
	rest[0].crash()
	g.members = slices.DeleteFunc(g.members, func(m *member) bool { return m == rest[0] })
	for _, m := range g.members {
		m.stop()
	}
	for _, m := range g.members {
		m.start(nil)
	}
	require.NotContains(t, g.leader().list(), rest[0].id)
	_, err := g.leader().node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
}

func TestPace(t *testing.T) {
	t.Parallel()
	at := time.Unix(100, 0)
	rate, left := pace(nil, 100)
	require.Zero(t, rate)
	require.Negative(t, left)
	looks := []look{{at, 1000, 9000}, {at.Add(2 * time.Second), 5000, 6000}}
	rate, left = pace(looks, 6000)
	require.EqualValues(t, 2000, rate)
	require.Equal(t, 4*time.Second, left, "the end of the log moves: 1,500 a second are gained")
	_, left = pace([]look{{at, 1000, 9000}, {at.Add(time.Second), 1500, 9500}}, 9500)
	require.Negative(t, left)
	_, left = pace(looks, 0)
	require.Zero(t, left)
}

func TestProgressOfARefill(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{config: calm})
	leader, rest := g.followers()
	g.settle()
	var p []Progress
	require.Eventually(t, func() bool {
		p = leader.node.Progress()
		return !slices.ContainsFunc(p, func(one Progress) bool { return one.Behind() })
	}, 20*time.Second, 5*time.Millisecond)
	require.Len(t, p, 2)
	for _, one := range p {
		require.Equal(t, one.Total, one.Bytes)
	}
	rest[0].crash()
	for i := range 50 {
		_, err := leader.node.Do(t.Context(), command(uint64(i)), 1)
		require.NoError(t, err)
	}
	p = leader.node.Progress()
	i := slices.IndexFunc(p, func(one Progress) bool { return one.Peer == rest[0].id })
	require.True(t, p[i].Behind())
	require.Less(t, p[i].Bytes, p[i].Total)
	require.Less(t, p[i].Index, p[i].LastIndex)
	require.Nil(t, rest[1].node.Progress(), "only the leader knows")
}

// A stable.db that holds nonsense under one of our keys is named.
func TestUnreadableBlankIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := openStable(dir, &watch{}, func(error) {})
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte(keyBlank), []byte("{")))
	_, _, err = loadBlank(s)
	require.ErrorContains(t, err, keyBlank)
	require.ErrorContains(t, err, filepath.Join(dir, stableFile))
	require.NoError(t, s.Set([]byte(keyBlank), nil))
	b, _, err := loadBlank(s)
	require.NoError(t, err)
	require.Nil(t, b)
	require.NoError(t, s.Close())
	_, err = os.Stat(filepath.Join(dir, stableFile))
	require.NoError(t, err)
}

// A member is promoted before it has noted where the leader's log ended when it
// came: it cannot tell whether that was for this disk, and asks again.
func TestPromotedTooEarly(t *testing.T) {
	t.Parallel()
	g := newGroup(t, groupOptions{config: calm})
	g.settle()
	late := g.newcomer("n3")
	late.start(nil)
	g.change(func(n *Node) error { return n.AddMember(t.Context(), late.peer()) })
	late.awaitStanding(Receiving)
	b := *late.node.blank.Load()
	b.Floor, b.Voter = 1<<40, false // as if it had been noted too late
	require.NoError(t, late.node.setBlank(&b))
	g.change(func(n *Node) error { return n.PromoteMember(t.Context(), "n3") })
	require.Eventually(t, func() bool { return late.node.isBlank() && late.node.blank.Load().Voter }, 20*time.Second, 2*time.Millisecond)
	b = *late.node.blank.Load()
	b.Floor = 1
	require.NoError(t, late.node.setBlank(&b))
	late.awaitStanding(Voting)
}

// A leader that had everything from a member knows by its next answer, be it to a heartbeat, that it lost its disk since, and
// does not promote it for what it once had.
func TestWipedMemberIsNotTakenForAWholeOne(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var c contact
	entries := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 8, Entries: []*raft.Log{{Index: 9}, {Index: 10}}}
	heartbeat := &raft.AppendEntriesRequest{Term: 3}
	c.take(entries, &raft.AppendEntriesResponse{Success: true, LastLog: 10}, now)
	require.Zero(t, c.take(heartbeat, &raft.AppendEntriesResponse{Success: true, LastLog: 12}, now))
	require.Equal(t, contact{at: now, lastIndex: 12, matched: 10, term: 3}, c, "what it has beyond may be another's")
	require.EqualValues(t, 10, c.take(heartbeat, &raft.AppendEntriesResponse{Success: true}, now))
	require.Equal(t, contact{at: now, term: 3}, c)
	require.Zero(t, c.take(entries, &raft.AppendEntriesResponse{LastLog: 0}, now), "said once")
	require.Zero(t, c.matched)
	c.take(&raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 4}, &raft.AppendEntriesResponse{Success: true, LastLog: 4}, now)
	require.Equal(t, contact{at: now, lastIndex: 4, matched: 4, term: 3}, c)
}
