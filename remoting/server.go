package remoting

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Handler receives every request of a connection, in order of arrival, on the
// connection's read goroutine. It must not block: slow work moves to a goroutine
// of the handler's own, with a bound of its own. Every call must be answered by
// Reply or Fail, once. req is valid until req.Release, which the handler may call
// when it is done with it; call stays valid regardless.
type Handler func(call Call, req *protocol.Command)

// ServerConfig configures a Server. Zero fields mean their defaults.
type ServerConfig struct {
	// Addr is the TCP address to listen on, unused when Listener is set.
	Addr string
	// Listener is a listener to take over; the server closes it.
	Listener net.Listener
	// Name is how the server calls itself to HTTP visitors.
	Name string
	// Handler receives the requests; required.
	Handler Handler
	// OnClose is called once when a connection is gone, after all calls waiting on
	// it have failed. It must not block for long.
	OnClose func(*Conn)
	// Answered, if set, is told of each request when it is answered, and of a oneway
	// one when its handler is done with it. It runs on whichever goroutine answers
	// and must not block.
	Answered func(Outcome)
	Logger   hclog.Logger
	// MaxFrame is the largest frame accepted and sent, in bytes (16 MiB, which is
	// also what RocketMQ's clients accept).
	MaxFrame int
	// MaxFields is the largest number of header fields accepted (1,024).
	MaxFields int
	// MaxConns is the largest number of connections; more are closed at once (16,384).
	MaxConns int
	// MaxInFlight is the largest number of unanswered two-way requests of a
	// connection; beyond it the connection is not read until answers leave
	// (16,384). Held pulls count, so it is no less than the queues of one consumer.
	MaxInFlight int
	// OutBytesMax is how many bytes of answers may wait on a connection before it
	// is no longer read; at four times as many it is closed (16 MiB).
	OutBytesMax int
	// IdleTimeout closes a connection that neither received nor sent (120 s).
	IdleTimeout time.Duration
	// FrameTimeout closes a connection that began a frame and did not finish it,
	// or that accepts no bytes although some wait (60 s).
	FrameTimeout time.Duration
}

// Server accepts connections and hands their requests to the handler.
type Server struct {
	cfg ServerConfig
	ep  *endpoint

	mu     sync.Mutex // guards ln and closed
	ln     net.Listener
	closed bool
}

// NewServer checks the configuration; it opens nothing.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Handler == nil {
		return nil, errors.New("remoting server: no handler configured")
	}
	if cfg.Addr == "" && cfg.Listener == nil {
		return nil, errors.New("remoting server: neither an address nor a listener configured")
	}
	if cfg.Name == "" {
		cfg.Name = "a CometMQ server"
	}
	cfg.MaxConns = orDefault(cfg.MaxConns, defaultMaxConns)
	ep := newEndpoint(endpointConfig{
		logger: cfg.Logger, handler: cfg.Handler, onClose: cfg.OnClose,
		maxFrame: cfg.MaxFrame, maxFields: cfg.MaxFields, maxInFlight: cfg.MaxInFlight,
		outBytesMax: cfg.OutBytesMax, idleTimeout: cfg.IdleTimeout, frameTimeout: cfg.FrameTimeout,
	})
	ep.sniff, ep.name, ep.answered = true, cfg.Name, cfg.Answered
	return &Server{cfg: cfg, ep: ep}, nil
}

// Start listens and returns; connections are served until Close.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrServerClosed
	case s.ln != nil:
		return errors.New("remoting server started twice")
	}
	ln := s.cfg.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", s.cfg.Addr); err != nil {
			return fmt.Errorf("listen on %s: %w", s.cfg.Addr, err)
		}
	}
	s.ln = ln
	s.ep.wg.Go(s.ep.watch)
	s.ep.wg.Go(func() { s.accept(ln) })
	return nil
}

// Close closes the listener and all connections, each after writing the answers
// queued on it, and returns when their goroutines are gone. It must not be called
// from a handler.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	ln := s.ln
	if ln == nil {
		ln = s.cfg.Listener
	}
	s.mu.Unlock()
	first := s.ep.close()
	var err error
	if ln != nil && first {
		err = ln.Close()
	}
	s.ep.wg.Wait()
	return err
}

// Addr returns the address listened on, nil before Start unless a listener was given.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ln != nil:
		return s.ln.Addr()
	case s.cfg.Listener != nil:
		return s.cfg.Listener.Addr()
	}
	return nil
}

// Conns returns the number of open connections.
func (s *Server) Conns() int { return s.ep.count() }

// acceptPauseMax bounds the pause after a failed accept.
const acceptPauseMax = time.Second

// accept takes connections until the listener is closed. Running out of file
// descriptors is an error that passes: it waits and tries again.
func (s *Server) accept(ln net.Listener) {
	pause := 5 * time.Millisecond
	for {
		nc, err := ln.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			s.take(nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.ep.peerLog.warn("cannot accept connections, retrying", "error", err, "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-s.ep.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, acceptPauseMax)
	}
}

func (s *Server) take(nc net.Conn) {
	nc = resettable(nc)
	c := newConn(s.ep, nc)
	if err := s.ep.add(c, s.cfg.MaxConns); err != nil {
		s.ep.peerLog.warn("refusing connection", "peer", c.remote, "reason", err, "connections-max", s.cfg.MaxConns)
		nc.Close()
	}
}
