package broker

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// forwarder gets requests to the leader, whoever that is by now. Clients learn
// of a new leader within 30 s; until then they talk to whom they know, and
// with the forwarder they notice nothing.
//
// A request waits here while no leader is known, for ForwardWait at most.
type forwarder struct {
	b       *Broker
	client  *remoting.Client
	pulls   *remoting.Client // their answers take long, and must not outlast others' patience
	session string           // of this process
	local   localClients
	news    chan bool // for greet: the leader changed (false) or its connection was lost (true)

	// unledSince is when a request first found no leader, see elapsed; 0 when the
	// last one found one.
	unledSince atomic.Int64

	lastTaken atomic.Int64 // when a client's request was last sent on, see elapsed; 0: never
	flying    atomic.Int64 // requests at the leader that are no pulls

	mu      sync.Mutex
	waiting []*forwardedRequest
	count   int // waiting and sent
	timer   *time.Timer
	closed  bool
}

type forwardedRequest struct {
	request
	route *route
	// meant is the term of the leader that it was last sent to, and since the group
	// time before that; of routes that settle.
	meant uint64
	since int64
}

// forwardPoll is how often waiting requests look for a leader. Elections take a
// few hundred milliseconds; there is no event for "the leader's address became
// known here", which is an entry in the log like any other.
const forwardPoll = 10 * time.Millisecond

const (
	// silentWait replaces ForwardWait for QUERY_CONSUMER_OFFSET: Java takes any
	// error for "this group has no offset" and may jump over messages. Such a
	// request is never refused; it waits, and at the end its connection is closed.
	silentWait = 30 * time.Second
	// beatWait replaces it for heartbeats, which this member has noted itself: at
	// the end they succeed. Java would close the connection after 3 s.
	beatWait = time.Second
	// hopelessWait replaces it when there was no leader for ForwardWait already:
	// the client is better served by the reason than by waiting for its timeout.
	hopelessWait = 200 * time.Millisecond
	// unledRead is how long there must be no leader before members read for
	// clients themselves (slaveReadEnable). Elections are over by then.
	unledRead = time.Second
)

// forwardTimeout is how long the leader may take over a forwarded request that
// is no pull. Clients wait 3 s as a rule.
const forwardTimeout = 5 * time.Second

func newForwarder(b *Broker, client, pulls *remoting.Client) *forwarder {
	return &forwarder{
		b: b, client: client, pulls: pulls, session: newSession(), news: make(chan bool, 1),
		local: localClients{byID: map[uint64]*localClient{}},
	}
}

// take brings a request to the leader and answers it. It does not block.
func (f *forwarder) take(r request, rt *route) {
	if q := f.admit(r, rt); q != nil {
		f.try(q)
	}
}

// again is take for a request that this member began to serve and then found
// that it may not. It always waits a moment: while the leadership is handed
// over, the node refuses proposals and still reports to lead, and trying again
// at once would go round in circles.
func (f *forwarder) again(r request, rt *route) {
	if q := f.admit(r, rt); q != nil {
		f.park(q)
	}
}

// admit counts a request in, or answers it and returns nil.
func (f *forwarder) admit(r request, rt *route) *forwardedRequest {
	if r.forwarded() {
		f.refuseForwarded(r)
		return nil
	}
	cfg, now := f.b.cfg(), time.Now()
	if r.deadline == 0 {
		wait := cfg.ForwardWait
		switch r.cmd.Code {
		case protocol.CodeQueryConsumerOffset:
			wait = silentWait
		case protocol.CodeHeartBeat:
			wait = min(wait, beatWait)
		default:
			if f.unled() > wait {
				wait = min(wait, hopelessWait)
			}
		}
		r.deadline, r.arrived = elapsed()+int64(wait), now
	}
	if len(r.cmd.Fields) >= forwardFieldsMax {
		f.b.fail(r, refuse(protocol.StatusSystemError, "%d header fields, at most %d", len(r.cmd.Fields), forwardFieldsMax))
		return nil
	}
	f.mu.Lock()
	full, closed := f.count >= cfg.ForwardMax, f.closed
	if !full && !closed {
		f.count++
	}
	f.mu.Unlock()
	switch {
	case closed:
		f.fail(r, dledger.ErrClosed)
		return nil
	case full:
		f.fail(r, refuse(protocol.StatusSystemBusy,
			"[OVERLOAD]system busy, start flow control for a while: %d requests wait for the leader (forwardRequestsMax)", cfg.ForwardMax))
		return nil
	}
	return &forwardedRequest{request: r, route: rt}
}

