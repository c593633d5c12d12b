package drill

import (
	"context"
	"errors"
)

// clockJump sets the leader's clock ahead, back, and right again: neither
// leases nor elections nor delays may notice. Then each follower's clock is an
// hour behind, and the leader dies: the group's time must not go back, and what
// waits must come when it would have come. (A leader whose clock is ahead is
// dledger's TestLeaderWhoseClockIsAheadKeepsTheGroupsTime: it is right to within
// a round trip, which is more than this drill allows.)
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

const stepLeaderClock = "the leader's clock jumps"
