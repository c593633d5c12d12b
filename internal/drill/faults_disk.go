package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Names of steps that promises.go knows.
const (
	stepSlowFollower = "a follower's fsync is slow"
	stepSlowLeader   = "the leader's fsync is slow"
	stepHang         = "the leader's fsync never returns"
)

const slowTime = 3 * time.Second // how long an fsync is slow

func slowFsync(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "a slow disk for a follower of")
	if err != nil {
		return err
	}
	if err := t.slowDisk(ctx, stepSlowFollower, t.followers(old.ID)[0]); err != nil {
		return err
	}
	now, err := t.leader(ctx)
	if err != nil {
		return err
	}
	if err := t.slowDisk(ctx, stepSlowLeader, now.ID); err != nil {
		return err
	}
	return t.brokenDisk(ctx, stepHang, "sync-hang=true\n")
}

// slowDisk makes a member's fsync slow for a while.
func (t *trial) slowDisk(ctx context.Context, name, id string) error {
	before, err := t.leader(ctx)
	if err != nil {
		return err
	}
	t.hurt("%s: %s", name, id)
	if err := t.setFault(ctx, id, "sync-delay=500ms\n"); err != nil {
		return err
	}
	wait(ctx, slowTime)
	healed := t.heal("the disk of %s is well", id)
	if err := t.setFault(ctx, id, ""); err != nil {
		return err
	}
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	resumed := time.Since(healed)
	after, err := t.leader(ctx)
	t.out.Steps = append(t.out.Steps, Step{Name: name, Node: id, ResumedMs: resumed.Milliseconds(), NewTerm: after.Term != before.Term})
	return err
}

// brokenDisk breaks the leader's disk for good: its process must end itself and
// another member lead. Then the disk is well and the member starts again.
func (t *trial) brokenDisk(ctx context.Context, name, text string) error {
	old, err := t.leader(ctx)
	if err != nil {
		return err
	}
	since := t.hurt("%s: %s", name, old.ID)
	if err := t.setFault(ctx, old.ID, text); err != nil {
		return err
	}
	t.fault = since
	b, took, err := t.elected(ctx, since, old.ID)
	if err != nil {
		return err
	}
	t.out.ElectionMs, t.out.Leader = max(t.out.ElectionMs, took.Milliseconds()), b.ID
	t.out.Steps = append(t.out.Steps, Step{Name: name, Node: old.ID, ElectionMs: took.Milliseconds(), NewTerm: true})
	if err := t.awaitEnd(ctx, old.ID, recoverTimeout); err != nil {
		return fmt.Errorf("a member whose disk failed must end: %w", err)
	}
	wait(ctx, settle)
	t.heal("the disk of %s is well, start it", old.ID)
	if err := errors.Join(t.setFault(ctx, old.ID, ""), t.cluster.Start(old.ID)); err != nil {
		return err
	}
	return t.awaitMembers(ctx, old.ID)
}

