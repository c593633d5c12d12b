package dledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// fakeFuture is an entry that the test ends.
type fakeFuture struct {
	log      raft.Log
	end      chan error
	response any
}

func (f *fakeFuture) Error() error  { return <-f.end }
func (f *fakeFuture) Response() any { return f.response }
func (f *fakeFuture) Index() uint64 { return 0 }
func (f *fakeFuture) commit(n int) {
	results := make([]store.Result, n)
	for i := range results {
		results[i].Queue = message.QueueOffset(i)
	}
	f.response = results
	f.end <- nil
}

// fakeRaft receives a collector's entries.
type fakeRaft struct{ entries chan *fakeFuture }

func newFakeRaft() *fakeRaft { return &fakeRaft{entries: make(chan *fakeFuture, 1024)} }

func (r *fakeRaft) apply(l raft.Log) raft.ApplyFuture {
	f := &fakeFuture{log: l, end: make(chan error, 1)}
	r.entries <- f
	return f
}

func (r *fakeRaft) next(t *testing.T) *fakeFuture {
	t.Helper()
	select {
	case f := <-r.entries:
		return f
	case <-time.After(5 * time.Second):
		require.Fail(t, "the collector sent no entry")
		return nil
	}
}

func testCollector(t *testing.T, change func(*Config)) (*collector, *fakeRaft) {
	t.Helper()
	cfg := validConfig().withDefaults()
	cfg.EntriesInFlight = 1
	if change != nil {
		change(&cfg)
	}
	r := newFakeRaft()
	c := newCollector(cfg, newClock(0), r.apply, func(bool) {})
	c.open(1)
	return c, r
}

// outcomes counts how each proposal ended.
type outcomes struct {
	mu    sync.Mutex
	order []int
	errs  map[int]error
	times map[int]int
	done  sync.WaitGroup
}

func newOutcomes() *outcomes { return &outcomes{errs: map[int]error{}, times: map[int]int{}} }

func (o *outcomes) proposal(id, size, records int) *Proposal {
	o.done.Add(1)
	return &Proposal{
		Data:    make([]byte, size),
		Records: records,
		User:    id,
		Done: func(p *Proposal) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.order = append(o.order, id)
			o.errs[id] = p.Err
			o.times[id]++
			o.done.Done() // panics when a proposal ends twice
		},
	}
}

func TestCollectorSendsALoneProposalAtOnceAndJoinsTheRest(t *testing.T) {
	c, r := testCollector(t, nil)
	defer c.close()
	o := newOutcomes()
	c.propose(o.proposal(0, 10, 1))
	first := r.next(t)
	require.Len(t, first.log.Data, 10)

	for i := 1; i <= 500; i++ { // while the first is in flight
		c.propose(o.proposal(i, 10, 1))
	}
	require.Empty(t, r.entries)
	first.commit(1)
	second := r.next(t)
	require.Len(t, second.log.Data, 5000)
	second.commit(500)
	o.done.Wait()
	for i, id := range o.order {
		require.Equal(t, i, id, "answered in log order")
		require.NoError(t, o.errs[id])
	}
	s := c.snapshot()
	require.EqualValues(t, 2, s.Entries)
	require.EqualValues(t, 501, s.Applied)
	require.Zero(t, s.Waiting)
	require.Zero(t, s.WaitingBytes)
}

func TestCollectorKeepsEntriesWithinBounds(t *testing.T) {
	c, r := testCollector(t, func(cfg *Config) { cfg.EntryBytesMax = 1024 })
	defer c.close()
	o := newOutcomes()
	c.propose(o.proposal(0, 1, 1))
	first := r.next(t)
	for i, size := range []int{600, 400, 100, 5000, 24, 1000} {
		c.propose(o.proposal(i+1, size, 1))
	}
	first.commit(1)
	for _, want := range []struct{ bytes, records int }{{1000, 2}, {100, 1}, {5000, 1}, {1024, 2}} {
		f := r.next(t)
		require.Len(t, f.log.Data, want.bytes)
		f.commit(want.records)
	}
	o.done.Wait()
}

func TestCollectorStampsTheCopyWithTheGroupTime(t *testing.T) {
	c, r := testCollector(t, nil)
	defer c.close()
	o := newOutcomes()
	a, b := o.proposal(0, 20, 1), o.proposal(1, 30, 1)
	b.Stamps = []int32{0, 22}
	c.propose(a)
	first := r.next(t)
	c.propose(a2(o, 2))
	c.propose(b)
	first.commit(1)
	f := r.next(t)
	at := stampOf(f.log.Extensions)
	require.NotZero(t, at)
	require.EqualValues(t, at, binary.BigEndian.Uint64(f.log.Data[20:]))
	require.EqualValues(t, at, binary.BigEndian.Uint64(f.log.Data[42:]))
	require.Equal(t, make([]byte, 30), b.Data, "the caller's bytes stay")
	require.Equal(t, len(f.log.Data), cap(f.log.Data), "nobody can append into the extensions")
	f.commit(2)
	o.done.Wait()
}

func a2(o *outcomes, id int) *Proposal { return o.proposal(id, 20, 1) }

