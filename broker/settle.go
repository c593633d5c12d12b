package broker

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// A send whose outcome is unknown is settled with the next leader.
//
// The leader may die, or be deposed, after a send was given to it and before it
// answered. Whether the send is stored is open then, but not for long: a later
// leader that is ready has, applied, every entry that can ever be committed of
// the earlier terms, for its own barrier lies behind them. So whoever waits for
// the answer asks the next leader for "this send, unless you have it".
//
// Why that stores nothing twice:
//
//   - A first attempt names the term of the leader that it is meant for
//     (fieldTerm), and enters the log in that term or not at all
//     (dledger.Proposal.Term). However long it lies about in a socket, a leader of
//     another term refuses it.
//   - The next leader takes the doubtful send only if it leads in a later term
//     than every attempt named. What it does not find then, it will never have.
//   - What it does not know for sure ends "outcome unknown", as it would have at
//     once: nothing is ever stored blindly.
//
// And why it loses nothing: what it finds must be this very send. The client's
// unique id alone would not do, because an application may send one message
// object twice; see sameSend.

// doubt says what is known of the earlier attempts of a send.
type doubt struct {
	term  uint64 // the latest that one was meant for; 0: there was none, and no doubt
	since int64  // the group time before the first one
	at    int64  // when this member began to doubt, see elapsed
}

func (d *doubt) open() bool { return d.term != 0 }

// settleWait is how long a doubtful send waits while the leader that it was given
// to is still taken for the leader. One that died is noticed sooner; a
// connection that broke between two healthy members is no change of leader.
const settleWait = time.Second

// identified reports whether a send carries an id by which it can be found.
func identified(cmd *protocol.Command) bool {
	var h protocol.SendHeader
	if h.Decode(cmd) != nil {
		return false
	}
	if h.Batch {
		return len(batchUnique(&h, cmd.Body)) > 0
	}
	unique, _ := message.Property(h.Properties, message.PropertyUniqKey)
	return len(unique) > 0
}

// doubted keeps a send whose outcome the leader did not tell for the next one.
func (f *forwarder) doubted(r *forwardedRequest) {
	if !r.doubt.open() {
		if r.meant == 0 || !identified(r.cmd) {
			f.leave()
			f.b.fail(r.request, dledger.ErrUnknown)
			return
		}
		r.doubt.since = r.since
	}
	r.doubt.term, r.doubt.at = r.meant, elapsed() // meant for a later term than before
	f.park(r)
}

// awaitNext lets a doubtful send wait for another leader than the known one.
func (f *forwarder) awaitNext(r *forwardedRequest) {
	if elapsed()-r.doubt.at > int64(settleWait) {
		f.leave()
		f.b.fail(r.request, dledger.ErrUnknown)
		return
	}
	f.park(r)
}

// fail ends a request that got no answer of a leader. Of a doubtful send that says
// nothing.
func (f *forwarder) fail(r request, err error) {
	if r.doubt.open() {
		err = dledger.ErrUnknown
	}
	f.b.fail(r, err)
}

// isStranger tells the answer of a member that does not understand our mark: one
// of an older version, which knows of no doubtful sends.
func isStranger(resp *protocol.Command) bool {
	return resp.Code == protocol.StatusNoPermission && resp.Remark == errStranger.Error()
}

// unsettled goes on with a send whose proposal of this term ended unknown: by this
// member when a client of its own sent it, else by the member that did.
func (b *Broker) unsettled(r request, rt *route, d doubt, spent time.Duration) {
	switch {
	case r.forwarded() && r.term != 0:
		code, remark := b.answerOf(dledger.ErrUnknown)
		r.reply(&protocol.Response{Code: code, Remark: remark, Header: protocol.Pairs{{fieldUnknown, "true"}}})
	case r.forwarded(), r.call.Oneway(), !rt.settles, !identified(r.cmd):
		b.fail(r, dledger.ErrUnknown)
	default:
		d.at, r.doubt = elapsed(), d
		if r.deadline == 0 {
			r.arrived = time.Now().Add(-spent)
			r.deadline = elapsed() + int64(b.cfg().ForwardWait-spent)
		}
		b.forward.again(r, rt)
	}
}

// settleSend serves a doubtful send on the leader. It reads the disk, so that it runs
// on a reading worker; their queue bounds how many there can be.
func (b *Broker) settleSend(r request) {
	if !b.readers.try(b.cfg().ReadQueueMax, func() { b.newSendOp(r).settle() }) {
		b.fail(r, dledger.ErrUnknown)
	}
}

func (op *sendOp) settle() {
	b, r, rt := op.b, op.r, op.route
	op.began = time.Since(b.stats.Start())
	term := b.term.Load()
	if !b.leading.Load() || term <= r.doubt.term || r.term != 0 && r.term != term {
		op.recycle()
		b.failed(r, rt, dledger.ErrNotLeader)
		return
	}
	// Not even a refusal is an answer before it is known that nothing is stored.
	err := op.build()
	var sent metadata.Sent
	var found bool
	if err == nil {
		sent, found, err = op.stored()
		if errors.Is(err, errNotFindable) && op.isOnce() {
			err = nil // the store looks by itself
		}
	}
	b.log.Debug("send of unknown outcome", "topic", op.topic, "since-term", r.doubt.term, "term", term, "found", found, "error", err)
	switch {
	case err != nil:
		op.recycle()
		b.fail(r, dledger.ErrUnknown)
	case found:
		op.tell(&sent)
	default:
		op.proposeIn(term)
	}
}

