package drill

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/local"
)

func TestLongestGapBeginsBeforeTheFault(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms ...int) (acks []Ack) {
		for _, m := range ms {
			acks = append(acks, Ack{At: start.Add(time.Duration(m) * time.Millisecond)})
		}
		return acks
	}
	fault := start.Add(100 * time.Millisecond)
	require.Equal(t, 310*time.Millisecond, longestGap(at(0, 90, 400, 410, 500), fault), "from the last one before the fault")
	require.Equal(t, 310*time.Millisecond, longestGap(at(500, 400, 90, 410), fault), "whatever the order of the history")
	require.Equal(t, 500*time.Millisecond, longestGap(at(90, 110, 610), fault), "a later gap counts too")
	require.Equal(t, 20*time.Millisecond, longestGap(at(10, 90, 110), fault), "gaps before the fault do not count")
}

func TestFirstAckEndsTheSilenceOfTheFault(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms ...int) (acks []Ack) {
		for _, m := range ms {
			acks = append(acks, Ack{At: start.Add(time.Duration(m) * time.Millisecond)})
		}
		return acks
	}
	fault := start.Add(100 * time.Millisecond)
	require.Equal(t, 300*time.Millisecond, firstAck(at(0, 90, 400, 410), fault))
	require.Equal(t, 300*time.Millisecond, firstAck(at(90, 101, 120, 400, 410), fault), "what was on its way is still answered")
	require.Equal(t, 300*time.Millisecond, firstAck(at(90, 400, 410, 1500), fault), "a later silence is another one")
	require.Zero(t, firstAck(at(0, 90), fault), "none")
}

func TestSummary(t *testing.T) {
	r := Report{Trials: []Trial{
		{ElectionMs: 300, GapMs: 500, Pass: true, Verdict: Verdict{Acked: 10}},
		{ElectionMs: 200, GapMs: 900, Pass: true, Verdict: Verdict{Acked: 20, Duplicated: 1}},
		{ElectionMs: 900, GapMs: 400, Pass: true, Verdict: Verdict{Acked: 30}},
	}}
	for i := range r.Trials {
		r.Trials[i].Clients = []ClientTrial{{Client: "go", Failed: i, FirstAckMs: int64(10 * i)}}
	}
	r.Clients = []ClientAudit{{Client: "go", Verdict: Verdict{Acked: 21, Lost: 3}, OffsetRewindMs: 70, Pass: true}}
	r.summarize()
	require.Equal(t, Summary{Trials: 3, Acked: 60, Duplicated: 1, ElectionMsMedian: 300, ElectionMsMax: 900, GapMsMedian: 500, GapMsMax: 900, Pass: true,
		Clients: []ClientSummary{{Client: "go", Acked: 21, Failed: 3, Lost: 3, OffsetRewindMs: 70, FirstAckMsMedian: 10, FirstAckMsMax: 20}}}, r.Summary)
	r.Trials[1].Pass = false
	r.summarize()
	require.False(t, r.Summary.Pass)
	r.Trials[1].Pass, r.Clients[0].Pass = true, false
	r.summarize()
	require.False(t, r.Summary.Pass, "what a stock client lost counts as well")
	empty := Report{}
	empty.summarize()
	require.False(t, empty.Summary.Pass, "no trial proves nothing")
}

func TestMissingCommits(t *testing.T) {
	start := time.Unix(0, 0)
	fault := start.Add(time.Second)
	commits := []commit{{1, start}, {2, start.Add(700 * time.Millisecond)}, {3, start.Add(900 * time.Millisecond)}, {4, start.Add(2 * time.Second)}}
	n, _ := missing(commits, 3, fault)
	require.Zero(t, n, "a commit after the fault is not expected")
	n, oldest := missing(commits, 1, fault)
	require.Equal(t, 2, n)
	require.Equal(t, 300*time.Millisecond, oldest)
}

// A port in a network of its own would have to be held there.
func TestPortsAreNotHeldInNetworksOfTheirOwn(t *testing.T) {
	_, err := SetStage(t.Context(), "isolate-leader", local.Spec{Nodes: 3, HoldPorts: true})
	require.ErrorContains(t, err, "leave out --hold-ports")
}

// Scripts read these fields; none may go or change its name.
func TestReportFields(t *testing.T) {
	b, err := json.Marshal(Report{Trials: []Trial{{}}})
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(b, &got))
	b, err = json.Marshal(Report{PortsHeld: true})
	require.NoError(t, err)
	require.Contains(t, string(b), `"portsHeld":true`)
	keys := func(v any) (out []string) {
		for k := range v.(map[string]any) {
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	require.Equal(t, []string{"drill", "flush", "machine", "nodes", "outstanding", "summary", "trials"}, keys(got))
	require.Subset(t, keys(got["trials"].([]any)[0]), []string{"trial", "acked", "unknown", "lost", "duplicated", "outOfOrder",
		"offsetsReused", "electionMs", "gapMs", "termBefore", "termAfter", "pass", "firstAckMs", "errors", "timeline"})
	require.Subset(t, keys(got["summary"]), []string{"trials", "acked", "lost", "offsetsReused", "electionMsMedian", "gapMsMedian", "gapMsMax", "pass"})
}
