package group

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSettleWaitsUntilTheQueueIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{FlushInterval: time.Hour})
		results := make(chan error, 4)
		done := func(err error) { results <- err }
		require.False(t, o.Settle("g", "T", 0, done), "nothing was committed")
		require.NoError(t, o.Commit(Commit{"g", "T", 0, 5}))
		require.False(t, o.Settle("g", "T", 1, done), "another queue's commit")
		require.True(t, o.Settle("g", "T", 0, done))
		start := time.Now()
		b := <-p.batches
		require.Zero(t, time.Since(start), "whoever asks does not wait for company")
		require.True(t, o.Settle("g", "T", 0, done), "in flight")
		synctest.Wait()
		require.Empty(t, results)
		b.done(nil)
		require.NoError(t, <-results)
		require.NoError(t, <-results)
		require.False(t, o.Settle("g", "T", 0, done))

		require.NoError(t, o.Commit(Commit{"g", "T", 0, 6}))
		require.True(t, o.Settle("g", "T", 0, done))
		b = <-p.batches
		require.NoError(t, o.Commit(Commit{"g", "T", 0, 7}))
		require.True(t, o.Settle("g", "T", 0, done), "one's own report counts, though an older one is in flight")
		b.done(nil)
		require.NoError(t, <-results)
		b = <-p.batches
		require.Equal(t, []Commit{{"g", "T", 0, 7}}, b.commits)
		synctest.Wait()
		require.Empty(t, results)
		b.done(errRefused)
		require.ErrorIs(t, <-results, errRefused, "not written is not settled")

		require.True(t, o.Settle("g", "T", 0, done), "it is still to be written")
		o.Drop("test")
		require.ErrorIs(t, <-results, ErrOffsetsDropped)
	})
}

// However many ask, one batch serves them, and no second one is written beside it.
func TestSettlingManyQueuesIsOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{FlushInterval: time.Hour})
		results := make(chan error, 2000)
		done := func(err error) { results <- err }
		for q := range int32(1000) {
			require.NoError(t, o.Commit(Commit{"g", "T", q, 1}))
		}
		for q := range int32(1000) {
			require.True(t, o.Settle("g", "T", q, done))
		}
		b := <-p.batches
		require.Len(t, b.commits, 1000)
		for q := range int32(1000) {
			require.NoError(t, o.Commit(Commit{"g", "T", q, 2}))
			require.True(t, o.Settle("g", "T", q, done))
		}
		synctest.Wait()
		require.Empty(t, p.batches, "one batch in flight at a time")
		require.Empty(t, results)
		b.done(nil)
		b = <-p.batches
		require.Len(t, b.commits, 1000)
		require.Len(t, results, 1000)
		b.done(nil)
		synctest.Wait()
		require.Len(t, results, 2000)
	})
}

func TestSettleAllWaitsForWhatMatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := startOffsets(t, OffsetsConfig{FlushInterval: time.Hour})
		result := make(chan error, 1)
		settle := func(ctx context.Context) {
			result <- o.SettleAll(ctx, func(group, topic string) bool { return group == "g" && topic == "T" })
		}
		require.NoError(t, o.Commit(Commit{"g", "U", 0, 1}))
		require.NoError(t, o.Commit(Commit{"h", "T", 0, 1}))
		settle(t.Context())
		require.NoError(t, <-result, "nothing of it waits")
		synctest.Wait()
		require.Empty(t, p.batches, "and nothing is written for it")

		require.NoError(t, o.Commit(Commit{"g", "T", 0, 1}))
		require.NoError(t, o.Commit(Commit{"g", "T", 1, 1}))
		go settle(t.Context())
		b := <-p.batches
		require.Len(t, b.commits, 4)
		synctest.Wait()
		require.Empty(t, result)
		b.done(errRefused)
		require.ErrorIs(t, <-result, errRefused)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		settle(ctx)
		require.ErrorIs(t, <-result, context.DeadlineExceeded)
		(<-p.batches).done(nil)
	})
}
