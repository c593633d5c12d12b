package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventsOfMovedOffsetsAreBounded(t *testing.T) {
	t.Parallel()
	var l movedLimit
	allowed := func(queue int32, now int64) bool { ok, _ := l.allow(movedKey{"g", "orders", queue}, now); return ok }
	require.True(t, allowed(0, 0))
	require.False(t, allowed(0, int64(movedPeriod)-1), "the same queue twice in a period")
	for q := range int32(movedMax) - 1 {
		require.True(t, allowed(1+q, 1))
	}
	require.False(t, allowed(movedMax, 1), "one too many")
	require.False(t, allowed(movedMax+1, 1))
	ok, hidden := l.allow(movedKey{"g", "orders", 0}, int64(movedPeriod))
	require.True(t, ok, "the next period")
	require.Equal(t, 2, hidden)
	_, hidden = l.allow(movedKey{"g", "orders", 1}, int64(movedPeriod)+1)
	require.Zero(t, hidden, "it is said once")
}
