package broker

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// What members say to each other, beside Raft, is RocketMQ's protocol with a few
// fields more and two codes of our own.
//
//	member → leader   a client's request with fieldForwarded
//	                  codeMemberHello on the connection for everything but pulls
//	                  codeClientGone
//	leader → member   on the connection of the hello: a request for a client of
//	                  the member's, with fieldClient
//
// fieldForwarded marks a request that a member sent on; it says who the client
// is and proves, by the group's secret, that a member says so. A marked request
// is never sent on again: two members that take each other for the leader must
// not play with it. fieldNotLeader marks the answer of a member that refused a
// marked request because it does not lead: nothing was done, and the sender may
// try again. fieldTerm on a marked send is the only term that the leader may store
// it in; fieldUnknown marks its answer when it stored it and cannot tell whether it
// will stay (settle.go). fieldClient names a connection of the member that gets it.
const (
	fieldForwarded = "cometForwardedFor"
	fieldNotLeader = "cometNotLeader"
	fieldTerm      = "cometTerm"
	fieldUnknown   = "cometUnknown"
	fieldClient    = "cometClient"

	codeMemberHello int32 = 31001
	codeClientGone  int32 = 31002
)

// errStranger refuses a mark that does not prove membership.
var errStranger = refuse(protocol.StatusNoPermission, "field %s is for members of the group only", fieldForwarded)

// origin is what the mark of a forwarded request says.
type origin struct {
	peer   *peer
	conn   uint64 // the client's connection at the member
	addr   netip.AddrPort
	waited time.Duration // since the client sent it
}

// mark is the value of fieldForwarded: secret, member, session, connection,
// client address and milliseconds waited, with spaces between. A doubtful send has
// two more, see doubt: a member of a version that does not know them takes the
// mark for no mark and refuses the send, where it would otherwise store it again.
func mark(secret, member, session string, conn uint64, addr netip.AddrPort, waited time.Duration) string {
	b := make([]byte, 0, 128)
	b = append(append(b, secret...), ' ')
	b = append(append(b, member...), ' ')
	b = append(append(b, session...), ' ')
	b = append(strconv.AppendUint(b, conn, 10), ' ')
	b = append(addr.AppendTo(b), ' ')
	return string(strconv.AppendInt(b, waited.Milliseconds(), 10))
}

// markDoubtful is mark for a doubtful send.
func markDoubtful(mark string, d doubt) string {
	b := append(strconv.AppendUint(append([]byte(mark), ' '), d.term, 10), ' ')
	return string(strconv.AppendInt(b, d.since, 10))
}

// identify reads the mark of a request, if it has one, and takes it off, so that
// no handler passes the secret on.
func (b *Broker) identify(r *request) error {
	v, ok := r.cmd.Field(fieldForwarded)
	if !ok {
		return nil
	}
	parts, term := strings.Split(string(v), " "), r.cmd.Str(fieldTerm)
	r.cmd.Fields = slices.DeleteFunc(r.cmd.Fields, func(f protocol.Field) bool {
		return string(f.Key) == fieldForwarded || string(f.Key) == fieldTerm
	})
	secret := b.meta.Secret()
	if len(parts) != 6 && len(parts) != 8 || subtle.ConstantTimeCompare([]byte(parts[0]), []byte(secret)) != 1 || secret == "" {
		return errStranger
	}
	conn, err1 := strconv.ParseUint(parts[3], 10, connBits)
	waited, err2 := strconv.ParseInt(parts[5], 10, 32)
	if parts[1] == "" || err1 != nil || err2 != nil {
		return errStranger
	}
	if err := r.attempt(term, parts[6:]); err != nil {
		return errStranger
	}
	addr, _ := netip.ParseAddrPort(parts[4]) // a client of tests has none
	r.origin = &origin{
		peer: b.relays.get(parts[1], parts[2], r.call.Conn()), conn: conn, addr: addr, waited: time.Duration(max(waited, 0)) * time.Millisecond,
	}
	return nil
}

