package metadata

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
)

func timerRecord() []byte {
	m := message.Message{Topic: "T", Body: []byte("x"), BornHost: addr, StoreHost: addr}
	rec, err := m.AppendStored(nil)
	if err != nil {
		panic(err)
	}
	return rec
}

func TestFireOnce(t *testing.T) {
	w := newWorld()
	topic := message.TimerTopic(7)
	w.ends[topic] = 3
	rec := timerRecord()
	require.EqualValues(t, 0, w.FirstTimer(7))
	require.Equal(t, Fired{Published: 1}, w.apply(t, 1, AppendFire(nil, 7, []Timer{{2, true}, {0, false}}, rec)))
	require.Equal(t, Fired{Published: 1, Repeated: 2}, w.apply(t, 1, AppendFire(nil, 7, []Timer{{0, true}, {1, true}, {2, true}}, rec, rec, rec)))
	require.Len(t, w.published, 2)
	require.Equal(t, 3, w.TimersDone(7))
	require.EqualValues(t, 3, w.FirstTimer(7))

	// One that came late keeps the slot open.
	w.ends[topic] = 4
	require.Equal(t, false, w.apply(t, 1, AppendCloseSlot(nil, 7)))
	require.Empty(t, w.deleted)
	require.Equal(t, Fired{Published: 1}, w.apply(t, 1, AppendFire(nil, 7, []Timer{{3, true}}, rec)))
	require.Equal(t, true, w.apply(t, 1, AppendCloseSlot(nil, 7)))
	require.Equal(t, []string{topic}, w.deleted)
	require.Equal(t, false, w.apply(t, 1, AppendCloseSlot(nil, 7)), "of a slot that is not there")
	require.False(t, w.TimerDone(7, 2))

	// And one that comes even later begins it again.
	w.ends[topic] = 1
	require.Equal(t, Fired{Published: 1}, w.apply(t, 1, AppendFire(nil, 7, []Timer{{0, true}}, rec)))
	for _, bad := range [][]byte{
		AppendFire(nil, 7, nil), AppendFire(nil, 0, []Timer{{0, false}}), AppendFire(nil, 1<<40, []Timer{{0, false}}),
		AppendFire(nil, 7, []Timer{{1, false}}), AppendFire(nil, 7, []Timer{{0, true}}), AppendFire(nil, 7, []Timer{{0, false}}, rec),
		AppendFire(nil, 7, []Timer{{TimersPerSlotMax, false}}), AppendCloseSlot(nil, -1),
	} {
		require.Implements(t, (*error)(nil), w.apply(t, 1, bad))
	}
	w.checkpoint()
	require.Equal(t, observe(w.State).Timers, observe(w.reload(t).State).Timers)
}

// Whatever is proposed twice, in any order and over checkpoints, each message
// leaves once.
func TestTimersModel(tt *testing.T) {
	rapid.Check(tt, func(rt *rapid.T) {
		w := newWorld()
		done := map[int64]map[message.QueueOffset]bool{}
		published := 0
		rt.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				w.ends[message.TimerTopic(rapid.Int64Range(1, 2).Draw(t, "slot"))] += message.QueueOffset(rapid.IntRange(1, 100).Draw(t, "n"))
			},
			"fire": func(t *rapid.T) {
				slot := rapid.Int64Range(1, 2).Draw(t, "slot")
				end := int64(w.ends[message.TimerTopic(slot)])
				if end == 0 {
					return
				}
				offsets := rapid.SliceOfN(rapid.Int64Range(0, end-1), 1, 40).Draw(t, "offsets")
				var timers []Timer
				var msgs [][]byte
				want := Fired{}
				if done[slot] == nil {
					done[slot] = map[message.QueueOffset]bool{}
				}
				for _, off := range offsets {
					timer := Timer{message.QueueOffset(off), rapid.Bool().Draw(t, "deliverable")}
					timers = append(timers, timer)
					if timer.Deliverable {
						msgs = append(msgs, timerRecord())
					}
					switch {
					case done[slot][timer.Offset]:
						want.Repeated++
					case timer.Deliverable:
						want.Published++
					}
					done[slot][timer.Offset] = true
				}
				published += want.Published
				require.Equal(t, want, w.apply(tt, 1, AppendFire(nil, slot, timers, msgs...)))
			},
			"close": func(t *rapid.T) {
				slot := rapid.Int64Range(1, 2).Draw(t, "slot")
				topic := message.TimerTopic(slot)
				want := len(done[slot]) > 0 && len(done[slot]) == int(w.ends[topic])
				require.Equal(t, want, w.apply(tt, 1, AppendCloseSlot(nil, slot)))
				if want {
					delete(done, slot)
					delete(w.ends, topic)
				}
			},
			"reload": func(*rapid.T) {
				ends, out := w.ends, w.published
				w.checkpoint()
				w = w.reload(tt)
				w.ends, w.published = ends, out
			},
			"": func(t *rapid.T) {
				require.Len(t, w.published, published)
				for slot := int64(1); slot <= 2; slot++ {
					require.Equal(t, len(done[slot]), w.TimersDone(slot))
					first := message.QueueOffset(0)
					for done[slot][first] {
						first++
					}
					require.Equal(t, first, w.FirstTimer(slot))
					require.False(t, slices.ContainsFunc([]message.QueueOffset{0, 1, 63, 64, 65}, func(o message.QueueOffset) bool {
						return w.TimerDone(slot, o) != done[slot][o]
					}))
				}
			},
		})
	})
}
