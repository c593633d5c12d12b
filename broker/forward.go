package broker

import (
	"errors"
	"sync"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// fieldForwarded marks a request that a member sent on to the leader; its value
// is the client's address. A marked request is never sent on again, so that two
// members that take each other for the leader cannot play with it.
//
// fieldNotLeader marks the answer of a member that refused a marked request
// because it does not lead: nothing was done, and the sender may try again.
const (
	fieldForwarded = "cometForwardedFor"
	fieldNotLeader = "cometNotLeader"
)

// forwarder gets requests to the leader, whoever that is by now. Clients learn
// of a new leader within 30 s; until then they talk to whom they know, and
// with the forwarder they notice nothing.
//
// A request waits here while no leader is known, for ForwardWait at most.
type forwarder struct {
	b      *Broker
	client *remoting.Client
	pulls  *remoting.Client // their answers take long, and must not outlast others' patience

	mu      sync.Mutex
	waiting []*forwardedRequest
	count   int // waiting and sent
	timer   *time.Timer
	closed  bool
}

type forwardedRequest struct {
	request
	route *route
}

// forwardPoll is how often waiting requests look for a leader. Elections take a
// few hundred milliseconds; there is no event for "the leader's address became
// known here", which is an entry in the log like any other.
const forwardPoll = 10 * time.Millisecond

// silentWait replaces ForwardWait for QUERY_CONSUMER_OFFSET: Java takes any
// error for "this group has no offset" and may jump over messages. Such a
// request is never refused; it waits, and at the end its connection is closed.
const silentWait = 30 * time.Second

// forwardTimeout is how long the leader may take over a forwarded request that
// is no pull. Clients wait 3 s as a rule.
const forwardTimeout = 5 * time.Second

func newForwarder(b *Broker, client, pulls *remoting.Client) *forwarder {
	return &forwarder{b: b, client: client, pulls: pulls}
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
	cfg := f.b.cfg()
	if r.deadline == 0 {
		wait := cfg.ForwardWait
		if r.cmd.Code == protocol.CodeQueryConsumerOffset {
			wait = silentWait
		}
		r.deadline = time.Now().Add(wait).UnixNano()
	}
	f.mu.Lock()
	full, closed := f.count >= cfg.ForwardMax, f.closed
	if !full && !closed {
		f.count++
	}
	f.mu.Unlock()
	switch {
	case closed:
		f.b.fail(r, dledger.ErrClosed)
		return nil
	case full:
		f.b.fail(r, refuse(protocol.StatusSystemBusy,
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
		f.leave()
		f.b.serve(r.request, r.route)
		return
	}
	addr, ok := f.b.leaderAddr()
	if !ok {
		f.park(r)
		return
	}
	req := protocol.NewRequest(r.cmd.Code)
	req.Language, req.Version, req.Serialize, req.Remark = r.cmd.Language, r.cmd.Version, r.cmd.Serialize, r.cmd.Remark
	req.Flag = r.cmd.Flag & protocol.FlagOneway
	req.SetHeader(forwardHeader{r.cmd, r.clientAddr().String()}).SetBody(r.cmd.Body)
	if r.call.Oneway() {
		if err := f.client.Oneway(f.b.ctx, addr, req); err != nil {
			f.park(r)
			return
		}
		f.leave()
		r.reply(&protocol.Response{})
		return
	}
	client := f.client
	if r.route.read != nil && r.route.notVIP || r.route.patience > 0 {
		client = f.pulls
	}
	client.InvokeAsync(addr, req, func(resp *protocol.Command, err error) { f.answered(r, addr, resp, err) })
}

// forwardHeader is the client's header with our mark.
type forwardHeader struct {
	cmd    *protocol.Command
	client string
}

// EncodeFields writes the client's fields and the mark.
func (h forwardHeader) EncodeFields(w *protocol.FieldWriter) {
	h.cmd.EncodeFields(w)
	w.String(fieldForwarded, h.client)
}

// answered passes the leader's answer on, or decides what a missing one means.
func (f *forwarder) answered(r *forwardedRequest, addr string, resp *protocol.Command, err error) {
	if err == nil {
		if _, refused := resp.Field(fieldNotLeader); refused {
			resp.Release()
			f.park(r)
			return
		}
		f.leave()
		answer := protocol.Response{Code: resp.Code, Remark: resp.Remark, Header: resp, Body: resp.Body, Release: resp.Release}
		if len(resp.Fields) == 0 {
			answer.Header = nil
		}
		r.reply(&answer)
		return
	}
	f.b.log.Debug("forwarding failed", "code", r.cmd.Code, "leader", addr, "error", err)
	if r.route.retry || neverSent(err) {
		f.park(r)
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
	if !f.closed && time.Now().UnixNano() < r.deadline {
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
	case r.cmd.Code == protocol.CodeQueryConsumerOffset:
		r.call.Conn().Close()
		r.reply(&protocol.Response{Code: protocol.StatusServiceNotAvailable})
	case closed:
		f.b.fail(r.request, dledger.ErrClosed)
	default:
		f.b.fail(r.request, dledger.ErrNotLeader)
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
// one and has announced itself.
func (b *Broker) leaderAddr() (string, bool) {
	st := b.node.Status()
	if st.LeaderID == "" || st.LeaderID == b.selfID {
		return "", false
	}
	m, ok := b.meta.Member(st.LeaderID)
	return m.Addr, ok && m.Addr != ""
}
