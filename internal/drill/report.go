package drill

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Trial is the report of one fault. The JSON names are a contract with scripts.
type Trial struct {
	Trial  int    `json:"trial"` // from 1
	Node   string `json:"node"`  // who led, and was hurt
	Leader string `json:"leader"`
	Verdict

	ElectionMs int64 `json:"electionMs"` // from the fault until a member says that it leads
	// FirstAckMs is from the fault to the acknowledgement that ended the silence
	// after it.
	FirstAckMs int64  `json:"firstAckMs"`
	GapMs      int64  `json:"gapMs"` // longest time between two acknowledgements after the fault
	TermBefore uint64 `json:"termBefore"`
	TermAfter  uint64 `json:"termAfter"`

	// Errors counts attempts that failed, of which each sender makes as many as it
	// needs; FirstError is the first of them.
	Errors     int    `json:"errors"`
	FirstError string `json:"firstError,omitempty"`

	// RestartMs is the time from starting all members again to the first
	// acknowledgement (kill-all).
	RestartMs int64 `json:"restartMs,omitempty"`
	// OffsetsBehind counts the queues whose consumer offset is behind the last
	// one confirmed before the fault; OffsetsBehindMs is the age, at the fault,
	// of the oldest confirmed commit that is gone.
	OffsetsBehind   int   `json:"offsetsBehind"`
	OffsetsBehindMs int64 `json:"offsetsBehindMs"`
	// OldLeaderAcks counts acknowledgements by the old leader after it was
	// deposed, of messages that it stored itself; it is fenced, so there must be
	// none unless it was elected again. OldLeaderForwarded counts those that it
	// sent on to the new leader.
	OldLeaderAcks      int `json:"oldLeaderAcks"`
	OldLeaderForwarded int `json:"oldLeaderForwarded"`
	// OldLeaderLeads says that the member that led before leads again at the end.
	OldLeaderLeads bool `json:"oldLeaderLeads,omitempty"`

	// Steps are the parts of a drill that does several things.
	Steps []Step `json:"steps,omitempty"`
	// Clients are the stock clients that were load too.
	Clients []ClientTrial `json:"clients,omitempty"`
	// Delayed judges the delayed messages (clock-jump).
	Delayed *DelayedVerdict `json:"delayed,omitempty"`
	// Wiped judges what the wiped member alone holds (wipe-follower).
	Wiped *Verdict `json:"wiped,omitempty"`
	// Apart lists members whose log was not as long as the leader's in the end.
	Apart []string `json:"apart,omitempty"`

	// Died are members that ended by themselves, whom the drill did not hurt.
	Died []string `json:"died,omitempty"`

	Timeline Timeline `json:"timeline"`

	Pass   bool   `json:"pass"`
	Reason string `json:"reason,omitempty"` // why not
}

// Step is one part of a drill.
type Step struct {
	Name       string `json:"name"`
	Node       string `json:"node,omitempty"`
	ElectionMs int64  `json:"electionMs,omitempty"`
	ResumedMs  int64  `json:"resumedMs,omitempty"` // from the healing to the next acknowledgement
	NewTerm    bool   `json:"newTerm,omitempty"`   // somebody was elected meanwhile
	Acked      int64  `json:"acked,omitempty"`     // acknowledgements meanwhile
	Dropped    int64  `json:"dropped,omitempty"`   // packets that were dropped
}

// fail notes a broken promise; the first one is the reason.
func (r *Trial) fail(reason string) {
	if r.Pass {
		r.Reason = reason
	}
	r.Pass = false
}

// ClientTrial is what one stock client saw of a trial.
type ClientTrial struct {
	Client     string `json:"client"` // go or java
	Acked      int    `json:"acked"`
	Failed     int    `json:"failed"` // sends that ended in an error
	FirstError string `json:"firstError,omitempty"`
	FirstAckMs int64  `json:"firstAckMs"`
	GapMs      int64  `json:"gapMs"`
}

// ClientAudit is what became of one stock client's messages in all trials.
type ClientAudit struct {
	Client string `json:"client"`
	Verdict
	Consumed    int `json:"consumed"`    // messages its consumer was given, each once
	Undelivered int `json:"undelivered"` // acknowledged and never given to it
	Redelivered int `json:"redelivered"` // given to it again
	// OffsetRewindMs is for how long a stored offset of the group had been shown
	// that was gone later; OffsetsShort counts the queues whose offset did not get
	// to the end after everything was consumed.
	OffsetRewindMs int64 `json:"offsetRewindMs"`
	OffsetsShort   int   `json:"offsetsShort"`
	Pass           bool  `json:"pass"`
}

// Report is what a drill prints.
type Report struct {
	Drill       string            `json:"drill"`
	Nodes       int               `json:"nodes"`
	Flush       string            `json:"flush"`
	Outstanding int               `json:"outstanding"`
	Settings    map[string]string `json:"settings,omitempty"`
	// PortsHeld says that the ports for clients stayed open while the processes
	// behind them were dead.
	PortsHeld bool          `json:"portsHeld,omitempty"`
	Machine   Machine       `json:"machine"`
	Trials    []Trial       `json:"trials"`
	Clients   []ClientAudit `json:"clients,omitempty"`
	Summary   Summary       `json:"summary"`
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	held := ""
	if r.PortsHeld {
		held = ", ports held"
	}
	fmt.Fprintf(w, "drill %s: %d members, %s flush, %d outstanding%s\n\n", r.Drill, r.Nodes, r.Flush, r.Outstanding, held)
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
		t.printDetails(w)
	}
	for _, c := range r.Clients {
		fmt.Fprintf(w, "%s client: %d acknowledged, %d lost, %d duplicated, %d consumed, %d undelivered, %d redelivered, offsets %d ms back  %s\n",
			c.Client, c.Acked, c.Lost, c.Duplicated, c.Consumed, c.Undelivered, c.Redelivered, c.OffsetRewindMs, verdictWord(c.Pass))
		for _, e := range c.Examples {
			fmt.Fprintf(w, "%s client: %s\n", c.Client, e)
		}
	}
	s := r.Summary
	_, err := fmt.Fprintf(w, "\n%s: %d trials, %d acknowledged, %d lost, %d reused, median election %d ms, median gap %d ms (longest %d ms)\n",
		verdictWord(s.Pass), s.Trials, s.Acked, s.Lost, s.OffsetsReused, s.ElectionMsMedian, s.GapMsMedian, s.GapMsMax)
	return err
}

func (r *Trial) printDetails(w io.Writer) {
	for _, s := range r.Steps {
		fmt.Fprintf(w, "trial %d: %s (%s): election %d ms, resumed after %d ms\n", r.Trial, s.Name, s.Node, s.ElectionMs, s.ResumedMs)
	}
	for _, c := range r.Clients {
		fmt.Fprintf(w, "trial %d: %s client: %d acknowledged, %d failed, first after %d ms, longest gap %d ms\n",
			r.Trial, c.Client, c.Acked, c.Failed, c.FirstAckMs, c.GapMs)
	}
	if d := r.Delayed; d != nil {
		fmt.Fprintf(w, "trial %d: %d delayed messages, %d early, %d twice, %d missing, latest by %d ms\n", r.Trial, d.Sent, d.Early, d.Twice, d.Missing, d.LateMsMax)
	}
	if r.Reason != "" {
		fmt.Fprintf(w, "trial %d: %s\n", r.Trial, r.Reason)
	}
	for _, e := range r.Examples {
		fmt.Fprintf(w, "trial %d: %s\n", r.Trial, e)
	}
}

func verdictWord(pass bool) string {
	if pass {
		return "PASS"
	}
	return "FAIL"
}
