package remoting

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// ClientConfig configures a Client. Zero fields mean their defaults.
type ClientConfig struct {
	// Handler receives requests that a server sends to us; nil answers status 3.
	Handler Handler
	// OnClose is called once when a connection is gone, with the address it was
	// dialled by.
	OnClose func(addr string, c *Conn)
	Logger  hclog.Logger
	// DialTimeout bounds connecting (3 s).
	DialTimeout time.Duration
	// InvokeTimeout bounds InvokeAsync, and Invoke without a deadline (10 s).
	InvokeTimeout time.Duration
	// MaxFrame, MaxFields, IdleTimeout and FrameTimeout are as in ServerConfig.
	// OutBytesMax is how many bytes may wait for one server before requests are
	// refused with ErrOutQueueFull.
	MaxFrame     int
	MaxFields    int
	OutBytesMax  int
	IdleTimeout  time.Duration
	FrameTimeout time.Duration
}

const (
	defaultDialTimeout   = 3 * time.Second
	defaultInvokeTimeout = 10 * time.Second

	// dialWaitersMax bounds the requests that wait for one connection to be made.
	dialWaitersMax = 16 << 10
)

// Client sends requests over one connection per address, made when it is first
// needed and again after it was lost.
type Client struct {
	cfg  ClientConfig
	ep   *endpoint
	ctx  context.Context // ends dialling at Close
	stop context.CancelFunc

	mu      sync.Mutex // guards what follows
	peers   map[string]*peer
	started bool
	closed  bool
}

// peer is one address: connected, or being dialled.
type peer struct {
	conn    *Conn
	waiters []func(*Conn, error) // to be called, unlocked, when dialling ends
}

// NewClient returns a client without connections.
func NewClient(cfg ClientConfig) *Client {
	cfg.DialTimeout = orDefault(cfg.DialTimeout, defaultDialTimeout)
	cfg.InvokeTimeout = orDefault(cfg.InvokeTimeout, defaultInvokeTimeout)
	handler := cfg.Handler
	if handler == nil {
		handler = func(call Call, req *protocol.Command) {
			call.Fail(protocol.StatusRequestCodeNotSupported, " request type %d not supported", req.Code)
			req.Release()
		}
	}
	c := &Client{cfg: cfg, peers: make(map[string]*peer)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.ep = newEndpoint(endpointConfig{
		logger: cfg.Logger, handler: handler, onClose: c.connClosed,
		maxFrame: cfg.MaxFrame, maxFields: cfg.MaxFields, outBytesMax: cfg.OutBytesMax,
		idleTimeout: cfg.IdleTimeout, frameTimeout: cfg.FrameTimeout,
	})
	return c
}

// Invoke sends a request to addr and waits for its answer until ctx ends, or for
// InvokeTimeout when ctx has no deadline. Errors wrap ErrDial (nothing was sent),
// ErrOutQueueFull (nothing was sent), ErrTimeout, ErrConnClosed, ErrClientClosed
// or the context's error. The answer may be Released.
func (c *Client) Invoke(ctx context.Context, addr string, req *protocol.Command) (*protocol.Command, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.InvokeTimeout)
		defer cancel()
	}
	conn, err := c.conn(ctx, addr)
	if err != nil {
		return nil, err
	}
	return conn.Invoke(ctx, req)
}

// InvokeAsync sends a request without blocking. done is called exactly once with
// the answer or an error as for Invoke; it must not block. req must not change
// before that: it may wait for a connection to be made.
func (c *Client) InvokeAsync(addr string, req *protocol.Command, done func(*protocol.Command, error)) {
	c.withConn(addr, func(conn *Conn, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		conn.InvokeAsync(req, c.cfg.InvokeTimeout, done)
	})
}

// Oneway sends a request that is not answered. It waits only for a connection.
func (c *Client) Oneway(ctx context.Context, addr string, req *protocol.Command) error {
	conn, err := c.conn(ctx, addr)
	if err != nil {
		return err
	}
	return conn.Oneway(req)
}

