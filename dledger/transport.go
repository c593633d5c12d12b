package dledger

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// rpcTimeout bounds one Raft call. One AppendEntries carries up to
	// maxAppendEntries entries of 256 KiB, which the follower must also sync.
	rpcTimeout = 10 * time.Second
	// connectionsKept is how many idle connections to a member are kept.
	connectionsKept = 3
	// greetingsMax bounds connections that have not greeted yet.
	greetingsMax = 64
	// strangerLogEvery bounds what strangers can write into the log.
	strangerLogEvery = time.Second
)

// streams is raft.StreamLayer over TCP with the greeting of hello.go. It knows
// every open connection, so that Close really cuts them: raft's transport
// leaves accepted connections open when it is closed, and a member that must
// fall silent at once (see Node.fail) cannot wait for the other side.
type streams struct {
	listener  net.Listener
	advertise advertised
	names     hello         // what never changes of our greeting
	genesis   atomic.Uint32 // and what may become known later
	logger    hclog.Logger

	greeted   chan net.Conn
	answer    func(c net.Conn, from string) error // serves a connection for calls
	gone      chan string                         // members whose connection to us ended; some are left out when nobody looks
	stop      chan struct{}
	hurry     <-chan struct{} // when closed, calls of our own end
	running   sync.WaitGroup
	strangers atomic.Uint64

	mu         sync.Mutex
	closed     bool
	conns      map[*conn]struct{}
	greeting   int
	calls      int
	lastLogged time.Time
	unlogged   int
}

// advertised is the address the other members know this one by.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// conn is a connection that forgets itself when closed.
type conn struct {
	net.Conn
	owner    *streams
	accepted bool
	peer     string   // who dialled it; set before the first read of an accepted one
	data     *checked // what goes in and out behind the greeting; set at its end
	once     sync.Once
}

// Read reads. On an accepted connection, its end is the end of the stream
// however it came about: raft logs anything else as an error, and a member that
// stopped or died is not one of ours. There is always a read waiting on one of
// the connections that a leader keeps to its followers, since heartbeats are
// answered at once; so the end of its process is seen here without delay.
func (c *conn) Read(p []byte) (int, error) {
	read := c.Conn.Read
	if c.data != nil {
		read = c.data.Read
	}
	n, err := read(p)
	if err != nil && c.peer != "" && !errors.Is(err, net.ErrClosed) {
		select {
		case c.owner.gone <- c.peer:
		default:
		}
	}
	if c.accepted && (errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF)) {
		err = io.EOF
	}
	return n, err
}

// Write writes.
func (c *conn) Write(p []byte) (int, error) {
	if c.data != nil {
		return c.data.Write(p)
	}
	return c.Conn.Write(p)
}

// greeted says that all that follows is checked. Nobody else uses c yet.
func (c *conn) greeted() { c.data = &checked{Conn: c.Conn} }

func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		c.owner.mu.Lock()
		delete(c.owner.conns, c)
		c.owner.mu.Unlock()
		err = c.Conn.Close()
	})
	return err
}

func newStreams(l net.Listener, advertise string, h hello, answer func(net.Conn, string) error, hurry <-chan struct{}, logger hclog.Logger) *streams {
	s := &streams{
		listener:  l,
		advertise: advertised(advertise),
		names:     h,
		logger:    logger,
		greeted:   make(chan net.Conn),
		answer:    answer,
		gone:      make(chan string, connectionsKept),
		stop:      make(chan struct{}),
		hurry:     hurry,
		conns:     map[*conn]struct{}{},
	}
	s.genesis.Store(h.genesis)
	s.running.Go(s.listen)
	return s
}

// hello is our greeting as of now.
func (s *streams) hello() hello {
	h := s.names
	h.genesis = s.genesis.Load()
	return h
}

// setGenesis says how the group began, when that becomes known.
func (s *streams) setGenesis(mark uint32) { s.genesis.Store(mark) }

// Addr is the advertised address; Raft takes it for its own.
func (s *streams) Addr() net.Addr { return s.advertise }

// Accept returns the next connection that greeted well.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.greeted:
		return c, nil
	case <-s.stop:
		return nil, net.ErrClosed
	}
}

// Dial connects Raft to a member.
func (s *streams) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.dial(to, timeout, helloMagic)
}

