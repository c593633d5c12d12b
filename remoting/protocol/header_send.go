package protocol

// SendHeader is the header of the send family: SEND_MESSAGE (10) and
// SEND_REPLY_MESSAGE (324) with full field names, SEND_MESSAGE_V2 (310),
// SEND_BATCH_MESSAGE (320) and SEND_REPLY_MESSAGE_V2 (325) with one letter per
// field. Byte slices alias the frame.
type SendHeader struct {
	ProducerGroup         []byte
	Topic                 []byte
	DefaultTopic          []byte
	DefaultTopicQueueNums int32
	QueueID               int32 // < 0: any writable queue
	SysFlag               int32
	BornTimestamp         int64 // ms
	Flag                  int32
	Properties            []byte // properties string; nil when absent
	ReconsumeTimes        int32  // 0 when absent
	UnitMode              bool
	MaxReconsumeTimes     int32 // -1 when absent
	Batch                 bool  // takes the batch path; code 320 alone does not
}

// Bits of the fields that a send request must have.
const (
	sendGroup = 1 << iota
	sendTopic
	sendDefaultTopic
	sendDefaultQueues
	sendQueue
	sendSysFlag
	sendBorn
	sendFlag
	sendRequired = 1<<iota - 1
)

var sendRequiredNames = [...]string{"producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums",
	"queueId", "sysFlag", "bornTimestamp", "flag"}

// Decode reads the header of c in the naming that belongs to its code. A missing
// or malformed required field is an error wrapping ErrField.
func (h *SendHeader) Decode(c *Command) error {
	*h = SendHeader{MaxReconsumeTimes: -1}
	short := c.Code != CodeSendMessage && c.Code != CodeSendReplyMessage && c.Code != CodePushReplyMessageToClient
	seen := 0
	for i := range c.Fields {
		f := &c.Fields[i]
		letter := byte(0)
		switch {
		case short && len(f.Key) == 1:
			letter = f.Key[0]
		case !short:
			letter = sendLetter(f.Key)
		}
		bit, ok := h.set(letter, f.Value)
		if !ok {
			return fieldError(c.Code, string(f.Key), "is not a number in range: ", f.Value)
		}
		seen |= bit
	}
	if seen != sendRequired {
		for i, name := range sendRequiredNames {
			if seen&(1<<i) == 0 {
				return fieldError(c.Code, name, "is missing", nil)
			}
		}
	}
	return nil
}

// set assigns the field named by its V2 letter and returns its required bit.
func (h *SendHeader) set(letter byte, v []byte) (bit int, ok bool) {
	switch letter {
	case 'a':
		h.ProducerGroup = v
		return sendGroup, true
	case 'b':
		h.Topic = v
		return sendTopic, true
	case 'c':
		h.DefaultTopic = v
		return sendDefaultTopic, true
	case 'd':
		h.DefaultTopicQueueNums, ok = parseInt32(v)
		return sendDefaultQueues, ok
	case 'e':
		h.QueueID, ok = parseInt32(v)
		return sendQueue, ok
	case 'f':
		h.SysFlag, ok = parseInt32(v)
		return sendSysFlag, ok
	case 'g':
		h.BornTimestamp, ok = parseInt64(v)
		return sendBorn, ok
	case 'h':
		h.Flag, ok = parseInt32(v)
		return sendFlag, ok
	case 'i':
		h.Properties = v
	case 'j':
		// Optional numbers that cannot be read count as absent, as in Java.
		h.ReconsumeTimes, _ = parseInt32(v)
	case 'k':
		h.UnitMode = parseFlag(v)
	case 'l':
		if n, ok := parseInt32(v); ok {
			h.MaxReconsumeTimes = n
		}
	case 'm':
		h.Batch = parseFlag(v)
	}
	return 0, true
}

// parseFlag is parseBool for the booleans of a send, which C++ clients up to 1.2
// write as 1 and 0. RocketMQ takes that 1 for false and stores a batch of theirs
// as one message with the items' framing as its body.
func parseFlag(v []byte) bool { return parseBool(v) || string(v) == "1" }

