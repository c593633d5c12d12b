package dledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/internal/histogram"
	"github.com/cometmq/cometmq/store"
)

// collector joins proposals into Raft entries. There is no timer: while
// EntriesInFlight entries are on their way the next one collects, so an idle
// node sends a lone proposal at once and a busy one pays Raft's price per entry
// for hundreds of them.
//
// Two goroutines run it. collect takes proposals from the queue, in order,
// copies them into an entry and gives that to Raft; complete waits for the
// entries in the same order and calls Done. A proposal is in the queue or in
// one entry, and whoever takes it out of there, under mu, finishes it: that is
// why Done is called exactly once.
//
// An entry's bytes are allocated for it and never used again. Raft keeps them
// until commit, the log's cache and the replication goroutines of slow
// followers keep them longer, and none of them says when it is done; the
// garbage collector is the only one who knows.
type collector struct {
	entryBytesMax    int
	proposalSizeMax  int
	proposalsMax     int
	proposalBytesMax int64

	clock   *clock
	commits *histogram.Histogram // entries, from here until they are applied
	sizes   *histogram.Histogram // proposals in an entry
	// apply gives an entry to Raft; it may wait for Raft's main goroutine.
	apply func(raft.Log) raft.ApplyFuture
	// refusedBusyTransfer is told when Raft refused an entry because it
	// believes that a leadership transfer is running, and when it took one.
	transferRefused func(bool)

	wake    chan struct{} // capacity 1: the queue may be worth a look
	slots   chan struct{} // one element per entry in flight
	entries chan *entry   // from collect to complete
	done    sync.WaitGroup

	mu           sync.Mutex
	refuse       error  // non-nil: what Propose answers
	term         uint64 // of the leadership it was last opened for
	closed       bool   // collect must end
	queue        proposalQueue
	waiting      int   // proposals in queue and in flight
	waitingBytes int64 // and their bytes
	counters     Counters
	free         [][]*Proposal // slices of completed entries, at most cap(slots)+1
}

// entry is a Raft entry in flight and the proposals in it.
type entry struct {
	proposals []*Proposal
	bytes     int
	records   int
	future    raft.ApplyFuture
	began     time.Time
}

func newCollector(cfg Config, c *clock, apply func(raft.Log) raft.ApplyFuture, transferRefused func(bool)) *collector {
	col := &collector{
		entryBytesMax:    cfg.EntryBytesMax,
		proposalSizeMax:  cfg.ProposalSizeMax,
		proposalsMax:     cfg.ProposalsMax,
		proposalBytesMax: cfg.ProposalBytesMax,
		clock:            c,
		commits:          histogram.Durations(),
		sizes:            newEntrySizes(),
		apply:            apply,
		transferRefused:  transferRefused,
		wake:             make(chan struct{}, 1),
		slots:            make(chan struct{}, cfg.EntriesInFlight),
		entries:          make(chan *entry, cfg.EntriesInFlight+1),
		refuse:           ErrNotLeader,
	}
	col.done.Go(col.collect)
	col.done.Go(col.complete)
	return col
}

// propose queues p or refuses it.
func (c *collector) propose(p *Proposal) {
	if err := c.check(p); err != nil {
		c.mu.Lock()
		c.counters.Refused++
		c.mu.Unlock()
		p.finish(nil, err)
		return
	}
	c.mu.Lock()
	err := c.refuse
	switch {
	case err != nil:
	case p.Term != 0 && p.Term != c.term:
		err = fmt.Errorf("%w: the proposal is for term %d, and this member leads in term %d", ErrNotLeader, p.Term, c.term)
	case c.waiting >= c.proposalsMax:
		err = &busyError{bound: "the number of proposals", limit: int64(c.proposalsMax)}
	case c.waiting > 0 && c.waitingBytes+int64(len(p.Data)) > c.proposalBytesMax:
		err = &busyError{bound: "the bytes of all proposals", limit: c.proposalBytesMax}
	default:
		c.queue.push(p)
		c.waiting++
		c.waitingBytes += int64(len(p.Data))
		c.counters.Proposals++
		first := c.queue.len() == 1
		c.mu.Unlock()
		if first {
			c.nudge()
		}
		return
	}
	c.counters.Refused++
	c.mu.Unlock()
	p.finish(nil, err)
}

