package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/broker/transaction"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// halfLog is what the transaction checker sees of this broker's state, and
// producers what it sees of its clients.
type halfLog struct{ b *Broker }

// Now is the group's clock.
func (l halfLog) Now() int64 { return l.b.node.Now() }

// Halves lists pending half messages.
func (l halfLog) Halves(from message.QueueOffset, limit int, keep func(*transaction.Half) bool) ([]transaction.Half, message.QueueOffset, bool) {
	found, next, done := l.b.meta.Halves(nil, from, limit, func(h *metadata.Half) bool { return keep((*transaction.Half)(h)) })
	out := make([]transaction.Half, len(found))
	for i, h := range found {
		out[i] = transaction.Half(h)
	}
	return out, next, done
}

// Pending returns a half message that waits for its end.
func (l halfLog) Pending(offset message.QueueOffset) (transaction.Half, bool) {
	h, ok := l.b.meta.Half(offset)
	return transaction.Half(h), ok
}

// Message reads a half message from the log.
func (l halfLog) Message(h *transaction.Half) (message.Stored, error) {
	m, err := l.b.store.MessageAt(h.Phy)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", transaction.ErrGone, err)
	}
	return m, err
}

// Count counts check-backs in one command.
func (l halfLog) Count(ctx context.Context, halves []transaction.Half) ([]bool, error) {
	checks := make([]metadata.HalfCheck, len(halves))
	for i, h := range halves {
		checks[i] = metadata.HalfCheck{Offset: h.Offset, Checks: h.Checks}
	}
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	value, err := l.b.command(ctx, metadata.AppendCheck(nil, checks))
	if err != nil {
		return nil, err
	}
	counted, ok := value.([]bool)
	if !ok || len(counted) != len(halves) {
		return nil, fmt.Errorf("unexpected result %T of counted checks", value)
	}
	return counted, nil
}

// GiveUp puts a half message aside.
func (l halfLog) GiveUp(ctx context.Context, h *transaction.Half, half message.Stored) error {
	record := metadata.AppendEnd(nil, h.Offset, h.Phy, metadata.HalfRolledBack)
	if half != nil {
		m := transaction.GivenUp(half, h.Offset, h.Checks, l.b.addr)
		aside, err := m.AppendStored(nil)
		if err != nil {
			return err
		}
		record = metadata.AppendEnd(nil, h.Offset, h.Phy, metadata.HalfGivenUp, aside)
	}
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	_, err := l.b.stampedCommand(ctx, record)
	return err
}

type producers struct{ b *Broker }

// Live says whether a producer of the group is connected here.
func (p producers) Live(group string) bool { return p.b.clients.HasProducer(group) }

// askTries is how many producers are tried when connections break.
const askTries = 3

// Ask sends CHECK_TRANSACTION_STATE to the next live producer of the group. It
// will answer with END_TRANSACTION, if it can.
func (p producers) Ask(h *transaction.Half, m message.Stored, checks int32) bool {
	body, err := transaction.CheckBody(m, checks)
	if err != nil {
		p.b.log.Error("cannot ask about a half message", "offset", h.Offset, "error", err)
		return true // nor will another attempt fare better
	}
	unique, _ := m.Property(message.PropertyUniqKey)
	header := &protocol.CheckTransactionHeader{
		TranStateTableOffset: int64(h.Offset), CommitLogOffset: int64(h.Phy),
		MsgID: string(unique), TransactionID: string(unique), OffsetMsgID: message.OffsetMsgID(m.StoreHost(), h.Phy),
	}
	for range askTries {
		conn, ok := p.b.clients.ProducerConn(h.Group)
		if !ok {
			return false
		}
		out, ok := conn.(oneway)
		if !ok {
			continue
		}
		err := out.Oneway(protocol.NewRequest(protocol.CodeCheckTransactionState).SetHeader(header).SetBody(body))
		if err == nil {
			return true
		}
		p.b.log.Debug("check-back not sent", "group", h.Group, "addr", conn.RemoteAddr(), "error", err)
	}
	return false
}
