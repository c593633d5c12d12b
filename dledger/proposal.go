package dledger

import "github.com/cometmq/cometmq/store"

// Proposal is one caller's share of a Raft entry: whole records, back to back.
// The caller owns it again when Done is called, Data included: the collector
// copies Data into the entry it builds and never keeps the slice.
type Proposal struct {
	// Data holds the records as store.Apply walks them. It may not be touched
	// between Propose and Done.
	Data []byte

	// Stamps lists the positions in Data of 8-byte big-endian fields that take
	// the group time in milliseconds. They are stamped in the entry's copy;
	// Data stays as it was given.
	Stamps []int32

	// Records is the number of records in Data that produce a store.Result.
	// Results of an entry are handed back to its proposals by these counts.
	Records int

	// Term is the term of the leadership in which the records may enter the log,
	// 0 for any. The proposal ends with ErrNotLeader otherwise: who settles later
	// what became of it must know which leader's log it can be in.
	Term uint64

	// Done is called exactly once with the proposal itself, from a goroutine of
	// the node and in log order among applied proposals. It must not block and
	// must not call Node.Close. It may be called before Propose returns.
	Done func(*Proposal)

	// Results and Err are the outcome, valid once Done was called. Results has
	// Records elements when Err is nil. The slice is shared with the other
	// proposals of the entry and must not be appended to.
	Results []store.Result
	Err     error

	// User belongs to the caller and is never looked at.
	User any
}

// finish reports the outcome. Every path of the collector ends here, and the
// collector hands each proposal to it once.
func (p *Proposal) finish(results []store.Result, err error) {
	p.Results, p.Err = results, err
	p.Done(p)
}
