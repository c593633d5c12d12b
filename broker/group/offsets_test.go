package group

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = errors.New("refused")

// fakeProposer keeps proposals until the test answers them.
type fakeProposer struct {
	batches chan batch
}

type batch struct {
	commits []Commit
	done    func(error)
}

func (p *fakeProposer) ProposeOffsets(commits []Commit, done func(error)) {
	p.batches <- batch{slices.Clone(commits), done}
}

// tableProposer writes at once, as the replicated table would.
type tableProposer map[Commit]int64 // with Offset 0 as key

func (p tableProposer) ProposeOffsets(commits []Commit, done func(error)) {
	for _, c := range commits {
		p[Commit{Group: c.Group, Topic: c.Topic, Queue: c.Queue}] = c.Offset
	}
	done(nil)
}

func startOffsets(t *testing.T, cfg OffsetsConfig) (*Offsets, *fakeProposer) {
	t.Helper()
	p := &fakeProposer{batches: make(chan batch, 10)}
	cfg.Proposer = p
	o, err := NewOffsets(cfg)
	require.NoError(t, err)
	require.NoError(t, o.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, o.Close()) })
	return o, p
}

func pendingOf(t *testing.T, o *Offsets, c Commit) int64 {
	t.Helper()
	v, ok := o.Pending(c.Group, c.Topic, c.Queue)
	require.True(t, ok)
	return v
}

func TestCommitsAreCollectedForOneInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{})
		start := time.Now()
		require.NoError(t, o.Commit(Commit{"g", "T", 1, 10}))
		require.NoError(t, o.Commit(Commit{"g", "T", 0, 5}))
		require.NoError(t, o.Commit(Commit{"a", "T", 0, 1}))
		require.NoError(t, o.Commit(Commit{"g", "T", 1, 8}))
		require.Equal(t, int64(8), pendingOf(t, o, Commit{"g", "T", 1, 0}), "visible at once, the newest wins")
		b := <-p.batches
		require.Equal(t, 100*time.Millisecond, time.Since(start))
		require.Equal(t, []Commit{{"a", "T", 0, 1}, {"g", "T", 0, 5}, {"g", "T", 1, 8}}, b.commits)

		require.NoError(t, o.Commit(Commit{"g", "T", 1, 9}))
		require.Equal(t, int64(9), pendingOf(t, o, Commit{"g", "T", 1, 0}))
		require.Equal(t, int64(5), pendingOf(t, o, Commit{"g", "T", 0, 0}), "still in flight")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, p.batches, "one batch in flight at a time")
		start = time.Now()
		b.done(nil)
		synctest.Wait()
		_, ok := o.Pending("g", "T", 0)
		require.False(t, ok, "written: the table has it")
		b = <-p.batches
		require.Equal(t, []Commit{{"g", "T", 1, 9}}, b.commits)
		require.Zero(t, time.Since(start), "it has waited while the batch before was written")
		require.NoError(t, o.Commit(Commit{"g", "T", 1, 10}))
		b.done(errRefused)
		b = <-p.batches
		require.Equal(t, 100*time.Millisecond, time.Since(start), "a refusal is not repeated at once")
		b.done(nil)
	})
}

func TestCommitWaitIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{})
		start := time.Now()
		results := make(chan error, 3)
		done := func(err error) { results <- err }
		require.NoError(t, o.Commit(Commit{"g", "T", 0, 4}))
		require.NoError(t, o.CommitWait(Commit{"g", "T", 0, 5}, done))
		b := <-p.batches
		require.Zero(t, time.Since(start))
		require.NoError(t, o.CommitWait(Commit{"g", "T", 0, 6}, done))
		require.NoError(t, o.Commit(Commit{"g", "T", 0, 7}))
		synctest.Wait()
		require.Empty(t, results)
		b.done(nil)
		require.NoError(t, <-results)
		b = <-p.batches
		require.Equal(t, []Commit{{"g", "T", 0, 7}}, b.commits)
		b.done(errRefused)
		require.ErrorIs(t, <-results, errRefused, "whose commit was replaced waits for the newer one")
		b = <-p.batches
		require.Equal(t, []Commit{{"g", "T", 0, 7}}, b.commits, "a failed batch is written again")
		b.done(nil)
	})
}

func TestFailedBatchDoesNotOverwriteNewerCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{})
		require.NoError(t, o.Commit(Commit{"g", "T", 0, 4}))
		require.NoError(t, o.Commit(Commit{"g", "T", 1, 4}))
		b := <-p.batches
		require.NoError(t, o.Commit(Commit{"g", "T", 0, 5}))
		b.done(errRefused)
		b = <-p.batches
		require.Equal(t, []Commit{{"g", "T", 0, 5}, {"g", "T", 1, 4}}, b.commits)
		b.done(nil)
		synctest.Wait()
		require.Zero(t, o.PendingLen())
	})
}

func TestDropForgetsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{})
		results := make(chan error, 2)
		done := func(err error) { results <- err }
		require.NoError(t, o.CommitWait(Commit{"g", "T", 0, 4}, done))
		b := <-p.batches
		require.NoError(t, o.CommitWait(Commit{"g", "T", 1, 4}, done))
		o.Drop("not the leader any more")
		require.ErrorIs(t, <-results, ErrOffsetsDropped)
		require.ErrorIs(t, <-results, ErrOffsetsDropped)
		require.Zero(t, o.PendingLen())
		b.done(errRefused)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Zero(t, o.PendingLen(), "the late answer brings nothing back")
		require.Empty(t, results)

		require.NoError(t, o.Commit(Commit{"g", "T", 0, 9}))
		b = <-p.batches
		require.Equal(t, []Commit{{"g", "T", 0, 9}}, b.commits)
		b.done(nil)
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{})
		for _, c := range []Commit{{"g", "T", 0, 1}, {"g", "U", 0, 1}, {"h", "T", 0, 1}, {"h", "U", 0, 1}} {
			require.NoError(t, o.Commit(c))
		}
		o.ForgetTopic("T")
		o.ForgetGroup("h")
		b := <-p.batches
		require.Equal(t, []Commit{{"g", "U", 0, 1}}, b.commits)
		b.done(nil)
	})
}

func TestPendingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{PendingMax: 3, FlushMax: 2})
		for i := range int32(3) {
			require.NoError(t, o.Commit(Commit{"g", "T", i, 1}))
		}
		require.ErrorIs(t, o.Commit(Commit{"g", "T", 3, 1}), ErrOffsetsFull)
		require.NoError(t, o.Commit(Commit{"g", "T", 1, 2}), "a known queue needs no room")
		b := <-p.batches
		require.Len(t, b.commits, 2)
		require.ErrorIs(t, o.Commit(Commit{"g", "T", 3, 1}), ErrOffsetsFull, "what is in flight counts")
		at := time.Now()
		b.done(nil)
		b = <-p.batches
		require.Len(t, b.commits, 1)
		require.Zero(t, time.Since(at), "the rest of a full batch does not wait again")
		b.done(nil)
	})
}

func TestCloseWritesWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tableProposer{}
		o, err := NewOffsets(OffsetsConfig{Proposer: p, FlushMax: 7})
		require.NoError(t, err)
		require.NoError(t, o.Start(t.Context()))
		for i := range int32(50) {
			require.NoError(t, o.Commit(Commit{"g", "T", i, int64(i)}))
		}
		start := time.Now()
		require.NoError(t, o.Close())
		require.Zero(t, time.Since(start))
		require.Len(t, p, 50)
		require.ErrorIs(t, o.Commit(Commit{"g", "T", 1, 1}), ErrOffsetsDropped)
		require.NoError(t, o.Close())
		require.Error(t, o.Start(t.Context()))
	})
}

func TestCloseGivesUpAfterStopTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{StopTimeout: time.Second})
		results := make(chan error, 1)
		require.NoError(t, o.CommitWait(Commit{"g", "T", 0, 1}, func(err error) { results <- err }))
		<-p.batches
		start := time.Now()
		require.NoError(t, o.Close())
		require.Equal(t, time.Second, time.Since(start))
		require.ErrorIs(t, <-results, ErrOffsetsDropped)
		require.Zero(t, o.PendingLen())
	})
}

func TestFlushWaitsForEverythingPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{FlushMax: 1})
		require.NoError(t, o.Flush(t.Context()), "nothing to do")
		require.NoError(t, o.Commit(Commit{"g", "T", 0, 1}))
		require.NoError(t, o.Commit(Commit{"g", "T", 1, 1}))
		result := make(chan error, 1)
		go func() { result <- o.Flush(t.Context()) }()
		for range 2 {
			synctest.Wait()
			require.Empty(t, result)
			(<-p.batches).done(nil)
		}
		require.NoError(t, <-result)

		require.NoError(t, o.Commit(Commit{"g", "T", 0, 2}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, o.Flush(ctx), context.DeadlineExceeded)
		(<-p.batches).done(nil)
	})
}

func TestNewOffsetsWantsAProposer(t *testing.T) {
	_, err := NewOffsets(OffsetsConfig{})
	require.Error(t, err)
	require.Contains(t, fmt.Sprint(err), "Proposer")
}