// attempt reads what a member says of a send: the term it is meant for, and the
// doubt about earlier attempts, if there is one.
func (r *request) attempt(term string, doubtful []string) (err error) {
	if term != "" {
		if r.term, err = strconv.ParseUint(term, 10, 64); err != nil {
			return err
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	if r.doubt.term, err = strconv.ParseUint(doubtful[0], 10, 64); err != nil {
		return err
	}
	if r.doubt.since, err = strconv.ParseInt(doubtful[1], 10, 64); err != nil {
		return err
	}
	if !r.doubt.open() {
		return errStranger
	}
	return nil
}

// relays are the other members as their leader knows them: each relays for the
// clients that are connected to it.
type relays struct {
	mu       sync.Mutex
	byMember map[string]*peer
	carriers map[uint64]struct{} // connections by which members send requests on
	seq      uint64
}

// peer is one run of a member's process, the session.
type peer struct {
	member, session string
	seq             uint64 // of this member's sessions, in connection ids

	mu   sync.Mutex
	conn *remoting.Conn // to the member, nil before its hello
}

// A relayed connection's id is the highest bit, the number of its peer, and the
// id of the connection at the member.
const connBits = 40

func (p *peer) connID(conn uint64) uint64 { return 1<<63 | p.seq<<connBits | conn }

func (p *peer) owns(conn uint64) bool { return conn>>connBits == 1<<(63-connBits)|p.seq }

func newRelays() *relays {
	return &relays{byMember: map[string]*peer{}, carriers: map[uint64]struct{}{}}
}

// get returns the session of a member that sent something over a connection. A newer session than the known one takes
// its place; what the older one relayed ends with its connection.
func (t *relays) get(member, session string, c *remoting.Conn) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c != nil && c.Err() == nil {
		t.carriers[c.ID()] = struct{}{}
	}
	p := t.byMember[member]
	if p == nil || p.session != session {
		t.seq++
		p = &peer{member: member, session: session, seq: t.seq}
		t.byMember[member] = p
	}
	return p
}

// closed forgets the peers that a connection led to, and returns them.
func (t *relays) closed(c *remoting.Conn) []*peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.carriers, c.ID())
	var out []*peer
	for member, p := range t.byMember {
		if p.channel() == c {
			delete(t.byMember, member)
			out = append(out, p)
		}
	}
	return out
}

// connections is the number of other members' connections.
func (t *relays) connections() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.carriers)
}

// reset forgets all peers.
func (t *relays) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.byMember)
}

func (p *peer) channel() *remoting.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn
}

// relayedConn is a client's connection to another member, as the leader uses it.
type relayedConn struct {
	peer *peer
	conn uint64
	addr netip.AddrPort
}

// errNoRelay says that the member which holds a client cannot be reached.
var errNoRelay = errors.New("broker: the member that the client is connected to is not connected itself")

// ID is unique among all connections of this process.
func (c *relayedConn) ID() uint64 { return c.peer.connID(c.conn) }

// RemoteAddr is the client's address.
func (c *relayedConn) RemoteAddr() netip.AddrPort { return c.addr }

// Relayed tells it from a connection of our own.
func (c *relayedConn) Relayed() {}

func (c *relayedConn) wrap(req *protocol.Command) *protocol.Command {
	out := protocol.NewRequest(req.Code)
	out.Language, out.Version, out.Remark, out.Body = req.Language, req.Version, req.Remark, req.Body
	return out.SetHeader(forwardHeader{cmd: req, key: fieldClient, value: strconv.FormatUint(c.conn, 10)})
}

// Oneway sends a request that is not answered.
func (c *relayedConn) Oneway(req *protocol.Command) error {
	ch := c.peer.channel()
	if ch == nil {
		return errNoRelay
	}
	return ch.Oneway(c.wrap(req))
}

// InvokeAsync sends a request; see remoting.Conn.
func (c *relayedConn) InvokeAsync(req *protocol.Command, timeout time.Duration, done func(*protocol.Command, error)) {
	ch := c.peer.channel()
	if ch == nil {
		done(nil, errNoRelay)
		return
	}
	ch.InvokeAsync(c.wrap(req), timeout, done)
}

