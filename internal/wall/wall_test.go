package wall

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestShift(t *testing.T) {
	t.Cleanup(func() { Shift(0) })
	for _, d := range []time.Duration{0, time.Hour, -time.Hour} {
		Shift(d)
		require.WithinDuration(t, time.Now().Add(d), Now(), 10*time.Second)
		require.InDelta(t, time.Now().Add(d).UnixMilli(), UnixMilli(), 10_000)
	}
}

// A difference of two readings must show a step between them, as it does when a
// machine's clock is set.
func TestDifferencesSeeAStep(t *testing.T) {
	t.Cleanup(func() { Shift(0) })
	before := Now()
	Shift(-time.Hour)
	require.InDelta(t, -time.Hour, Now().Sub(before), float64(10*time.Second))
}