func TestCollectorCutsResultsByRecords(t *testing.T) {
	c, r := testCollector(t, nil)
	defer c.close()
	var got [][]store.Result
	var wait sync.WaitGroup
	propose := func(records int) {
		wait.Add(1)
		c.propose(&Proposal{Data: []byte("x"), Records: records, Done: func(p *Proposal) {
			got = append(got, p.Results)
			wait.Done()
		}})
	}
	propose(1)
	first := r.next(t)
	propose(3)
	propose(0)
	propose(2)
	first.commit(1)
	r.next(t).commit(5)
	wait.Wait()
	require.Len(t, got, 4)
	require.Len(t, got[1], 3)
	require.EqualValues(t, 2, got[1][2].Queue)
	require.Empty(t, got[2])
	require.Len(t, got[3], 2)
	require.EqualValues(t, 3, got[3][0].Queue)
}

func TestCollectorOutcomes(t *testing.T) {
	boom := errors.New("disk on fire")
	for _, tt := range []struct {
		raft, want, cause error
	}{
		{raft.ErrNotLeader, ErrNotLeader, raft.ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, ErrNotLeader, raft.ErrLeadershipTransferInProgress},
		{raft.ErrLeadershipLost, ErrUnknown, raft.ErrLeadershipLost},
		{raft.ErrRaftShutdown, ErrUnknown, raft.ErrRaftShutdown},
		{boom, ErrUnknown, boom},
	} {
		c, r := testCollector(t, nil)
		o := newOutcomes()
		c.propose(o.proposal(0, 1, 1))
		r.next(t).end <- tt.raft
		o.done.Wait()
		require.ErrorIs(t, o.errs[0], tt.want)
		require.ErrorIs(t, o.errs[0], tt.cause)
		c.close()
	}

	t.Run("wrong number of results", func(t *testing.T) {
		c, r := testCollector(t, nil)
		defer c.close()
		o := newOutcomes()
		c.propose(o.proposal(0, 1, 2))
		r.next(t).commit(1)
		o.done.Wait()
		require.ErrorIs(t, o.errs[0], ErrUnknown)
		require.ErrorContains(t, o.errs[0], "1 results for 2 records")
	})
}

func TestCollectorRefusesAtOnce(t *testing.T) {
	c, r := testCollector(t, func(cfg *Config) {
		cfg.ProposalsMax = 3
		cfg.ProposalBytesMax = 1000
		cfg.ProposalSizeMax = 5000
	})
	defer c.close()
	o := newOutcomes()
	refused := func(p *Proposal, want error, words ...string) {
		t.Helper()
		id := p.User.(int)
		c.propose(p)
		require.Equal(t, 1, o.times[id], "a refusal is answered before propose returns")
		require.ErrorIs(t, o.errs[id], want)
		for _, w := range words {
			require.ErrorContains(t, o.errs[id], w)
		}
	}
	refused(o.proposal(100, 5001, 1), ErrTooLarge, "5001", "5000")
	refused(o.proposal(101, 0, 1), ErrMalformed)
	bad := o.proposal(102, 10, 1)
	bad.Stamps = []int32{3}
	refused(bad, ErrMalformed, "3", "10")

	c.propose(o.proposal(0, 4000, 1)) // above the bytes, but alone
	first := r.next(t)
	refused(o.proposal(103, 1, 1), ErrBusy, "bytes", "1000")
	first.commit(1)
	require.Eventually(t, func() bool { return c.snapshot().Waiting == 0 }, 5*time.Second, time.Millisecond)

	c.propose(o.proposal(1, 1, 1))
	first = r.next(t)
	c.propose(o.proposal(2, 1, 1))
	c.propose(o.proposal(3, 1, 1))
	refused(o.proposal(104, 1, 1), ErrBusy, "number of proposals", "3")

	c.shut(ErrNotLeader)
	require.ErrorIs(t, o.errs[2], ErrNotLeader, "what waits is refused at once")
	require.ErrorIs(t, o.errs[3], ErrNotLeader)
	require.Zero(t, o.times[1], "what is in flight is not")
	refused(o.proposal(105, 1, 1), ErrNotLeader)
	first.commit(1)
	o.done.Wait()
}

func TestCollectorPauseHoldsProposals(t *testing.T) {
	c, r := testCollector(t, func(cfg *Config) { cfg.EntriesInFlight = 3 })
	defer c.close()
	o := newOutcomes()
	c.propose(o.proposal(0, 1, 1))
	first := r.next(t)

	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.Error(t, c.pause(short), "an entry is in flight")

	first.commit(1)
	require.NoError(t, c.pause(t.Context()))
	c.propose(o.proposal(1, 1, 1))
	c.propose(o.proposal(2, 1, 1))
	require.Empty(t, r.entries)
	c.resume()
	r.next(t).commit(2)
	o.done.Wait()
	require.NoError(t, o.errs[2])
}

