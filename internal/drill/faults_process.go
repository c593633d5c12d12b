package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/remoting/protocol"
)

const (
	pauseTime   = 5 * time.Second // how long pause-leader stops the leader
	probes      = 8               // senders that address a deposed leader directly
	killsInLoop = 10
	transfers   = 20 // of a storm
)

func killLeader(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "SIGKILL")
	if err != nil {
		return err
	}
	if err := t.cluster.Kill(old.ID); err != nil {
		return err
	}
	if err := t.awaitLeader(ctx, old.ID); err != nil {
		return err
	}
	wait(ctx, settle)
	t.heal("start %s", old.ID)
	if err := t.cluster.Start(old.ID); err != nil {
		return err
	}
	return t.awaitMembers(ctx, old.ID)
}

func killFollower(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "SIGKILL a follower of")
	if err != nil {
		return err
	}
	victim := t.followers(old.ID)[0]
	t.out.Node = victim
	if err := t.cluster.Kill(victim); err != nil {
		return err
	}
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	wait(ctx, 2*settle)
	t.heal("start %s", victim)
	if err := t.cluster.Start(victim); err != nil {
		return err
	}
	return t.awaitMembers(ctx, victim)
}

func killAll(ctx context.Context, t *trial) error {
	if _, err := t.begin(ctx, "SIGKILL all members, the leader being"); err != nil {
		return err
	}
	ids := t.cluster.Members()
	if err := each(ids, t.cluster.Kill); err != nil {
		return err
	}
	restart := t.heal("start all")
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

// each does something to all members at once.
func each(ids []string, do func(string) error) error {
	errs := make(chan error, len(ids))
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() { errs <- do(id) })
	}
	wg.Wait()
	for range ids {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// killLoop kills a member at random, and the next one when that is back and
// messages are acknowledged: ten, one after a second at most, or with Config.For
// for so long, one after two to five seconds.
func killLoop(ctx context.Context, t *trial) error {
	if _, err := t.begin(ctx, "begin to kill; the leader is"); err != nil {
		return err
	}
	ids := t.cluster.Members()
	began := time.Now()
	for n := 0; n < killsInLoop && t.cfg.For == 0 || time.Since(began) < t.cfg.For; n++ {
		victim := ids[rand.IntN(len(ids))]
		since := t.hurt("SIGKILL %s", victim)
		if err := t.cluster.Kill(victim); err != nil {
			return err
		}
		_, took, err := t.elected(ctx, since, victim)
		if err != nil {
			return err
		}
		t.out.Steps = append(t.out.Steps, Step{Name: "kill", Node: victim, ElectionMs: took.Milliseconds()})
		t.out.ElectionMs = max(t.out.ElectionMs, took.Milliseconds())
		t.heal("start %s", victim)
		if err := t.cluster.Start(victim); err != nil {
			return err
		}
		if err := t.joined(ctx, victim); err != nil {
			return err
		}
		if _, err := t.flows(ctx); err != nil {
			return err
		}
		if n%killsInLoop == killsInLoop-1 {
			say(t.cfg.Progress, "%d kills in %v, %d acknowledged\n", n+1, time.Since(began).Round(time.Second), t.load.acked.Load())
		}
		pause := time.Duration(rand.IntN(1000)) * time.Millisecond
		if t.cfg.For > 0 {
			pause = 2*time.Second + 3*pause
		}
		wait(ctx, pause)
	}
	return t.awaitMembers(ctx, ids...)
}

func pauseLeader(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "SIGSTOP")
	if err != nil {
		return err
	}
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
	t.resumed = t.heal("SIGCONT %s", old.ID)
	if err != nil {
		return err
	}
	wait(ctx, 2*settle)
	return t.awaitMembers(ctx, old.ID)
}

func pauseFollowers(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "SIGSTOP a follower of")
	if err != nil {
		return err
	}
	victims := t.followers(old.ID)
	if err := t.cluster.Signal(victims[0], syscall.SIGSTOP); err != nil {
		return err
	}
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	t.hurt("SIGSTOP the others")
	for _, id := range victims[1:] {
		if err := t.cluster.Signal(id, syscall.SIGSTOP); err != nil {
			return err
		}
	}
	wait(ctx, 2*settle)
	t.heal("SIGCONT all")
	for _, id := range victims {
		if err := t.cluster.Signal(id, syscall.SIGCONT); err != nil {
			return err
		}
	}
	if err := t.serves(ctx); err != nil {
		return err
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

func wipeFollower(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "SIGKILL a follower and wipe its disk; the leader is")
	if err != nil {
		return err
	}
	victim := t.followers(old.ID)[0]
	t.out.Node = victim
	if err := t.cluster.Kill(victim); err != nil {
		return err
	}
	if err := empty(t.local.DataDir(victim)); err != nil {
		return err
	}
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	t.heal("start %s", victim)
	if err := t.cluster.Start(victim); err != nil {
		return err
	}
	return t.awaitMembers(ctx, victim)
}