// Invoke sends a request and waits for its answer; see remoting.Conn.
func (c *relayedConn) Invoke(ctx context.Context, req *protocol.Command) (*protocol.Command, error) {
	ch := c.peer.channel()
	if ch == nil {
		return nil, errNoRelay
	}
	return ch.Invoke(ctx, c.wrap(req))
}

// clientConn is a client's connection to whichever member: *remoting.Conn or
// *relayedConn.
type clientConn interface {
	group.Conn
	Oneway(req *protocol.Command) error
	Invoke(ctx context.Context, req *protocol.Command) (*protocol.Command, error)
	InvokeAsync(req *protocol.Command, timeout time.Duration, done func(*protocol.Command, error))
}

var (
	_ clientConn    = (*remoting.Conn)(nil)
	_ clientConn    = (*relayedConn)(nil)
	_ group.Relayed = (*relayedConn)(nil)
)

// handleMemberHello serves codeMemberHello: what this member has for clients of
// the other one goes over this connection from now on.
func handleMemberHello(b *Broker, r request) {
	if r.origin == nil {
		b.fail(r, errStranger)
		return
	}
	if !b.leading.Load() {
		b.forward.refuseForwarded(r)
		return
	}
	p := r.origin.peer
	p.mu.Lock()
	p.conn = r.call.Conn()
	p.mu.Unlock()
	b.log.Debug("member relays for its clients", "member", p.member)
	r.reply(&protocol.Response{})
}

// handleClientGone serves codeClientGone: a client of another member has left.
func handleClientGone(b *Broker, r request) {
	if r.origin == nil {
		b.fail(r, errStranger)
		return
	}
	c := &relayedConn{peer: r.origin.peer, conn: r.origin.conn, addr: r.origin.addr}
	b.held.releaseConn(c.ID())
	b.clients.ConnClosed(c)
	r.reply(&protocol.Response{})
}

// memberGone forgets everything that came by a member whose connection closed.
func (b *Broker) memberGone(p *peer) {
	b.held.releaseConns(p.owns)
	b.clients.ConnsClosed(func(c group.Conn) bool { return p.owns(c.ID()) })
	b.log.Debug("member relays no more", "member", p.member)
}

// localClients are the clients that are connected to this member and that the
// leader knows, or must know when the leader changes.
type localClients struct {
	mu   sync.Mutex
	byID map[uint64]*localClient
}

type localClient struct {
	conn *remoting.Conn
	beat *protocol.Command // its last heartbeat, nil when it sent none
}

// beatMax is the size of a heartbeat that is kept to be repeated to the next
// leader. A longer one is not; its client sends it again within 30 s.
const beatMax = 1 << 20

// touch remembers a connection by which something was sent on.
func (l *localClients) touch(c *remoting.Conn) *localClient {
	lc := l.byID[c.ID()]
	if lc == nil {
		lc = &localClient{conn: c}
		l.byID[c.ID()] = lc
	}
	return lc
}

// keep remembers a heartbeat; a nil body forgets the last one.
func (l *localClients) keep(r request, body []byte) {
	c := r.call.Conn()
	if c == nil || c.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lc := l.touch(c)
	if len(body) == 0 || len(body) > beatMax {
		lc.beat = nil
		return
	}
	if lc.beat != nil && string(lc.beat.Body) == string(body) {
		return
	}
	lc.beat = protocol.NewRequest(protocol.CodeHeartBeat).SetBody([]byte(string(body)))
	lc.beat.Language, lc.beat.Version = r.cmd.Language, r.cmd.Version
}

// bind remembers the connection of a request that the leader binds something to.
func (l *localClients) bind(c *remoting.Conn) {
	if c == nil || c.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touch(c)
}

// gone forgets a connection and reports whether the leader may know it.
func (l *localClients) gone(c *remoting.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.byID[c.ID()]
	delete(l.byID, c.ID())
	return ok
}

func (l *localClients) get(id uint64) *remoting.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lc := l.byID[id]; lc != nil {
		return lc.conn
	}
	return nil
}

// beats lists all clients with a heartbeat.
func (l *localClients) beats() []localClient {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]localClient, 0, len(l.byID))
	for _, lc := range l.byID {
		if lc.beat != nil {
			out = append(out, *lc)
		}
	}
	return out
}

