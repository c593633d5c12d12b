package broker

import (
	"context"
	"strconv"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// handleCompareLogs serves CodeCompareLogs: the leader begins to compare the
// members' logs, or says how far it is.
func (b *Broker) handleCompareLogs(_ context.Context, r request) (*protocol.Response, error) {
	var wanted uint64
	if r.cmd.Bool("start") {
		var err error
		if wanted, err = b.node.Compare(); err != nil {
			return nil, err
		}
	}
	c := comparison(b.node.Status().Compare)
	c.Broker, c.Leader, c.Wanted = b.brokerName, b.selfID, wanted
	return withBody(c.EncodeJSON())
}

func comparison(s dledger.CompareStatus) *protocol.LogComparison {
	c := &protocol.LogComparison{
		Number: s.Number, From: s.From, To: s.To, At: s.At, Complete: s.Complete, Compared: s.Compared, Missing: s.Missing,
		Ranges: s.Ranges, Bytes: s.Bytes, Skipped: s.Skipped, Differences: s.Differences, Passes: s.Passes, LastPass: millis(s.LastPass),
	}
	for _, d := range s.Found {
		c.Found = append(c.Found, protocol.LogDifference{
			Member: d.Member, From: d.From, To: d.To, Offset: d.Offset, End: d.End, File: d.File, FoundAt: d.Found.UnixMilli(), Repaired: d.Repaired,
		})
	}
	return c
}

// millis is a time as tools expect it, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// addHealth shows what is known to be wrong with this member's data, and how far
// it is with being brought up, or with bringing up others.
func (b *Broker) addHealth(t runtimeTable, st dledger.Status) {
	h := b.store.Health()
	t["logInDoubt"] = strconv.FormatBool(h.InDoubt)
	t.num("suspectQueues", int64(len(h.Queues)))
	t.num("scrubPasses", int64(h.Scrub.Passes))
	t.num("scrubBytes", h.Scrub.Bytes)
	t.num("storeRepairs", b.repairs)
	t["votes"], t["withholdsVoteBecause"] = strconv.FormatBool(st.Doubt == nil && st.Standing == dledger.Voting), standingNote(st.Standing)
	if st.Doubt != nil {
		t["withholdsVoteBecause"] = st.Doubt.Reason
	}
	t.num("compareRanges", int64(st.Compare.Ranges))
	t.num("compareBytes", st.Compare.Bytes)
	t.num("compareSkipped", int64(st.Compare.Skipped))
	t.num("compareDifferences", int64(st.Compare.Differences))
	t.num("compareLastPass", millis(st.Compare.LastPass))
	if in := st.Taking; in != nil {
		t["refillFrom"] = in.Peer
		t.num("refillBytes", in.Bytes)
		t.num("refillTotalBytes", in.Total)
		t.num("refillResumedBytes", in.Resumed)
	}
	for _, out := range st.Sending {
		t.num("refilling_"+out.Peer+"_bytes", out.Bytes)
		t.num("refilling_"+out.Peer+"_totalBytes", out.Total)
	}
}
