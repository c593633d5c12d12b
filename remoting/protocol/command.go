package protocol

import (
	"sync"
	"sync/atomic"
)

// Serialize is the form of a command header on the wire.
type Serialize uint8

// The two header forms.
const (
	SerializeJSON     Serialize = 0 // JSON text
	SerializeROCKETMQ Serialize = 1 // RocketMQ's binary form
)

// Flag bits of a command.
const (
	FlagResponse int32 = 1 // the command answers a request
	FlagOneway   int32 = 2 // the sender wants no answer, not even an error
)

// Field is one custom header field (extFields). Both halves may alias a frame.
type Field struct{ Key, Value []byte }

// Command is one decoded or to-be-encoded frame (RemotingCommand).
type Command struct {
	Code      int32 // request code, or status when FlagResponse is set
	Language  Language
	Version   int32
	Opaque    int32 // request id, chosen by whoever sent the request
	Flag      int32
	Remark    string
	Fields    []Field       // custom header fields in the order of the wire
	Header    HeaderEncoder // typed fields written after Fields; only for encoding
	Body      []byte        // nil when the frame had no body
	Serialize Serialize

	// hasFields tells an empty extFields object from an absent one.
	hasFields bool
	// state: 0 not pooled, 1 pooled and in use, 2 given back.
	state atomic.Uint32
	frame *Buffer
	// inline keeps the field table of usual headers within the pooled object.
	inline [20]Field
}

var commands = sync.Pool{New: func() any { return new(Command) }}

// AcquireCommand returns an empty command from the pool, to be decoded into and
// given back by Release.
func AcquireCommand() *Command {
	c := commands.Get().(*Command)
	c.state.Store(1)
	return c
}

// Own hands the buffer that the command was decoded from to the command, so
// that Release gives it back too.
func (c *Command) Own(frame *Buffer) { c.frame = frame }

// Release gives the command and its frame back to their pools. It is optional:
// a command that is never released is left to the garbage collector. After it
// nothing of the command, including aliases of its fields and body, may be used.
// A second call, and a call on a command that was not pooled, does nothing.
func (c *Command) Release() {
	if c == nil || !c.state.CompareAndSwap(1, 2) {
		return
	}
	frame := c.frame
	c.reset()
	frame.Release()
	commands.Put(c)
}

// reset empties every field but the pool state.
func (c *Command) reset() {
	// Only what was used is cleared: pooled frames would otherwise be kept alive.
	clear(c.Fields)
	c.Code, c.Language, c.Version, c.Opaque, c.Flag = 0, 0, 0, 0, 0
	c.Remark, c.Fields, c.Header, c.Body = "", nil, nil, nil
	c.Serialize, c.hasFields, c.frame = 0, false, nil
}

// NewRequest returns a request with our version and language and no fields. Its
// opaque is given by the connection that sends it.
func NewRequest(code int32) *Command {
	return &Command{Code: code, Language: LanguageGo, Version: Version}
}

// IsResponse reports whether the command answers a request.
func (c *Command) IsResponse() bool { return c.Flag&FlagResponse != 0 }

// IsOneway reports whether the sender wants no answer.
func (c *Command) IsOneway() bool { return c.Flag&FlagOneway != 0 }

// SetField appends or replaces a custom field and returns the command.
func (c *Command) SetField(key, value string) *Command {
	c.hasFields = true
	for i := range c.Fields {
		if string(c.Fields[i].Key) == key {
			c.Fields[i].Value = []byte(value)
			return c
		}
	}
	c.Fields = append(c.Fields, Field{Key: []byte(key), Value: []byte(value)})
	return c
}

// SetHeader makes h write the custom fields and returns the command.
func (c *Command) SetHeader(h HeaderEncoder) *Command {
	c.Header = h
	return c
}

// SetBody sets the body and returns the command.
func (c *Command) SetBody(body []byte) *Command {
	c.Body = body
	return c
}

// EncodeFields writes the command's custom fields, so that a command can serve
// as the header of a forwarded request or response.
func (c *Command) EncodeFields(w *FieldWriter) {
	for i := range c.Fields {
		w.Field(c.Fields[i].Key, c.Fields[i].Value)
	}
	if c.Header != nil {
		c.Header.EncodeFields(w)
	}
}

// Response is an answer to one request. Opaque, serialize form, version and
// flag are filled by the connection.
type Response struct {
	Code   int32
	Remark string
	// Header writes the custom fields; nil leaves extFields out of the answer.
	Header HeaderEncoder
	// Body is queued by reference when it is large: it must not change until
	// Release is called.
	Body []byte
	// Release, when set, is called exactly once when Body was written or dropped.
	// It may be called from any goroutine and must not block.
	Release func()
}

// HeaderEncoder writes custom header fields; every key at most once.
type HeaderEncoder interface{ EncodeFields(w *FieldWriter) }