func failingDisk(ctx context.Context, t *trial) error {
	if _, err := t.begin(ctx, "fsync begins to fail; the leader is"); err != nil {
		return err
	}
	if err := t.brokenDisk(ctx, "the leader's fsync fails", "sync-error=EIO\n"); err != nil {
		return err
	}
	now, err := t.leader(ctx)
	if err != nil {
		return err
	}
	// A failed write can be taken back, unlike a failed fsync: the member stays,
	// and a leader gives way at most.
	t.hurt("writes of %s fail", now.ID)
	if err := t.setFault(ctx, now.ID, "write-error=EIO\n"); err != nil {
		return err
	}
	wait(ctx, slowTime)
	t.heal("the disk of %s is well", now.ID)
	if err := t.setFault(ctx, now.ID, ""); err != nil {
		return err
	}
	if !t.runs(now.ID) {
		if err := t.cluster.Start(now.ID); err != nil {
			return err
		}
	}
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

// crashes is how many changes of the disk crash-points kills a member at.
const crashes = 12

// crashPoints kills members at the very places where they change their disks:
// the leader at odd ones, a follower at even ones, and the member that starts
// again at the next change of its start, too.
func crashPoints(ctx context.Context, t *trial) error {
	if _, err := t.begin(ctx, "members kill themselves when they change their disks; the leader is"); err != nil {
		return err
	}
	for n := 1; n <= crashes; n++ {
		leader, err := t.leader(ctx)
		if err != nil {
			return err
		}
		victim := leader.ID
		if n%2 == 0 {
			victim = t.followers(leader.ID)[n/2%(len(t.cluster.Members())-1)]
		}
		t.hurt("%s ends at change %d of its disk", victim, n)
		if err := t.crashAt(ctx, victim, n); err != nil {
			return err
		}
		// Its start changes the disk too.
		if err := t.cluster.Start(victim); err != nil {
			return err
		}
		if err := t.awaitEnd(ctx, victim, recoverTimeout); err != nil {
			return err
		}
		t.heal("start %s", victim)
		if err := errors.Join(t.setFault(ctx, victim, ""), t.cluster.Start(victim)); err != nil {
			return err
		}
		if err := t.joined(ctx, victim); err != nil {
			return err
		}
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

func (t *trial) crashAt(ctx context.Context, id string, n int) error {
	if err := t.setFault(ctx, id, fmt.Sprintf("kill-after=%d\n", n)); err != nil {
		return err
	}
	return t.awaitEnd(ctx, id, recoverTimeout)
}

// restoreOldDisk puts a follower back to where it was before an election in
// which it voted. It must not vote in that term again, and must catch up.
func restoreOldDisk(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "copy the disk of a follower of")
	if err != nil {
		return err
	}
	victim := t.followers(old.ID)[0]
	t.out.Node = victim
	kept := t.local.DataDir(victim) + ".old"
	defer os.RemoveAll(kept)
	if err := t.whileDown(ctx, victim, func() error { return os.CopyFS(kept, os.DirFS(t.local.DataDir(victim))) }); err != nil {
		return err
	}
	t.fault = t.hurt("SIGKILL %s", old.ID)
	if err := t.cluster.Kill(old.ID); err != nil {
		return err
	}
	if err := t.awaitLeader(ctx, old.ID); err != nil {
		return err
	}
	if err := t.cluster.Start(old.ID); err != nil {
		return err
	}
	if err := t.joined(ctx, old.ID); err != nil {
		return err
	}
	wait(ctx, settle)
	t.hurt("%s gets its old disk back", victim)
	err = t.whileDown(ctx, victim, func() error {
		if err := empty(t.local.DataDir(victim)); err != nil {
			return err
		}
		return os.CopyFS(t.local.DataDir(victim), os.DirFS(kept))
	})
	if err != nil {
		return err
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

// whileDown kills a member, does something, and starts it again.
func (t *trial) whileDown(ctx context.Context, id string, do func() error) error {
	if err := t.cluster.Kill(id); err != nil {
		return err
	}
	if err := do(); err != nil {
		return fmt.Errorf("while %s is down: %w", id, err)
	}
	t.heal("start %s", id)
	if err := t.cluster.Start(id); err != nil {
		return err
	}
	return t.joined(ctx, id)
}

func (t *trial) setFault(ctx context.Context, id, text string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	return t.local.SetFault(ctx, id, text)
}

func fullDisk(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "fill the volume of")
	if err != nil {
		return err
	}
	if err := t.fillVolume(ctx, "the leader's volume", old.ID); err != nil {
		return err
	}
	now, err := t.leader(ctx)
	if err != nil {
		return err
	}
	follower := t.followers(now.ID)[0]
	t.hurt("fill the volume of %s", follower)
	if err := t.fillVolume(ctx, "a follower's volume", follower); err != nil {
		return err
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

// fillVolume takes every byte of a member's volume for a while.
func (t *trial) fillVolume(ctx context.Context, name, id string) error {
	filler := filepath.Join(t.local.DataDir(id), "filler")
	if err := fill(filler); err != nil {
		return err
	}
	wait(ctx, slowTime)
	if err := os.Remove(filler); err != nil {
		return fmt.Errorf("free the volume of %s: %w", id, err)
	}
	freed := t.heal("the volume of %s has room", id)
	if _, err := t.flows(ctx); err != nil {
		return err
	}
	t.out.Steps = append(t.out.Steps, Step{Name: name, Node: id, ResumedMs: time.Since(freed).Milliseconds()})
	return nil
}

// fill makes a file as large as there is room for.
func fill(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("fill a volume: %w", err)
	}
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err = f.Write(block); err != nil {
			// The last bytes go into smaller pieces.
			block = block[:len(block)/2]
		}
	}
	if cerr := f.Close(); cerr != nil {
		return fmt.Errorf("fill a volume: %w", cerr)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill a volume: %w", err)
	}
	return nil
}