// newSession names this run of the process to the leaders it will have.
func newSession() string { return strconv.FormatUint(rand.Uint64(), 36) }

const (
	// helloRetry is how soon a hello that failed is tried again, helloPeriod how
	// often one is repeated: it keeps the connection from being idle.
	helloRetry  = 20 * time.Millisecond
	helloPeriod = 30 * time.Second
	// leaderGrace is how long the connections to a former leader stay open for
	// answers that are under way. A leader that hangs keeps requests for that
	// long, instead of until they time out.
	leaderGrace = time.Second
	// replayMax is the number of heartbeats under way at a time to a new leader.
	replayMax = 16
)

// greet keeps this member known to whoever leads: it says hello to each new
// leader and repeats the heartbeats of its clients there.
func (f *forwarder) greet(ctx context.Context) {
	known, last := "", ""
	for {
		addr, term, ok := f.b.leaderTerm()
		key := ""
		if ok {
			key = fmt.Sprint(addr, " ", term)
		}
		if last != "" && last != addr && ok || last != "" && f.b.leading.Load() {
			f.retire(last)
			last = ""
		}
		pause := helloPeriod
		switch {
		case f.b.leading.Load():
			known = ""
		case !ok:
			known, pause = "", forwardPoll
		default:
			last = addr
			if f.hello(ctx, addr) {
				if known != key {
					f.replay(ctx, addr)
				}
				known = key
			} else {
				known, pause = "", helloRetry
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case lost := <-f.news:
			if lost {
				known = "" // the leader forgot us with the connection
			}
		}
		timer.Stop()
	}
}

// retire closes the connections to a former leader after a while, unless it
// leads again. One over which the leader never said anything was made when it was
// dead already and its port held, as a rule: what waits there waits for nothing.
// (One for pulls is silent without that, as long as all are held.)
func (f *forwarder) retire(addr string) {
	f.client.DisconnectSilent(addr)
	time.AfterFunc(leaderGrace, func() {
		if now, _, ok := f.b.leaderTerm(); !ok || now != addr {
			f.client.Disconnect(addr)
			f.pulls.Disconnect(addr)
		}
	})
}

// changed tells greet that the leader changed, or that the connection to it was
// lost.
func (f *forwarder) changed(lost bool) {
	for {
		select {
		case f.news <- lost:
			return
		default:
		}
		select {
		case old := <-f.news:
			lost = lost || old
		default:
		}
	}
}

// hello says who we are to a leader and reports whether it knows us now. It gives
// up when somebody else leads meanwhile: a dead leader's port that is kept open
// takes the connection, and nobody answers.
func (f *forwarder) hello(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer := make(chan bool, 1)
	f.client.InvokeAsync(addr, f.marked(protocol.NewRequest(codeMemberHello), 0, netip.AddrPort{}, 0), func(resp *protocol.Command, err error) {
		answer <- err == nil && resp.Code == protocol.StatusSuccess
		if err == nil {
			resp.Release()
		}
	})
	look := time.NewTicker(forwardPoll)
	defer look.Stop()
	for {
		select {
		case known := <-answer:
			return known
		case <-ctx.Done():
			return false
		case <-look.C:
			if now, _, ok := f.b.leaderTerm(); f.b.leading.Load() || ok && now != addr {
				return false
			}
		}
	}
}

// replay repeats the heartbeats of all clients to a new leader.
func (f *forwarder) replay(ctx context.Context, addr string) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, replayMax)
	for _, lc := range f.local.beats() {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			req := f.marked(lc.beat, lc.conn.ID(), unmapped(lc.conn.RemoteAddr()), 0)
			if resp, err := f.client.Invoke(ctx, addr, req); err == nil {
				resp.Release()
			}
		})
	}
	wg.Wait()
}

// marked returns a request with this member's mark.
func (f *forwarder) marked(req *protocol.Command, conn uint64, addr netip.AddrPort, waited time.Duration) *protocol.Command {
	return sentOn(req, forwardHeader{cmd: req, key: fieldForwarded, value: f.mark(conn, addr, waited)})
}

