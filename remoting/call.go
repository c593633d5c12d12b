package remoting

import (
	"fmt"
	"time"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Call is the right to answer one request. It is a small value to be copied, and
// stays valid after the request was released.
type Call struct {
	conn      *Conn
	sink      func(*protocol.Response)
	seq       uint64
	opaque    int32
	code      int32
	version   int32
	flag      int32
	held      bool
	arrived   time.Time // zero unless somebody wants to know
	language  protocol.Language
	serialize protocol.Serialize
}

func callOf(c *Conn, req *protocol.Command) Call {
	return Call{conn: c, opaque: req.Opaque, code: req.Code, version: req.Version, flag: req.Flag,
		language: req.Language, serialize: req.Serialize}
}

// NewCall returns a call whose answer goes to sink, for requests that did not
// come over a connection of ours: forwarded, internal, tests. conn may be nil.
// What the sink gets is a copy that it may keep; it has to call Release itself.
func NewCall(conn *Conn, req *protocol.Command, sink func(*protocol.Response)) Call {
	call := callOf(conn, req)
	call.sink = sink
	return call
}

// Conn returns the connection the request came from.
func (c Call) Conn() *Conn { return c.conn }

// Code returns the request code.
func (c Call) Code() int32 { return c.code }

// Opaque returns the request's id on its connection.
func (c Call) Opaque() int32 { return c.opaque }

// Version returns the requester's version ordinal.
func (c Call) Version() int32 { return c.version }

// Language returns the requester's language.
func (c Call) Language() protocol.Language { return c.language }

// Held returns the same call, marked as one that waits for something to happen:
// its time says nothing about how fast requests are served.
func (c Call) Held() Call {
	c.held = true
	return c
}

// IsHeld reports whether the call was marked so.
func (c Call) IsHeld() bool { return c.held }

// Oneway reports whether no answer will be sent, whatever is replied.
func (c Call) Oneway() bool { return c.flag&protocol.FlagOneway != 0 }

// Reply answers the request. It must be called exactly once; for oneway requests
// the answer is dropped, but Release is called. It never blocks and is safe from
// any goroutine; the header is encoded before it returns, the body is not copied
// when it is large (see protocol.Response).
func (c Call) Reply(r *protocol.Response) {
	switch {
	case c.sink != nil:
		answer := *r
		c.sink(&answer)
	case c.Oneway() || c.conn == nil:
		if r.Release != nil {
			r.Release()
		}
		c.tell(r.Code)
	default:
		c.conn.answer(&c, r)
	}
}

// Drop ends the request without an answer, for the few requests that RocketMQ
// does not answer either. It takes the place of Reply.
func (c Call) Drop() {
	if c.sink == nil && c.conn != nil && !c.Oneway() {
		c.conn.settle(&c)
	}
}

// Outcome is what became of a request. Requests that are dropped have none.
type Outcome struct {
	Code, Status int32
	Oneway       bool
	// Held: it waited for something to happen, see Call.Held.
	Held bool
	Took time.Duration // since it arrived
}

// tell reports the end of a request to whoever counts them.
func (c Call) tell(status int32) {
	if c.conn != nil && c.conn.ep.answered != nil && !c.arrived.IsZero() {
		c.conn.ep.answered(Outcome{Code: c.code, Status: status, Oneway: c.Oneway(), Held: c.held, Took: time.Since(c.arrived)})
	}
}

// Fail answers with a status and a remark.
func (c Call) Fail(status int32, format string, args ...any) {
	c.Reply(&protocol.Response{Code: status, Remark: fmt.Sprintf(format, args...)})
}
