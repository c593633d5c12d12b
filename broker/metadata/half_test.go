package metadata

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// finalRecord is what a commit publishes.
func finalRecord(body string) []byte {
	m := message.Message{Topic: "T", Body: []byte(body), BornHost: addr, StoreHost: addr}
	rec, err := m.AppendStored(nil)
	if err != nil {
		panic(err)
	}
	return rec
}

func prepareHalf(t *testing.T, w *world, now int64, group, body string, props ...string) message.QueueOffset {
	t.Helper()
	sent, ok := w.apply(t, now, AppendPrepare(nil, 3, halfRecord(group, body, props...))).(Sent)
	require.True(t, ok)
	require.Equal(t, int32(3), sent.Queue)
	return sent.Results[0].Queue
}

func TestTransactionEndsOnce(t *testing.T) {
	w := newWorld()
	a := prepareHalf(t, w, 100, "pg", "a", message.PropertyCheckImmunityTime, "30")
	b := prepareHalf(t, w, 200, "pg", "b", message.PropertyCheckImmunityTime, "-5")
	h, ok := w.Half(a)
	require.True(t, ok)
	require.Equal(t, Half{Offset: a, StoreTime: 100, Group: "pg", ImmunitySeconds: 30}, h)
	h, _ = w.Half(b)
	require.Equal(t, int32(-1), h.ImmunitySeconds, "nonsense counts as none")

	commit := AppendEnd(nil, a, 0, HalfCommitted, finalRecord("a"))
	got := w.apply(t, 300, commit).(Ended)
	require.True(t, got.Applied)
	require.Equal(t, HalfCommitted, got.State)
	published := len(w.published)
	require.Equal(t, Ended{State: HalfCommitted}, w.apply(t, 301, commit), "again")
	require.Equal(t, Ended{State: HalfCommitted}, w.apply(t, 302, AppendEnd(nil, a, 0, HalfRolledBack)), "too late")
	require.True(t, w.apply(t, 303, AppendEnd(nil, b, 0, HalfRolledBack)).(Ended).Applied)
	require.Equal(t, Ended{State: HalfRolledBack}, w.apply(t, 304, AppendEnd(nil, b, 0, HalfCommitted, finalRecord("b"))))
	require.Equal(t, Ended{State: HalfUnknown}, w.apply(t, 305, AppendEnd(nil, 99, 0, HalfRolledBack)))
	require.Len(t, w.published, published, "nothing more came out")
	require.Zero(t, w.HalfCount())
	require.Empty(t, w.half.names)
}

func TestChecksAreCountedOnce(t *testing.T) {
	w := newWorld()
	a, b := prepareHalf(t, w, 100, "pg", "a"), prepareHalf(t, w, 200, "pg", "b")
	check := AppendCheck(nil, []HalfCheck{{a, 0}, {b, 0}, {77, 0}, {a, 0}})
	require.Equal(t, []bool{true, true, false, false}, w.apply(t, 6000, check))
	require.Equal(t, []bool{false, false, false, false}, w.apply(t, 6001, check), "the same command again")
	h, _ := w.Half(a)
	require.Equal(t, int32(1), h.Checks)
	require.Equal(t, int64(6000), h.LastCheck)
	w.checkpoint()
	h, _ = w.reload(t).Half(a)
	require.Equal(t, int32(1), h.Checks, "a restart does not reset the count")
}

func TestResumeBringsBackOnce(t *testing.T) {
	w := newWorld()
	a := prepareHalf(t, w, 100, "pg", "a")
	resume := AppendResume(nil, a, halfRecord("pg", "a"))
	err, _ := w.apply(t, 150, resume).(error)
	require.ErrorIs(t, err, ErrNotFound, "it is still pending")
	require.True(t, w.apply(t, 200, AppendEnd(nil, a, 0, HalfGivenUp, finalRecord("a"))).(Ended).Applied)
	w.checkpoint()
	w = w.reload(t)
	require.Equal(t, HalfGivenUp, w.HalfState(a))
	sent, ok := w.apply(t, 300, resume).(Sent)
	require.True(t, ok)
	err, _ = w.apply(t, 301, resume).(error)
	require.ErrorIs(t, err, ErrNotFound, "resumed before")
	require.Equal(t, HalfPending, w.HalfState(sent.Results[0].Queue))
}

func TestPrepareRefusals(t *testing.T) {
	w := newWorld()
	for name, data := range map[string][]byte{
		"no message":    store.AppendCommand(nil, OpPrepare, AppendPreparePayload(nil, 0)),
		"another topic": AppendPrepare(nil, 0, finalRecord("x")),
		"a bad group":   AppendPrepare(nil, 0, halfRecord("a b", "x")),
		"commit alone":  AppendEnd(nil, 0, 0, HalfCommitted),
		"no such end":   AppendEnd(nil, 0, 0, HalfPending),
	} {
		err, _ := w.apply(t, 1, data).(error)
		require.ErrorIs(t, err, ErrInvalid, name)
	}
	a := prepareHalf(t, w, 2, "pg", "a")
	err, _ := w.apply(t, 3, AppendEnd(nil, a, 12345, HalfRolledBack)).(error)
	require.ErrorIs(t, err, ErrInvalid, "another position")
	require.Equal(t, HalfPending, w.HalfState(a))
	require.Len(t, w.published, 1)
}

