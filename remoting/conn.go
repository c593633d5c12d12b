package remoting

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// connIDs numbers connections. It is shared by all servers of the process,
// because a broker listens on two ports and keeps one table of clients.
var connIDs atomic.Uint64

// Conn is one TCP connection, seen from either end.
type Conn struct {
	ep      *endpoint
	id      uint64
	nc      net.Conn
	remote  netip.AddrPort
	local   netip.AddrPort
	dialled string // the address we dialled, "" on the accepting side
	done    chan struct{}

	// Coarse times by ep.clock; 0 in the last two means that none is under way.
	lastActive atomic.Int64 // last frame read or batch written
	frameStart atomic.Int64 // first byte of an unfinished frame
	writeStart atomic.Int64 // begin of an unfinished write

	heard atomic.Bool // a frame came

	// mu guards everything down to cause. It is never held while calling out or
	// touching the socket.
	mu       sync.Mutex
	writable sync.Cond // the writer waits here for something to write
	readable sync.Cond // the reader waits here for room
	out      *outQueue
	spare    *outQueue // the other of two queues, nil while it is being written
	outBytes int       // queued or being written
	inFlight int       // two-way requests handed to the handler and not answered
	corked   bool      // the reader has more requests at hand: the writer need not wake yet
	cause    error     // why the connection ended, wraps ErrConnClosed; nil while it lives
	flush    bool      // write what is queued before closing

	// served tells whether the request that the reader is handling was answered,
	// for the case that the handler panics: its sequence number, then 0.
	served atomic.Uint64
	seq    uint64

	calls callTable
}

func newConn(ep *endpoint, nc net.Conn) *Conn {
	c := &Conn{ep: ep, id: connIDs.Add(1), nc: nc, done: make(chan struct{})}
	c.remote, c.local = addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr())
	c.writable.L, c.readable.L = &c.mu, &c.mu
	c.out, c.spare = new(outQueue), new(outQueue)
	c.lastActive.Store(ep.clock.Load())
	return c
}

// addrPort converts a TCP address; IPv4 addresses come out as such even when the
// socket is an IPv6 one, since they go into message ids.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// ID returns a number unique within the process.
func (c *Conn) ID() uint64 { return c.id }

// RemoteAddr returns the peer's address; IPv4 is never mapped into IPv6.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// LocalAddr returns our own address of the connection.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Done is closed when the connection has ended. OnClose follows shortly after.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended, nil while it lives. It wraps ErrConnClosed.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Close ends the connection after writing what is queued, for at most a second.
// It does not wait; Done tells.
func (c *Conn) Close() { c.end(errLocalClose, true) }

// closeFlushTime bounds the last write of a connection that we close.
const closeFlushTime = time.Second

// end marks the connection as ended, once. The reader's goroutine does the rest.
func (c *Conn) end(cause error, flush bool) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return
	}
	c.cause = fmt.Errorf("%w: %s: %w", ErrConnClosed, c.remote, cause)
	c.flush = flush
	c.writable.Signal()
	c.readable.Signal()
	c.mu.Unlock()
	close(c.done)
	if !flush {
		c.nc.Close()
		return
	}
	// The past deadline wakes the reader. Errors mean that the socket is gone already.
	now := time.Now()
	_ = c.nc.SetReadDeadline(now)
	_ = c.nc.SetWriteDeadline(now.Add(closeFlushTime))
}

// run is the connection's life: it reads until the end, then cleans up.
func (c *Conn) run() {
	written := make(chan struct{})
	c.ep.wg.Go(func() {
		defer close(written)
		c.writeLoop()
	})
	err := c.readLoop()
	c.logEnd(err)
	c.end(err, errors.Is(err, io.EOF))
	<-written
	c.nc.Close()
	c.calls.failAll(c.Err())
	c.ep.remove(c)
	if c.ep.onClose != nil {
		c.ep.onClose(c)
	}
}

// logEnd reports ends that a peer caused by misbehaving; leaving is normal.
func (c *Conn) logEnd(err error) {
	var netErr net.Error
	if c.Err() != nil || errors.Is(err, io.EOF) || errors.As(err, &netErr) {
		c.ep.log.Debug("connection ended", "peer", c.remote, "reason", err)
		return
	}
	c.ep.peerLog.warn("closing connection", "peer", c.remote, "reason", err)
}

// checkTimeouts is called at every tick with the time by ep.clock.
func (c *Conn) checkTimeouts(now int64) {
	c.calls.expire(now)
	late := func(since *atomic.Int64, limit time.Duration) bool {
		t := since.Load()
		return t != 0 && now-t > int64(limit)
	}
	switch {
	case late(&c.frameStart, c.ep.frame):
		c.timeOut(errSlowFrame)
	case late(&c.writeStart, c.ep.frame):
		c.timeOut(errSlowReader)
	case late(&c.lastActive, c.ep.idle):
		c.timeOut(errIdle)
	}
}

func (c *Conn) timeOut(cause error) {
	if c.Err() != nil {
		return
	}
	if cause == errIdle {
		c.ep.log.Debug("closing connection", "peer", c.remote, "reason", cause)
	} else {
		c.ep.peerLog.warn("closing connection", "peer", c.remote, "reason", cause)
	}
	c.end(cause, false)
}