// dial connects to a member and greets it.
func (s *streams) dial(to raft.ServerAddress, timeout time.Duration, magic uint32) (net.Conn, error) {
	timeout = min(timeout, helloTimeout)
	raw, err := net.DialTimeout("tcp", string(to), timeout)
	if err != nil {
		return nil, err
	}
	c, err := s.adopt(raw, false)
	if err != nil {
		return nil, err
	}
	h := s.hello()
	h.calls = magic == callMagic
	if err := h.greet(c, timeout); err != nil {
		c.Close()
		return nil, fmt.Errorf("dledger: member at %s: %w", to, err)
	}
	c.greeted()
	return c, nil
}

// Close stops listening and cuts every connection. It is idempotent.
func (s *streams) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	open := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		open = append(open, c)
	}
	s.mu.Unlock()

	close(s.stop)
	err := s.listener.Close()
	for _, c := range open {
		c.Close()
	}
	s.running.Wait()
	return err
}

// adopt registers a new connection, or closes it when the layer is closed.
func (s *streams) adopt(raw net.Conn, accepted bool) (*conn, error) {
	c := &conn{Conn: raw, owner: s, accepted: accepted}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		raw.Close()
		return nil, net.ErrClosed
	}
	s.conns[c] = struct{}{}
	return c, nil
}

// listen accepts connections and lets each greet on a goroutine of its own, so
// that a silent one holds up nobody.
func (s *streams) listen() {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.logger.Error("cannot accept a raft connection", "error", err)
			select {
			case <-s.stop:
				return
			case <-time.After(100 * time.Millisecond): // out of descriptors, most likely
				continue
			}
		}
		s.mu.Lock()
		full := s.greeting >= greetingsMax
		if !full {
			s.greeting++
		}
		s.mu.Unlock()
		if full {
			raw.Close()
			s.refuse(raw, fmt.Errorf("%d connections have not greeted yet", greetingsMax))
			continue
		}
		s.running.Go(func() { s.receive(raw) })
	}
}

// receive lets one connection greet and hands it to Raft, or serves it.
func (s *streams) receive(raw net.Conn) {
	c, err := s.adopt(raw, true)
	var other hello
	if err == nil {
		if other, err = s.hello().welcome(c); err != nil {
			c.Close()
			s.refuse(raw, err)
		} else {
			c.greeted()
		}
	}
	s.mu.Lock()
	s.greeting--
	if other.calls {
		s.calls++
		if s.calls > callsMax {
			err = fmt.Errorf("%d calls are being answered", callsMax)
		}
	}
	s.mu.Unlock()
	if other.calls {
		if err == nil {
			err = s.answer(c, other.id)
		}
		c.Close()
		s.mu.Lock()
		s.calls--
		s.mu.Unlock()
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			s.logger.Debug("a call of a member ended early", "peer", other.id, "error", err)
		}
		return
	}
	if err != nil {
		return
	}
	c.peer = other.id
	select {
	case s.greeted <- c:
	case <-s.stop:
		c.Close()
	}
}

// refuse logs one refused connection, at most one a second, because anybody who
// can reach the port can cause it.
func (s *streams) refuse(raw net.Conn, reason error) {
	s.strangers.Add(1)
	s.mu.Lock()
	quiet := s.closed || time.Since(s.lastLogged) < strangerLogEvery
	others := s.unlogged
	if quiet {
		s.unlogged++
	} else {
		s.unlogged, s.lastLogged = 0, time.Now()
	}
	s.mu.Unlock()
	if !quiet {
		s.logger.Warn("refused a connection to the raft port", "from", raw.RemoteAddr(), "reason", reason, "others-not-logged", others)
	}
}

// transport is raft's network transport that also remembers what each member
// answered last: when, and how far its log reaches. Raft keeps these to itself.
//
// MaxRPCsInFlight is 1, so that every AppendEntries passes here. It also keeps
// Raft out of its pipeline, which can wedge: a follower that answers one append
// with a failure under load may never be sent another entry while heartbeats
// keep it quiet (hashicorp/raft issue 611). One in flight measured as fast.
//
// Every call that arrives, except heartbeats, passes relay on its way to Raft.
type transport struct {
	*raft.NetworkTransport
	streams *streams
	book    *addresses
	blank   func() bool // this member must neither vote nor stand, see blank.go
	sendLog func(id raft.ServerID, to raft.ServerAddress, term uint64) error
	// withhold answers calls that Raft must not answer, see doubt.go.
	withhold func(raft.RPC) bool
	mayStand func() error  // for election
	rpcs     chan raft.RPC // to Raft
	catchups catchups      // set before Raft starts
	// forgetful is told of a member that has no more what it had acknowledged to
	// this leader of term, up to index. Set before Raft starts.
	forgetful func(id raft.ServerID, term, index uint64)

	mu    sync.Mutex
	peers map[raft.ServerID]contact
	heard heard
}