func TestEndingsAreForgottenOldestFirst(t *testing.T) {
	w := newWorld()
	var offsets []message.QueueOffset
	for range endedKept + 10 {
		o := prepareHalf(t, w, 1, "pg", "a")
		w.apply(t, 2, AppendEnd(nil, o, 0, HalfRolledBack))
		offsets = append(offsets, o)
	}
	require.Equal(t, HalfUnknown, w.HalfState(offsets[9]))
	require.Equal(t, HalfRolledBack, w.HalfState(offsets[10]))
	w.checkpoint()
	require.Len(t, w.stored, endedKept+1, "what is forgotten is not stored")
	require.Equal(t, observe(w.State), observe(w.reload(t).State))
}

func TestHalvesPages(t *testing.T) {
	w := newWorld()
	var want []message.QueueOffset
	for i := range 3 * halvesSlack {
		o := prepareHalf(t, w, int64(i), fmt.Sprint("pg", i%3), "a")
		if i%5 == 0 {
			want = append(want, o)
		} else {
			w.apply(t, 9999, AppendEnd(nil, o, 0, HalfRolledBack))
		}
	}
	require.Less(t, len(w.half.halves), 3*halvesSlack, "gaps are closed")
	var got []message.QueueOffset
	for from, done := message.QueueOffset(0), false; !done; {
		var page []Half
		page, from, done = w.Halves(page, from, 100, func(*Half) bool { return true })
		require.LessOrEqual(t, len(page), 100)
		for _, h := range page {
			got = append(got, h.Offset)
		}
	}
	require.Equal(t, want, got)
}

// TestTransactionsAgainstModel applies random prepares, ends, checks and
// resumes to a state that restarts at random and to a plain model.
func TestTransactionsAgainstModel(t *testing.T) {
	type entry struct {
		state  HalfState
		checks int32
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		model := map[message.QueueOffset]*entry{}
		published := map[string]int{}
		prepared := 0
		for i := range rapid.IntRange(1, 80).Draw(rt, "commands") {
			now := int64(i)
			pick := func() message.QueueOffset {
				return message.QueueOffset(rapid.IntRange(0, 2*prepared+2).Draw(rt, "half"))
			}
			switch rapid.IntRange(0, 6).Draw(rt, "kind") {
			case 0, 1:
				o := prepareHalf(t, w, now, "pg", "x")
				prepared++
				model[o] = &entry{state: HalfPending}
			case 2, 3:
				o := pick()
				state := rapid.SampledFrom([]HalfState{HalfCommitted, HalfRolledBack, HalfGivenUp}).Draw(rt, "state")
				var nested [][]byte
				body := fmt.Sprint(o, state)
				if state != HalfRolledBack {
					nested = append(nested, finalRecord(body))
				}
				got := w.apply(t, now, AppendEnd(nil, o, 0, state, nested...)).(Ended)
				m := model[o]
				require.Equal(rt, m != nil && m.state == HalfPending, got.Applied)
				if got.Applied {
					m.state = state
					if len(nested) > 0 {
						published[body]++
					}
				}
				if m != nil {
					require.Equal(rt, m.state, got.State)
				}
			case 4:
				o, checks := pick(), rapid.Int32Range(0, 2).Draw(rt, "checks")
				got := w.apply(t, now, AppendCheck(nil, []HalfCheck{{o, checks}})).([]bool)
				m := model[o]
				require.Equal(rt, m != nil && m.state == HalfPending && m.checks == checks, got[0])
				if got[0] {
					m.checks++
				}
			case 5:
				o := pick()
				sent, ok := w.apply(t, now, AppendResume(nil, o, halfRecord("pg", "x"))).(Sent)
				m := model[o]
				require.Equal(rt, m != nil && m.state == HalfGivenUp, ok)
				if ok {
					delete(model, o)
					model[sent.Results[0].Queue] = &entry{state: HalfPending}
				}
			case 6:
				w.checkpoint()
				old := w
				w = w.reload(t)
				w.published = old.published
				require.Equal(rt, observe(old.State), observe(w.State))
			}
		}
		for o, m := range model {
			require.Equal(rt, m.state, w.HalfState(o))
			if h, ok := w.Half(o); ok {
				require.Equal(rt, m.checks, h.Checks)
			}
		}
		for body, n := range published {
			require.Equal(rt, 1, n, body)
			require.Equal(rt, 1, count(w.published, finalRecord(body)))
		}
		require.Len(rt, slices.Collect(maps.Keys(model)), w.HalfCount()+len(w.half.ends))
	})
}

func count(all [][]byte, rec []byte) int {
	n := 0
	for _, r := range all {
		if string(r) == string(rec) {
			n++
		}
	}
	return n
}
