package broker

import (
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// pushReplyTimeout is how long a requester may take to acknowledge a reply.
const pushReplyTimeout = 10 * time.Second

// reply is what a send knows more that answers a request.
type reply struct {
	// fault says why the requester did not get it; "" when it did.
	fault string
}

// replyHere tells a reply that this member can deliver although it does not
// lead: its requester is connected here. Clients learn late of a new leader, and
// requester and replier may both still be with the old one.
func replyHere(b *Broker, r request) bool {
	_, ok := b.requesterOf(r)
	return ok
}

// requesterOf finds the connection of the client that a reply is for.
func (b *Broker) requesterOf(r request) (clientConn, bool) {
	var h protocol.SendHeader
	if h.Decode(r.cmd) != nil {
		return nil, false
	}
	id, ok := message.Property(h.Properties, message.PropertyReplyToClient)
	if !ok {
		return nil, false
	}
	c, ok := b.clients.ClientConn(string(id))
	if !ok {
		return nil, false
	}
	conn, ok := c.(clientConn)
	return conn, ok
}

// introduce remembers where the client is that sends a request. A producer that
// has just started sends its first heartbeat within a second, and a quick replier
// would not find it before that. A consumer that sends a request to its retry
// topic speaks for another client.
func (b *Broker) introduce(r request, h *protocol.SendHeader, requester []byte) {
	conn := r.conn()
	if conn == nil || message.IsRetryTopic(string(h.Topic)) {
		return
	}
	if err := b.clients.Introduce(conn, r.call.Language(), r.call.Version(), string(requester), string(h.ProducerGroup)); err != nil {
		b.log.Debug("a requester is not known before its first heartbeat", "client-id", string(requester), "error", err)
	}
}

// handleReply serves SEND_REPLY_MESSAGE: the reply is checked and encoded as any
// send, pushed to its requester, stored in the reply topic if that is wanted, and
// answered by what became of the push. Storing cannot change the answer, because
// the requester has its reply by then.
func (b *Broker) handleReply(r request) {
	op := b.newSendOp(r)
	op.reply = &reply{}
	if err := op.build(); err != nil {
		op.recycle()
		b.fail(r, err)
		return
	}
	id, ok := message.Property(op.head.Properties, message.PropertyReplyToClient)
	if !ok {
		op.pushed("reply message properties[" + message.PropertyReplyToClient + "] is null")
		return
	}
	conn, ok := b.requesterOf(r)
	if !ok {
		op.pushed("push reply message fail, channel of <" + string(id) + "> not found.")
		return
	}
	// The frame is not given back before the answer, so that what aliases it is
	// good until then.
	conn.InvokeAsync(op.pushRequest(), pushReplyTimeout, func(resp *protocol.Command, err error) {
		if err != nil || resp.Code != protocol.StatusSuccess {
			b.log.Warn("reply not taken by its requester", "client-id", string(id), "addr", conn.RemoteAddr(), "error", err)
			op.pushed("push reply message to " + string(id) + "fail.")
			return
		}
		resp.Release()
		op.pushed("")
	})
}

// pushRequest is the reply as its requester gets it.
func (op *sendOp) pushRequest() *protocol.Command {
	now := op.b.node.Now()
	h := &protocol.PushReplyHeader{
		Reply: op.head, BornHost: op.msg.BornHost.String(), StoreHost: op.msg.StoreHost.String(), StoreTimestamp: now,
	}
	h.Reply.QueueID, h.Reply.SysFlag = op.queue, op.msg.SysFlag
	h.Reply.Properties = message.SetProperty(nil, op.head.Properties, message.PropertyPushReplyTime, itoa(int(now)))
	return protocol.NewRequest(protocol.CodePushReplyMessageToClient).SetHeader(h).SetBody(op.r.cmd.Body)
}

// pushed goes on when the push succeeded or failed. It must not block.
func (op *sendOp) pushed(fault string) {
	op.reply.fault = fault
	if op.b.cfg().StoreReply && op.b.leading.Load() {
		op.propose()
		return
	}
	op.answerReply(nil)
}

// answerReply answers the replier. Without a stored record it is told the id 0
// at offset 0.
func (op *sendOp) answerReply(err error) {
	b, r := op.b, op.r
	if err != nil {
		b.log.Warn("reply not stored", "topic", op.msg.Topic, "error", err)
	}
	if !op.answer.Stored {
		op.answer.Stored, op.answer.QueueID, op.answer.QueueOffset = true, op.queue, 0
		op.answer.MsgID = append(op.answer.MsgID[:0], '0')
	}
	op.answer.Region, op.answer.TraceOn = b.cfg().RegionID, b.cfg().TraceOn
	op.resp = protocol.Response{Code: protocol.StatusSuccess, Header: &op.answer}
	if fault := op.reply.fault; fault != "" {
		op.resp.Code, op.resp.Remark = protocol.StatusSystemError, fault
	}
	r.reply(&op.resp)
	op.recycle()
}
