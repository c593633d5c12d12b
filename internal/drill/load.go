package drill

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/admin"
)

// Load is a number of senders, each with one message outstanding. A sender
// retries until its message is acknowledged and only then takes the next one, so
// that its messages have an order; it keeps to one queue.
type Load struct {
	cfg     loadConfig
	stopped chan struct{}   // closed: take no further message
	ctx     context.Context // of every attempt; cancel gives up what is outstanding
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	watch   *leaderWatch
	acked   atomic.Int64
	lastAck atomic.Int64 // unix ns

	mu       sync.Mutex // guards the rest
	history  History
	senders  int
	failed   int
	firstErr string
}

type loadConfig struct {
	client *admin.Client
	run    string // names this run in every body
	topic  string
	queues int
	size   int
}

func newLoad(ctx context.Context, cfg loadConfig) *Load {
	l := &Load{cfg: cfg, stopped: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.watch = watchLeader(l.ctx, cfg.client)
	return l
}

// start starts n senders that follow the route; with a non-empty addr they send
// there, whatever the route says, and do not retry, which makes no order.
func (l *Load) start(n int, addr string) {
	for range n {
		l.mu.Lock()
		sender := l.senders
		l.senders++
		l.mu.Unlock()
		l.wg.Go(func() { l.send(l.ctx, sender, addr) })
	}
}

func (l *Load) send(ctx context.Context, sender int, addr string) {
	var h History
	seq := int64(0)
	for ; !l.done(); seq++ {
		id := ID{Sender: sender, Seq: seq}
		m := admin.Message{Topic: l.cfg.topic, Queue: int32(sender % l.cfg.queues), Body: appendBody(nil, l.cfg.run, id, l.cfg.size)}
		res, err := l.try(ctx, m, addr)
		if err != nil {
			h.Unknown = append(h.Unknown, id)
			if ctx.Err() != nil {
				seq++
				break
			}
			continue
		}
		now := time.Now()
		l.acked.Add(1)
		l.lastAck.Store(now.UnixNano())
		h.Acks = append(h.Acks, Ack{ID: id, Position: Position{res.Queue, res.Offset}, At: now, From: res.Addr, By: res.StoredBy()})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.Acks = append(l.history.Acks, h.Acks...)
	l.history.Unknown = append(l.history.Unknown, h.Unknown...)
	for len(l.history.Sent) <= sender {
		l.history.Sent = append(l.history.Sent, 0)
	}
	l.history.Sent[sender] = seq
	if addr != "" {
		if l.history.Unordered == nil {
			l.history.Unordered = map[int]bool{}
		}
		l.history.Unordered[sender] = true
	}
}

// try sends one message: to whoever leads until it is acknowledged, or once to a
// fixed address, where a failure leaves it unknown.
func (l *Load) try(ctx context.Context, m admin.Message, addr string) (admin.SendResult, error) {
	if addr == "" {
		return l.insist(ctx, m)
	}
	res, err := l.cfg.client.SendTo(ctx, addr, m)
	if err != nil {
		select { // do not spin against somebody who refuses at once
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	return res, err
}

// insist sends one message again and again, as an application with an eager
// client would.
func (l *Load) insist(ctx context.Context, m admin.Message) (admin.SendResult, error) {
	for attempt := 1; ; attempt++ {
		current, addr := l.watch.leader()
		err := errNobodyLeads
		var res admin.SendResult
		if addr != "" {
			if res, err = l.cfg.client.SendTo(current, addr, m); err == nil {
				res.Attempts = attempt
				return res, nil
			}
			// One that we gave up ourselves is no error of the broker.
			if current.Err() == nil {
				l.note(err)
			}
		}
		if ctx.Err() != nil {
			return res, err
		}
		l.watch.failed()
		select {
		case <-ctx.Done():
			return res, err
		case <-time.After(time.Millisecond << min(attempt, 4)):
		}
	}
}

var errNobodyLeads = errors.New("the name server knows no leader")

func (l *Load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed++; l.failed == 1 {
		l.firstErr = err.Error()
	}
}

// failures is how many attempts failed, and how the first one did.
func (l *Load) failures() (int, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed, l.firstErr
}

func (l *Load) done() bool {
	select {
	case <-l.stopped:
		return true
	default:
		return false
	}
}

// ackAfter waits for an acknowledgement that arrived after t.
func (l *Load) ackAfter(ctx context.Context, t time.Time) error {
	for l.lastAck.Load() <= t.UnixNano() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// stop ends the load: no further message is taken, what is outstanding gets the
// grace time to finish, and the rest is unknown.
func (l *Load) stop(grace time.Duration) History {
	close(l.stopped)
	timer := time.AfterFunc(grace, l.cancel)
	l.wg.Wait()
	timer.Stop()
	l.cancel()
	l.watch.wg.Wait()
	return l.history
}
