package remoting

import (
	"fmt"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// writeLoop writes what is queued, everything there is at a time, until the
// connection ends, and then closes the socket.
func (c *Conn) writeLoop() {
	defer c.nc.Close()
	for {
		q := c.takeOut()
		if q == nil {
			return
		}
		c.writeStart.Store(c.ep.clock.Load())
		err := q.writeTo(c.nc)
		c.writeStart.Store(0)
		c.lastActive.Store(c.ep.clock.Load())
		n := q.bytes
		q.reset()

		c.mu.Lock()
		c.spare = q
		c.outBytes -= n
		c.readable.Signal()
		c.mu.Unlock()
		if err != nil {
			c.end(fmt.Errorf("write: %w", err), false)
		}
	}
}

// takeOut waits for something to write and takes it, or returns nil at the end,
// after giving back what will not be written.
func (c *Conn) takeOut() *outQueue {
	c.mu.Lock()
	for c.cause == nil && (c.out.empty() || c.corked) {
		c.writable.Wait()
	}
	q := c.out
	if c.cause != nil && (!c.flush || q.empty()) {
		c.out = new(outQueue)
		c.mu.Unlock()
		q.reset()
		return nil
	}
	c.out, c.spare = c.spare, nil
	c.mu.Unlock()
	return q
}

// answer queues the response to a two-way request and settles its admission.
func (c *Conn) answer(call *Call, r *protocol.Response) {
	head := protocol.GetBuffer(512)
	b, err := protocol.AppendResponseHead(head.B, call.serialize, call.opaque, r)
	body, release, status := r.Body, r.Release, r.Code
	if err == nil && len(b)+len(body) > c.ep.limits.FrameMax {
		err = fmt.Errorf("answer of %d bytes is beyond the frame limit of %d", len(b)+len(body), c.ep.limits.FrameMax)
	}
	if err != nil {
		// Clients close a connection that sends them too large a frame.
		c.ep.log.Error("cannot encode an answer", "code", call.code, "peer", c.remote, "error", err)
		bad := protocol.Response{Code: protocol.StatusSystemError, Remark: err.Error()}
		status = bad.Code
		b, _ = protocol.AppendResponseHead(head.B, call.serialize, call.opaque, &bad)
		body = nil
	}
	head.B = b
	call.tell(status) // before the client can know

	c.mu.Lock()
	c.inFlight--
	if c.served.Load() == call.seq {
		c.served.Store(0)
	}
	over := false
	if c.cause == nil {
		over = c.outBytes > 0 && c.outBytes+len(b)+len(body) > outHardFactor*c.ep.outBytesMax
		if !over {
			c.out.add(b)
			c.outBytes += len(b) + len(body)
			if len(body) > outInlineMax {
				c.out.addRef(body, release)
				release = nil
			} else if len(body) > 0 {
				c.out.add(body)
			}
		}
	}
	wake := !c.corked
	c.readable.Signal()
	c.mu.Unlock()
	if wake {
		c.writable.Signal()
	}
	head.Release()
	if release != nil {
		release()
	}
	if over {
		c.timeOut(errOutBytes)
	}
}

// settle ends the admission of a request that gets no answer.
func (c *Conn) settle(call *Call) {
	c.mu.Lock()
	c.inFlight--
	if c.served.Load() == call.seq {
		c.served.Store(0)
	}
	c.readable.Signal()
	c.mu.Unlock()
}

// send queues a request under an opaque of ours.
func (c *Conn) send(req *protocol.Command, opaque, flag int32) error {
	buf := protocol.GetBuffer(512 + len(req.Body))
	b, err := req.AppendFrameAs(buf.B, opaque, flag)
	if err == nil && len(b) > c.ep.limits.FrameMax {
		err = fmt.Errorf("%w: request of %d bytes, the limit is %d", protocol.ErrTooLarge, len(b), c.ep.limits.FrameMax)
	}
	if err != nil {
		buf.Release()
		return fmt.Errorf("encode request code %d: %w", req.Code, err)
	}
	buf.B = b
	large := len(b) > outInlineMax

	c.mu.Lock()
	switch {
	case c.cause != nil:
		err = c.cause
	case c.outBytes > 0 && c.outBytes+len(b) > c.ep.outBytesMax:
		err = fmt.Errorf("%w: %d bytes wait for %s", ErrOutQueueFull, c.outBytes, c.remote)
	case large:
		c.out.addRef(b, buf.Release)
		c.outBytes += len(b)
	default:
		c.out.add(b)
		c.outBytes += len(b)
	}
	wake := !c.corked
	c.mu.Unlock()
	if wake {
		c.writable.Signal()
	}
	if err != nil || !large {
		buf.Release()
	}
	return err
}