// sendLetter maps a V1 field name to its V2 letter, 0 when unknown.
func sendLetter(key []byte) byte {
	switch string(key) {
	case "producerGroup":
		return 'a'
	case "topic":
		return 'b'
	case "defaultTopic":
		return 'c'
	case "defaultTopicQueueNums":
		return 'd'
	case "queueId":
		return 'e'
	case "sysFlag":
		return 'f'
	case "bornTimestamp":
		return 'g'
	case "flag":
		return 'h'
	case "properties":
		return 'i'
	case "reconsumeTimes":
		return 'j'
	case "unitMode":
		return 'k'
	case "maxReconsumeTimes":
		return 'l'
	case "batch":
		return 'm'
	}
	return 0
}

// EncodeFields writes the one-letter form, for codes 310, 320 and 325.
func (h *SendHeader) EncodeFields(w *FieldWriter) {
	w.Bytes("a", h.ProducerGroup)
	w.Bytes("b", h.Topic)
	w.Bytes("c", h.DefaultTopic)
	w.Int("d", h.DefaultTopicQueueNums)
	w.Int("e", h.QueueID)
	w.Int("f", h.SysFlag)
	w.Int64("g", h.BornTimestamp)
	w.Int("h", h.Flag)
	if h.Properties != nil {
		w.Bytes("i", h.Properties)
	}
	w.Int("j", h.ReconsumeTimes)
	w.Bool("k", h.UnitMode)
	if h.MaxReconsumeTimes >= 0 {
		w.Int("l", h.MaxReconsumeTimes)
	}
	w.Bool("m", h.Batch)
}

// SendHeaderV1 writes a SendHeader with full names, for codes 10 and 324.
type SendHeaderV1 struct{ *SendHeader }

// EncodeFields writes the form with full names.
func (v SendHeaderV1) EncodeFields(w *FieldWriter) {
	h := v.SendHeader
	w.Bool("batch", h.Batch)
	w.Int64("bornTimestamp", h.BornTimestamp)
	w.Bytes("defaultTopic", h.DefaultTopic)
	w.Int("defaultTopicQueueNums", h.DefaultTopicQueueNums)
	w.Int("flag", h.Flag)
	if h.MaxReconsumeTimes >= 0 {
		w.Int("maxReconsumeTimes", h.MaxReconsumeTimes)
	}
	w.Bytes("producerGroup", h.ProducerGroup)
	if h.Properties != nil {
		w.Bytes("properties", h.Properties)
	}
	w.Int("queueId", h.QueueID)
	w.Int("reconsumeTimes", h.ReconsumeTimes)
	w.Int("sysFlag", h.SysFlag)
	w.Bytes("topic", h.Topic)
	w.Bool("unitMode", h.UnitMode)
}

// SendResponseHeader answers the send family. Java reads MSG_REGION and TRACE_ON
// without a null check, so they are written even on errors (Stored false).
type SendResponseHeader struct {
	// Stored says that MsgID, QueueID and QueueOffset are valid.
	Stored      bool
	MsgID       []byte // offset message id as text; comma-joined for a batch
	QueueID     int32
	QueueOffset int64
	Region      string // MSG_REGION; "" is written as DefaultRegion
	TraceOn     bool
}

// DefaultRegion is the MSG_REGION value of a broker without a region of its own.
const DefaultRegion = "DefaultRegion"

// EncodeFields writes the response fields.
func (h *SendResponseHeader) EncodeFields(w *FieldWriter) {
	region := h.Region
	if region == "" {
		region = DefaultRegion
	}
	w.String("MSG_REGION", region)
	w.Bool("TRACE_ON", h.TraceOn)
	if h.Stored {
		w.Bytes("msgId", h.MsgID)
		w.Int("queueId", h.QueueID)
		w.Int64("queueOffset", h.QueueOffset)
	}
}

// Decode reads a send response; MsgID aliases the frame. Stored is set when msgId,
// queueId and queueOffset are all there.
func (h *SendResponseHeader) Decode(c *Command) error {
	*h = SendResponseHeader{Region: c.Str("MSG_REGION"), TraceOn: c.Bool("TRACE_ON")}
	if _, ok := c.Field("msgId"); !ok && c.Code != StatusSuccess {
		return nil
	}
	r := c.Required()
	h.MsgID, h.QueueID, h.QueueOffset = r.Bytes("msgId"), r.Int("queueId"), r.Int64("queueOffset")
	h.Stored = r.Err() == nil
	return r.Err()
}
