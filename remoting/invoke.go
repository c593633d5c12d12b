package remoting

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// callTable holds the requests that we sent over a connection and that are not
// answered yet. Its opaques have nothing to do with the peer's.
type callTable struct {
	mu     sync.Mutex
	m      map[int32]*pendingCall
	last   int32
	timed  int   // calls with a deadline of the endpoint's clock
	closed error // set when the connection ended
}

// pendingCall is one request waiting for its answer.
type pendingCall struct {
	// done is called exactly once, outside of any lock.
	done     func(*protocol.Command, error)
	deadline int64 // by the endpoint's clock, 0 = none
	timeout  time.Duration
	code     int32
}

var pendingCalls = sync.Pool{New: func() any { return new(pendingCall) }}

// complete tells the caller. Whoever took the call from the table does it, and
// nobody else knows the call any more, so it can be used again.
func (p *pendingCall) complete(cmd *protocol.Command, err error) {
	done := p.done
	*p = pendingCall{}
	pendingCalls.Put(p)
	done(cmd, err)
}

// open registers a call and returns its opaque.
func (t *callTable) open(p *pendingCall) (int32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return 0, t.closed
	}
	if t.m == nil {
		t.m = make(map[int32]*pendingCall)
	}
	for {
		t.last++ // wraps around; ids still waiting are passed over
		if _, taken := t.m[t.last]; !taken {
			break
		}
	}
	t.m[t.last] = p
	if p.deadline != 0 {
		t.timed++
	}
	return t.last, nil
}

// take removes a call, so that whoever took it completes it; nil if it is gone.
func (t *callTable) take(opaque int32) *pendingCall {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.takeLocked(opaque)
}

func (t *callTable) takeLocked(opaque int32) *pendingCall {
	p := t.m[opaque]
	if p != nil {
		delete(t.m, opaque)
		if p.deadline != 0 {
			t.timed--
		}
	}
	return p
}

// deliver completes the call that cmd answers. An answer that nobody waits for,
// usually because it came too late, is dropped.
func (t *callTable) deliver(c *Conn, cmd *protocol.Command) {
	p := t.take(cmd.Opaque)
	if p == nil {
		c.ep.log.Debug("answer without a waiting request", "peer", c.remote, "opaque", cmd.Opaque)
		cmd.Release()
		return
	}
	code := p.code
	defer func() {
		if r := recover(); r != nil {
			c.ep.log.Error("callback panicked, please report this as a bug", "code", code,
				"peer", c.remote, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	p.complete(cmd, nil)
}

// expire fails the calls whose deadline has passed.
func (t *callTable) expire(now int64) {
	t.mu.Lock()
	var late []*pendingCall
	if t.timed > 0 {
		for opaque, p := range t.m {
			if p.deadline != 0 && now > p.deadline {
				late = append(late, t.takeLocked(opaque))
			}
		}
	}
	t.mu.Unlock()
	for _, p := range late {
		p.complete(nil, fmt.Errorf("%w: request code %d, waited %s", ErrTimeout, p.code, p.timeout))
	}
}

// failAll fails every waiting call, and every later one at once.
func (t *callTable) failAll(cause error) {
	t.mu.Lock()
	t.closed = cause
	m := t.m
	t.m, t.timed = nil, 0
	t.mu.Unlock()
	for _, p := range m {
		p.complete(nil, cause)
	}
}

// answer is what a waiting Invoke is told.
type answer struct {
	cmd *protocol.Command
	err error
}

// Invoke sends a request to the peer and waits for its answer, for ctx to end
// (ErrTimeout for a deadline, the context's error otherwise) or for the connection
// to end (ErrConnClosed). The answer may be Released. req is not changed and may
// be used again afterwards.
//
// A handler must not Invoke on its own connection: the answer could not be read
// before the handler returns. InvokeAsync can be used there.
func (c *Conn) Invoke(ctx context.Context, req *protocol.Command) (*protocol.Command, error) {
	got := make(chan answer, 1)
	p := pendingCalls.Get().(*pendingCall)
	p.code, p.done = req.Code, func(cmd *protocol.Command, err error) { got <- answer{cmd, err} }
	opaque, err := c.start(p, req)
	if err != nil {
		return nil, err
	}
	select {
	case a := <-got:
		return a.cmd, a.err
	case <-c.done:
		err = c.Err()
	case <-ctx.Done():
		err = ctx.Err()
		if err == context.DeadlineExceeded {
			err = fmt.Errorf("%w: request code %d to %s: %w", ErrTimeout, req.Code, c.remote, err)
		}
	}
	if c.calls.take(opaque) == nil {
		// It was being completed at this moment; prefer a real answer.
		if a := <-got; a.err == nil {
			return a.cmd, nil
		}
	}
	return nil, err
}

// InvokeAsync sends a request without waiting. done is called exactly once, with
// the answer (which may be Released) or an error as for Invoke; it runs on a
// goroutine of the connection and must not block. If the request cannot be sent,
// it is called before InvokeAsync returns.
func (c *Conn) InvokeAsync(req *protocol.Command, timeout time.Duration, done func(*protocol.Command, error)) {
	p := pendingCalls.Get().(*pendingCall)
	p.code, p.done, p.timeout = req.Code, done, timeout
	if timeout > 0 {
		p.deadline = int64(time.Since(c.ep.start) + timeout)
	}
	if _, err := c.start(p, req); err != nil {
		done(nil, err)
	}
}

// start registers and sends. After an error nobody else completes the call.
func (c *Conn) start(p *pendingCall, req *protocol.Command) (int32, error) {
	opaque, err := c.calls.open(p)
	if err != nil {
		return 0, err
	}
	if err := c.send(req, opaque, req.Flag&^(protocol.FlagResponse|protocol.FlagOneway)); err != nil {
		if c.calls.take(opaque) == nil {
			// The end of the connection completes the call in this moment, with an
			// error of its own; report that one only.
			return opaque, nil
		}
		return 0, err
	}
	return opaque, nil
}

// Oneway sends a request that is not answered. It returns when the request is
// queued; whether it arrives is not known.
func (c *Conn) Oneway(req *protocol.Command) error {
	return c.send(req, c.calls.nextOneway(), req.Flag&^protocol.FlagResponse|protocol.FlagOneway)
}

// nextOneway takes an opaque that nobody waits for.
func (t *callTable) nextOneway() int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	return t.last
}
