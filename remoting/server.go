package remoting

import (
	"errors"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Handler receives every request of a connection, in order of arrival, on the
// connection's read goroutine. It must not block: slow work moves to a goroutine
// of the handler's own. req is valid until req.Release, which the handler may
// call when it is done with it; call stays valid regardless.
type Handler func(call Call, req *protocol.Command)

// ServerConfig configures a Server. Zero fields mean their defaults.
type ServerConfig struct {
	// Addr is the TCP address to listen on, unused when Listener is set.
	Addr string
	// Listener is a listener to take over.
	Listener net.Listener
	// Name is how the server calls itself in logs and to HTTP visitors.
	Name string
	// Handler receives the requests; required.
	Handler Handler
	// OnClose is called once when a connection is gone, from a goroutine of its own.
	OnClose func(*Conn)
	Logger  hclog.Logger
	// MaxFrame is the largest frame accepted, in bytes (16 MiB).
	MaxFrame int
	// MaxFields is the largest number of header fields accepted (1,024).
	MaxFields int
	// MaxConns is the largest number of connections (16,384).
	MaxConns int
	// MaxInFlight is the largest number of unanswered two-way requests of a
	// connection; beyond it the connection is not read until answers leave (16,384).
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

// ErrServerClosed is returned by Start after Close.
var ErrServerClosed = errors.New("remoting server closed")

// Server accepts connections and hands their requests to the handler.
type Server struct{ cfg ServerConfig }

// NewServer checks the configuration; it opens nothing.
func NewServer(cfg ServerConfig) (*Server, error) { return &Server{cfg: cfg}, nil }

// Start listens and returns; connections are served until Close.
func (s *Server) Start() error { return errors.New("not built yet") }

// Close closes the listener and all connections and returns when their
// goroutines are gone.
func (s *Server) Close() error { return nil }

// Addr returns the address listened on, nil before Start.
func (s *Server) Addr() net.Addr { return nil }

// Conns returns the number of open connections.
func (s *Server) Conns() int { return 0 }
