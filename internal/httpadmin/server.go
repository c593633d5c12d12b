package httpadmin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/explain"
)

// ErrPortInUse says that the port is taken. The text names it.
var ErrPortInUse = errors.New("port in use")

// Config configures a Server.
type Config struct {
	// Addr is the address to listen on, with port 0 for any.
	Addr string
	// PortKey is the setting that the port came from, for error texts.
	PortKey string
	// Name is what the server calls itself to visitors.
	Name string
	// Metrics answers /metrics.
	Metrics http.Handler
	// Ready returns what keeps the server from its work, nil for nothing.
	Ready func() error
	// Pprof says whether profiles may be taken now.
	Pprof func() bool
	// Logger may be nil.
	Logger hclog.Logger
}

const (
	// headerTimeout and idleTimeout keep visitors that say nothing from piling up;
	// headerBytesMax and connsMax bound what they can make us hold.
	headerTimeout  = 5 * time.Second
	idleTimeout    = 120 * time.Second
	headerBytesMax = 16 << 10
	connsMax       = 64
	closeTimeout   = time.Second
)

// Server is a running HTTP port.
type Server struct {
	cfg  Config
	ln   net.Listener
	http *http.Server
	done sync.WaitGroup
}

// Start opens the port and serves until Close.
func Start(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, explain.PortInUse(ErrPortInUse, cfg.Addr, cfg.PortKey)
	}
	if err != nil {
		return nil, fmt.Errorf("open the HTTP port %s (%s): %w", cfg.Addr, cfg.PortKey, err)
	}
	s := &Server{cfg: cfg, ln: ln}
	s.http = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytesMax,
		ErrorLog: slog.NewLogLogger(debugOnly{cfg.Logger}, slog.LevelDebug),
	}
	s.done.Go(func() {
		if err := s.http.Serve(limit(ln, connsMax)); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("the HTTP port stopped serving", "addr", ln.Addr().String(), "error", err)
		}
	})
	return s, nil
}

// StartUnlessTaken is Start for a server's own port: a taken one that nobody asked
// for (asked is false) is a warning, and the server is nil, so that several servers
// beside each other start without configuration. It logs which port it is.
func StartUnlessTaken(cfg Config, asked bool) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	s, err := Start(cfg)
	if errors.Is(err, ErrPortInUse) && !asked {
		cfg.Logger.Warn("no metrics and no probes", "reason", err)
		return nil, nil
	}
	if err == nil {
		cfg.Logger.Info("metrics and probes", "addr", s.Addr().String(), "paths", "/metrics /livez /readyz")
	}
	return s, err
}

// Stop is Close for a server that may be nil, and for who has nothing to do about
// a failure.
func (s *Server) Stop() {
	if s == nil {
		return
	}
	if err := s.Close(); err != nil {
		s.cfg.Logger.Debug("the HTTP port did not close cleanly", "error", err)
	}
}

// Addr is the address listened on.
func (s *Server) Addr() *net.TCPAddr { return s.ln.Addr().(*net.TCPAddr) }

// Close stops serving, a second after a scrape under way at the latest.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	s.done.Wait()
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	if s.cfg.Metrics != nil {
		mux.Handle("GET /metrics", s.cfg.Metrics)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	// Profiles other than these are served by Index, by name.
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.Handle("GET "+path, s.profile(h))
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusOK, s.cfg.Name+"\n/metrics\n/livez\n/readyz")
	})
	return mux
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	say(w, http.StatusOK, "ok")
}

// profile serves a profile if that is allowed now.
func (s *Server) profile(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Pprof == nil || !s.cfg.Pprof() {
			say(w, http.StatusForbidden, "profiles are switched off; set pprofEnable=true")
			return
		}
		h(w, r)
	})
}

// say writes a short text. Whether the visitor still listens does not matter.
func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, strings.TrimRight(text, "\n")+"\n")
}

// limit lets at most n connections be open; others wait in the system's queue.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

// Accept waits for a free slot and a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slotConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close also ends an Accept that waits for a slot.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type slotConn struct {
	net.Conn
	free func()
}

// Close gives the slot back.
func (c *slotConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// debugOnly carries what net/http has to say about visitors to our log.
type debugOnly struct{ log hclog.Logger }

// Enabled implements slog.Handler.
func (h debugOnly) Enabled(context.Context, slog.Level) bool { return h.log.IsDebug() }

// Handle implements slog.Handler.
func (h debugOnly) Handle(_ context.Context, r slog.Record) error {
	h.log.Debug("http", "problem", r.Message)
	return nil
}

// WithAttrs implements slog.Handler; net/http gives none.
func (h debugOnly) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler; net/http opens none.
func (h debugOnly) WithGroup(string) slog.Handler { return h }

// JoinHostPort is net.JoinHostPort for a port that is a number.
func JoinHostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