// Disconnect closes the connection to addr, if there is one. What waits on it
// fails with ErrConnClosed; the next request connects again.
func (c *Client) Disconnect(addr string) {
	if conn := c.established(addr); conn != nil {
		conn.Close()
	}
}

// DisconnectSilent is Disconnect for a connection over which nothing has come yet.
// So is one to a port that is held open while the process behind it is dead.
func (c *Client) DisconnectSilent(addr string) {
	if conn := c.established(addr); conn != nil && !conn.heard.Load() {
		conn.Close()
	}
}

// Close closes all connections, fails what waits on them and returns when the
// client's goroutines are gone. It must not be called from a callback.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.ep.close()
	c.ep.wg.Wait()
	return nil
}

// conn returns the connection to addr, waiting for it to be made.
func (c *Client) conn(ctx context.Context, addr string) (*Conn, error) {
	if conn := c.established(addr); conn != nil {
		return conn, nil
	}
	type result struct {
		conn *Conn
		err  error
	}
	got := make(chan result, 1)
	c.withConn(addr, func(conn *Conn, err error) { got <- result{conn, err} })
	select {
	case r := <-got:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w to %s: %w", ErrDial, addr, ctx.Err())
	}
}

// established returns a live connection to addr, or nil.
func (c *Client) established(addr string) *Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[addr]; p != nil && p.conn != nil && p.conn.Err() == nil {
		return p.conn
	}
	return nil
}

// withConn calls use with a live connection or an error: at once if there is one,
// else when dialling ends. All who wait for one address share one dial.
func (c *Client) withConn(addr string, use func(*Conn, error)) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		use(nil, ErrClientClosed)
		return
	}
	p := c.peers[addr]
	if p != nil && p.conn != nil {
		if conn := p.conn; conn.Err() == nil {
			c.mu.Unlock()
			use(conn, nil)
			return
		}
		p = nil // lost, connClosed is about to forget it
	}
	if p != nil && len(p.waiters) >= dialWaitersMax {
		c.mu.Unlock()
		use(nil, fmt.Errorf("%w to %s: %d requests wait for it already", ErrDial, addr, dialWaitersMax))
		return
	}
	if p == nil {
		p = &peer{}
		c.peers[addr] = p
		if !c.started {
			c.started = true
			c.ep.wg.Go(c.ep.watch)
		}
		c.ep.wg.Go(func() { c.dial(addr, p) })
	}
	p.waiters = append(p.waiters, use)
	c.mu.Unlock()
}

// dial connects and tells those who wait. A failed address is forgotten, so that
// the next request tries again.
func (c *Client) dial(addr string, p *peer) {
	d := net.Dialer{Timeout: c.cfg.DialTimeout}
	nc, err := d.DialContext(c.ctx, "tcp", addr)
	var conn *Conn
	if err == nil {
		conn = newConn(c.ep, nc)
		conn.dialled = addr
		if err = c.ep.add(conn, math.MaxInt); err != nil {
			nc.Close()
			conn = nil
		}
	}
	if err != nil {
		err = fmt.Errorf("%w to %s: %w", ErrDial, addr, err)
	}
	c.mu.Lock()
	waiters := p.waiters
	p.waiters, p.conn = nil, conn
	if conn == nil && c.peers[addr] == p {
		delete(c.peers, addr)
	}
	c.mu.Unlock()
	for _, use := range waiters {
		use(conn, err)
	}
}

// connClosed forgets a lost connection.
func (c *Client) connClosed(conn *Conn) {
	c.mu.Lock()
	if p := c.peers[conn.dialled]; p != nil && p.conn == conn {
		delete(c.peers, conn.dialled)
	}
	c.mu.Unlock()
	if c.cfg.OnClose != nil {
		c.cfg.OnClose(conn.dialled, conn)
	}
}
