package broker

import (
	"sync"
	"time"
)

// workers runs work that reads files or waits for others, off the goroutines
// that read connections. The number of goroutines is fixed; the queue is
// bounded for what clients send and open for what the broker itself owes
// (woken pulls, which the bound on held pulls limits already).
type workers struct {
	mu     sync.Mutex
	ready  *sync.Cond
	queue  []work
	head   int // queue[:head] is taken
	closed bool
	wg     sync.WaitGroup
}

// work is one piece of it and since when it waits.
type work struct {
	f     func()
	since time.Time
}

func newWorkers(n int) *workers {
	w := &workers{}
	w.ready = sync.NewCond(&w.mu)
	for range n {
		w.wg.Go(w.run)
	}
	return w
}

// try queues f unless limit pieces of work wait already or w is closed.
func (w *workers) try(limit int, f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.queue)-w.head >= limit {
		return false
	}
	w.pushLocked(f)
	return true
}

// must queues f whatever waits. After close it runs nothing: the connections
// are gone by then.
func (w *workers) must(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.pushLocked(f)
	}
}

func (w *workers) pushLocked(f func()) {
	if w.head > 64 && w.head*2 >= len(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.queue = append(w.queue, work{f, time.Now()})
	w.ready.Signal()
}

func (w *workers) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for w.head == len(w.queue) && !w.closed {
			w.ready.Wait()
		}
		if w.head == len(w.queue) {
			return
		}
		f := w.queue[w.head].f
		w.queue[w.head] = work{}
		w.head++
		w.mu.Unlock()
		f()
		w.mu.Lock()
	}
}

// waiting is how much work waits and for how long the first of it has.
func (w *workers) waiting() (n int, head time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n = len(w.queue) - w.head; n > 0 {
		head = time.Since(w.queue[w.head].since)
	}
	return n, head
}

// close lets the queued work finish and returns when all goroutines are gone.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.ready.Broadcast()
	w.mu.Unlock()
	w.wg.Wait()
}
