package remoting

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// endpoint is what the connections of one server or client share.
type endpoint struct {
	handler     Handler
	onClose     func(*Conn)
	log         hclog.Logger
	peerLog     limitedLog // complaints about peers
	limits      protocol.Limits
	maxInFlight int
	outBytesMax int
	idle        time.Duration
	frame       time.Duration
	sniff       bool   // look at the first byte: servers only
	name        string // for HTTP visitors
	answered    func(Outcome)

	// clock is coarse time, in nanoseconds since start, set once per tick: exact
	// time would cost more per frame than the frame's other bookkeeping.
	clock atomic.Int64
	start time.Time
	stop  chan struct{}
	wg    sync.WaitGroup // every goroutine of the endpoint and its connections

	mu     sync.Mutex // guards conns and closed
	conns  map[*Conn]struct{}
	closed bool
}

// endpointConfig carries the settings that server and client have in common.
type endpointConfig struct {
	logger                    hclog.Logger
	handler                   Handler
	onClose                   func(*Conn)
	maxFrame, maxFields       int
	maxInFlight, outBytesMax  int
	idleTimeout, frameTimeout time.Duration
}

const (
	defaultMaxConns     = 16 << 10
	defaultMaxInFlight  = 16 << 10
	defaultOutBytesMax  = 16 << 20
	defaultIdleTimeout  = 120 * time.Second
	defaultFrameTimeout = 60 * time.Second

	// outHardFactor times OutBytesMax is where a connection is closed: reading has
	// stopped long before, what grows are answers to requests already accepted.
	outHardFactor = 4
)

func newEndpoint(cfg endpointConfig) *endpoint {
	e := &endpoint{
		handler: cfg.handler, onClose: cfg.onClose, log: cfg.logger,
		limits:      protocol.Limits{FrameMax: cfg.maxFrame, FieldsMax: cfg.maxFields},
		maxInFlight: orDefault(cfg.maxInFlight, defaultMaxInFlight),
		outBytesMax: orDefault(cfg.outBytesMax, defaultOutBytesMax),
		idle:        orDefault(cfg.idleTimeout, defaultIdleTimeout),
		frame:       orDefault(cfg.frameTimeout, defaultFrameTimeout),
		start:       time.Now(),
		stop:        make(chan struct{}),
		conns:       make(map[*Conn]struct{}),
	}
	if e.log == nil {
		e.log = hclog.NewNullLogger()
	}
	e.peerLog.log = e.log
	e.limits.FrameMax = orDefault(e.limits.FrameMax, protocol.DefaultLimits().FrameMax)
	e.limits.FieldsMax = orDefault(e.limits.FieldsMax, protocol.DefaultLimits().FieldsMax)
	// Never 0, which marks "no frame begun".
	e.clock.Store(1)
	return e
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// watch advances the clock and looks after timeouts until the endpoint stops.
func (e *endpoint) watch() {
	tick := min(e.idle, e.frame) / 8
	ticker := time.NewTicker(min(max(tick, 5*time.Millisecond), 250*time.Millisecond))
	defer ticker.Stop()
	var conns []*Conn
	for {
		select {
		case <-e.stop:
			return
		case <-ticker.C:
		}
		now := int64(time.Since(e.start)) + 1
		e.clock.Store(now)
		conns = conns[:0]
		e.mu.Lock()
		for c := range e.conns {
			conns = append(conns, c)
		}
		e.mu.Unlock()
		for _, c := range conns {
			c.checkTimeouts(now)
		}
		clear(conns)
	}
}

// add enters a connection and starts its goroutines, or refuses.
func (e *endpoint) add(c *Conn, maxConns int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errLocalClose
	}
	if len(e.conns) >= maxConns {
		return errTooManyConns
	}
	e.conns[c] = struct{}{}
	e.wg.Go(c.run)
	return nil
}

func (e *endpoint) remove(c *Conn) {
	e.mu.Lock()
	delete(e.conns, c)
	e.mu.Unlock()
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)
}

// close ends every connection and reports whether this was the first call. It
// does not wait; wg does.
func (e *endpoint) close() bool {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return false
	}
	e.closed = true
	conns := make([]*Conn, 0, len(e.conns))
	for c := range e.conns {
		conns = append(conns, c)
	}
	e.mu.Unlock()
	close(e.stop)
	for _, c := range conns {
		c.Close()
	}
	return true
}
