package drill

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const run = "r1"

func body(sender int, seq int64) []byte {
	return appendBody(nil, run, ID{Sender: sender, Seq: seq}, 64)
}

func ack(sender int, seq int64, queue int32, offset int64) Ack {
	return Ack{ID: ID{Sender: sender, Seq: seq}, Position: Position{Queue: queue, Offset: offset}}
}

// Each row changes one thing of a good history and names the one count that
// must then differ. A checker that misses a kind of failure fails here.
func TestCheckReportsEachKindOfFailure(t *testing.T) {
	type world struct {
		h      History
		queues map[int32][]Found
	}
	good := func() world {
		return world{
			h: History{
				Acks:    []Ack{ack(0, 0, 0, 0), ack(0, 1, 0, 1), ack(1, 0, 1, 0)},
				Unknown: []ID{{Sender: 1, Seq: 1}},
				Sent:    []int64{2, 2},
			},
			queues: map[int32][]Found{
				0: {{0, body(0, 0)}, {1, body(0, 1)}},
				1: {{0, body(1, 0)}},
			},
		}
	}
	base := Verdict{Acked: 3, Unknown: 1, Found: 3}
	for _, row := range []struct {
		name   string
		change func(*world)
		want   func(*Verdict)
		pass   bool
	}{
		{"nothing", func(*world) {}, func(*Verdict) {}, true},
		{"an unknown message was stored", func(w *world) {
			w.queues[1] = append(w.queues[1], Found{1, body(1, 1)})
		}, func(v *Verdict) { v.Found = 4 }, true},
		{"a retry was stored twice", func(w *world) {
			w.queues[0] = append(w.queues[0], Found{2, body(0, 1)})
		}, func(v *Verdict) { v.Found, v.Duplicated = 4, 1 }, true},
		{"a late copy of an old message is a duplicate, not a disorder", func(w *world) {
			w.queues[0] = append(w.queues[0], Found{2, body(0, 0)})
		}, func(v *Verdict) { v.Found, v.Duplicated = 4, 1 }, true},
		{"lost at the end", func(w *world) {
			w.queues[0] = w.queues[0][:1]
		}, func(v *Verdict) { v.Found, v.Lost = 2, 1 }, false},
		{"a whole queue is gone", func(w *world) {
			delete(w.queues, 1)
		}, func(v *Verdict) { v.Found, v.Lost = 2, 1 }, false},
		{"an offset holds another message", func(w *world) {
			w.queues[0] = []Found{{0, body(0, 0)}, {1, body(1, 1)}, {2, body(0, 1)}}
		}, func(v *Verdict) { v.Found, v.OffsetsReused = 4, 1 }, false},
		{"an offset was acknowledged twice", func(w *world) {
			w.h.Acks = append(w.h.Acks, ack(1, 1, 1, 0))
			w.h.Unknown = nil
			w.queues[1] = append(w.queues[1], Found{1, body(1, 1)})
		}, func(v *Verdict) { v.Acked, v.Unknown, v.Found, v.OffsetsReused = 4, 0, 4, 2 }, false},
		{"stored, but not where it was acknowledged", func(w *world) {
			w.h.Acks[1].Offset = 7
		}, func(v *Verdict) { v.Misplaced = 1 }, false},
		{"out of order", func(w *world) {
			w.h.Acks[0].Offset, w.h.Acks[1].Offset = 1, 0
			w.queues[0] = []Found{{0, body(0, 1)}, {1, body(0, 0)}}
		}, func(v *Verdict) { v.OutOfOrder = 2 }, false}, // stored so, and acknowledged so
		{"acknowledged out of order by a sender without order", func(w *world) {
			// Its copies may lie anywhere, but each answer came before the next send.
			w.h.Acks[0].Offset, w.h.Acks[1].Offset = 1, 0
			w.h.Unordered = map[int]bool{0: true}
			w.queues[0] = []Found{{0, body(0, 1)}, {1, body(0, 0)}}
		}, func(v *Verdict) { v.OutOfOrder = 1 }, false},
		{"a late copy of a sender without order", func(w *world) {
			w.h.Unordered = map[int]bool{0: true}
			w.h.Acks[0].Offset, w.h.Acks[1].Offset = 2, 3
			w.queues[0] = []Found{{0, body(0, 1)}, {1, body(0, 0)}, {2, body(0, 0)}, {3, body(0, 1)}}
		}, func(v *Verdict) { v.Found, v.Duplicated = 5, 2 }, true},
		{"a hole", func(w *world) {
			w.queues[0] = []Found{{0, body(0, 0)}, {2, body(0, 1)}}
			w.h.Acks[1].Offset = 2
		}, func(v *Verdict) { v.Holes = 1 }, false},
		{"the queue does not begin at 0", func(w *world) {
			w.queues[1][0].Offset, w.h.Acks[2].Offset = 1, 1
		}, func(v *Verdict) { v.Holes = 1 }, false},
		{"damaged", func(w *world) {
			w.queues[1] = append(w.queues[1], Found{1, append([]byte("x"), body(1, 1)...)})
		}, func(v *Verdict) { v.Found, v.Damaged = 4, 1 }, false},
		{"nobody sent it", func(w *world) {
			w.queues[1] = append(w.queues[1], Found{1, body(1, 2)})
		}, func(v *Verdict) { v.Found, v.Phantom = 4, 1 }, false},
		{"from another run", func(w *world) {
			w.queues[1] = append(w.queues[1], Found{1, appendBody(nil, "r0", ID{}, 64)})
		}, func(v *Verdict) { v.Found, v.Phantom = 4, 1 }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, want := good(), base
			row.change(&w)
			row.want(&want)
			got := Check(run, w.h, w.queues)
			require.Equal(t, row.pass, len(got.Examples) == 0, "examples: %q", got.Examples)
			got.Examples = nil
			require.Equal(t, want, got)
			require.Equal(t, row.pass, got.Pass())
		})
	}
}

func TestBody(t *testing.T) {
	b := appendBody(nil, run, ID{Sender: 12, Seq: 345}, 128)
	require.Len(t, b, 128)
	id, damaged, foreign := parseBody(run, b)
	require.Equal(t, ID{Sender: 12, Seq: 345}, id)
	require.False(t, damaged || foreign)
	for i := range b {
		bad := append([]byte(nil), b...)
		bad[i] ^= 0x20
		_, damaged, _ := parseBody(run, bad)
		require.True(t, damaged, "byte %d", i)
	}
}

func TestExamplesAreBounded(t *testing.T) {
	h := History{Sent: []int64{1000}}
	for seq := range int64(1000) {
		h.Acks = append(h.Acks, ack(0, seq, 0, seq))
	}
	v := Check(run, h, nil)
	require.Equal(t, 1000, v.Lost)
	require.Len(t, v.Examples, examplesMax)
}
