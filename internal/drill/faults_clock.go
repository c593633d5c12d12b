package drill

import (
	"context"
	"errors"
	"fmt"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// clockJump sets the leader's clock ahead, back, and right again: neither
// leases nor elections nor delays may notice. Then a follower's clock is an hour
// ahead, and the leadership is handed to it: nothing may come early. At last each
// follower's clock is an hour behind, and the leader dies: the group's time must
// not go back, and what waits must come when it would have come. (That is last
// because such a leader's time is late by a moment, and what it delayed early by
// that moment if one with a right clock took over.)
func clockJump(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "an hour ahead: the clock of")
	if err != nil {
		return err
	}
	for _, jump := range []string{"clock=1h\n", "clock=-1h\n", ""} {
		t.hurt("the clock of %s: %q", old.ID, jump)
		if err := t.setFault(ctx, old.ID, jump); err != nil {
			return err
		}
		wait(ctx, 2*settle)
		if _, err := t.flows(ctx); err != nil {
			return err
		}
	}
	still, err := t.leader(ctx)
	if err != nil {
		return err
	}
	t.out.Steps = append(t.out.Steps, Step{Name: stepLeaderClock, Node: old.ID, NewTerm: still.Term != old.Term})
	if err := t.leadWithClockAhead(ctx); err != nil {
		return err
	}
	if still, err = t.leader(ctx); err != nil {
		return err
	}
	others := t.followers(still.ID)
	for _, id := range others {
		if err := t.setFault(ctx, id, "clock=-1h\n"); err != nil {
			return err
		}
	}
	t.fault = t.hurt("SIGKILL %s; the clocks of the others are an hour behind", still.ID)
	if err := t.cluster.Kill(still.ID); err != nil {
		return err
	}
	if err := t.awaitLeader(ctx, still.ID); err != nil {
		return err
	}
	wait(ctx, 2*settle)
	t.heal("all clocks are right, start %s", still.ID)
	for _, id := range others {
		err = errors.Join(err, t.setFault(ctx, id, ""))
	}
	if err := errors.Join(err, t.cluster.Start(still.ID)); err != nil {
		return err
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

// leadWithClockAhead makes a member leader whose clock is an hour ahead.
func (t *trial) leadWithClockAhead(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*recoverTimeout, fmt.Errorf("the member whose clock is ahead does not lead and serve within %s", 2*recoverTimeout))
	defer cancel()
	old, err := t.leader(ctx)
	if err != nil {
		return err
	}
	next := t.followers(old.ID)[0]
	t.hurt("an hour ahead and leader: %s", next)
	if err := t.setFault(ctx, next, "clock=1h\n"); err != nil {
		return err
	}
	for now := old; now.ID != next && ctx.Err() == nil; {
		// It is refused while the member is behind; then once more.
		if _, err := t.client.ChangeMembers(ctx, now.Addr, protocol.ChangeMembersHeader{Step: protocol.StepTransfer, ID: next}); err != nil {
			wait(ctx, settle/10)
		}
		if now, err = t.leader(ctx); err != nil {
			return err
		}
	}
	wait(ctx, 2*settle)
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	t.heal("the clock of %s is right", next)
	return t.setFault(ctx, next, "")
}

const stepLeaderClock = "the leader's clock jumps"
