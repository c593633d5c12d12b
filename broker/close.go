package broker

import (
	"context"
	"errors"
	"time"
)

// Times a graceful stop may spend on each of its steps.
const (
	flushTimeout      = 2 * time.Second
	handOverTimeout   = 2 * time.Second
	unregisterTimeout = time.Second
	// finishTimeout is how long requests under way may take after the last one
	// was accepted.
	finishTimeout = 2 * time.Second
	// handOversMax is how often a member that leaves hands the leadership over:
	// when the whole group stops, the others hand it back.
	handOversMax = 2
	// registerYield is how long a member that no longer leads waits before it
	// gives up its place at the name servers: its successor takes it over first,
	// and no client finds a route without a leader in between.
	registerYield = 200 * time.Millisecond
	drainPoll     = 20 * time.Millisecond
	// drainUnled ends the drain when nobody leads: there is nobody to forward to.
	drainUnled = 3 * time.Second
)

// Close stops the broker in an order that clients notice least: consumer
// offsets are written, the leadership is handed over, the name servers forget
// this member, requests go on being forwarded for shutdownDrainTime, what is
// under way is finished; only then the connections end. It is idempotent and
// returns when everything that was started is gone.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() { b.closeErr = b.close() })
	return b.closeErr
}

// Hurry ends the drain of a Close, if there is one.
func (b *Broker) Hurry() { b.hurryOnce.Do(func() { close(b.hurry) }) }

func (b *Broker) close() error {
	if b.node == nil || b.server == nil {
		return b.teardown()
	}
	b.log.Info("stopping")
	if len(b.node.Status().Peers) > 1 {
		b.withdraw()
	}
	b.leaving.Store(true)
	b.unregister()
	b.finish()
	return b.teardown()
}

func (b *Broker) unregister() {
	ctx, cancel := context.WithTimeout(context.Background(), unregisterTimeout)
	defer cancel()
	b.register.unregister(ctx)
}

// withdraw makes this member one that nobody needs: another one leads, the name
// servers name it no more, and clients had time to learn both.
func (b *Broker) withdraw() {
	until := time.Now().Add(b.cfg().Drain)
	for range handOversMax {
		led := b.leading.Load()
		if led && !b.handOver() {
			return
		}
		if !b.awaitLeader(time.Second) {
			return
		}
		timer := time.NewTimer(registerYield)
		select {
		case <-timer.C:
		case <-b.hurry:
			timer.Stop()
		}
		b.leaving.Store(true)
		b.unregister()
		if !b.drain(until) {
			return
		}
	}
}

// handOver gives the leadership away and reports whether somebody took it.
func (b *Broker) handOver() bool {
	b.flushOffsets(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if err := b.node.TransferLeadership(ctx); err != nil {
		b.log.Warn("leadership not handed over; the others elect a leader when this one is gone", "error", err)
		return false
	}
	return true
}

// awaitLeader waits until another member leads and has said where it is.
func (b *Broker) awaitLeader(timeout time.Duration) bool {
	for end := time.Now().Add(timeout); time.Now().Before(end); {
		if _, ok := b.leaderAddr(); ok {
			return true
		}
		select {
		case <-time.After(drainPoll):
		case <-b.hurry:
			return false
		}
	}
	return false
}

// drain goes on forwarding for clients that have not heard of the new leader:
// they look routes up every 30 s. It ends early when no client is connected,
// when none can take us for the leader any more, and when nobody leads. It
// reports whether this member was elected meanwhile.
func (b *Broker) drain(until time.Time) (elected bool) {
	if left := time.Until(until); left > 0 && b.needed() {
		b.log.Info("forwarding until clients have learned of the new leader", "for", left.Round(time.Second), "clients", b.clientConns())
	}
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	led := time.Now()
	for time.Now().Before(until) && b.needed() && b.clientConns() > 0 {
		if b.leading.Load() {
			return true
		}
		if _, ok := b.leaderAddr(); ok {
			led = time.Now()
		} else if time.Since(led) > drainUnled {
			return false
		}
		select {
		case <-tick.C:
		case <-b.hurry:
			return false
		}
	}
	return false
}

// needed reports whether a client sent something here lately, or may yet do so
// because this member led when the client last looked.
func (b *Broker) needed() bool {
	last := max(b.forward.lastTaken.Load(), b.lastLed.Load())
	return last != 0 && time.Duration(elapsed()-last) < b.cfg().Drain
}

// clientConns is the number of connections that are not other members'.
func (b *Broker) clientConns() int {
	n := b.server.Conns() - b.relays.connections()
	if b.vip != nil {
		n += b.vip.Conns()
	}
	return n
}

// finish refuses new requests and waits for those under way.
func (b *Broker) finish() {
	b.refusing.Store(true)
	for end := time.Now().Add(finishTimeout); time.Now().Before(end); {
		if b.node.Status().Counters.Waiting == 0 && b.forward.flying.Load() == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// teardown closes whatever is open, from the outside in.
func (b *Broker) teardown() error {
	b.waitMu.Lock()
	b.closing = true
	b.waitMu.Unlock()
	b.started.Store(false)
	var errs []error
	if b.held != nil {
		b.held.releaseAll(true)
	}
	if b.forward != nil {
		b.forward.close()
	}
	b.waiters.Wait()
	if b.server != nil {
		errs = append(errs, b.server.Close())
	}
	if b.vip != nil {
		errs = append(errs, b.vip.Close())
	}
	if b.offsets != nil {
		errs = append(errs, b.offsets.Close())
	}
	if b.cancel != nil {
		b.cancel()
	}
	b.background.Wait()
	if b.readers != nil {
		b.readers.close()
	}
	if b.nsClient != nil {
		errs = append(errs, b.nsClient.Close(), b.peerClient.Close(), b.pullClient.Close())
	}
	if b.node != nil {
		errs = append(errs, b.node.Close())
	}
	if b.store != nil {
		errs = append(errs, b.store.Close())
	}
	return errors.Join(errs...)
}
