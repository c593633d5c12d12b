package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Config configures a Client.
type Config struct {
	// NameServers are host:port addresses; the first that answers is kept until
	// it fails.
	NameServers []string
	// Timeout bounds one request (3 s, as RocketMQ's clients have it). A send
	// that is retried takes as long as its context allows.
	Timeout time.Duration
	// RefusalsMax is the number of refusals that look final (bad topic, message
	// too large) after which a send gives up (3). Negative means never: for a
	// drill only its own deadline counts.
	RefusalsMax int
	Logger      hclog.Logger
}

// Client talks to the name servers and brokers of one or more clusters.
type Client struct {
	cfg     Config
	remote  *remoting.Client
	current atomic.Int32 // index of the name server that answered last

	mu     sync.Mutex // guards routes
	routes map[string]*routeCell
	turn   atomic.Uint32 // spreads messages over queues
}

// New returns a client; it connects when it is first used.
func New(cfg Config) (*Client, error) {
	if len(cfg.NameServers) == 0 {
		return nil, errors.New("no name server given: use -n HOST:PORT or NAMESRV_ADDR")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.RefusalsMax == 0 {
		cfg.RefusalsMax = 3
	}
	remote := remoting.NewClient(remoting.ClientConfig{Logger: cfg.Logger, DialTimeout: cfg.Timeout, InvokeTimeout: cfg.Timeout})
	return &Client{cfg: cfg, remote: remote, routes: map[string]*routeCell{}}, nil
}

// ParseNameServers splits the value of -n and NAMESRV_ADDR at ";" (and ",").
func ParseNameServers(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == ',' || r == ' ' })
}

// Close ends all connections and fails what waits on them.
func (c *Client) Close() { _ = c.remote.Close() }

// NameServers returns the configured addresses.
func (c *Client) NameServers() []string { return c.cfg.NameServers }

// call sends one request to one server and returns its successful answer; any
// other status is a *StatusError.
func (c *Client) call(ctx context.Context, addr, action string, req *protocol.Command) (*protocol.Command, error) {
	return c.callWithin(ctx, 0, addr, action, req)
}

// callWithin is call for requests that take longer than usual.
func (c *Client) callWithin(ctx context.Context, limit time.Duration, addr, action string, req *protocol.Command) (*protocol.Command, error) {
	resp, err := c.exchangeWithin(ctx, max(limit, c.cfg.Timeout), addr, action, req)
	if err != nil {
		return nil, err
	}
	if resp.Code != protocol.StatusSuccess {
		return nil, c.whoElse(ctx, addr, req.Code, statusError(resp, addr, action))
	}
	return resp, nil
}

// exchange is call for requests where other statuses than success are answers.
func (c *Client) exchange(ctx context.Context, addr, action string, req *protocol.Command) (*protocol.Command, error) {
	return c.exchangeWithin(ctx, c.cfg.Timeout, addr, action, req)
}

func (c *Client) exchangeWithin(ctx context.Context, limit time.Duration, addr, action string, req *protocol.Command) (*protocol.Command, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.remote.Invoke(ctx, addr, req)
	if err != nil {
		return nil, c.unreachable(addr, action, err)
	}
	return resp, nil
}

func statusError(resp *protocol.Command, addr, action string) error {
	return &StatusError{Code: resp.Code, Remark: resp.Remark, Addr: addr, Action: action}
}

// callNamesrv asks the name servers in turn, starting with the one that
// answered last. An answer, even a refusal, ends the search.
func (c *Client) callNamesrv(ctx context.Context, action string, req func() *protocol.Command) (*protocol.Command, error) {
	start := int(c.current.Load())
	var failures []string
	for i := range c.cfg.NameServers {
		at := (start + i) % len(c.cfg.NameServers)
		resp, err := c.call(ctx, c.cfg.NameServers[at], action, req())
		var status *StatusError
		if err == nil || errors.As(err, &status) || explain.Of(err) != nil {
			c.current.Store(int32(at))
			return resp, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", action, context.Cause(ctx))
		}
		failures = append(failures, c.cfg.NameServers[at]+" "+explain.Reason(err))
	}
	return nil, explain.NoNameServer(ErrNoNameServer, c.cfg.NameServers[0], strings.Join(failures, "; "))
}

// body is what all JSON bodies of package protocol can do.
type body interface{ Decode([]byte) error }

func decode(resp *protocol.Command, err error, into body, action string) error {
	if err != nil {
		return err
	}
	if len(resp.Body) == 0 && resp.Remark != "" {
		// RocketMQ's broker says so of a queue that does not exist, with success.
		return fmt.Errorf("%s: %s", action, resp.Remark)
	}
	if err := into.Decode(resp.Body); err != nil {
		return fmt.Errorf("%s: read the answer: %w", action, err)
	}
	return nil
}
