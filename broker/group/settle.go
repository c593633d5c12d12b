package group

import (
	"context"
	"fmt"
	"sync/atomic"
)

// What this file holds is for those who show offsets. A commit that waits, or is
// being written, may be lost with this leader; an offset that somebody was shown
// and that is gone later reads like a consumer that went back. So nobody is shown
// such a commit: they wait until it is written, without its company. However many
// ask, one batch is written at a time, and it serves all of them.

// Pending returns a commit that may not be in the replicated table yet; it is
// newer than what the table has. It is for decisions, not to be shown.
func (o *Offsets) Pending(group, topic string, queue int32) (int64, bool) {
	key := offsetKey{group, topic, queue}
	o.mu.Lock()
	defer o.mu.Unlock()
	if p, ok := o.pending[key]; ok {
		return p.offset, true
	}
	p, ok := o.flight[key]
	return p.offset, ok
}

// Settle calls done, from any goroutine, once what was committed for a queue so
// far is written or given up; then the replicated table has all that may be
// shown. It returns false, and never calls done, when the table has it already.
//
// Each done is a request without its answer, of which connections have a bounded
// number.
func (o *Offsets) Settle(group, topic string, queue int32, done func(error)) bool {
	key := offsetKey{group, topic, queue}
	o.mu.Lock()
	defer o.mu.Unlock()
	// The pending one is written after the one in flight.
	if p, ok := o.pending[key]; ok {
		p.waiters = append(p.waiters, done)
		o.pending[key] = p
		signal(o.kick)
		return true
	}
	if p, ok := o.flight[key]; ok {
		p.waiters = append(p.waiters, done)
		o.flight[key] = p
		return true
	}
	return false
}

// SettleAll does the same for all queues of the groups and topics that match, and
// waits.
func (o *Offsets) SettleAll(ctx context.Context, match func(group, topic string) bool) error {
	var left atomic.Int64
	result := make(chan error, 1) // the first error, or nil after the last one
	done := func(err error) {
		if left.Add(-1) == 0 || err != nil {
			select {
			case result <- err:
			default:
			}
		}
	}
	left.Store(1) // for this call itself
	o.mu.Lock()
	for _, m := range []map[offsetKey]pendingOffset{o.flight, o.pending} {
		for key, p := range m {
			if match(key.group, key.topic) {
				left.Add(1)
				p.waiters = append(p.waiters, done)
				m[key] = p
			}
		}
	}
	if left.Load() > 1 {
		signal(o.kick)
	}
	o.mu.Unlock()
	done(nil)
	select {
	case err := <-result:
		if err != nil {
			return fmt.Errorf("write consumer offsets: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write consumer offsets: %w", ctx.Err())
	}
}

// Flush writes everything that is pending now and waits for it; before handing
// over leadership, for instance.
func (o *Offsets) Flush(ctx context.Context) error {
	return o.SettleAll(ctx, func(string, string) bool { return true })
}
