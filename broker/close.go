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
)

// Close stops the broker in an order that clients notice least: consumer
// offsets are written, the leadership is handed over, requests go on being
// forwarded for shutdownDrainTime, the name servers forget this member; only
// then the connections end. It is idempotent and returns when everything that
// was started is gone.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() { b.closeErr = b.close() })
	return b.closeErr
}

func (b *Broker) close() error {
	if b.node == nil || b.server == nil {
		return b.teardown()
	}
	b.log.Info("stopping")
	b.handOver()
	ctx, cancel := context.WithTimeout(context.Background(), unregisterTimeout)
	b.register.unregister(ctx)
	cancel()
	return b.teardown()
}

// handOver gives the leadership away, if we have it and somebody can take it.
func (b *Broker) handOver() {
	if !b.leading.Load() || len(b.peers) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	if err := b.offsets.Flush(ctx); err != nil {
		b.log.Warn("consumer offsets not written before hand-over", "error", err)
	}
	cancel()
	ctx, cancel = context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if err := b.node.TransferLeadership(ctx); err != nil {
		b.log.Warn("leadership not handed over; the others elect a leader when this one is gone", "error", err)
		return
	}
	if drain := b.cfg().Drain; drain > 0 {
		b.log.Info("forwarding to the new leader before leaving", "for", drain)
		timer := time.NewTimer(drain)
		defer timer.Stop()
		<-timer.C
	}
}

// teardown closes whatever is open, from the outside in.
func (b *Broker) teardown() error {
	b.waitMu.Lock()
	b.closing = true
	b.waitMu.Unlock()
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
