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
	hello     hello
	logger    hclog.Logger

	greeted   chan net.Conn
	stop      chan struct{}
	running   sync.WaitGroup
	strangers atomic.Uint64

	mu         sync.Mutex
	closed     bool
	conns      map[*conn]struct{}
	greeting   int
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
	once     sync.Once
}

// Read reads. On an accepted connection, its end is the end of the stream
// however it came about: raft logs anything else as an error, and a member that
// stopped or died is not one of ours.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.accepted && (errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)) {
		err = io.EOF
	}
	return n, err
}

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

func newStreams(l net.Listener, advertise string, h hello, logger hclog.Logger) *streams {
	s := &streams{
		listener:  l,
		advertise: advertised(advertise),
		hello:     h,
		logger:    logger,
		greeted:   make(chan net.Conn),
		stop:      make(chan struct{}),
		conns:     map[*conn]struct{}{},
	}
	s.running.Go(s.listen)
	return s
}

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

// Dial connects to a member and greets it.
func (s *streams) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	timeout = min(timeout, helloTimeout)
	raw, err := net.DialTimeout("tcp", string(to), timeout)
	if err != nil {
		return nil, err
	}
	c, err := s.adopt(raw, false)
	if err != nil {
		return nil, err
	}
	if err := s.hello.greet(c, timeout); err != nil {
		c.Close()
		return nil, fmt.Errorf("dledger: member at %s: %w", to, err)
	}
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

// receive lets one connection greet and hands it to Raft.
func (s *streams) receive(raw net.Conn) {
	c, err := s.adopt(raw, true)
	if err == nil {
		err = s.hello.welcome(c)
		if err != nil {
			c.Close()
			s.refuse(raw, err)
		}
	}
	s.mu.Lock()
	s.greeting--
	s.mu.Unlock()
	if err != nil {
		return
	}
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
type transport struct {
	*raft.NetworkTransport
	mu    sync.Mutex
	peers map[raft.ServerID]contact
}

// contact is what a member answered last.
type contact struct {
	at        time.Time
	lastIndex uint64
}

// AppendEntries passes heartbeats and entries on and notes the answer.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := t.NetworkTransport.AppendEntries(id, to, req, resp)
	if err == nil {
		t.mu.Lock()
		t.peers[id] = contact{at: time.Now(), lastIndex: resp.LastLog}
		t.mu.Unlock()
	}
	return err
}

func (t *transport) contact(id raft.ServerID) contact {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers[id]
}

// addresses is raft.ServerAddressProvider: what Peers says about a member wins
// over what the log says, so that a member may change its address across a
// restart without a membership change.
type addresses map[raft.ServerID]raft.ServerAddress

// errNotListed makes raft fall back to the address in its configuration.
var errNotListed = errors.New("the member is not in Peers")

// ServerAddr returns the address of a member in Peers.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if addr, ok := a[id]; ok {
		return addr, nil
	}
	return "", errNotListed
}

func newTransport(s *streams, peers []Peer, inFlight int, logger hclog.Logger) *transport {
	book := addresses{}
	for _, p := range peers {
		book[raft.ServerID(p.ID)] = raft.ServerAddress(p.Addr)
	}
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			ServerAddressProvider: book,
			Logger:                netLogger{logger, s},
			Stream:                s,
			MaxPool:               connectionsKept,
			MaxRPCsInFlight:       inFlight,
			Timeout:               rpcTimeout,
		}),
		peers: map[raft.ServerID]contact{},
	}
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
	_ raft.StreamLayer = (*streams)(nil)
)
