package remoting

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// ErrConnClosed is what every waiting call of a connection fails with when the
// connection ends; it wraps the cause.
var ErrConnClosed = errors.New("connection closed")

// Conn is one TCP connection, seen from either end.
type Conn struct{}

// ID returns a number unique within the process.
func (c *Conn) ID() uint64 { return 0 }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }

// LocalAddr returns our own address of the connection.
func (c *Conn) LocalAddr() netip.AddrPort { return netip.AddrPort{} }

// Invoke sends a request to the peer and waits for its answer.
func (c *Conn) Invoke(ctx context.Context, req *protocol.Command) (*protocol.Command, error) {
	return nil, ErrConnClosed
}

// InvokeAsync sends a request; done is called exactly once, from a goroutine that
// must not be blocked, with the answer or an error.
func (c *Conn) InvokeAsync(req *protocol.Command, timeout time.Duration, done func(*protocol.Command, error)) {
	done(nil, ErrConnClosed)
}

// Oneway sends a request that is not answered.
func (c *Conn) Oneway(req *protocol.Command) error { return ErrConnClosed }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return nil }

// Close ends the connection.
func (c *Conn) Close() {}