// refuseForwarded answers a request that another member took us for the leader
// with.
func (f *forwarder) refuseForwarded(r request) {
	_, remark := f.b.answerOf(dledger.ErrNotLeader)
	r.reply(&protocol.Response{
		Code: protocol.StatusServiceNotAvailable, Remark: remark,
		Header: protocol.Pairs{{fieldNotLeader, "true"}},
	})
}

// try sends the request to the leader, serves it here when that is us, or lets
// it wait.
func (f *forwarder) try(r *forwardedRequest) {
	if f.b.leading.Load() {
		if r.doubt.open() && f.b.term.Load() <= r.doubt.term {
			f.park(r) // the news that this member leads no more is on its way
			return
		}
		f.leave()
		f.b.serve(r.request, r.route)
		return
	}
	addr, ok := f.b.leaderAddr()
	if !ok {
		if f.unled(); r.route.unled && f.readsHere() {
			f.leave()
			r.unled = true
			f.b.serve(r.request, r.route)
			return
		}
		f.park(r)
		return
	}
	f.led()
	if r.route.settles {
		// A leader of another term refuses it, so that no harm is done if there is
		// another one by now. Who is outside of the group knows no term (0).
		if r.meant = f.b.node.LeaderTerm(); r.doubt.open() && r.meant <= r.doubt.term {
			f.awaitNext(r)
			return
		}
		r.since = f.b.store.AppliedTime()
	}
	if !r.route.background {
		f.lastTaken.Store(elapsed())
	}
	if r.route.bound {
		f.local.bind(r.call.Conn())
	}
	f.b.counters.forwarded.Add(1)
	req := f.markedRequest(r)
	if r.call.Oneway() {
		if err := f.client.Oneway(f.b.ctx, addr, req); err != nil {
			f.park(r)
			return
		}
		f.leave()
		r.reply(&protocol.Response{})
		return
	}
	if r.route.slow || r.route.patience > 0 {
		f.pulls.InvokeAsync(addr, req, func(resp *protocol.Command, err error) { f.answered(r, addr, resp, err) })
		return
	}
	f.flying.Add(1)
	f.client.InvokeAsync(addr, req, func(resp *protocol.Command, err error) {
		f.answered(r, addr, resp, err)
		f.flying.Add(-1)
	})
}

// forwardFieldsMax leaves room for our own field within remoting's limit of
// 1,024: a frame beyond it would end the connection for everybody's requests.
const forwardFieldsMax = 1000

func connID(c *remoting.Conn) uint64 {
	if c == nil {
		return 0
	}
	return c.ID()
}

// unled returns how long no leader was known while requests looked for one.
func (f *forwarder) unled() time.Duration {
	now := elapsed()
	if f.unledSince.CompareAndSwap(0, now) {
		return 0
	}
	return time.Duration(now - f.unledSince.Load())
}

// unledFrom is since when, the zero time if there is a leader.
func (f *forwarder) unledFrom() time.Time {
	if at := f.unledSince.Load(); at != 0 {
		return began.Add(time.Duration(at))
	}
	return time.Time{}
}

// led notes that a leader is known.
func (f *forwarder) led() {
	if f.unledSince.Load() != 0 {
		f.unledSince.Store(0)
	}
}

