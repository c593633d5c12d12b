package protocol

// Bits of PullHeader.SysFlag (PullSysFlag).
const (
	PullCommitOffset int32 = 1 << 0 // CommitOffset is valid
	PullSuspend      int32 = 1 << 1 // hold the request when there is nothing to read
	PullSubscription int32 = 1 << 2 // Subscription is valid
	PullClassFilter  int32 = 1 << 3 // legacy
	PullLite         int32 = 1 << 4 // sent by lite pull consumers
)

// PullHeader is the header of PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
// Byte slices alias the frame.
type PullHeader struct {
	ConsumerGroup        []byte
	Topic                []byte
	QueueID              int32
	QueueOffset          int64
	MaxMsgNums           int32
	SysFlag              int32
	CommitOffset         int64
	SuspendTimeoutMillis int64
	Subscription         []byte // nil when absent
	SubVersion           int64
	ExpressionType       []byte // nil or empty means TAG
}

const (
	pullGroup = 1 << iota
	pullTopic
	pullQueue
	pullOffset
	pullMax
	pullSysFlag
	pullCommit
	pullSuspend
	pullSubVersion
	pullRequired = 1<<iota - 1
)

var pullRequiredNames = [...]string{"consumerGroup", "topic", "queueId", "queueOffset", "maxMsgNums",
	"sysFlag", "commitOffset", "suspendTimeoutMillis", "subVersion"}

// Decode reads the header of c. A missing or malformed required field is an
// error wrapping ErrField.
func (h *PullHeader) Decode(c *Command) error {
	*h = PullHeader{}
	seen := 0
	for i := range c.Fields {
		f := &c.Fields[i]
		bit, ok := h.set(f.Key, f.Value)
		if !ok {
			return fieldError(c.Code, string(f.Key), "is not a number in range: ", f.Value)
		}
		seen |= bit
	}
	if seen != pullRequired {
		for i, name := range pullRequiredNames {
			if seen&(1<<i) == 0 {
				return fieldError(c.Code, name, "is missing", nil)
			}
		}
	}
	return nil
}

func (h *PullHeader) set(key, v []byte) (bit int, ok bool) {
	switch string(key) {
	case "consumerGroup":
		h.ConsumerGroup = v
		return pullGroup, true
	case "topic":
		h.Topic = v
		return pullTopic, true
	case "queueId":
		h.QueueID, ok = parseInt32(v)
		return pullQueue, ok
	case "queueOffset":
		h.QueueOffset, ok = parseInt64(v)
		return pullOffset, ok
	case "maxMsgNums":
		h.MaxMsgNums, ok = parseInt32(v)
		return pullMax, ok
	case "sysFlag":
		h.SysFlag, ok = parseInt32(v)
		return pullSysFlag, ok
	case "commitOffset":
		h.CommitOffset, ok = parseInt64(v)
		return pullCommit, ok
	case "suspendTimeoutMillis":
		h.SuspendTimeoutMillis, ok = parseInt64(v)
		return pullSuspend, ok
	case "subVersion":
		h.SubVersion, ok = parseInt64(v)
		return pullSubVersion, ok
	case "subscription":
		h.Subscription = v
	case "expressionType":
		h.ExpressionType = v
	}
	return 0, true
}

// EncodeFields writes the request fields.
func (h *PullHeader) EncodeFields(w *FieldWriter) {
	w.Int64("commitOffset", h.CommitOffset)
	w.Bytes("consumerGroup", h.ConsumerGroup)
	if h.ExpressionType != nil {
		w.Bytes("expressionType", h.ExpressionType)
	}
	w.Int("maxMsgNums", h.MaxMsgNums)
	w.Int("queueId", h.QueueID)
	w.Int64("queueOffset", h.QueueOffset)
	w.Int64("subVersion", h.SubVersion)
	if h.Subscription != nil {
		w.Bytes("subscription", h.Subscription)
	}
	w.Int64("suspendTimeoutMillis", h.SuspendTimeoutMillis)
	w.Int("sysFlag", h.SysFlag)
	w.Bytes("topic", h.Topic)
}

// PullResponseHeader answers a pull with status 0, 19, 20 or 21. All four
// fields are needed: Java unboxes them, and Go starts again at offset 0 without.
type PullResponseHeader struct {
	SuggestWhichBrokerID int64
	NextBeginOffset      int64
	MinOffset            int64
	MaxOffset            int64 // exclusive
}

// EncodeFields writes the response fields.
func (h *PullResponseHeader) EncodeFields(w *FieldWriter) {
	w.Int64("maxOffset", h.MaxOffset)
	w.Int64("minOffset", h.MinOffset)
	w.Int64("nextBeginOffset", h.NextBeginOffset)
	w.Int64("suggestWhichBrokerId", h.SuggestWhichBrokerID)
}

// Decode reads a pull response.
func (h *PullResponseHeader) Decode(c *Command) error {
	r := c.Required()
	*h = PullResponseHeader{
		SuggestWhichBrokerID: r.Int64("suggestWhichBrokerId"),
		NextBeginOffset:      r.Int64("nextBeginOffset"),
		MinOffset:            r.Int64("minOffset"),
		MaxOffset:            r.Int64("maxOffset"),
	}
	return r.Err()
}
