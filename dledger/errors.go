package dledger

import (
	"errors"
	"fmt"
)

// A proposal ends in exactly one of three ways: applied (Err is nil), refused
// before it entered the log (every error below except ErrUnknown), or unknown.
// Only a refused proposal is certain not to be in the log.
var (
	// ErrNotLeader says that this node does not lead the group, or leads it
	// but has not yet applied its own barrier. The proposal never entered the
	// log; send it to the leader.
	ErrNotLeader = errors.New("dledger: this node is not the ready leader of the group")

	// ErrUnknown says that the proposal entered this node's log but the node
	// could not see its end: leadership was lost, the node was closed, or the
	// log refused the write. It may still commit. Whoever retries must be
	// ready for a duplicate.
	ErrUnknown = errors.New("dledger: outcome unknown, the proposal may still commit")

	// ErrBusy says that a bound of the node was reached. The wrapped text
	// names the bound and its value. The proposal never entered the log.
	ErrBusy = errors.New("dledger: too many proposals wait")

	// ErrTooLarge says that a proposal alone exceeds what one log entry may
	// hold. The proposal never entered the log.
	ErrTooLarge = errors.New("dledger: proposal too large")

	// ErrClosed says that the node is closing or closed, or was not started.
	// The proposal never entered the log.
	ErrClosed = errors.New("dledger: node is closed")

	// ErrStateDamaged says that the checkpoint, or what Raft keeps in it, is not
	// what was written, or does not fit the log: this member cannot start from it.
	ErrStateDamaged = errors.New("dledger: the checkpoint is damaged")

	// ErrMalformed says that a proposal contradicts itself: no data, a stamp
	// outside the data, or a number of records below zero. The proposal never
	// entered the log; the caller has a bug.
	ErrMalformed = errors.New("dledger: malformed proposal")
)

// busyError names the bound that was reached. It matches ErrBusy.
type busyError struct {
	bound string
	limit int64
}

func (e *busyError) Error() string {
	return fmt.Sprintf("%v: %s reached its bound of %d", ErrBusy, e.bound, e.limit)
}

func (e *busyError) Unwrap() error { return ErrBusy }