// readsHere reports whether this member reads for clients by itself.
func (f *forwarder) readsHere() bool { return f.b.cfg().SlaveRead && f.unled() > unledRead }

// answered passes the leader's answer on, or decides what a missing one means.
func (f *forwarder) answered(r *forwardedRequest, addr string, resp *protocol.Command, err error) {
	if err == nil {
		if _, refused := resp.Field(fieldNotLeader); refused {
			resp.Release()
			f.park(r)
			return
		}
		if _, unknown := resp.Field(fieldUnknown); unknown {
			resp.Release()
			f.doubted(r)
			return
		}
		f.leave()
		if r.doubt.open() && isStranger(resp) {
			resp.Release()
			f.b.fail(r.request, dledger.ErrUnknown)
			return
		}
		r.reply(passedOn(resp))
		return
	}
	f.b.log.Debug("forwarding failed", "code", r.cmd.Code, "leader", addr, "error", err)
	if errors.Is(err, protocol.ErrTooLarge) {
		f.leave()
		f.fail(r.request, dledger.ErrTooLarge)
		return
	}
	if r.route.retry || neverSent(err) {
		f.park(r)
		return
	}
	if r.route.settles {
		f.doubted(r)
		return
	}
	f.leave()
	f.b.fail(r.request, dledger.ErrUnknown)
}

// neverSent reports whether a failed call certainly did not reach the leader.
func neverSent(err error) bool {
	return errors.Is(err, remoting.ErrDial) || errors.Is(err, remoting.ErrOutQueueFull) || errors.Is(err, remoting.ErrClientClosed)
}

// park lets a request wait for a leader, or ends it when its time is over.
func (f *forwarder) park(r *forwardedRequest) {
	f.mu.Lock()
	if !f.closed && elapsed() < r.deadline {
		f.waiting = append(f.waiting, r)
		if f.timer == nil {
			f.timer = time.AfterFunc(forwardPoll, f.retry)
		}
		f.mu.Unlock()
		return
	}
	closed := f.closed
	f.count--
	f.mu.Unlock()
	switch {
	case r.cmd.Code == protocol.CodeHeartBeat:
		r.reply(&protocol.Response{Code: protocol.StatusSuccess})
	case r.cmd.Code == protocol.CodeQueryConsumerOffset && r.call.Conn() != nil:
		r.call.Conn().Close()
		r.reply(&protocol.Response{Code: protocol.StatusServiceNotAvailable})
	case closed:
		f.fail(r.request, dledger.ErrClosed)
	default:
		f.fail(r.request, dledger.ErrNotLeader)
	}
}

// retry gives every waiting request another chance.
func (f *forwarder) retry() {
	f.mu.Lock()
	waiting := f.waiting
	f.waiting, f.timer = nil, nil
	f.mu.Unlock()
	for _, r := range waiting {
		f.try(r)
	}
}

func (f *forwarder) leave() {
	f.mu.Lock()
	f.count--
	f.mu.Unlock()
}

// pending is how many requests wait for a leader or for its answer.
func (f *forwarder) pending() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// close refuses new requests and ends those that wait.
func (f *forwarder) close() {
	f.mu.Lock()
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
	waiting := f.waiting
	f.waiting = nil
	f.mu.Unlock()
	for _, r := range waiting {
		f.park(r)
	}
}

// leaderAddr is the client address of the member that leads, if it is another
// one, has announced itself, and there is a secret to show it.
func (b *Broker) leaderAddr() (string, bool) {
	addr, _, ok := b.leaderTerm()
	return addr, ok
}

// leaderTerm is leaderAddr with the term that the leader announced itself for.
func (b *Broker) leaderTerm() (string, uint64, bool) {
	id := b.node.LeaderID()
	if id == "" || id == b.selfID || b.meta.Secret() == "" {
		return "", 0, false
	}
	m, ok := b.meta.Member(id)
	return m.Addr, m.Term, ok && m.Addr != ""
}
