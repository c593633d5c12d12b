package dledger

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// slowTimers are so slow that what a test sees within a second is not their
// doing.
func slowTimers(_ string, c *Config) {
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Second, time.Second, time.Second
}

// A leader whose process dies is replaced at once. The timers here need more
// than a second.
func TestDeadLeaderIsReplacedAtOnce(t *testing.T) {
	g := newGroup(t, groupOptions{sync: true, config: slowTimers, node: func(_ string, n *Node) { n.earlyPause = 0 }})
	g.leader()
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 4, 8, 100, stop)
	var took []time.Duration
	for range 5 {
		before := h.ackedCount()
		require.Eventually(t, func() bool { return h.ackedCount() > before+100 }, 20*time.Second, time.Millisecond)
		// One that was dead a moment ago must have come into step.
		leader, rest := g.followers()
		require.Eventually(t, func() bool {
			term := leader.node.raft.CurrentTerm()
			for _, m := range rest {
				if m.node.leaderID() != leader.id || !m.node.mayFollow(term) {
					return false
				}
			}
			return true
		}, 20*time.Second, time.Millisecond)
		began := time.Now()
		dead := make(chan struct{})
		go func() { leader.crash(); close(dead) }()
		g.leaderAmong(rest...)
		took = append(took, time.Since(began))
		<-dead
		leader.start(nil)
	}
	close(stop)
	senders.Wait()
	g.settle()
	h.check(g)
	g.requireSameBytes()
	slices.Sort(took)
	t.Logf("from the death to a ready leader: %v", took)
	// The longest are two that stood together, on a machine with too much to do.
	require.Less(t, took[len(took)/2], 150*time.Millisecond)
}

// relays puts a relay before each member's port, so that a test can cut, hold
// and refuse connections.
type relays struct {
	t    testing.TB
	held atomic.Bool // nothing passes, in either direction

	mu    sync.Mutex
	ends  map[string]net.Listener // by relay address
	conns map[net.Conn]string     // to whom
}

func newRelayedGroup(t testing.TB, o groupOptions) (*group, *relays) {
	t.Helper()
	r := &relays{t: t, ends: map[string]net.Listener{}, conns: map[net.Conn]string{}}
	t.Cleanup(func() {
		r.held.Store(false)
		for _, l := range r.ends {
			l.Close()
		}
		r.cut("")
	})
	o.relay = r.open
	return newGroup(t, o), r
}

// open returns an address whose connections go to to.
func (r *relays) open(to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(r.t, err)
	r.listen(l, to)
	return l.Addr().String()
}

func (r *relays) listen(l net.Listener, to string) {
	addr := l.Addr().String()
	r.mu.Lock()
	r.ends[addr] = l
	r.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			r.mu.Lock()
			r.conns[in], r.conns[out] = addr, addr
			r.mu.Unlock()
			go r.copy(in, out)
			go r.copy(out, in)
		}
	}()
}