// check looks at what a proposal says of itself.
func (c *collector) check(p *Proposal) error {
	switch {
	case len(p.Data) == 0:
		return fmt.Errorf("%w: it holds no data", ErrMalformed)
	case p.Records < 0:
		return fmt.Errorf("%w: it counts %d records", ErrMalformed, p.Records)
	case len(p.Data) > c.proposalSizeMax:
		return fmt.Errorf("%w: %d bytes, allowed are %d", ErrTooLarge, len(p.Data), c.proposalSizeMax)
	}
	for _, at := range p.Stamps {
		if at < 0 || int(at) > len(p.Data)-stampBytes {
			return fmt.Errorf("%w: a stamp at %d in %d bytes of data", ErrMalformed, at, len(p.Data))
		}
	}
	return nil
}

func (c *collector) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// open lets proposals in for a leadership. What waits when it ends is refused by
// shut, before the barrier of a later leadership of this member: what was let in
// for an earlier term is in the log below that barrier, or never.
func (c *collector) open(term uint64) {
	c.mu.Lock()
	if !c.closed {
		c.refuse, c.term = nil, term
	}
	c.mu.Unlock()
}

// shut refuses everything that waits, and from now on, with err. Entries in
// flight are not touched; Raft answers for them.
func (c *collector) shut(err error) {
	c.mu.Lock()
	if !c.closed {
		c.refuse = err
	}
	waiting := c.queue.takeAll()
	for _, p := range waiting {
		c.waitingBytes -= int64(len(p.Data))
	}
	c.waiting -= len(waiting)
	c.counters.Refused += uint64(len(waiting))
	c.mu.Unlock()
	for _, p := range waiting {
		p.finish(nil, err)
	}
}

// close refuses everything with ErrClosed and returns when the entries in
// flight were answered. Raft must still run: it alone can answer them, and one
// that is shut down forgets those it has handed to its FSM goroutine.
func (c *collector) close() {
	c.shut(ErrClosed)
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.nudge()
	c.done.Wait()
}

// pause waits until no entry is in flight and keeps it so until resume.
// Proposals queue up meanwhile. On an error nothing is paused.
func (c *collector) pause(ctx context.Context) error {
	for i := range cap(c.slots) {
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			for range i {
				<-c.slots
			}
			return fmt.Errorf("dledger: entries are still in flight: %w", ctx.Err())
		}
	}
	return nil
}

func (c *collector) resume() {
	for range cap(c.slots) {
		<-c.slots
	}
}

// collect builds entries until the collector is closed.
func (c *collector) collect() {
	defer close(c.entries)
	for range c.wake {
		for {
			// Take the slot first: everything that arrives while we wait for
			// it still gets into this entry.
			c.slots <- struct{}{}
			e, closed := c.take()
			if e == nil {
				<-c.slots
				if closed {
					return
				}
				break
			}
			c.sizes.Observe(int64(len(e.proposals)))
			e.began = time.Now()
			e.future = c.apply(c.build(e))
			c.entries <- e
		}
	}
}

// take removes the proposals of the next entry from the queue. It returns nil
// when there are none, and whether the collector was closed.
func (c *collector) take() (*entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue.len() == 0 {
		return nil, c.closed
	}
	e := &entry{}
	if n := len(c.free); n > 0 {
		e.proposals, c.free = c.free[n-1], c.free[:n-1]
	}
	for c.queue.len() > 0 {
		p := c.queue.peek()
		if len(e.proposals) > 0 && e.bytes+len(p.Data) > c.entryBytesMax {
			break
		}
		c.queue.pop()
		e.proposals = append(e.proposals, p)
		e.bytes += len(p.Data)
		e.records += p.Records
	}
	c.counters.Entries++
	c.counters.EntryBytes += uint64(e.bytes)
	return e, false
}