// heard is what the calls of others said.
type heard struct {
	leader string // who sent entries last, in which term
	term   uint64
	needed uint64 // what a log must reach to match them, or to hold all that is committed
	voting int    // requests for our vote that Raft has not answered
	voted  uint64 // newest term in which another got our vote
}

// InstallSnapshot brings up a member that needs entries which are gone. Raft's
// reader holds nothing, see install.go.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, _ io.Reader) error {
	if err := t.sendLog(id, to, req.Term); err != nil {
		return fmt.Errorf("send the log: %w", err)
	}
	resp.Term, resp.Success = req.Term, true
	return nil
}

// RequestVote asks for a vote.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := t.mayStand(); err != nil {
		return err
	}
	return t.again(id, func() error { return t.NetworkTransport.RequestVote(id, to, req, resp) })
}

// RequestPreVote asks whether a vote would be given. A blank member does not ask:
// it would stand.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if t.blank() || t.mayStand() != nil {
		resp.RPCHeader, resp.Term, resp.Granted = req.RPCHeader, req.Term, false
		return nil
	}
	return t.again(id, func() error { return t.NetworkTransport.RequestPreVote(id, to, req, resp) })
}

// again repeats a call that failed at once. Raft keeps connections for later
// calls and only finds out by using them that the member was started again since;
// without this, a vote is lost that way, and an election with it. Who answers is
// noted, so that a member without a leader can say whom it misses.
func (t *transport) again(id raft.ServerID, ask func() error) error {
	var err error
	for range connectionsKept + 1 {
		began := time.Now()
		if err = ask(); err == nil || errors.Is(err, syscall.ECONNREFUSED) || time.Since(began) > askEvery {
			break
		}
	}
	if err == nil {
		t.mu.Lock()
		c := t.peers[id]
		c.at = time.Now()
		t.peers[id] = c
		t.mu.Unlock()
	}
	return err
}

// contact is what a member answered last.
type contact struct {
	at        time.Time
	lastIndex uint64
	// matched is up to where its log is the same as ours, as it said to this
	// member as the leader of term.
	matched, term uint64
}

// take notes an answer to a heartbeat or to entries. A member whose log ends
// before what it had acknowledged has lost its disk since, or a part of it; nobody
// may go on believing that it has everything, least of all who promotes it. The
// last entry that it had acknowledged to this leader in this term is returned then,
// else 0.
func (c *contact) take(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, now time.Time) (lost uint64) {
	c.at, c.lastIndex = now, resp.LastLog
	n := len(req.Entries)
	switch {
	case resp.Success && n > 0:
		c.matched, c.term = req.Entries[n-1].Index, req.Term
	case resp.Success && req.PrevLogEntry > 0:
		c.matched, c.term = req.PrevLogEntry, req.Term
	default: // a heartbeat, which names no entry, or a refusal
		if c.term == req.Term && resp.LastLog < c.matched {
			lost = c.matched
		}
		c.matched = min(c.matched, resp.LastLog)
	}
	return lost
}

// AppendEntries passes heartbeats and entries on, the latter at a pace where they
// are not urgent.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.catchups.paced(id, req) {
		return t.appendSlowly(id, to, req, resp)
	}
	return t.appendEntries(id, to, req, resp)
}

// appendEntries notes the answer.
func (t *transport) appendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := t.NetworkTransport.AppendEntries(id, to, req, resp)
	if err == nil {
		t.mu.Lock()
		c := t.peers[id]
		lost := c.take(req, resp, time.Now())
		t.peers[id] = c
		t.mu.Unlock()
		if lost > 0 {
			t.forgetful(id, req.Term, lost)
		}
	}
	return err
}

// SetHeartbeatHandler lets Raft answer heartbeats beside everything else.
func (t *transport) SetHeartbeatHandler(answer func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if !t.withhold(rpc) {
			answer(rpc)
		}
	})
}

