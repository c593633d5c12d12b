package broker

import (
	"errors"

	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

const (
	// queryMax bounds the messages of one answer to a query by key, and
	// queryUnique is how many a query by unique id asks for, whatever it says:
	// RocketMQ's maxMsgsNumBatch and defaultQueryMaxNum.
	queryMax    = 64
	queryUnique = 32
	// queryBytes bounds the answer, so that it stays below what a frame may hold.
	queryBytes = 8 << 20
)

// handleQueryMessage serves QUERY_MESSAGE: the newest messages of a topic with a
// key in a range of store times, as stored records in the order of the log.
func (b *Broker) handleQueryMessage(r request) {
	f := r.cmd.Required()
	q := store.KeyQuery{
		Topic: f.Str("topic"), Key: f.Str("key"), Begin: f.Int64("beginTimestamp"), End: f.Int64("endTimestamp"),
		Max: min(int(f.Int("maxNum")), queryMax), MaxBytes: queryBytes,
	}
	if err := f.Err(); err != nil {
		b.fail(r, err)
		return
	}
	if r.cmd.Str("_UNIQUE_KEY_QUERY") == "true" {
		q.Max = queryUnique
	}
	found, err := b.store.QueryKey(q)
	switch {
	case errors.Is(err, store.ErrNoKeyIndex):
		err = refuse(protocol.StatusQueryNotFound, "can not find message, messageIndexEnable is off")
	case errors.Is(err, store.ErrKeyIndexIncomplete):
		err = refuse(protocol.StatusServiceNotAvailable, "the key index of broker[%s] is being built from the log, ask again later", b.name())
	case err == nil && len(found) == 0:
		err = refuse(protocol.StatusQueryNotFound, "can not find message, maybe time range not correct")
	}
	if err != nil {
		b.fail(r, err)
		return
	}
	resp := protocol.Response{
		Code:   protocol.StatusSuccess,
		Header: queryHeader{time: b.store.AppliedTime(), offset: b.store.Log().MaxOffset()},
	}
	for _, m := range found {
		resp.Body = append(resp.Body, m...)
	}
	r.reply(&resp)
}

// queryHeader says how far the index reaches. It is built as messages are
// applied, so that this is the log's end; clients insist on both fields.
type queryHeader struct{ time, offset int64 }

// EncodeFields writes the two fields of QueryMessageResponseHeader.
func (h queryHeader) EncodeFields(w *protocol.FieldWriter) {
	w.Int64("indexLastUpdateTimestamp", h.time)
	w.Int64("indexLastUpdatePhyoffset", h.offset)
}