// build joins the proposals and stamps them with one group time. Data and
// Extensions share one allocation.
func (c *collector) build(e *entry) raft.Log {
	buf := make([]byte, 0, e.bytes+stampBytes)
	at := c.clock.stamp()
	for _, p := range e.proposals {
		start := len(buf)
		buf = append(buf, p.Data...)
		for _, s := range p.Stamps {
			binary.BigEndian.PutUint64(buf[start+int(s):], uint64(at))
		}
	}
	buf = binary.BigEndian.AppendUint64(buf, uint64(at))
	return raft.Log{
		Data:       buf[:e.bytes:e.bytes],
		Extensions: buf[e.bytes:],
	}
}

// complete answers the proposals of each entry, in log order.
func (c *collector) complete() {
	for e := range c.entries {
		err := e.future.Error()
		// The slot is free at commit: the next entry travels while these
		// callbacks run.
		<-c.slots
		if err == nil {
			c.commits.Since(e.began)
		}
		c.transferRefused(errors.Is(err, raft.ErrLeadershipTransferInProgress))
		results, err := outcome(e, err)
		c.answer(e, results, err)
	}
}

// outcome turns Raft's answer into ours. Raft says ErrNotLeader and
// ErrLeadershipTransferInProgress only for entries that never reached its log;
// after every other error, including one of our own log store, the entry may
// be there.
func outcome(e *entry, err error) ([]store.Result, error) {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return nil, fmt.Errorf("%w: %w", ErrNotLeader, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	switch r := e.future.Response().(type) {
	case []store.Result:
		if len(r) == e.records {
			return r, nil
		}
		return nil, fmt.Errorf("%w: the entry was applied with %d results for %d records", ErrUnknown, len(r), e.records)
	case error:
		return nil, fmt.Errorf("%w: %w", ErrUnknown, r)
	default:
		return nil, fmt.Errorf("%w: the state machine answered with %T", ErrUnknown, r)
	}
}

// answer finishes the proposals of one entry. Their room is given back first,
// so that a callback that proposes again finds it.
func (c *collector) answer(e *entry, results []store.Result, err error) {
	n := uint64(len(e.proposals))
	c.mu.Lock()
	c.waiting -= len(e.proposals)
	c.waitingBytes -= int64(e.bytes)
	switch {
	case err == nil:
		c.counters.Applied += n
	case errors.Is(err, ErrUnknown):
		c.counters.Unknown += n
	default:
		c.counters.Refused += n
	}
	c.mu.Unlock()

	for _, p := range e.proposals {
		if err != nil {
			p.finish(nil, err)
			continue
		}
		r := results[:p.Records:p.Records]
		results = results[p.Records:]
		p.finish(r, nil)
	}

	clear(e.proposals)
	c.mu.Lock()
	if len(c.free) <= cap(c.slots) {
		c.free = append(c.free, e.proposals[:0])
	}
	c.mu.Unlock()
}

// snapshot returns the counters.
func (c *collector) snapshot() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.counters
	s.Waiting, s.WaitingBytes = int64(c.waiting), c.waitingBytes
	return s
}

// proposalQueue is a FIFO ring that keeps its memory while it is small.
type proposalQueue struct {
	ring []*Proposal // length is a power of two or zero
	head int
	n    int
}

const queueKeep = 4096 // elements kept by an empty queue

func (q *proposalQueue) len() int        { return q.n }
func (q *proposalQueue) peek() *Proposal { return q.ring[q.head] }

func (q *proposalQueue) push(p *Proposal) {
	if q.n == len(q.ring) {
		ring := make([]*Proposal, max(64, 2*len(q.ring)))
		for i := range q.n {
			ring[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = p
	q.n++
}

func (q *proposalQueue) pop() {
	q.ring[q.head] = nil
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	if q.n == 0 && len(q.ring) > queueKeep {
		q.ring, q.head = nil, 0
	}
}

func (q *proposalQueue) takeAll() []*Proposal {
	all := make([]*Proposal, 0, q.n)
	for q.n > 0 {
		all = append(all, q.peek())
		q.pop()
	}
	return all
}
