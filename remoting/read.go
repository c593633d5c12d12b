package remoting

import (
	"bufio"
	"errors"
	"runtime/debug"
	"time"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// readBuffer is the size of a connection's read buffer. Thousands of mostly idle
// connections each hold one, while a busy one wants many frames per system call.
const readBuffer = 16 << 10

// readLoop reads and handles frames until the connection ends.
func (c *Conn) readLoop() error {
	r := bufio.NewReaderSize(c.nc, readBuffer)
	if c.ep.sniff {
		if err := c.sniff(r); err != nil {
			return err
		}
	}
	for {
		cmd, err := c.readCommand(r)
		if errors.Is(err, protocol.ErrTooManyFields) && !cmd.IsResponse() {
			// The stream is in step and the opaque known: tell the client and go on.
			if err := c.admit(cmd.IsOneway(), false); err != nil {
				return err
			}
			callOf(c, cmd).Fail(protocol.StatusSystemError, "%v", err)
			cmd.Release()
			continue
		}
		if err != nil {
			return err
		}
		if cmd.IsResponse() {
			c.calls.deliver(c, cmd)
			continue
		}
		if err := c.admit(cmd.IsOneway(), r.Buffered() >= 4); err != nil {
			return err
		}
		c.serve(cmd)
	}
}

// readCommand reads and decodes one frame. With ErrTooManyFields the command is
// returned too.
func (c *Conn) readCommand(r *bufio.Reader) (*protocol.Command, error) {
	if r.Buffered() == 0 {
		c.uncork()
		if _, err := r.Peek(1); err != nil {
			return nil, err
		}
	}
	now := c.ep.clock.Load()
	c.frameStart.Store(now)
	n, err := readLength(r, c.ep.limits.FrameMax)
	if err != nil {
		return nil, err
	}
	if r.Buffered() < n {
		c.uncork()
	}
	if err := checkHeaderWord(r, n); err != nil {
		return nil, err
	}
	frame, err := readFrame(r, n)
	if err != nil {
		return nil, err
	}
	c.frameStart.Store(0)
	c.lastActive.Store(c.ep.clock.Load())
	if !c.heard.Load() {
		c.heard.Store(true)
	}

	cmd := protocol.AcquireCommand()
	cmd.Own(frame)
	if err := cmd.Decode(frame.B, c.ep.limits); err != nil {
		return cmd, err
	}
	return cmd, nil
}

// admit waits until the connection may take another request: the back-pressure
// on a client that sends faster than it is served or than it reads. more says
// that another request is at hand already.
func (c *Conn) admit(oneway, more bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.cause == nil && (c.inFlight >= c.ep.maxInFlight || c.outBytes >= c.ep.outBytesMax) {
		c.corked = false
		c.writable.Signal()
		c.readable.Wait()
	}
	if c.cause != nil {
		return c.cause
	}
	if !oneway {
		c.inFlight++
	}
	// Answers given while more requests are at hand leave together: waking the
	// writer for each would cost a write call each. See uncork.
	c.corked = more
	return nil
}

// uncork lets the writer run. The reader calls it before it may wait.
func (c *Conn) uncork() {
	c.mu.Lock()
	was := c.corked
	c.corked = false
	c.mu.Unlock()
	if was {
		c.writable.Signal()
	}
}

// serve runs the handler. A panic is a bug of the handler: it is logged with its
// stack and answered, so that the client does not wait, and the process lives on.
func (c *Conn) serve(cmd *protocol.Command) {
	c.seq++
	c.served.Store(c.seq)
	call := callOf(c, cmd)
	call.seq = c.seq
	if c.ep.answered != nil {
		call.arrived = time.Now()
	}
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		c.ep.log.Error("handler panicked, please report this as a bug", "code", call.code,
			"peer", c.remote, "panic", p, "stack", string(debug.Stack()))
		// Unless it had answered already. The command is left to the collector,
		// because the handler may have passed it on.
		if c.served.Load() == call.seq {
			call.Fail(protocol.StatusSystemError, "internal error while handling request code %d", call.code)
		}
	}()
	c.ep.handler(call, cmd)
}
