package protocol

// CheckTransactionHeader is the header of CHECK_TRANSACTION_STATE (39), which a
// broker sends to a producer; the body is one stored message.
type CheckTransactionHeader struct {
	TranStateTableOffset int64 // offset in the half queue
	CommitLogOffset      int64 // physical offset of the half message
	MsgID                string
	TransactionID        string
	OffsetMsgID          string
}

// Decode reads the header of c.
func (h *CheckTransactionHeader) Decode(c *Command) error {
	r := c.Required()
	*h = CheckTransactionHeader{
		TranStateTableOffset: r.Int64("tranStateTableOffset"),
		CommitLogOffset:      r.Int64("commitLogOffset"),
		MsgID:                c.Str("msgId"),
		TransactionID:        c.Str("transactionId"),
		OffsetMsgID:          c.Str("offsetMsgId"),
	}
	return r.Err()
}

// EncodeFields writes the request fields.
func (h *CheckTransactionHeader) EncodeFields(w *FieldWriter) {
	w.Int64("commitLogOffset", h.CommitLogOffset)
	w.String("msgId", h.MsgID)
	w.String("offsetMsgId", h.OffsetMsgID)
	w.Int64("tranStateTableOffset", h.TranStateTableOffset)
	w.String("transactionId", h.TransactionID)
}

// PushReplyHeader is the header of PUSH_REPLY_MESSAGE_TO_CLIENT (326): that of a
// send with what the broker knows about the reply. Reply is written with full
// names, without its batch flag.
type PushReplyHeader struct {
	Reply          SendHeader
	BornHost       string // ip:port
	StoreHost      string // ip:port
	StoreTimestamp int64  // ms
}

// Decode reads the header of c. Byte slices alias the frame.
func (h *PushReplyHeader) Decode(c *Command) error {
	if err := h.Reply.Decode(c); err != nil {
		return err
	}
	r := c.Required()
	h.BornHost, h.StoreHost, h.StoreTimestamp = r.Str("bornHost"), r.Str("storeHost"), r.Int64("storeTimestamp")
	return r.Err()
}

// EncodeFields writes the request fields.
func (h *PushReplyHeader) EncodeFields(w *FieldWriter) {
	m := &h.Reply
	w.String("bornHost", h.BornHost)
	w.Int64("bornTimestamp", m.BornTimestamp)
	w.Bytes("defaultTopic", m.DefaultTopic)
	w.Int("defaultTopicQueueNums", m.DefaultTopicQueueNums)
	w.Int("flag", m.Flag)
	w.Bytes("producerGroup", m.ProducerGroup)
	if m.Properties != nil {
		w.Bytes("properties", m.Properties)
	}
	w.Int("queueId", m.QueueID)
	w.Int("reconsumeTimes", m.ReconsumeTimes)
	w.String("storeHost", h.StoreHost)
	w.Int64("storeTimestamp", h.StoreTimestamp)
	w.Int("sysFlag", m.SysFlag)
	w.Bytes("topic", m.Topic)
	w.Bool("unitMode", m.UnitMode)
}
