package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/store"
)

// holdKey names the queue a pull waits at.
type holdKey struct {
	topic string
	queue int32
}

// heldPull is a pull that found nothing new and waits for a message or for its
// own timeout (RocketMQ's PullRequest in PullRequestHoldService).
type heldPull struct {
	pull  *pullRequest
	call  remoting.Call
	match matchFunc // nil: any message wakes it
	timer *time.Timer
	conn  uint64
	// out is set by whoever takes the pull out of the table; the others find it
	// set and leave the pull alone. Guarded by holdTable.mu.
	out bool
}

// holdTable keeps the pulls that wait. Arrivals come from the goroutine that
// applies entries, expiries from timers, closes from connections; whoever
// removes a pull from the table, under mu, is the one who hands it to wake.
type holdTable struct {
	// wake takes a pull that left the table and answers it. It must not block:
	// the applying goroutine calls it.
	wake func(*heldPull)

	// count is read without mu so that an arrival costs one atomic load while
	// nobody waits.
	count atomic.Int64

	mu      sync.Mutex
	byQueue map[holdKey]map[*heldPull]struct{}
	byConn  map[uint64]map[*heldPull]struct{}
	closed  bool
}

func newHoldTable(wake func(*heldPull)) *holdTable {
	return &holdTable{
		wake:    wake,
		byQueue: map[holdKey]map[*heldPull]struct{}{},
		byConn:  map[uint64]map[*heldPull]struct{}{},
	}
}

// park lets the pull wait for at most d. It reports false when limit pulls wait
// already or the table is closed; the caller then answers at once.
//
// The caller must look at the queue's end once more after park: a message that
// arrived between its read and park woke nobody.
func (t *holdTable) park(h *heldPull, d time.Duration, limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.count.Load() >= int64(limit) {
		return false
	}
	key := h.pull.holdKey()
	if t.byQueue[key] == nil {
		t.byQueue[key] = map[*heldPull]struct{}{}
	}
	t.byQueue[key][h] = struct{}{}
	if t.byConn[h.conn] == nil {
		t.byConn[h.conn] = map[*heldPull]struct{}{}
	}
	t.byConn[h.conn][h] = struct{}{}
	t.count.Add(1)
	h.timer = time.AfterFunc(d, func() { t.release(h) })
	return true
}

// release wakes one pull if it still waits.
func (t *holdTable) release(h *heldPull) {
	t.mu.Lock()
	taken := t.takeLocked(h)
	t.mu.Unlock()
	if taken {
		t.wake(h)
	}
}

// arrived wakes the pulls that wait at the queue for an offset up to the new
// message's and that want it.
func (t *holdTable) arrived(a *store.Arrival) {
	if t.count.Load() == 0 {
		return
	}
	var woken []*heldPull
	t.mu.Lock()
	for h := range t.byQueue[holdKey{a.Topic, a.QueueID}] {
		if a.Offset >= h.pull.offset && (h.match == nil || h.match(a.TagsCode, a.Message)) && t.takeLocked(h) {
			woken = append(woken, h)
		}
	}
	t.mu.Unlock()
	for _, h := range woken {
		t.wake(h)
	}
}

// dropConn forgets the pulls of a connection that closed. Nobody is there to
// read an answer.
func (t *holdTable) dropConn(conn uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.takeConnLocked(conn, nil)
}

// releaseConn wakes the pulls of a client's connection to another member, which
// waits for their answers although the client has gone.
func (t *holdTable) releaseConn(conn uint64) {
	t.mu.Lock()
	woken := t.takeConnLocked(conn, nil)
	t.mu.Unlock()
	t.wakeAll(woken)
}

// releaseConns is releaseConn for all connections that match.
func (t *holdTable) releaseConns(match func(conn uint64) bool) {
	t.mu.Lock()
	var woken []*heldPull
	for conn := range t.byConn {
		if match(conn) {
			woken = t.takeConnLocked(conn, woken)
		}
	}
	t.mu.Unlock()
	t.wakeAll(woken)
}

func (t *holdTable) takeConnLocked(conn uint64, taken []*heldPull) []*heldPull {
	for h := range t.byConn[conn] {
		if t.takeLocked(h) {
			taken = append(taken, h)
		}
	}
	return taken
}

func (t *holdTable) wakeAll(woken []*heldPull) {
	for _, h := range woken {
		t.wake(h)
	}
}

// releaseAll wakes every pull, for a change of role or configuration. close
// makes later parks fail.
func (t *holdTable) releaseAll(closing bool) {
	t.mu.Lock()
	t.closed = t.closed || closing
	var woken []*heldPull
	for _, set := range t.byQueue {
		for h := range set {
			if t.takeLocked(h) {
				woken = append(woken, h)
			}
		}
	}
	t.mu.Unlock()
	t.wakeAll(woken)
}

// takeLocked removes a pull and reports whether it was still there.
func (t *holdTable) takeLocked(h *heldPull) bool {
	if h.out {
		return false
	}
	h.out = true
	h.timer.Stop()
	key := h.pull.holdKey()
	if delete(t.byQueue[key], h); len(t.byQueue[key]) == 0 {
		delete(t.byQueue, key)
	}
	if delete(t.byConn[h.conn], h); len(t.byConn[h.conn]) == 0 {
		delete(t.byConn, h.conn)
	}
	t.count.Add(-1)
	return true
}