// Whatever raft answers, whoever opens and shuts, and however proposals arrive:
// each ends exactly once, applied ones in order, and nothing is left counted.
func TestCollectorEndsEachProposalOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		inFlight := rapid.IntRange(1, 5).Draw(t, "in flight")
		senders := rapid.IntRange(1, 4).Draw(t, "senders")
		cfg := validConfig().withDefaults()
		cfg.EntriesInFlight, cfg.EntryBytesMax, cfg.ProposalsMax = inFlight, 1024, 40
		r := newFakeRaft()
		c := newCollector(cfg, newClock(0), r.apply, func(bool) {})
		c.open(1)

		var raftDone sync.WaitGroup
		stop := make(chan struct{})
		raftDone.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 1))
			endings := []error{nil, nil, nil, raft.ErrNotLeader, raft.ErrLeadershipLost, errors.New("x")}
			for {
				select {
				case f := <-r.entries:
					if err := endings[rnd.IntN(len(endings))]; err != nil {
						f.end <- err
					} else {
						f.commit(len(f.log.Data) / 8)
					}
				case <-stop:
					return
				}
			}
		})
		raftDone.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 2))
			for range 20 {
				switch rnd.IntN(3) {
				case 0:
					c.shut(ErrNotLeader)
				case 1:
					c.open(1)
				case 2:
					ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
					if c.pause(ctx) == nil {
						c.resume()
					}
					cancel()
				}
			}
			c.open(1)
		})

		const each = 200
		var ended atomic.Int64
		var applied [4][]int
		var appliedMu sync.Mutex
		counts := make([]atomic.Int32, senders*each)
		var sending sync.WaitGroup
		for s := range senders {
			sending.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(10+s)))
				for i := range each {
					n := 1 + rnd.IntN(10)
					c.propose(&Proposal{Data: make([]byte, 8*n), Records: n, Done: func(p *Proposal) {
						counts[s*each+i].Add(1)
						ended.Add(1)
						if p.Err == nil {
							appliedMu.Lock()
							applied[s] = append(applied[s], i)
							appliedMu.Unlock()
							if len(p.Results) != n {
								panic(fmt.Sprintf("%d results for %d records", len(p.Results), n))
							}
						}
					}})
				}
			})
		}
		sending.Wait()
		c.close()
		close(stop)
		raftDone.Wait()

		if ended.Load() != int64(senders*each) {
			t.Fatalf("%d of %d proposals ended", ended.Load(), senders*each)
		}
		for i := range counts {
			if n := counts[i].Load(); n != 1 {
				t.Fatalf("proposal %d ended %d times", i, n)
			}
		}
		for s := range senders {
			for i := 1; i < len(applied[s]); i++ {
				if applied[s][i] <= applied[s][i-1] {
					t.Fatalf("sender %d: %d answered after %d", s, applied[s][i], applied[s][i-1])
				}
			}
		}
		if s := c.snapshot(); s.Waiting != 0 || s.WaitingBytes != 0 {
			t.Fatalf("left over: %+v", s)
		}
	})
}

func TestProposalQueueKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q proposalQueue
		var model []*Proposal
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			for range rapid.IntRange(0, 300).Draw(t, "push") {
				p := &Proposal{}
				q.push(p)
				model = append(model, p)
			}
			for range rapid.IntRange(0, len(model)).Draw(t, "pop") {
				if q.peek() != model[0] {
					t.Fatal("wrong order")
				}
				q.pop()
				model = model[1:]
			}
			if q.len() != len(model) {
				t.Fatal("wrong length")
			}
		}
		rest := q.takeAll()
		if len(rest) != len(model) || q.len() != 0 {
			t.Fatal("wrong rest")
		}
	})
}

func BenchmarkCollector(b *testing.B) {
	cfg := validConfig().withDefaults()
	results := make([]store.Result, 1<<20)
	c := newCollector(cfg, newClock(0), func(l raft.Log) raft.ApplyFuture {
		f := &fakeFuture{end: make(chan error, 1), response: results[:len(l.Data)/128]}
		f.end <- nil
		return f
	}, func(bool) {})
	c.open(1)
	defer c.close()
	b.ReportAllocs()
	free := make(chan *Proposal, 512)
	for range 512 {
		free <- &Proposal{Data: make([]byte, 128), Stamps: []int32{56}, Records: 1, Done: func(p *Proposal) { free <- p }}
	}
	for b.Loop() {
		c.propose(<-free)
	}
	for range 512 {
		<-free
	}
}

// A proposal for one leadership does not slip into a later one of the same member.
func TestCollectorRefusesProposalsForAnotherTerm(t *testing.T) {
	c, r := testCollector(t, nil)
	defer c.close()
	propose := func(term uint64) chan error {
		end := make(chan error, 1)
		c.propose(&Proposal{Data: []byte("x"), Term: term, Done: func(p *Proposal) { end <- p.Err }})
		return end
	}
	for _, term := range []uint64{0, 1} {
		end := propose(term)
		r.next(t).commit(0)
		require.NoError(t, <-end)
	}
	require.ErrorIs(t, <-propose(2), ErrNotLeader)
	c.shut(ErrNotLeader)
	c.open(3)
	require.ErrorIs(t, <-propose(1), ErrNotLeader)
	end := propose(3)
	r.next(t).commit(0)
	require.NoError(t, <-end)
}