// Consumer is where Raft takes its calls from.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// relay hands calls to Raft until the streams are closed.
func (t *transport) relay() {
	for {
		select {
		case <-t.streams.stop:
			return
		case rpc := <-t.NetworkTransport.Consumer():
			if t.withhold(rpc) || t.blank() && t.declined(rpc) {
				continue
			}
			switch req := rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				t.mu.Lock()
				t.heard.leader, t.heard.term = string(req.ID), req.Term
				t.heard.needed = max(req.PrevLogEntry, req.LeaderCommitIndex)
				t.mu.Unlock()
			case *raft.RequestVoteRequest:
				rpc.RespChan = t.watchVote(req.Term, rpc.RespChan)
			}
			select {
			case t.rpcs <- rpc:
			case <-t.streams.stop:
				return
			}
		}
	}
}

// errBlank refuses to take part in elections.
var errBlank = errors.New("this member's disk was empty: it does not vote before it has everything that the group has")

// declined answers what a blank member must not leave to Raft.
func (t *transport) declined(rpc raft.RPC) bool {
	switch req := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		rpc.Respond(&raft.RequestVoteResponse{RPCHeader: req.RPCHeader, Term: req.Term}, nil)
	case *raft.RequestPreVoteRequest:
		rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: req.RPCHeader, Term: req.Term}, nil)
	case *raft.TimeoutNowRequest:
		rpc.Respond(&raft.TimeoutNowResponse{RPCHeader: req.RPCHeader}, errBlank)
	default:
		return false
	}
	return true
}

// watchVote passes Raft's answer to a request for its vote on to the asker.
func (t *transport) watchVote(term uint64, to chan<- raft.RPCResponse) chan<- raft.RPCResponse {
	from := make(chan raft.RPCResponse, 1)
	t.mu.Lock()
	t.heard.voting++
	t.mu.Unlock()
	t.streams.running.Go(func() {
		select {
		case <-t.streams.stop:
		case answer := <-from:
			t.mu.Lock()
			t.heard.voting--
			if vote, ok := answer.Response.(*raft.RequestVoteResponse); ok && vote.Granted {
				t.heard.voted = max(t.heard.voted, term)
			}
			t.mu.Unlock()
			to <- answer // it has room for one
		}
	})
	return from
}

// others returns what the calls of others said so far.
func (t *transport) others() heard {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heard
}

// askEvery is how often timeoutNow asks whether it is still wanted.
const askEvery = 5 * time.Millisecond

// timeoutNow tells our own Raft to stand for election at once, as the leader
// does in a transfer of leadership. Raft's goroutine may be busy with the disk;
// wanted is asked until it takes the call. It returns whether it did.
func (t *transport) timeoutNow(self string, wanted func() bool) bool {
	rpc := raft.RPC{
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(t.LocalAddr()),
		}},
		RespChan: make(chan raft.RPCResponse, 1),
	}
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for wanted() {
		select {
		case t.rpcs <- rpc:
			return true
		case <-t.streams.stop:
			return false
		case <-tick.C:
		}
	}
	return false
}

// address is where a member is dialled.
func (t *transport) address(id raft.ServerID, otherwise raft.ServerAddress) raft.ServerAddress {
	if addr, err := t.book.ServerAddr(id); err == nil {
		return addr
	}
	return otherwise
}

// forget drops what a member answered, when it is one no more.
func (t *transport) forget(id raft.ServerID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.peers, id)
	t.catchups.forget(id)
}

func (t *transport) contact(id raft.ServerID) contact {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers[id]
}

func newTransport(s *streams, book *addresses, inFlight int, blank func() bool,
	sendLog func(raft.ServerID, raft.ServerAddress, uint64) error, withhold func(raft.RPC) bool, mayStand func() error, logger hclog.Logger,
) *transport {
	t := &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			ServerAddressProvider: book,
			Logger:                netLogger{logger, s},
			Stream:                s,
			MaxPool:               connectionsKept,
			MaxRPCsInFlight:       inFlight,
			Timeout:               rpcTimeout,
		}),
		streams:  s,
		blank:    blank,
		sendLog:  sendLog,
		withhold: withhold,
		mayStand: mayStand,
		book:     book,
		rpcs:     make(chan raft.RPC),
		peers:    map[raft.ServerID]contact{},
	}
	s.running.Go(t.relay)
	return t
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
	_ raft.StreamLayer = (*streams)(nil)
)
