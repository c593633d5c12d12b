package drill

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Summary sums up the trials of a run.
type Summary struct {
	Trials           int   `json:"trials"`
	Acked            int   `json:"acked"`
	Unknown          int   `json:"unknown"`
	Lost             int   `json:"lost"`
	Duplicated       int   `json:"duplicated"`
	OutOfOrder       int   `json:"outOfOrder"`
	OffsetsReused    int   `json:"offsetsReused"`
	Errors           int   `json:"errors"`
	OffsetsBehindMs  int64 `json:"offsetsBehindMs"` // the worst trial's
	ElectionMsMedian int64 `json:"electionMsMedian"`
	ElectionMsMax    int64 `json:"electionMsMax"`
	FirstAckMsMedian int64 `json:"firstAckMsMedian"`
	FirstAckMsMax    int64 `json:"firstAckMsMax"`
	GapMsMedian      int64 `json:"gapMsMedian"`
	GapMsMax         int64 `json:"gapMsMax"`

	Clients []ClientSummary `json:"clients,omitempty"`
	Pass    bool            `json:"pass"`
}

// ClientSummary sums up one stock client.
type ClientSummary struct {
	Client           string `json:"client"`
	Acked            int    `json:"acked"`
	Failed           int    `json:"failed"`
	Lost             int    `json:"lost"`
	Duplicated       int    `json:"duplicated"`
	Undelivered      int    `json:"undelivered"`
	Redelivered      int    `json:"redelivered"`
	OffsetRewindMs   int64  `json:"offsetRewindMs"` // the worst trial's
	FirstAckMsMedian int64  `json:"firstAckMsMedian"`
	FirstAckMsMax    int64  `json:"firstAckMsMax"`
}

// Machine is where a drill ran: times mean little without it.
type Machine struct {
	CPUs     int    `json:"cpus"`
	Platform string `json:"platform"`
	// Load is the load average over a minute at the end, "" where the system does
	// not say.
	Load string `json:"load"`
	Date string `json:"date"`
}

func thisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Date: time.Now().UTC().Format(time.DateOnly)}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(b), " ")
	}
	return m
}

// summarize fills in the summary.
func (r *Report) summarize() {
	s := Summary{Trials: len(r.Trials), Pass: len(r.Trials) > 0}
	column := func(of func(Trial) int64) (v []int64) {
		for _, t := range r.Trials {
			v = append(v, of(t))
		}
		return v
	}
	for _, t := range r.Trials {
		s.Acked += t.Acked
		s.Unknown += t.Unknown
		s.Lost += t.Lost
		s.Duplicated += t.Duplicated
		s.OutOfOrder += t.OutOfOrder
		s.OffsetsReused += t.OffsetsReused
		s.Errors += t.Errors
		s.OffsetsBehindMs = max(s.OffsetsBehindMs, t.OffsetsBehindMs)
		s.Pass = s.Pass && t.Pass
	}
	if len(r.Trials) > 0 {
		s.ElectionMsMedian, s.ElectionMsMax = middleAndMax(column(func(t Trial) int64 { return t.ElectionMs }))
		s.FirstAckMsMedian, s.FirstAckMsMax = middleAndMax(column(func(t Trial) int64 { return t.FirstAckMs }))
		s.GapMsMedian, s.GapMsMax = middleAndMax(column(func(t Trial) int64 { return t.GapMs }))
		for _, c := range r.Trials[0].Clients {
			s.Clients = append(s.Clients, r.summarizeClient(c.Client))
		}
	}
	for _, c := range r.Clients {
		s.Pass = s.Pass && c.Pass
	}
	r.Summary = s
}

// summarizeClient sums up what the trials say of a client, which are each of the
// same clients, and what the audits found of it.
func (r *Report) summarizeClient(name string) ClientSummary {
	s := ClientSummary{Client: name}
	var first []int64
	for _, t := range r.Trials {
		for _, c := range t.Clients {
			if c.Client == name {
				s.Failed += c.Failed
				first = append(first, c.FirstAckMs)
			}
		}
	}
	for _, c := range r.Clients {
		if c.Client != s.Client {
			continue
		}
		s.Acked += c.Acked
		s.Lost += c.Lost
		s.Duplicated += c.Duplicated
		s.Undelivered += c.Undelivered
		s.Redelivered += c.Redelivered
		s.OffsetRewindMs = max(s.OffsetRewindMs, c.OffsetRewindMs)
	}
	s.FirstAckMsMedian, s.FirstAckMsMax = middleAndMax(first)
	return s
}

// middleAndMax returns the middle value, the upper one of two, and the greatest.
func middleAndMax(v []int64) (middle, greatest int64) {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2], v[len(v)-1]
}

// ackTimes returns the moments of acknowledgements, sorted.
func ackTimes(acks []Ack) []time.Time {
	times := make([]time.Time, 0, len(acks))
	for _, a := range acks {
		times = append(times, a.At)
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// longestGap returns the longest time between two acknowledgements, from the
// last one before the fault to the end.
func longestGap(acks []Ack, fault time.Time) time.Duration {
	gap, last := time.Duration(0), fault
	for _, t := range ackTimes(acks) {
		if t.Before(fault) {
			last = t
			continue
		}
		gap, last = max(gap, t.Sub(last)), t
	}
	return gap
}

// silenceStarts is how long after the fault the silence may begin: what was on
// its way is still answered.
const silenceStarts = 250 * time.Millisecond

// firstAck returns how long after the fault the silence ended that began with
// it, the longest one that began until silenceStarts later; 0 without any.
func firstAck(acks []Ack, fault time.Time) time.Duration {
	longest, end := time.Duration(0), fault
	last := fault
	for _, t := range ackTimes(acks) {
		if t.Before(fault) {
			continue
		}
		if last.Sub(fault) > silenceStarts {
			break
		}
		if t.Sub(last) > longest {
			longest, end = t.Sub(last), t
		}
		last = t
	}
	return end.Sub(fault)
}
