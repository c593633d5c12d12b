package delay

import (
	"fmt"
	"net/netip"

	"github.com/cometmq/cometmq/message"
)

// batch collects the deliverable forms of due messages in one buffer, which it
// keeps for the next batch unless a large message blew it up.
type batch struct {
	to   message.QueueOffset // after the last message looked at
	buf  []byte
	prop []byte   // scratch for properties
	ends []int    // end of each record in buf
	recs [][]byte // reused by records
}

func (b *batch) reset(from message.QueueOffset) {
	if cap(b.buf) > 2*BatchBytesMax {
		b.buf = nil
	}
	b.to, b.buf, b.ends = from, b.buf[:0], b.ends[:0]
}

// full reports whether a message of this size belongs into the next batch.
func (b *batch) full(size int) bool {
	return len(b.ends) > 0 && (len(b.ends) >= BatchMessagesMax || len(b.buf)+size > BatchBytesMax)
}

// pass says that everything before the offset was looked at.
func (b *batch) pass(to message.QueueOffset) { b.to = max(b.to, to) }

// add takes a message in, or passes over it with an error.
func (b *batch) add(e *Entry, host netip.AddrPort, deliverable func([]byte) bool, more func(topic, props []byte) []byte) error {
	b.pass(e.Offset + 1)
	start := len(b.buf)
	out, prop, err := appendDelivery(b.buf, b.prop, e.Record, host, more)
	b.prop = prop
	if err != nil {
		return err
	}
	b.buf = out
	if topic := message.Stored(out[start:]).Topic(); deliverable != nil && !deliverable(topic) {
		b.buf = out[:start]
		return fmt.Errorf("%w: topic %s was deleted", ErrUndeliverable, topic)
	}
	b.ends = append(b.ends, len(b.buf))
	return nil
}

// records returns the messages; valid until the next reset.
func (b *batch) records() [][]byte {
	b.recs = b.recs[:0]
	start := 0
	for _, end := range b.ends {
		b.recs = append(b.recs, b.buf[start:end:end])
		start = end
	}
	return b.recs
}
