package broker

import (
	"errors"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// wrapped is what a send needs whose messages lie inside a command: half
// messages, and sends that are stored once.
type wrapped struct {
	open  bool
	once  bool // the command stores its messages once
	start int  // of the command record in the proposal
	// records of the proposal before it
	records int
	payload []byte // buffer
}

// openCommand begins a command record in the proposal; what is added next lies
// inside of it, until closeCommand.
func (op *sendOp) openCommand(code uint16, payload []byte) {
	w := &op.wrapped
	w.open, w.start, w.records, w.payload = true, len(op.proposal.Data), op.proposal.Records, payload
	op.proposal.Data = store.AppendCommand(op.proposal.Data, code, payload)
}

// closeCommand ends the record: with all its messages it has one result.
func (op *sendOp) closeCommand() {
	store.EndCommand(op.proposal.Data, op.wrapped.start)
	op.proposal.Records = op.wrapped.records + 1
}

// openOnce begins a command that stores a send once. The key may come later.
func (op *sendOp) openOnce(kind metadata.OnceKind) {
	op.wrapped.once = true
	op.openCommand(metadata.OpOnce, metadata.AppendOncePayload(op.wrapped.payload[:0], kind, op.b.cfg().onceLimits(), op.queue))
}

// closeOnce ends it. The key counts the topic the producer named: where the
// message goes (another queue, the schedule topic) does not make it another one.
func (op *sendOp) closeOnce(topic string, unique []byte) {
	key := metadata.MakeOnceKey(topic, op.head.ProducerGroup, unique, op.proposal.Records-op.wrapped.records)
	at := op.wrapped.start + store.CommandHeaderSize
	metadata.SetOnceKey(op.proposal.Data[at:at+metadata.OncePayloadSize], key)
	op.closeCommand()
}

// storesOnce says whether a send with this unique id is to be stored once. Group
// retries are not: a consumer's client sends a message back as often as it is to
// be retried, with one id.
func (op *sendOp) storesOnce(unique []byte) bool {
	return len(unique) > 0 && op.once && op.head.ReconsumeTimes <= 0
}

// batchUnique is the unique id that stands for a whole batch: that of its first
// message, or the one in the header. The Go client's batches have neither.
func batchUnique(h *protocol.SendHeader, body []byte) []byte {
	unique, ok := message.Property(h.Properties, message.PropertyUniqKey)
	stop := errors.New("stop")
	// A body that cannot be read is refused when it is read as a whole.
	_ = message.EachBatchItem(body, func(item message.BatchItem) error {
		if v, found := message.Property(item.Properties, message.PropertyUniqKey); found {
			unique, ok = v, true
		}
		return stop
	})
	if !ok {
		return nil
	}
	return unique
}

// places returns where the messages of the send are, or those of the send that
// it repeats.
func (op *sendOp) places() (metadata.Sent, error) {
	p := &op.proposal
	if p.Err != nil {
		return metadata.Sent{}, p.Err
	}
	// A message whose topic could not be made is stored where nobody will look.
	for _, res := range p.Results {
		if err, ok := res.Value.(error); ok {
			return metadata.Sent{}, err
		}
	}
	if !op.wrapped.open {
		if len(p.Results) < len(p.Stamps) || len(p.Stamps) == 0 {
			return metadata.Sent{}, errNoPlace
		}
		return metadata.Sent{Queue: op.queue, Host: op.b.addr, Results: p.Results[len(p.Results)-len(p.Stamps):]}, nil
	}
	if len(p.Results) == 0 {
		return metadata.Sent{}, errNoPlace
	}
	sent, ok := p.Results[len(p.Results)-1].Value.(metadata.Sent)
	if !ok || len(sent.Results) != len(p.Stamps) {
		return metadata.Sent{}, errNoPlace
	}
	return sent, nil
}

var errNoPlace = errors.New("the store gave no position for the message")

// forgetOnce drops what is left of de-duplication after it was switched off, so
// that the memory comes back. It is called now and then.
func (b *Broker) forgetOnce() {
	if !b.leading.Load() {
		return
	}
	count, newest := b.meta.OnceEntries()
	if before := b.node.Now() - b.cfg().DeduplicateWindow.Milliseconds(); count > 0 && newest < before {
		b.proposeAsync(metadata.AppendForgetOnce(nil, before), 1)
	}
}
