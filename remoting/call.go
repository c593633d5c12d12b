package remoting

import (
	"fmt"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Call is the right to answer one request. It is a small value to be copied.
type Call struct {
	conn *Conn
	sink func(*protocol.Response)
	code int32
	ver  int32
	lang protocol.Language
	flag int32
}

// NewCall returns a call whose answer goes to sink, for requests that did not
// come over a connection of ours (forwarded, internal, tests). conn may be nil.
func NewCall(conn *Conn, req *protocol.Command, sink func(*protocol.Response)) Call {
	return Call{conn: conn, sink: sink, code: req.Code, ver: req.Version, lang: req.Language, flag: req.Flag}
}

// Conn returns the connection the request came from.
func (c Call) Conn() *Conn { return c.conn }

// Code returns the request code.
func (c Call) Code() int32 { return c.code }

// Version returns the requester's version ordinal.
func (c Call) Version() int32 { return c.ver }

// Language returns the requester's language.
func (c Call) Language() protocol.Language { return c.lang }

// Oneway reports whether no answer will be sent, whatever is replied.
func (c Call) Oneway() bool { return c.flag&protocol.FlagOneway != 0 }

// Reply answers the request. It must be called exactly once, for oneway requests
// too (the answer is dropped, Release is called). It never blocks and is safe from
// any goroutine.
func (c Call) Reply(r *protocol.Response) {}

// Fail answers with a status and a remark.
func (c Call) Fail(status int32, format string, args ...any) {
	c.Reply(&protocol.Response{Code: status, Remark: fmt.Sprintf(format, args...)})
}
