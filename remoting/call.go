package remoting

import (
	"fmt"

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

// Fail answers with a status and a remark.
func (c Call) Fail(status int32, format string, args ...any) {
	c.Reply(&protocol.Response{Code: status, Remark: fmt.Sprintf(format, args...)})
}
