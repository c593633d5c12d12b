package drill

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Trial is the report of one fault. The JSON names are a contract with scripts.
type Trial struct {
	Trial  int    `json:"trial"` // from 1
	Node   string `json:"node"`  // who led, and was hurt
	Leader string `json:"leader"`
	Verdict

	ElectionMs int64  `json:"electionMs"` // from the fault until a member says that it leads
	GapMs      int64  `json:"gapMs"`      // longest time between two acknowledgements after the fault
	TermBefore uint64 `json:"termBefore"`
	TermAfter  uint64 `json:"termAfter"`

	// RestartMs is the time from starting all members again to the first
	// acknowledgement (kill-all).
	RestartMs int64 `json:"restartMs,omitempty"`
	// OffsetsBehind counts the queues whose consumer offset is behind the last
	// one confirmed before the fault; OffsetsBehindMs is the age, at the fault,
	// of the oldest confirmed commit that is gone (kill-all).
	OffsetsBehind   int   `json:"offsetsBehind"`
	OffsetsBehindMs int64 `json:"offsetsBehindMs"`
	// OldLeaderAcks counts acknowledgements by the old leader after it woke up,
	// of messages that it stored itself; it is fenced, so there must be none
	// unless it was elected again. OldLeaderForwarded counts those that it sent
	// on to the new leader (pause-leader).
	OldLeaderAcks      int `json:"oldLeaderAcks"`
	OldLeaderForwarded int `json:"oldLeaderForwarded"`
	// OldLeaderLeads says that the member that led before leads again at the end.
	OldLeaderLeads bool `json:"oldLeaderLeads,omitempty"`

	// Died are members that ended by themselves, whom the drill did not hurt.
	Died []string `json:"died,omitempty"`

	Pass   bool   `json:"pass"`
	Reason string `json:"reason,omitempty"` // why not
}

// Summary sums up the trials of a run.
type Summary struct {
	Trials           int   `json:"trials"`
	Acked            int   `json:"acked"`
	Unknown          int   `json:"unknown"`
	Lost             int   `json:"lost"`
	Duplicated       int   `json:"duplicated"`
	OutOfOrder       int   `json:"outOfOrder"`
	OffsetsReused    int   `json:"offsetsReused"`
	ElectionMsMedian int64 `json:"electionMsMedian"`
	ElectionMsMax    int64 `json:"electionMsMax"`
	GapMsMedian      int64 `json:"gapMsMedian"`
	GapMsMax         int64 `json:"gapMsMax"`
	Pass             bool  `json:"pass"`
}

// Report is what a drill prints.
type Report struct {
	Drill       string  `json:"drill"`
	Nodes       int     `json:"nodes"`
	Flush       string  `json:"flush"`
	Outstanding int     `json:"outstanding"`
	Trials      []Trial `json:"trials"`
	Summary     Summary `json:"summary"`
}

// summarize fills in the summary.
func (r *Report) summarize() {
	s := Summary{Trials: len(r.Trials), Pass: len(r.Trials) > 0}
	var elections, gaps []int64
	for _, t := range r.Trials {
		s.Acked += t.Acked
		s.Unknown += t.Unknown
		s.Lost += t.Lost
		s.Duplicated += t.Duplicated
		s.OutOfOrder += t.OutOfOrder
		s.OffsetsReused += t.OffsetsReused
		s.Pass = s.Pass && t.Pass
		elections, gaps = append(elections, t.ElectionMs), append(gaps, t.GapMs)
	}
	if len(r.Trials) > 0 {
		s.ElectionMsMedian, s.ElectionMsMax = median(elections), slices.Max(elections)
		s.GapMsMedian, s.GapMsMax = median(gaps), slices.Max(gaps)
	}
	r.Summary = s
}

// median returns the middle value, the upper one of two.
func median(v []int64) int64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// longestGap returns the longest time between two acknowledgements, from the
// last one before the fault to the end.
func longestGap(acks []Ack, fault time.Time) time.Duration {
	times := make([]time.Time, 0, len(acks))
	for _, a := range acks {
		times = append(times, a.At)
	}
	slices.SortFunc(times, time.Time.Compare)
	gap, last := time.Duration(0), fault
	for _, t := range times {
		if t.Before(fault) {
			last = t
			continue
		}
		gap, last = max(gap, t.Sub(last)), t
	}
	return gap
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "drill %s: %d members, %s flush, %d outstanding\n\n", r.Drill, r.Nodes, r.Flush, r.Outstanding)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "trial\thurt\tleader\telection ms\tgap ms\tacked\tunknown\tlost\tduplicated\tout of order\treused\t\t")
	for _, t := range r.Trials {
		fmt.Fprintf(tw, "%d\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t\n", t.Trial, t.Node, t.Leader, t.ElectionMs, t.GapMs,
			t.Acked, t.Unknown, t.Lost, t.Duplicated, t.OutOfOrder, t.OffsetsReused, verdictWord(t.Pass))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, t := range r.Trials {
		if t.Reason != "" {
			fmt.Fprintf(w, "trial %d: %s\n", t.Trial, t.Reason)
		}
		for _, e := range t.Examples {
			fmt.Fprintf(w, "trial %d: %s\n", t.Trial, e)
		}
	}
	s := r.Summary
	_, err := fmt.Fprintf(w, "\n%s: %d trials, %d acknowledged, %d lost, %d reused, median election %d ms, median gap %d ms (longest %d ms)\n",
		verdictWord(s.Pass), s.Trials, s.Acked, s.Lost, s.OffsetsReused, s.ElectionMsMedian, s.GapMsMedian, s.GapMsMax)
	return err
}

func verdictWord(pass bool) string {
	if pass {
		return "PASS"
	}
	return "FAIL"
}
