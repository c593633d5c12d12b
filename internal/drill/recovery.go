package drill

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cometmq/cometmq/internal/local"
)

func (t *trial) leader(ctx context.Context) (local.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	return t.cluster.Leader(ctx, true)
}

// followers are the members besides the leader.
func (t *trial) followers(leader string) []string {
	return slices.DeleteFunc(slices.Clone(t.cluster.Members()), func(id string) bool { return id == leader })
}

// begin finds the leader and notes the moment of the damage, which the caller
// does next.
func (t *trial) begin(ctx context.Context, what string) (local.Broker, error) {
	old, err := t.leader(ctx)
	if err != nil {
		return old, err
	}
	t.out.Node, t.out.TermBefore = old.ID, old.Term
	t.old = old
	t.fault = t.hurt("%s %s", what, old.ID)
	return old, nil
}

// hurt notes damage, and heal its end; each returns the moment.
func (t *trial) hurt(format string, args ...any) time.Time {
	t.journal.note(eventFault, format, args...)
	return time.Now()
}

func (t *trial) heal(format string, args ...any) time.Time {
	t.journal.note(eventHeal, format, args...)
	return time.Now()
}

// awaitLeader waits for the next leader and for the first acknowledgement after
// it, and notes how long each took.
func (t *trial) awaitLeader(ctx context.Context, except ...string) error {
	b, took, err := t.elected(ctx, t.fault, except...)
	if err == nil {
		t.out.ElectionMs, t.out.Leader = took.Milliseconds(), b.ID
	}
	return err
}

// elected is awaitLeader for a fault in the middle of a drill.
func (t *trial) elected(ctx context.Context, since time.Time, except ...string) (local.Broker, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	b, err := t.cluster.Leader(ctx, false, except...)
	if err != nil {
		return b, 0, fmt.Errorf("wait for a new leader: %w", err)
	}
	now := time.Now()
	t.journal.note(eventElection, "%s leads, term %d", b.ID, b.Term)
	if err := t.load.ackAfter(ctx, now); err != nil {
		return b, 0, fmt.Errorf("wait for an acknowledgement by the new leader %s: %w", b.ID, err)
	}
	t.journal.note(eventAck, "acknowledged by %s", b.ID)
	return b, now.Sub(since), nil
}

// serves waits for an acknowledgement after a fault that may or may not have
// cost the leader its place.
func (t *trial) serves(ctx context.Context) error {
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	b, err := t.leader(ctx)
	t.out.Leader = b.ID
	return err
}

// flows waits for an acknowledgement that comes after now, and returns how long
// that took.
func (t *trial) flows(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	began := time.Now()
	if err := t.load.ackAfter(ctx, began); err != nil {
		return 0, fmt.Errorf("wait for an acknowledgement: %w", err)
	}
	t.journal.note(eventAck, "acknowledged again")
	return time.Since(began), nil
}

// awaitMembers waits until the members are back in the group, and lets the load
// run a little longer over the whole group.
func (t *trial) awaitMembers(ctx context.Context, ids ...string) error {
	if err := t.joined(ctx, ids...); err != nil {
		return err
	}
	wait(ctx, settle)
	b, err := t.leader(ctx)
	t.out.TermAfter, t.out.OldLeaderLeads = b.Term, b.ID == t.old.ID
	if t.out.Leader == "" {
		t.out.Leader = b.ID
	}
	return err
}

func (t *trial) joined(ctx context.Context, ids ...string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	for _, id := range ids {
		if err := t.cluster.Joined(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// standing is where a member stands: the last entry it has applied, and where its
// log ends, which is the same on all when nothing is sent any more.
type standing struct{ applied, end int64 }

// standings asks all members; those that do not answer are left out.
func (t *trial) standings(ctx context.Context) (of map[string]standing, leader string) {
	of = map[string]standing{}
	for _, b := range t.local.Status(ctx).Brokers {
		table, err := t.client.Runtime(ctx, b.Addr)
		if err != nil {
			continue
		}
		applied, err := strconv.ParseInt(table["raftAppliedIndex"], 10, 64)
		end, err2 := strconv.ParseInt(table["commitLogMaxOffset"], 10, 64)
		if err != nil || err2 != nil {
			continue
		}
		of[b.ID] = standing{applied, end}
		if b.Role == local.RoleLeader {
			leader = b.ID
		}
	}
	return of, leader
}

// apart waits for all members to have applied what the leader had when it was
// first asked, since stock clients go on sending, and returns those that do not
// get there.
func (t *trial) apart(ctx context.Context) ([]string, error) {
	if t.local == nil {
		return nil, nil // the members' addresses are not ours to know
	}
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	var want standing
	for {
		have, leader := t.standings(ctx)
		if want.applied == 0 && leader != "" {
			want = have[leader]
		}
		var apart []string
		for _, id := range t.cluster.Members() {
			h, answers := have[id]
			if !answers || want.applied == 0 || h.applied < want.applied || h.applied == want.applied && h.end != want.end {
				apart = append(apart, id)
			}
		}
		if len(apart) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return apart, nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// wait passes time under load.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
