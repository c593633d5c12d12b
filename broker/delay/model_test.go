package delay

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// step is one thing that happens in a random scenario.
type step struct {
	after    time.Duration
	level    int32 // of a message that is sent; 0: nothing is
	failover bool  // the leader changes
	settle   bool  // late proposals are applied
}

// scenario is drawn before the bubble starts: rapid may end a draw by a panic
// of its own goroutine.
type scenario struct {
	steps []step
	fates []fate
}

func drawScenario(rt *rapid.T) scenario {
	return scenario{
		steps: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				after:    time.Duration(rapid.IntRange(0, 1500).Draw(rt, "after")) * time.Millisecond,
				level:    rapid.Int32Range(0, 3).Draw(rt, "level"),
				failover: rapid.IntRange(0, 4).Draw(rt, "failover") == 0,
				settle:   rapid.IntRange(0, 3).Draw(rt, "settle") == 0,
			}
		}), 1, 40).Draw(rt, "steps"),
		fates: rapid.SliceOfN(rapid.SampledFrom([]fate{applied, refused, unknownLost, unknownDone, late}), 1, 30).Draw(rt, "fates"),
	}
}

// TestEachMessageOnceNeverEarly runs random sends over changes of leader and
// proposals of every fate: stopped in flight, applied after the next leader
// proposed the same again, lost, applied without the proposer knowing.
func TestEachMessageOnceNeverEarly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sc := drawScenario(rt)
		var got []delivery
		due := map[string]delivery{}
		order := map[int32][]string{}
		synctest.Test(t, func(t *testing.T) {
			got = sc.run(t, due, order)
		})
		require.Len(rt, got, len(due), "each message once")
		gotOrder := map[int32][]string{}
		for _, d := range got {
			want, ok := due[d.body]
			require.True(rt, ok, "%s was never sent", d.body)
			require.Equal(rt, want.level, d.level)
			require.GreaterOrEqual(rt, d.at, want.at, "%s came early", d.body)
			gotOrder[d.level] = append(gotOrder[d.level], d.body)
		}
		require.Equal(rt, order, gotOrder, "in the order of their queue, each once")
	})
}

func (sc scenario) run(t *testing.T, due map[string]delivery, order map[int32][]string) []delivery {
	l := newFakeLog(t, parse(t, "0s 1s 3s"))
	n := 0
	l.fates = func(level int32) fate {
		f := sc.fates[n%len(sc.fates)]
		n++
		if l.inFlight[level] > 0 && f == late {
			f = unknownLost // of an older leader's; see ProposeMature
		}
		return f
	}
	s := startScheduler(t, l)
	for i, st := range sc.steps {
		time.Sleep(st.after)
		if st.level > 0 {
			body := fmt.Sprint("m", i)
			at := l.send(st.level, delayed(t, "T", "0", body))
			s.Arrived(st.level - 1)
			due[body] = delivery{st.level, body, at}
			order[st.level] = append(order[st.level], body)
		}
		if st.settle {
			l.settleAll()
		}
		if st.failover {
			s.Stop()
			s = startScheduler(t, l)
		}
	}
	// From here on all goes well.
	l.mu.Lock()
	l.fates = func(int32) fate { return applied }
	l.mu.Unlock()
	s.Stop()
	l.settleAll()
	startScheduler(t, l)
	time.Sleep(time.Minute)
	return l.got()
}
