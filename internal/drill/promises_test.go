package drill

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each promise of a drill is kept by a good trial and reported as broken by one
// that differs from it in one thing.
func TestPromisesCanBeBroken(t *testing.T) {
	for _, row := range []struct {
		name   string
		check  func(*Trial) string
		good   Trial
		broken func(*Trial)
		want   string
	}{
		{"offsets", checkOffsets, Trial{OffsetsBehindMs: 200}, func(r *Trial) { r.OffsetsBehindMs = 201 }, "201 ms before the fault are gone"},
		{"slow election", checkElection, Trial{ElectionMs: 2000}, func(r *Trial) { r.ElectionMs = 2001 }, "took 2001 ms"},
		{"a deposed leader acknowledges", checkElection, Trial{}, func(r *Trial) { r.OldLeaderAcks = 1 }, "acknowledged 1 messages itself"},
		{"the old leader was elected again", checkElection, Trial{OldLeaderAcks: 5, OldLeaderLeads: true}, func(r *Trial) { r.OldLeaderLeads = false }, "acknowledged 5"},
		{"disturbed term", checkSameTerm, Trial{TermBefore: 3, TermAfter: 3}, func(r *Trial) { r.TermAfter = 4 }, "from 3 to 4"},
		{"noticed", checkUnnoticed, Trial{}, func(r *Trial) { r.Errors, r.FirstError = 1, "refused" }, "refused"},
		{"noticed by an election", checkUnnoticed, Trial{}, func(r *Trial) { r.TermAfter = 1 }, "from 0 to 1"},
		{"an error", checkNoErrors, Trial{Clients: []ClientTrial{{Client: "java"}}}, func(r *Trial) { r.Errors = 2 }, "2 attempts"},
		{"an error of a stock client", checkNoErrors, Trial{Clients: []ClientTrial{{Client: "java"}}},
			func(r *Trial) { r.Clients[0].Failed, r.Clients[0].FirstError = 3, "timeout" }, "3 sends of the java client failed, the first with: timeout"},
		{"watchdog", checkWatchdog, Trial{Steps: []Step{{Name: stepHang, ElectionMs: 4000, NewTerm: true}}}, func(r *Trial) { r.Steps[0].ElectionMs++ }, "4001 ms"},
		{"a slow follower", checkWatchdog, Trial{Steps: []Step{{Name: stepSlowFollower}}}, func(r *Trial) { r.Steps[0].NewTerm = true }, "caused an election"},
		{"space again", checkResumed, Trial{Steps: []Step{{Name: "x", ResumedMs: 5000}}}, func(r *Trial) { r.Steps[0].ResumedMs++ }, "x: sends were taken again 5001 ms"},
		{"no storm", checkStorm, Trial{Steps: slices.Repeat([]Step{{NewTerm: true}}, transfers/2)}, func(r *Trial) { r.Steps[0].NewTerm = false }, "only 9 changed"},
		{"clock", checkClock, Trial{Steps: []Step{{Name: stepLeaderClock}}}, func(r *Trial) { r.Steps[0].NewTerm = true }, "clock caused an election"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := row.good
			require.Empty(t, row.check(&r))
			row.broken(&r)
			require.Contains(t, row.check(&r), row.want)
		})
	}
}

func TestTheFirstReasonStays(t *testing.T) {
	r := Trial{Pass: true}
	r.fail("first")
	r.fail("second")
	require.False(t, r.Pass)
	require.Equal(t, "first", r.Reason)
}

func TestCheckDelayedReportsEachKindOfFailure(t *testing.T) {
	start := time.Unix(1000, 0)
	due := start.Add(time.Second)
	sent := []delayedMessage{{ID: ID{0, 0}, due: due, once: true}, {ID: ID{0, 1}, due: due}}
	after := func(d time.Duration) []time.Time { return []time.Time{due.Add(d)} }
	good := func() map[ID][]time.Time {
		return map[ID][]time.Time{{0, 0}: after(0), {0, 1}: after(70 * time.Millisecond)}
	}
	base := DelayedVerdict{Sent: 2, LateMsMax: 70}
	for _, row := range []struct {
		name   string
		change func(map[ID][]time.Time)
		want   func(*DelayedVerdict)
		pass   bool
	}{
		{"nothing", func(map[ID][]time.Time) {}, func(*DelayedVerdict) {}, true},
		{"early", func(s map[ID][]time.Time) { s[ID{0, 0}] = after(-3 * time.Millisecond) }, func(v *DelayedVerdict) { v.Early = 1 }, false},
		{"missing", func(s map[ID][]time.Time) { delete(s, ID{0, 0}) }, func(v *DelayedVerdict) { v.Missing = 1 }, false},
		{"twice", func(s map[ID][]time.Time) { s[ID{0, 0}] = append(after(0), after(0)...) }, func(v *DelayedVerdict) { v.Twice = 1 }, false},
		{"twice after a repeated send", func(s map[ID][]time.Time) { s[ID{0, 1}] = append(s[ID{0, 1}], due) }, func(*DelayedVerdict) {}, true},
		{"late", func(s map[ID][]time.Time) { s[ID{0, 0}] = after(time.Second) }, func(v *DelayedVerdict) { v.LateMsMax = 1000 }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			seen, want := good(), base
			row.change(seen)
			row.want(&want)
			got := CheckDelayed(sent, seen)
			require.Equal(t, row.pass, len(got.Examples) == 0)
			got.Examples = nil
			require.Equal(t, want, got)
			require.Equal(t, row.pass, got.Pass())
		})
	}
}

