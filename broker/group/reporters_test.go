package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReporters(t *testing.T) {
	now := time.Unix(1_000, 0)
	r := NewReporters(10*time.Second, func() time.Time { return now })
	a, b := Commit{Group: "g", Topic: "T", Queue: 1}, Commit{Group: "g", Topic: "T", Queue: 2}
	require.True(t, r.Late(a, 1), "a new leader knows nobody")
	now = now.Add(10 * time.Second)
	require.False(t, r.Late(a, 1))

	r.Took(a, 1)
	require.False(t, r.Late(a, 1), "the same connection goes back on purpose")
	require.True(t, r.Late(a, 2))
	require.False(t, r.Late(b, 2))
	now = now.Add(9 * time.Second)
	r.Took(b, 2) // the first of the next window
	require.True(t, r.Late(a, 2), "still within the window")
	require.True(t, r.Late(b, 1))
	now = now.Add(time.Second)
	require.False(t, r.Late(a, 2))

	r.Took(a, 2)
	require.True(t, r.Late(a, 1))
	r.Restart()
	require.True(t, r.Late(a, 2))
	now = now.Add(10 * time.Second)
	require.False(t, r.Late(a, 1))
}

func TestReportersAreBounded(t *testing.T) {
	now := time.Unix(1_000, 0)
	r := NewReporters(time.Second, func() time.Time { return now })
	for i := range int32(reportersMax + 10) {
		r.Took(Commit{Group: "g", Topic: "T", Queue: i}, 1)
	}
	require.Len(t, r.recent, reportersMax)
	for range 2 {
		now = now.Add(2 * time.Second)
		r.Took(Commit{Group: "g", Topic: "T"}, 1)
	}
	require.Len(t, r.recent, 1)
	require.Len(t, r.before, 1)
}