// empty removes what is in a directory, which may be a mounted volume itself.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("wipe %s: %w", dir, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("wipe %s: %w", dir, err)
		}
	}
	return nil
}

func rollingRestart(ctx context.Context, t *trial) error {
	if _, err := t.begin(ctx, "SIGTERM each member; the leader is"); err != nil {
		return err
	}
	for _, id := range t.cluster.Members() {
		if err := t.restart(ctx, id, time.Minute); err != nil {
			return err
		}
		wait(ctx, settle)
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

// restart ends a member as an operator does and starts it again.
func (t *trial) restart(ctx context.Context, id string, patience time.Duration) error {
	t.hurt("SIGTERM %s", id)
	if err := t.cluster.Signal(id, syscall.SIGTERM); err != nil {
		return err
	}
	if err := t.awaitEnd(ctx, id, patience); err != nil {
		return err
	}
	t.heal("start %s", id)
	if err := t.cluster.Start(id); err != nil {
		return err
	}
	return t.joined(ctx, id)
}

func (t *trial) awaitEnd(ctx context.Context, id string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for t.runs(id) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not end within %s", id, patience)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (t *trial) runs(id string) bool {
	for _, gone := range t.cluster.Ended() {
		if gone == id {
			return false
		}
	}
	return true
}

// transferStorm asks each leader to hand over to the next member, without a
// pause; twice the taker is killed while it is about to take over.
func transferStorm(ctx context.Context, t *trial) error {
	if _, err := t.begin(ctx, "begin to hand over; the leader is"); err != nil {
		return err
	}
	ids := t.cluster.Members()
	for i := range transfers {
		old, err := t.leader(ctx)
		if err != nil {
			return err
		}
		taker := ids[(slices.Index(ids, old.ID)+1)%len(ids)]
		since := t.hurt("%s is to hand over to %s", old.ID, taker)
		done := make(chan error, 1)
		go func() {
			_, err := t.client.ChangeMembers(ctx, old.Addr, protocol.ChangeMembersHeader{Step: protocol.StepTransfer, ID: taker})
			done <- err
		}()
		killed := i%(transfers/2) == transfers/4
		if killed {
			t.hurt("SIGKILL %s in the middle of it", taker)
			if err := t.cluster.Kill(taker); err != nil {
				return err
			}
		}
		// A taker that is dead or behind is refused; then the old leader goes on.
		if err := <-done; err == nil || killed {
			b, took, err := t.elected(ctx, since)
			if err != nil {
				return err
			}
			t.out.ElectionMs, t.out.Leader = max(t.out.ElectionMs, took.Milliseconds()), b.ID
			t.out.Steps = append(t.out.Steps, Step{Name: "hand over", Node: old.ID, ElectionMs: took.Milliseconds(), NewTerm: b.Term != old.Term})
		}
		if killed {
			t.heal("start %s", taker)
			if err := t.cluster.Start(taker); err != nil {
				return err
			}
			if err := t.joined(ctx, taker); err != nil {
				return err
			}
		}
	}
	return t.awaitMembers(ctx, ids...)
}

// checkStorm: most of the transfers must have changed the leader, or there was
// no storm.
func checkStorm(r *Trial) string {
	n := 0
	for _, s := range r.Steps {
		if s.NewTerm {
			n++
		}
	}
	if n < transfers/2 {
		return fmt.Sprintf("of %d transfers only %d changed the leader", transfers, n)
	}
	return ""
}

func killNamesrv(ctx context.Context, t *trial) error {
	if _, err := t.begin(ctx, "SIGKILL a name server; the leader is"); err != nil {
		return err
	}
	ids := t.local.Namesrvs()
	if err := t.cluster.Kill(ids[0]); err != nil {
		return err
	}
	wait(ctx, 2*settle)
	t.hurt("SIGKILL all name servers")
	if err := each(ids, t.cluster.Kill); err != nil {
		return err
	}
	wait(ctx, 3*settle)
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	restarted := t.heal("start the name servers")
	for _, id := range ids {
		if err := t.cluster.Start(id); err != nil {
			return err
		}
	}
	// They know nobody until the brokers have come back to them.
	if _, err := t.leader(ctx); err != nil {
		return fmt.Errorf("wait for the brokers to register again: %w", err)
	}
	t.out.Steps = append(t.out.Steps, Step{Name: "registered again", ResumedMs: time.Since(restarted).Milliseconds()})
	return t.awaitMembers(ctx, t.cluster.Members()...)
}
