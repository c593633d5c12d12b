package broker

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// request is one client request on its way through the broker. Whoever answers
// it calls reply, once.
type request struct {
	call remoting.Call
	cmd  *protocol.Command
	// deadline is when a request that waited for a leader is refused, see elapsed;
	// 0 before it ever waited; arrived is when it came.
	deadline int64
	arrived  time.Time
	// term is the only one that the leader may carry it out in, 0 for any.
	term uint64
	// doubt: an earlier attempt may have been carried out.
	doubt doubt
	// origin is set when another member sent the request on for its client.
	origin *origin
	// unled: this member does not lead and serves the request from the committed
	// state that it has, because there is no leader.
	unled bool
}

// reply answers the request and gives its frame back.
func (r request) reply(resp *protocol.Response) {
	r.call.Reply(resp)
	r.cmd.Release()
}

// forwarded reports whether another member of the group sent the request on.
// Such a request is never sent on again.
func (r request) forwarded() bool { return r.origin != nil }

// clientAddr is the address of the client: the peer of the connection, or what
// the forwarding member saw.
func (r request) clientAddr() netip.AddrPort {
	if r.origin != nil {
		return r.origin.addr
	}
	if c := r.call.Conn(); c != nil {
		return unmapped(c.RemoteAddr())
	}
	return netip.AddrPort{}
}

