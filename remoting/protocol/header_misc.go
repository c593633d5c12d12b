package protocol

// ConsumerOffsetHeader is the header of QUERY_CONSUMER_OFFSET (14) and
// UPDATE_CONSUMER_OFFSET (15). Byte slices alias the frame.
type ConsumerOffsetHeader struct {
	ConsumerGroup []byte
	Topic         []byte
	QueueID       int32
	// CommitOffset is the offset to store; -1 when absent, which only 14 accepts.
	CommitOffset int64
	// NoZeroIfMissing is true when a 5.x client sent setZeroIfNotFound=false: do
	// not answer 0 for a young queue without a stored offset.
	NoZeroIfMissing bool
}

// Decode reads the header of c.
func (h *ConsumerOffsetHeader) Decode(c *Command) error {
	r := c.Required()
	*h = ConsumerOffsetHeader{
		ConsumerGroup: r.Bytes("consumerGroup"),
		Topic:         r.Bytes("topic"),
		QueueID:       r.Int("queueId"),
		CommitOffset:  -1,
	}
	if c.Code == CodeUpdateConsumerOffset {
		h.CommitOffset = r.Int64("commitOffset")
	}
	if v, ok := c.Field("setZeroIfNotFound"); ok {
		h.NoZeroIfMissing = !parseBool(v)
	}
	return r.Err()
}

// EncodeFields writes the request fields; commitOffset only when it is not negative.
func (h *ConsumerOffsetHeader) EncodeFields(w *FieldWriter) {
	if h.CommitOffset >= 0 {
		w.Int64("commitOffset", h.CommitOffset)
	}
	w.Bytes("consumerGroup", h.ConsumerGroup)
	w.Int("queueId", h.QueueID)
	w.Bytes("topic", h.Topic)
}

// OffsetHeader is the response header of the codes that answer one offset: 14,
// 29, 30 and 31.
type OffsetHeader struct{ Offset int64 }

// EncodeFields writes the offset.
func (h *OffsetHeader) EncodeFields(w *FieldWriter) { w.Int64("offset", h.Offset) }

// Decode reads the offset.
func (h *OffsetHeader) Decode(c *Command) error {
	r := c.Required()
	h.Offset = r.Int64("offset")
	return r.Err()
}

// SendBackHeader is the header of CONSUMER_SEND_MSG_BACK (36).
type SendBackHeader struct {
	Offset            int64 // commit-log offset of the message, 0 is valid
	Group             string
	DelayLevel        int32
	OriginMsgID       string
	OriginTopic       string
	UnitMode          bool
	MaxReconsumeTimes int32 // -1 when absent
}

// Decode reads the header of c.
func (h *SendBackHeader) Decode(c *Command) error {
	r := c.Required()
	*h = SendBackHeader{
		Offset:            r.Int64("offset"),
		Group:             r.Str("group"),
		DelayLevel:        r.Int("delayLevel"),
		OriginMsgID:       c.Str("originMsgId"),
		OriginTopic:       c.Str("originTopic"),
		UnitMode:          c.Bool("unitMode"),
		MaxReconsumeTimes: c.Int("maxReconsumeTimes", -1),
	}
	return r.Err()
}

// EncodeFields writes the request fields.
func (h *SendBackHeader) EncodeFields(w *FieldWriter) {
	w.Int("delayLevel", h.DelayLevel)
	w.String("group", h.Group)
	if h.MaxReconsumeTimes >= 0 {
		w.Int("maxReconsumeTimes", h.MaxReconsumeTimes)
	}
	w.Int64("offset", h.Offset)
	if h.OriginMsgID != "" {
		w.String("originMsgId", h.OriginMsgID)
	}
	if h.OriginTopic != "" {
		w.String("originTopic", h.OriginTopic)
	}
	w.Bool("unitMode", h.UnitMode)
}

