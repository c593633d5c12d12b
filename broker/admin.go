package broker

import (
	"errors"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// handleViewMessage serves VIEW_MESSAGE_BY_ID. Positions are the same on all
// members, so each answers what it has.
func (b *Broker) handleViewMessage(r request) {
	f := r.cmd.Required()
	at := f.Int64("offset")
	if err := f.Err(); err != nil {
		b.fail(r, err)
		return
	}
	m, err := b.store.MessageAt(message.PhyOffset(at))
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = refuse(protocol.StatusSystemError, "can not find message by the offset, %d", at)
		}
		b.fail(r, err)
		return
	}
	r.reply(&protocol.Response{Code: protocol.StatusSuccess, Header: protocol.EmptyHeader{}, Body: m})
}
