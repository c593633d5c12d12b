package broker

import (
	"errors"
	"fmt"
	"time"
)

// readyBehindMax is how many committed entries a ready member may still have to
// apply. A busy follower has up to one AppendEntries of 64 before it.
const readyBehindMax = 256

// Ready returns what keeps this member from serving clients, nil for nothing: its
// store is being recovered, no leader is known, it has much to apply, no name
// server took its registration, or it stops. A group without a leader is not
// cured by starting its members again; see it as a reason to send no traffic, not
// as one to kill.
func (b *Broker) Ready() error {
	if !b.started.Load() {
		if b.leaving.Load() {
			return errors.New("stopped")
		}
		return errors.New("starting: the store is being opened and recovered")
	}
	var errs []error
	if b.leaving.Load() || b.refusing.Load() {
		errs = append(errs, errors.New("stopping"))
	}
	if _, known := b.leaderAddr(); !known && !b.leading.Load() {
		since := ""
		if at := b.forward.unledFrom(); !at.IsZero() {
			since = fmt.Sprintf(" for %s", time.Since(at).Round(time.Second))
		}
		errs = append(errs, fmt.Errorf("the group %s has no leader%s: are a majority of its members running and able to reach each other?", b.cfg().group(), since))
	}
	if behind := b.node.Status().CommitIndex; behind > b.store.AppliedIndex()+readyBehindMax {
		errs = append(errs, fmt.Errorf("%d committed entries are not applied yet", behind-b.store.AppliedIndex()))
	}
	if ns := b.cfg().nameServers(); len(ns) > 0 && !b.register.anyReached() {
		errs = append(errs, fmt.Errorf("no name server of %v took its registration yet", ns))
	}
	return errors.Join(errs...)
}