func TestReadingsNoticeARewind(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	r := newReadings(2)
	r.take(0, 1, at(0))
	r.take(0, 5, at(100))
	r.take(0, 5, at(200))
	r.take(0, 9, at(300))
	r.take(1, 3, at(300)) // another queue
	require.Zero(t, r.worst)
	r.take(0, 5, at(350))
	require.Zero(t, r.worst, "9 was shown once: nobody knows for how long")
	r.take(0, 9, at(400))
	r.take(0, 9, at(550))
	r.take(0, 8, at(600))
	require.Equal(t, 250*time.Millisecond, r.worst, "9 was shown from 300 to 550")
	r.take(0, 1, at(650))
	require.Equal(t, 450*time.Millisecond, r.worst, "and 5, which is gone as well now, from 100 on")

	found := map[int32][]Found{0: make([]Found, 9), 1: make([]Found, 3)}
	require.Zero(t, r.short(found))
	found[1] = make([]Found, 4)
	require.Equal(t, 1, r.short(found))
}

// What a load program prints becomes a history, and what it does not print is
// missed.
func TestStockEvents(t *testing.T) {
	c := &stockClient{consumed: map[ID]int{}, sent: map[int]int64{}}
	for _, e := range []stockEvent{
		{Event: "ready"},
		{Event: "acked", Sender: 1, Seq: 0, Queue: 2, Offset: 7, AtMs: 5000},
		{Event: "failed", Sender: 1, Seq: 1, Error: "timeout", AtMs: 5050},
		{Event: "failed", Sender: 1, Seq: 2, Error: "refused", AtMs: 5051},
		{Event: "acked", Sender: 1, Seq: 3, Queue: 2, Offset: 8, AtMs: 5100},
		{Event: "consumed", Sender: 1, Seq: 3},
		{Event: "consumed", Sender: 1, Seq: 3},
		{Event: "sent", Sender: 1, Seq: 4},
	} {
		c.take(e)
	}
	require.True(t, c.isReady)
	require.Equal(t, []Ack{{ID: ID{1, 0}, Position: Position{2, 7}, At: time.UnixMilli(5000)}, {ID: ID{1, 3}, Position: Position{2, 8}, At: time.UnixMilli(5100)}}, c.history.Acks)
	require.Equal(t, []ID{{1, 1}, {1, 2}}, c.history.Unknown)
	seen, acks := c.trial(time.UnixMilli(5050), time.UnixMilli(5060), time.UnixMilli(6000))
	require.Equal(t, ClientTrial{Client: "", Acked: 1, Failed: 1, FirstError: "refused", FirstAckMs: 40, GapMs: 40}, seen, "one trial of several")
	require.Len(t, acks, 1)
	require.EqualValues(t, 4, c.sent[1])
	require.Equal(t, 1, c.undelivered())
	require.Equal(t, 2, c.consumed[ID{1, 3}])
	c.take(stockEvent{Event: "error", Error: "no route"})
	require.ErrorContains(t, c.broken, "no route")
}

func TestClientAuditCanFail(t *testing.T) {
	for name, breakIt := range map[string]func(*ClientAudit){
		"lost": func(r *ClientAudit) { r.Lost = 1 }, "undelivered": func(r *ClientAudit) { r.Undelivered = 1 },
		"rewound": func(r *ClientAudit) { r.OffsetRewindMs = 201 }, "short": func(r *ClientAudit) { r.OffsetsShort = 1 },
		"reordered": func(r *ClientAudit) { r.OutOfOrder = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			var r ClientAudit
			r.judge()
			require.True(t, r.Pass)
			breakIt(&r)
			r.judge()
			require.False(t, r.Pass)
		})
	}
}

func TestDrillNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range faults {
		require.False(t, seen[f.name], f.name)
		seen[f.name] = true
		require.NotEmpty(t, f.about)
		require.NotNil(t, f.run)
	}
	_, err := NeedsOf("kill-cat")
	require.ErrorContains(t, err, "kill-leader")
}