// markedRequest returns a client's request with this member's mark.
func (f *forwarder) markedRequest(r *forwardedRequest) *protocol.Command {
	h := forwardHeader{cmd: r.cmd, key: fieldForwarded, term: r.meant}
	h.value = f.mark(connID(r.call.Conn()), r.clientAddr(), time.Since(r.arrived))
	if r.doubt.open() {
		h.value = markDoubtful(h.value, r.doubt)
	}
	return sentOn(r.cmd, h)
}

func (f *forwarder) mark(conn uint64, addr netip.AddrPort, waited time.Duration) string {
	return mark(f.b.meta.Secret(), f.b.selfID, f.session, conn, addr, waited)
}

// sentOn is a request with another header.
func sentOn(req *protocol.Command, h forwardHeader) *protocol.Command {
	out := protocol.NewRequest(req.Code)
	out.Language, out.Version, out.Serialize, out.Remark = req.Language, req.Version, req.Serialize, req.Remark
	out.Flag = req.Flag & protocol.FlagOneway
	return out.SetHeader(h).SetBody(req.Body)
}

// forwardHeader is the header of a request with a field more, or two.
type forwardHeader struct {
	cmd        *protocol.Command
	key, value string
	term       uint64 // of fieldTerm, 0 for none
}

// EncodeFields writes the request's own fields and the one more.
func (h forwardHeader) EncodeFields(w *protocol.FieldWriter) {
	h.cmd.EncodeFields(w)
	w.String(h.key, h.value)
	if h.term != 0 {
		w.String(fieldTerm, strconv.FormatUint(h.term, 10))
	}
}

// clientGone tells the leader that a client of ours left.
func (f *forwarder) clientGone(c *remoting.Conn) {
	if !f.local.gone(c) || f.b.leading.Load() {
		return
	}
	if addr, ok := f.b.leaderAddr(); ok {
		req := f.marked(protocol.NewRequest(codeClientGone), c.ID(), unmapped(c.RemoteAddr()), 0)
		f.client.InvokeAsync(addr, req, func(resp *protocol.Command, err error) {
			if err == nil {
				resp.Release()
			}
		})
	}
}

// relayTimeout is how long a client may take over a request that is relayed to
// it; the leader asks for less.
const relayTimeout = 15 * time.Second

// relay passes a request of the leader's to a client of ours. It runs on the
// goroutine that reads the connection to the leader, so that a notice that the
// leader sent before an answer leaves before that answer.
func (f *forwarder) relay(call remoting.Call, req *protocol.Command) {
	var conn *remoting.Conn
	if id, ok := req.Field(fieldClient); ok {
		if n, err := strconv.ParseUint(string(id), 10, connBits); err == nil {
			conn = f.local.get(n)
		}
	}
	if conn == nil {
		call.Fail(protocol.StatusSystemError, "the client is not connected to %s", f.b.name())
		req.Release()
		return
	}
	out := protocol.NewRequest(req.Code)
	out.Language, out.Version, out.Remark, out.Body = req.Language, req.Version, req.Remark, req.Body
	for _, field := range req.Fields {
		if string(field.Key) != fieldClient {
			out.SetField(string(field.Key), string(field.Value))
		}
	}
	if call.Oneway() {
		if err := conn.Oneway(out); err != nil {
			f.b.log.Debug("not relayed", "code", req.Code, "addr", conn.RemoteAddr(), "error", err)
		}
		call.Reply(&protocol.Response{})
		req.Release()
		return
	}
	conn.InvokeAsync(out, relayTimeout, func(resp *protocol.Command, err error) {
		if err != nil {
			call.Fail(protocol.StatusSystemError, "the client did not answer: %v", err)
			return
		}
		call.Reply(passedOn(resp))
	})
	req.Release()
}

// passedOn is an answer as we got it, to be given to somebody else.
func passedOn(resp *protocol.Command) *protocol.Response {
	out := &protocol.Response{Code: resp.Code, Remark: resp.Remark, Header: resp, Body: resp.Body, Release: resp.Release}
	if len(resp.Fields) == 0 {
		out.Header = nil
	}
	return out
}