// Values of EndTransactionHeader.CommitOrRollback.
const (
	TransactionUnknown  int32 = 0
	TransactionCommit   int32 = 8
	TransactionRollback int32 = 12
)

// EndTransactionHeader is the header of END_TRANSACTION (37).
type EndTransactionHeader struct {
	ProducerGroup        string
	TranStateTableOffset int64 // offset in the half queue
	CommitLogOffset      int64 // physical offset of the half message
	CommitOrRollback     int32
	FromTransactionCheck bool
	MsgID                string
	TransactionID        string
}

// Decode reads the header of c.
func (h *EndTransactionHeader) Decode(c *Command) error {
	r := c.Required()
	*h = EndTransactionHeader{
		ProducerGroup:        r.Str("producerGroup"),
		TranStateTableOffset: r.Int64("tranStateTableOffset"),
		CommitLogOffset:      r.Int64("commitLogOffset"),
		CommitOrRollback:     r.Int("commitOrRollback"),
		FromTransactionCheck: c.Bool("fromTransactionCheck"),
		MsgID:                c.Str("msgId"),
		TransactionID:        c.Str("transactionId"),
	}
	return r.Err()
}

// EncodeFields writes the request fields.
func (h *EndTransactionHeader) EncodeFields(w *FieldWriter) {
	w.Int64("commitLogOffset", h.CommitLogOffset)
	w.Int("commitOrRollback", h.CommitOrRollback)
	w.Bool("fromTransactionCheck", h.FromTransactionCheck)
	w.String("msgId", h.MsgID)
	w.String("producerGroup", h.ProducerGroup)
	w.Int64("tranStateTableOffset", h.TranStateTableOffset)
	if h.TransactionID != "" {
		w.String("transactionId", h.TransactionID)
	}
}

// BrokerHeader names a broker: the header of REGISTER_BROKER (103),
// UNREGISTER_BROKER (104) and QUERY_DATA_VERSION (322).
type BrokerHeader struct {
	ClusterName string
	BrokerName  string
	BrokerAddr  string
	BrokerID    int64
	// HAServerAddr, Compressed and BodyCRC32 belong to 103 only. BodyCRC32 is the
	// CRC-32 of the body as sent, masked to 31 bits; 0 means unchecked.
	HAServerAddr string
	Compressed   bool
	BodyCRC32    int32
	// ExternalAddr is ours: where clients outside of the broker's network find
	// it. Other name servers ignore the field; empty is not sent.
	ExternalAddr string
	// StandIns is ours too: the number of stand-in names for the broker; 0 is not
	// sent.
	StandIns int32
}

// Decode reads the header of c.
func (h *BrokerHeader) Decode(c *Command) error {
	r := c.Required()
	*h = BrokerHeader{
		ClusterName:  r.Str("clusterName"),
		BrokerName:   r.Str("brokerName"),
		BrokerAddr:   r.Str("brokerAddr"),
		BrokerID:     r.Int64("brokerId"),
		HAServerAddr: c.Str("haServerAddr"),
		Compressed:   c.Bool("compressed"),
		BodyCRC32:    c.Int("bodyCrc32", 0),
		ExternalAddr: c.Str("cometExternalAddr"),
		StandIns:     c.Int("cometStandIns", 0),
	}
	return r.Err()
}

// EncodeFields writes the request fields.
func (h *BrokerHeader) EncodeFields(w *FieldWriter) {
	w.Int("bodyCrc32", h.BodyCRC32)
	w.String("brokerAddr", h.BrokerAddr)
	w.Int64("brokerId", h.BrokerID)
	w.String("brokerName", h.BrokerName)
	w.String("clusterName", h.ClusterName)
	if h.ExternalAddr != "" {
		w.String("cometExternalAddr", h.ExternalAddr)
	}
	if h.StandIns != 0 {
		w.Int("cometStandIns", h.StandIns)
	}
	w.Bool("compressed", h.Compressed)
	w.String("haServerAddr", h.HAServerAddr)
}