// onceSure is the least window of de-duplication that certainly reaches back to a
// first attempt: longer than any client waits.
const onceSure = time.Minute

// isOnce reports whether the store itself recognises a repetition of this send.
func (op *sendOp) isOnce() bool {
	return op.wrapped.once && op.b.cfg().DeduplicateWindow >= onceSure
}

// errNotFindable says why it cannot be told whether a send is stored.
var errNotFindable = errors.New("cannot be found")

// findable refuses what has no place of its own in the index of keys:
//
//   - A consumer's client sends a message that is to be retried back with the id
//     that it had, as often as it is to be retried.
//   - Half messages are in no queue that the index knows. Nothing is lost: a
//     producer that hears of no success does not begin its transaction, and the
//     half message is checked back.
//   - A timed message may have become due meanwhile, and would now go elsewhere.
func (op *sendOp) findable() error {
	switch {
	case op.head.ReconsumeTimes > 0 || message.IsRetryTopic(op.topic) || message.IsDLQTopic(op.topic):
		return fmt.Errorf("%w: a retry", errNotFindable)
	case op.kind == typeTransaction:
		return fmt.Errorf("%w: a half message", errNotFindable)
	case op.kind == typeDelay && op.msg.Topic != message.TopicSchedule:
		return fmt.Errorf("%w: a timed message", errNotFindable)
	}
	return nil
}

// stored looks for the messages of the send among those that were stored since its
// first attempt. An error means that nobody knows.
func (op *sendOp) stored() (metadata.Sent, bool, error) {
	if err := op.findable(); err != nil {
		return metadata.Sent{}, false, err
	}
	own, err := op.records()
	if err != nil {
		return metadata.Sent{}, false, err
	}
	_, unique, _ := own[0].Marks()
	if len(unique) == 0 {
		return metadata.Sent{}, false, fmt.Errorf("%w: no unique id", errNotFindable)
	}
	keep := op.head.QueueID >= 0
	st := op.b.store
	m, err := st.FindKey(op.msg.Topic, unique, op.r.doubt.since, func(m message.Stored) bool { return sameSend(m, own[0], keep) })
	switch {
	case errors.Is(err, store.ErrNoKeyIndex), errors.Is(err, store.ErrKeyIndexIncomplete):
		return metadata.Sent{}, false, fmt.Errorf("%w: %w", errNotFindable, err)
	case err != nil || m == nil:
		return metadata.Sent{}, false, err
	}
	sent := metadata.Sent{Duplicate: true, Queue: realQueue(m), Host: m.StoreHost()}
	for i := range own {
		if i > 0 {
			// A batch is stored as a whole, one message behind the other.
			if m, err = st.MessageAt(m.PhyOffset() + message.PhyOffset(len(m))); err != nil {
				return metadata.Sent{}, false, err
			}
			if !sameSend(m, own[i], keep) {
				return metadata.Sent{}, false, fmt.Errorf("another batch begins with the same message, at %d", sent.Results[0].Phy)
			}
		}
		sent.Results = append(sent.Results, store.Result{Phy: m.PhyOffset(), Queue: m.QueueOffset()})
	}
	return sent, true, nil
}

// records are the messages in the proposal, those inside commands too.
func (op *sendOp) records() ([]message.Stored, error) {
	var own []message.Stored
	err := store.EachRecord(op.proposal.Data, func(r store.Record) error {
		if !r.IsCommand() {
			own = append(own, r.Message())
			return nil
		}
		return r.EachNested(func(_ int, m message.Stored) error {
			own = append(own, m)
			return nil
		})
	})
	if err == nil && len(own) == 0 {
		err = errNoPlace
	}
	return own, err
}

// sameSend reports whether a stored message came by an attempt of the send that a
// message of ours is from. What the client made in the millisecond of the call
// tells two sends of one message object apart, and the client's own retries: only
// one object that a client sends twice within one millisecond, over one connection
// to one queue, counts as one. keepQueue: the client chose the queue.
func sameSend(m, own message.Stored, keepQueue bool) bool {
	_, unique, _ := own.Marks()
	_, got, _ := m.Marks()
	return bytes.Equal(got, unique) && m.BornTimestamp() == own.BornTimestamp() && m.BornHost() == own.BornHost() &&
		m.Flag() == own.Flag() && (!keepQueue || realQueue(m) == realQueue(own)) && bytes.Equal(m.Body(), own.Body())
}

// realQueue is the queue that the client is told: of a delayed message, the one
// that it will come to.
func realQueue(m message.Stored) int32 {
	if string(m.Topic()) == message.TopicSchedule {
		text, _ := m.Property(message.PropertyRealQueueID)
		if n, err := strconv.ParseInt(string(text), 10, 32); err == nil {
			return int32(n)
		}
	}
	return m.QueueID()
}