func (r *relays) copy(to, from net.Conn) {
	defer func() {
		to.Close()
		from.Close()
		r.mu.Lock()
		delete(r.conns, to)
		delete(r.conns, from)
		r.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		for r.held.Load() {
			time.Sleep(time.Millisecond) // a network that drops packets tells nobody
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut closes the open connections to an address, or all of them.
func (r *relays) cut(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c, to := range r.conns {
		if addr == "" || to == addr {
			c.Close()
		}
	}
}

// refuse closes the address for new connections.
func (r *relays) refuse(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[addr].Close()
}

func (g *group) earlyElections() (n uint64) {
	for _, m := range g.members {
		if m.running() {
			n += m.node.Status().Counters.Early
		}
	}
	return n
}

// What is not the death of a process never starts an early election: silence,
// and connections that end while the port answers.
func TestSlowAndFlappingNetworkStartsNoEarlyElection(t *testing.T) {
	g, r := newRelayedGroup(t, groupOptions{config: slowTimers})
	leader := g.leader()
	g.settle()
	term := leader.node.Status().Term

	r.held.Store(true) // a leader that is paused or cut off looks like this
	time.Sleep(500 * time.Millisecond)
	r.held.Store(false)
	for range 50 {
		r.cut("")
		time.Sleep(10 * time.Millisecond) // the flapping is the point
	}
	_, err := leader.node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	g.settle()
	require.Zero(t, g.earlyElections())
	for _, m := range g.members {
		require.Equal(t, term, m.node.Status().Term, m.id)
	}
}

// A network that refuses connections to a leader that lives costs a few
// elections, not one per connection.
func TestRefusedLeaderCausesNoElectionStorm(t *testing.T) {
	g, r := newRelayedGroup(t, groupOptions{config: func(_ string, c *Config) {
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	}})
	g.leader()
	g.settle()
	for _, m := range g.members {
		r.refuse(m.addr)
	}
	begin := time.Now()
	for time.Since(begin) < 3*time.Second {
		r.cut("")
		time.Sleep(5 * time.Millisecond) // the flapping is the point
	}
	// Each member may try once in earlyPause heartbeats.
	require.LessOrEqual(t, g.earlyElections(), uint64(3*(1+3*time.Second/(earlyPause*300*time.Millisecond))))
}

// A member that lacks what it knows to be committed does not stand, and one
// that does not vote neither.
func TestWhoStandsEarly(t *testing.T) {
	g := newGroup(t, groupOptions{config: slowTimers})
	_, rest := g.followers()
	g.settle()
	n := rest[0].node
	term := n.raft.CurrentTerm()
	require.True(t, n.mayFollow(term))
	require.False(t, n.mayFollow(term+1), "that leader sent nothing")
	for _, h := range []heard{{term: term, needed: n.raft.LastIndex() + 1}, {term: term, voting: 1}, {term: term, voted: term + 1}} {
		n.transport.mu.Lock()
		n.transport.heard = h
		n.transport.mu.Unlock()
		require.False(t, n.mayFollow(term), "%+v", h)
	}

	leader := n.leaderID()
	_, others, ok := n.electorate(raft.ServerID(leader))
	require.True(t, ok)
	require.Len(t, others, 1)
	require.EqualValues(t, rest[1].id, others[0].ID)
	_, _, ok = n.electorate(raft.ServerID(n.cfg.SelfID))
	require.False(t, ok, "not itself")
	require.False(t, n.follow(heard{leader: leader, term: term}), "it answers")
}

func TestTheLongestLogStandsFirst(t *testing.T) {
	self := memberState{ID: "n1", LastTerm: 4, LastIndex: 100, Term: 7}
	for _, tt := range []struct {
		name          string
		other         memberState
		place         int
		better, worse bool
	}{
		{"shorter", memberState{ID: "n0", LastTerm: 4, LastIndex: 99, Term: 7}, 0, false, false},
		{"shorter, standing", memberState{ID: "n0", LastTerm: 4, LastIndex: 99, Term: 8, Role: Candidate}, 0, false, true},
		{"older", memberState{ID: "n0", LastTerm: 3, LastIndex: 101, Term: 7}, 0, false, false},
		{"equal, higher id", memberState{ID: "n2", LastTerm: 4, LastIndex: 100, Term: 7}, 0, false, false},
		{"equal, lower id", memberState{ID: "n0", LastTerm: 4, LastIndex: 100, Term: 7}, 1, false, false},
		{"longer", memberState{ID: "n2", LastTerm: 4, LastIndex: 101, Term: 7}, 1, false, false},
		{"longer, standing", memberState{ID: "n2", LastTerm: 4, LastIndex: 101, Term: 7, Role: Candidate}, 1, true, false},
		{"longer, stood", memberState{ID: "n2", LastTerm: 4, LastIndex: 101, Term: 8}, 1, true, false},
	} {
		place, better, worse := standings(self, []memberState{tt.other}, 7)
		require.Equal(t, tt.place, place, tt.name)
		require.Equal(t, tt.better, better, tt.name)
		require.Equal(t, tt.worse, worse, tt.name)
	}
}
