package namesrv

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/remoting"
)

// ErrPortInUse is returned by Start when the port is taken; its text names the
// port and the remedy.
var ErrPortInUse = errors.New("port in use")

// Server is a name server: a RouteTable and KV settings behind a listener.
type Server struct {
	cfg      Config
	log      hclog.Logger
	settings *config.Set[Config]
	table    *RouteTable
	kv       *KV
	remoting *remoting.Server
	refused  limitedLog
	seed     maphash.Seed // of registration digests
	networks networks     // who is told which addresses

	// Of the metrics.
	begun                     time.Time
	calls                     *metrics.Calls
	expired, left, registered atomic.Int64

	mu      sync.Mutex // guards what follows
	started bool
	closed  bool
	orders  map[string]string         // ORDER_TOPIC_CONFIG
	conns   map[uint64]*remoting.Conn // that brokers registered by

	edit sync.Mutex // one settings update at a time; taken before mu
	stop chan struct{}
	wg   sync.WaitGroup // the scan goroutine
}

// New checks the configuration and reads the key/value settings. It starts
// nothing.
func New(cfg Config) (*Server, error) {
	cfg.fill()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger.Named("namesrv"), settings: cfg.Settings,
		table: NewRouteTable(TableConfig{
			Expiry: cfg.BrokerExpiry, BrokersMax: cfg.BrokersMax, TopicsMax: cfg.TopicsMax,
		}),
		conns: map[uint64]*remoting.Conn{}, stop: make(chan struct{}),
		seed:  maphash.MakeSeed(),
		begun: cfg.Now(), calls: metrics.NewCalls(knownCode),
		refused: limitedLog{every: 10 * time.Second, now: cfg.Now},
	}
	if s.settings == nil {
		set, err := config.New(cfg)
		if err != nil {
			return nil, err
		}
		s.settings = set
	}
	s.settings.OnUpdate(func(_, _ *Config, keys []string) {
		s.log.Info("settings changed", "keys", keys)
		s.applyOrders()
	})
	var err error
	if s.networks, err = parseNetworks(cfg.InternalNetworks); err != nil {
		return nil, err
	}
	s.kv, err = OpenKV(cfg.FS, cfg.KVConfigPath, s.kvChanged)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Start listens and serves until Close. ctx bounds the start itself only.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return errors.New("name server was started before")
	}
	listener := s.cfg.Listener
	if listener == nil {
		var err error
		if listener, err = listen(ctx, s.cfg.BindAddress, s.cfg.ListenPort); err != nil {
			return err
		}
	}
	srv, err := remoting.NewServer(remoting.ServerConfig{
		Listener: listener, Name: "mqnamesrv", Handler: s.Handle, OnClose: s.connClosed, Answered: s.calls.Observe, Logger: s.log,
		MaxConns: s.cfg.ConnectionsMax, IdleTimeout: s.cfg.IdleTimeout,
	})
	if err == nil {
		err = srv.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start name server: %w", err), listener.Close())
	}
	s.remoting, s.started = srv, true
	s.wg.Go(s.scan)
	s.log.Info("name server listens", "addr", listener.Addr().String())
	if s.networks.on {
		s.log.Info("askers outside of these networks are told the brokers' external addresses", "networks", s.networks.String())
	}
	return nil
}

// listen opens the port and words the error an operator meets most.
func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, explain.PortInUse(ErrPortInUse, net.JoinHostPort(host, strconv.Itoa(port)), "listenPort")
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s:%d: %w; check bindAddress and listenPort", host, port, err)
	}
	return l, nil
}

// Addr returns the address listened on, nil before Start.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remoting == nil {
		return nil
	}
	return s.remoting.Addr()
}

// Table returns the route table, for tests and embedding.
func (s *Server) Table() *RouteTable { return s.table }

// Close stops serving and returns when all goroutines are gone. It may be
// called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	srv := s.remoting
	s.mu.Unlock()
	close(s.stop)
	var err error
	if srv != nil {
		err = srv.Close()
	}
	s.wg.Wait()
	return err
}

// scan drops brokers that stopped registering and closes their connections, so
// that a broker which is alive after all notices and connects anew.
func (s *Server) scan() {
	ticker := time.NewTicker(s.cfg.ScanInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.expire()
		}
	}
}

func (s *Server) expire() {
	for _, e := range s.table.Expire(s.cfg.Now()) {
		s.expired.Add(1)
		s.log.Warn("broker expired", "broker", e.Broker, "addr", e.Addr, "silent", e.Silent)
		s.mu.Lock()
		conn := s.conns[e.Conn]
		s.mu.Unlock()
		if conn != nil {
			conn.Close()
		}
	}
}

// connClosed removes the brokers that registered by a connection.
func (s *Server) connClosed(conn *remoting.Conn) {
	s.mu.Lock()
	delete(s.conns, conn.ID())
	s.mu.Unlock()
	for _, addr := range s.table.CloseConn(conn.ID()) {
		s.left.Add(1)
		s.log.Info("broker left: its connection closed", "addr", addr, "remote", conn.RemoteAddr().String())
	}
}

// kvChanged keeps the order configuration of routes in step with the settings.
func (s *Server) kvChanged(namespace string, table map[string]string) {
	if namespace != OrderNamespace {
		return
	}
	s.mu.Lock()
	s.orders = table
	s.mu.Unlock()
	s.applyOrders()
}

// applyOrders hands the order configuration to the route table, to be told or
// not, as orderMessageEnable says. Holding mu throughout keeps two callers from
// finishing in the wrong order.
func (s *Server) applyOrders() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.SetOrderConf(s.orders, s.settings.Current().OrderMessageEnable)
}

// limitedLog passes one line per interval, because a client can cause as many
// refusals as it likes.
type limitedLog struct {
	every time.Duration
	now   func() time.Time

	mu     sync.Mutex
	last   time.Time
	hidden int
}

// warn logs the line, or counts it for the next one.
func (l *limitedLog) warn(log hclog.Logger, msg string, args ...any) {
	l.mu.Lock()
	now := l.now()
	if !l.last.IsZero() && now.Sub(l.last) < l.every {
		l.hidden++
		l.mu.Unlock()
		return
	}
	hidden := l.hidden
	l.last, l.hidden = now, 0
	l.mu.Unlock()
	log.Warn(msg, append(args, "hidden-since-last", hidden)...)
}