// conn is the client's connection, to this member or to the one that sent the
// request on; nil for requests that came by none.
func (r request) conn() clientConn {
	if r.origin != nil {
		return &relayedConn{peer: r.origin.peer, conn: r.origin.conn, addr: r.origin.addr}
	}
	if c := r.call.Conn(); c != nil {
		return c
	}
	return nil
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// route says how a request code is served. Exactly one of inline, read and
// answer is set.
type route struct {
	// leader: only the ready leader may serve it; other members send it on.
	leader bool
	// retry: carrying it out twice does no harm, so a forwarding member may
	// send it again after losing the connection to the leader.
	retry bool
	// settles: carrying it out twice does harm, and the next leader can tell
	// whether it was when the leader did not, see settle.go.
	settles bool
	// patience is how long an answer may take, 0 = groupTimeout. More is for
	// requests that wait for a client.
	patience time.Duration
	// here: another member than the leader may serve this one request.
	here func(b *Broker, r request) bool
	// silent: this one request gets no answer and changes nothing.
	silent func(r request) bool
	// bound: the leader keeps something for the client's connection and must
	// hear when it closes.
	bound bool
	// unled: it only reads, and with slaveReadEnable any member may serve it from
	// its own committed state while the group has no leader.
	unled bool
	// slow: the answer may take as long as a client lets a pull be held.
	slow bool
	// background: clients send it to every member, whoever leads.
	background bool
	// note runs first, on the member that the client is connected to, whoever
	// leads. It must not block.
	note func(b *Broker, r request) error
	// notVIP: not served on the second port, as in RocketMQ.
	notVIP bool

	// inline runs on the goroutine that reads the connection. It must not
	// block, and it answers by itself.
	inline func(b *Broker, r request)
	// read runs on a reading worker: it may wait for the disk.
	read func(b *Broker, r request)
	// answer runs on a goroutine of its own: it may wait for the group.
	answer func(b *Broker, ctx context.Context, r request) (*protocol.Response, error)
}

// routes is the table of all request codes. A code that is missing is answered
// with StatusRequestCodeNotSupported.
func routes() map[int32]*route {
	// Bound, because what asks for a reply gets it by the connection it came by.
	send := &route{leader: true, settles: true, bound: true, inline: (*Broker).handleSend}
	reply := &route{leader: true, here: replyHere, inline: (*Broker).handleReply}
	pull := &route{leader: true, retry: true, bound: true, unled: true, slow: true, notVIP: true, read: (*Broker).handlePull}
	return map[int32]*route{
		protocol.CodeSendMessage:      send,
		protocol.CodeSendMessageV2:    send,
		protocol.CodeSendBatchMessage: send,
		protocol.CodePullMessage:      pull,
		protocol.CodeLitePullMessage:  pull,

		protocol.CodeSendReplyMessage:       reply,
		protocol.CodeSendReplyMessageV2:     reply,
		protocol.CodeEndTransaction:         {leader: true, retry: true, silent: silentEnd, answer: (*Broker).handleEndTransaction},
		protocol.CodeResumeCheckHalfMessage: {leader: true, answer: (*Broker).handleResumeCheck},

		protocol.CodeConsumerSendMsgBack: {leader: true, answer: (*Broker).handleSendBack},

		protocol.CodeHeartBeat:              {leader: true, retry: true, bound: true, background: true, note: (*Broker).noteHeartbeat, answer: (*Broker).handleHeartbeat},
		protocol.CodeUnregisterClient:       {leader: true, retry: true, bound: true, background: true, note: (*Broker).noteUnregister, answer: (*Broker).handleUnregister},
		protocol.CodeGetConsumerListByGroup: {leader: true, retry: true, unled: true, answer: (*Broker).handleConsumerList},
		protocol.CodeCheckClientConfig:      {answer: (*Broker).handleCheckClient},

		protocol.CodeQueryConsumerOffset:     {leader: true, retry: true, unled: true, inline: (*Broker).handleQueryOffset},
		protocol.CodeUpdateConsumerOffset:    {leader: true, retry: true, inline: (*Broker).handleUpdateOffset},
		protocol.CodeGetMaxOffset:            {leader: true, retry: true, unled: true, read: (*Broker).handleMaxOffset},
		protocol.CodeGetMinOffset:            {leader: true, retry: true, unled: true, read: (*Broker).handleMinOffset},
		protocol.CodeSearchOffsetByTimestamp: {leader: true, retry: true, unled: true, read: (*Broker).handleSearchOffset},
		protocol.CodeGetEarliestMsgStoreTime: {leader: true, retry: true, unled: true, read: (*Broker).handleEarliestTime},

		protocol.CodeLockBatchMQ:   {leader: true, retry: true, answer: (*Broker).handleLock},
		protocol.CodeUnlockBatchMQ: {leader: true, retry: true, answer: (*Broker).handleUnlock},

		protocol.CodeUpdateAndCreateTopic:        {leader: true, retry: true, answer: (*Broker).handlePutTopic},
		protocol.CodeUpdateAndCreateTopicList:    {leader: true, retry: true, answer: (*Broker).handlePutTopics},
		protocol.CodeDeleteTopicInBroker:         {leader: true, retry: true, answer: (*Broker).handleDeleteTopic},
		protocol.CodeUpdateAndCreateSubGroup:     {leader: true, retry: true, answer: (*Broker).handlePutGroup},
		protocol.CodeUpdateAndCreateSubGroupList: {leader: true, retry: true, answer: (*Broker).handlePutGroups},
		protocol.CodeDeleteSubGroup:              {leader: true, retry: true, answer: (*Broker).handleDeleteGroup},
		protocol.CodeCleanUnusedTopic:            {leader: true, retry: true, answer: (*Broker).handleCleanUnused},
		protocol.CodeCleanExpiredConsumeQueue:    {answer: (*Broker).handleCleanQueues},
		protocol.CodeDeleteExpiredCommitLog:      {answer: (*Broker).handleDeleteExpired},

		protocol.CodeGetAllTopicConfig:         {leader: true, retry: true, unled: true, answer: (*Broker).handleAllTopics},
		protocol.CodeGetTopicConfig:            {leader: true, retry: true, unled: true, answer: (*Broker).handleTopicConfig},
		protocol.CodeGetAllSubGroupConfig:      {leader: true, retry: true, unled: true, answer: (*Broker).handleAllGroups},
		protocol.CodeGetSubGroupConfig:         {leader: true, retry: true, unled: true, answer: (*Broker).handleGroupConfig},
		protocol.CodeGetSystemTopicListFromBrk: {leader: true, retry: true, unled: true, answer: (*Broker).handleSystemTopics},
		protocol.CodeGetTopicStatsInfo:         {leader: true, retry: true, unled: true, answer: (*Broker).handleTopicStats},
		protocol.CodeGetBrokerRuntimeInfo:      {answer: (*Broker).handleRuntimeInfo},
		protocol.CodeGetBrokerHAStatus:         {answer: (*Broker).handleHAStatus},
		protocol.CodeGetBrokerConfig:           {answer: (*Broker).handleGetConfig},
		protocol.CodeUpdateBrokerConfig:        {answer: (*Broker).handleUpdateConfig},

		protocol.CodeGetConsumerConnectionList: {leader: true, retry: true, unled: true, answer: (*Broker).handleConsumerConnections},
		protocol.CodeGetProducerConnectionList: {leader: true, retry: true, unled: true, answer: (*Broker).handleProducerConnections},
		protocol.CodeGetAllProducerInfo:        {leader: true, retry: true, unled: true, answer: (*Broker).handleAllProducers},
		protocol.CodeQueryTopicConsumeByWho:    {leader: true, retry: true, unled: true, answer: (*Broker).handleTopicConsumers},
		protocol.CodeGetConsumeStats:           {leader: true, retry: true, unled: true, answer: (*Broker).handleConsumeStats},
		protocol.CodeGetBrokerConsumeStats:     {leader: true, retry: true, unled: true, answer: (*Broker).handleBrokerConsumeStats},
		protocol.CodeQueryConsumeTimeSpan:      {leader: true, retry: true, unled: true, answer: (*Broker).handleTimeSpan},
		protocol.CodeQueryConsumeQueue:         {leader: true, retry: true, unled: true, answer: (*Broker).handleQueryQueue},
		protocol.CodeViewBrokerStatsData:       {leader: true, retry: true, answer: (*Broker).handleViewStats},
		protocol.CodeGetAllConsumerOffset:      {leader: true, retry: true, unled: true, answer: (*Broker).handleAllOffsets},
		protocol.CodeGetAllDelayOffset:         {leader: true, retry: true, unled: true, answer: (*Broker).handleDelayOffsets},
		protocol.CodeQueryCorrectionOffset:     {leader: true, retry: true, unled: true, answer: (*Broker).handleCorrection},
		protocol.CodeCloneGroupOffset:          {leader: true, retry: true, answer: (*Broker).handleCloneOffset},

		protocol.CodeInvokeBrokerToResetOffset: {leader: true, answer: (*Broker).handleResetOffset},
		protocol.CodeInvokeBrokerToGetStatus:   {leader: true, patience: callPatience, answer: (*Broker).handleConsumerStatus},
		protocol.CodeGetConsumerRunningInfo:    {leader: true, patience: callPatience, answer: (*Broker).handleRunningInfo},
		protocol.CodeConsumeMessageDirectly:    {leader: true, patience: callPatience, answer: (*Broker).handleConsumeDirectly},

		protocol.CodeViewMessageByID: {leader: true, retry: true, unled: true, read: (*Broker).handleViewMessage},
		protocol.CodeQueryMessage:    {leader: true, retry: true, unled: true, read: (*Broker).handleQueryMessage},

		protocol.CodeGroupMembers:  {leader: true, retry: true, here: membersHere, answer: (*Broker).handleGroupMembers},
		protocol.CodeChangeMembers: {leader: true, patience: memberPatience, answer: (*Broker).handleChangeMembers},
		protocol.CodeCompareLogs:   {leader: true, retry: true, answer: (*Broker).handleCompareLogs},

		codeMemberHello: {inline: handleMemberHello},
		codeClientGone:  {inline: handleClientGone},
	}
}

// handle is where every request of the main port enters, on the goroutine that
// reads its connection.
func (b *Broker) handle(call remoting.Call, cmd *protocol.Command) {
	b.dispatch(request{call: call, cmd: cmd}, b.routes[cmd.Code])
}

// handleVIP is handle for the second port.
func (b *Broker) handleVIP(call remoting.Call, cmd *protocol.Command) {
	rt := b.routes[cmd.Code]
	if rt != nil && rt.notVIP {
		rt = nil
	}
	b.dispatch(request{call: call, cmd: cmd}, rt)
}

func (b *Broker) dispatch(r request, rt *route) {
	if err := b.identify(&r); err != nil {
		b.fail(r, err)
		return
	}
	if b.refusing.Load() {
		b.fail(r, dledger.ErrClosed)
		return
	}
	if rt != nil && rt.note != nil && !r.forwarded() {
		if err := rt.note(b, r); err != nil {
			b.fail(r, err)
			return
		}
	}
	switch {
	case rt == nil:
		b.fail(r, refuse(protocol.StatusRequestCodeNotSupported, " request type %d not supported", r.cmd.Code))
	case rt.silent != nil && rt.silent(r):
		r.call.Drop()
		r.cmd.Release()
	case rt.leader && !b.leading.Load() && (rt.here == nil || !rt.here(b, r)):
		b.forward.take(r, rt)
	default:
		b.serve(r, rt)
	}
}

// serve runs a request on this member.
func (b *Broker) serve(r request, rt *route) {
	switch {
	case rt.inline != nil:
		rt.inline(b, r)
	case rt.read != nil:
		limit := b.cfg().ReadQueueMax
		if !b.readers.try(limit, func() { rt.read(b, r) }) {
			b.fail(r, refuse(protocol.StatusSystemBusy,
				"[OVERLOAD]system busy, start flow control for a while: %d requests wait to read (pullThreadPoolQueueCapacity)", limit))
		}
	default:
		if err := b.enter(); err != nil {
			b.fail(r, err)
			return
		}
		go func() {
			defer b.leave()
			b.answer(r, rt)
		}()
	}
}

// answer runs a waiting handler and writes what it returns.
func (b *Broker) answer(r request, rt *route) {
	patience := rt.patience
	if patience == 0 {
		patience = groupTimeout
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	resp, err := rt.answer(b, ctx, r)
	cancel()
	if err != nil {
		b.failed(r, rt, err)
		return
	}
	r.reply(resp)
}

const (
	// waitersMax bounds the requests that wait for the group at one time, each
	// on a goroutine of its own. Sends and pulls are not among them.
	waitersMax = 4096
	// groupTimeout is how long one of them waits. It stays below the 3 s after
	// which Java clients close the whole connection.
	groupTimeout = 2500 * time.Millisecond
)

// enter counts one more waiting request, unless there are too many already.
func (b *Broker) enter() error {
	b.waitMu.Lock()
	defer b.waitMu.Unlock()
	if b.closing {
		return dledger.ErrClosed
	}
	if b.waiting >= waitersMax {
		return refuse(protocol.StatusSystemBusy,
			"[OVERLOAD]system busy, start flow control for a while: %d requests wait for the group", waitersMax)
	}
	b.waiting++
	b.waiters.Add(1)
	return nil
}

func (b *Broker) leave() {
	b.waitMu.Lock()
	b.waiting--
	b.waitMu.Unlock()
	b.waiters.Done()
}

// failed answers a request of a route with an error, or hands it to the
// forwarder when the error says that it never entered the log because this
// member does not lead: the client need not notice a change of leader.
func (b *Broker) failed(r request, rt *route, err error) {
	notLeading := errors.Is(err, dledger.ErrNotLeader) || errors.Is(err, dledger.ErrClosed)
	if rt.leader && notLeading || rt.retry && errors.Is(err, dledger.ErrUnknown) {
		b.forward.again(r, rt)
		return
	}
	b.fail(r, err)
}

// fail answers a request with the code and remark of an error.
func (b *Broker) fail(r request, err error) {
	code, remark := b.answerOf(err)
	resp := protocol.Response{Code: code, Remark: remark, Header: b.failHeader(r.cmd.Code)}
	r.reply(&resp)
}

// failHeader is the header of a refusal: producers read region and trace from
// it without looking whether they are there, on errors too.
func (b *Broker) failHeader(code int32) protocol.HeaderEncoder {
	switch code {
	case protocol.CodeSendMessage, protocol.CodeSendMessageV2, protocol.CodeSendBatchMessage,
		protocol.CodeSendReplyMessage, protocol.CodeSendReplyMessageV2:
		return &protocol.SendResponseHeader{Region: b.cfg().RegionID, TraceOn: b.cfg().TraceOn}
	case protocol.CodePullMessage, protocol.CodeLitePullMessage:
		return protocol.EmptyHeader{}
	}
	return nil
}

// success is an answer without fields or body.
func success() (*protocol.Response, error) {
	return &protocol.Response{Code: protocol.StatusSuccess}, nil
}

// withBody is a successful answer that carries a body.
func withBody(body []byte, err error) (*protocol.Response, error) {
	if err != nil {
		return nil, err
	}
	return &protocol.Response{Code: protocol.StatusSuccess, Header: protocol.EmptyHeader{}, Body: body}, nil
}
