package drill

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/internal/local"
)

// A fault does its damage, waits for the recovery and fills in the times. It
// returns with the cluster whole again.
type fault struct {
	name  string
	about string
	run   func(ctx context.Context, t *trial) error
	// check adds to the verdict what only this drill promises; nil for nothing.
	check func(r *Trial) string
}

// faults are the drills, in the order they are listed.
var faults = []fault{
	{"kill-leader", "SIGKILL the leader, wait for the next one, start the old one again", killLeader, nil},
	{"kill-all", "SIGKILL all members at once, start them again; consumer offsets are checked too", killAll, checkOffsets},
	{"pause-leader", "SIGSTOP the leader for 5 s while others, and direct probes of the old one, go on", pauseLeader, checkElection},
}

const (
	recoverTimeout = 30 * time.Second // for an election, or a member's return
	settle         = time.Second      // of load before the fault and after the recovery
	pauseTime      = 5 * time.Second  // how long pause-leader stops the leader
	pauseElection  = 2 * time.Second  // within which a new leader must be there
	// offsetsBound is the broker's consumerOffsetFlushInterval: what a commit may
	// wait for company before it is replicated.
	offsetsBound = 200 * time.Millisecond
)

func killLeader(ctx context.Context, t *trial) error {
	old, err := t.leader(ctx)
	if err != nil {
		return err
	}
	t.begin(old)
	if err := t.cluster.Kill(old.ID); err != nil {
		return err
	}
	if err := t.awaitLeader(ctx, old.ID); err != nil {
		return err
	}
	wait(ctx, settle)
	if err := t.cluster.Start(old.ID); err != nil {
		return err
	}
	return t.awaitMembers(ctx, old.ID)
}

func killAll(ctx context.Context, t *trial) error {
	old, err := t.leader(ctx)
	if err != nil {
		return err
	}
	ids := t.cluster.Members()
	t.begin(old)
	errs := make(chan error, len(ids))
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() { errs <- t.cluster.Kill(id) })
	}
	wg.Wait()
	for range ids {
		if err := <-errs; err != nil {
			return err
		}
	}
	restart := time.Now()
	for _, id := range ids {
		if err := t.cluster.Start(id); err != nil {
			return err
		}
	}
	if err := t.awaitLeader(ctx); err != nil {
		return err
	}
	t.out.RestartMs = time.Since(restart).Milliseconds()
	return t.awaitMembers(ctx, ids...)
}

func checkOffsets(r *Trial) string {
	if r.OffsetsBehindMs > offsetsBound.Milliseconds() {
		return fmt.Sprintf("consumer offsets confirmed %d ms before the fault are gone (bound: %d ms)", r.OffsetsBehindMs, offsetsBound.Milliseconds())
	}
	return ""
}

func pauseLeader(ctx context.Context, t *trial) error {
	old, err := t.leader(ctx)
	if err != nil {
		return err
	}
	t.begin(old)
	if err := t.cluster.Signal(old.ID, syscall.SIGSTOP); err != nil {
		return err
	}
	awake := time.Now().Add(pauseTime)
	// These sends wait in the old leader's sockets and are the first thing it
	// sees when it wakes up, still believing that it leads.
	t.load.start(probes, old.Addr)
	err = t.awaitLeader(ctx, old.ID)
	wait(ctx, time.Until(awake))
	if cerr := t.cluster.Signal(old.ID, syscall.SIGCONT); cerr != nil {
		return cerr
	}
	t.resumed = time.Now()
	if err != nil {
		return err
	}
	wait(ctx, 2*settle)
	return t.awaitMembers(ctx, old.ID)
}

// probes is the number of senders that address a paused leader directly.
const probes = 8

func checkElection(r *Trial) string {
	if r.ElectionMs > pauseElection.Milliseconds() {
		return fmt.Sprintf("the new leader took %d ms (bound: %d ms)", r.ElectionMs, pauseElection.Milliseconds())
	}
	if r.OldLeaderAcks > 0 && !r.OldLeaderLeads {
		return fmt.Sprintf("the old leader acknowledged %d messages itself after it woke up", r.OldLeaderAcks)
	}
	return ""
}

func (t *trial) leader(ctx context.Context) (local.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	return t.cluster.Leader(ctx, true)
}

// begin notes the moment of the damage.
func (t *trial) begin(old local.Broker) {
	t.out.Node, t.out.TermBefore = old.ID, old.Term
	t.old, t.fault = old, time.Now()
}

// awaitLeader waits for the next leader and for the first acknowledgement after
// it, and notes how long each took.
func (t *trial) awaitLeader(ctx context.Context, except ...string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	b, err := t.cluster.Leader(ctx, false, except...)
	if err != nil {
		return fmt.Errorf("wait for a new leader: %w", err)
	}
	now := time.Now()
	t.out.ElectionMs, t.out.Leader = now.Sub(t.fault).Milliseconds(), b.ID
	if err := t.load.ackAfter(ctx, now); err != nil {
		return fmt.Errorf("wait for an acknowledgement by the new leader %s: %w", b.ID, err)
	}
	return nil
}

// awaitMembers waits until the members are back in the group, and lets the load
// run a little longer over the whole group.
func (t *trial) awaitMembers(ctx context.Context, ids ...string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	for _, id := range ids {
		if err := t.cluster.Joined(ctx, id); err != nil {
			return err
		}
	}
	wait(ctx, settle)
	b, err := t.cluster.Leader(ctx, true)
	t.out.TermAfter, t.out.OldLeaderLeads = b.Term, b.ID == t.old.ID
	return err
}

// wait passes time under load.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
