package drill

import (
	"context"
	"errors"
	"time"

	"github.com/cometmq/cometmq/internal/local"
	"github.com/cometmq/cometmq/internal/netns"
)

const (
	cutTime  = 10 * time.Second // how long isolate-follower and slow-link last
	flapTime = 200 * time.Millisecond
	flaps    = 15
	slowRate = 1_000_000 // bits per second
)

func isolateLeader(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "pull the cable of")
	if err != nil {
		return err
	}
	if err := t.net.Cut(old.ID); err != nil {
		return err
	}
	if err := t.awaitLeader(ctx, old.ID); err != nil {
		return errors.Join(err, t.net.Heal())
	}
	wait(ctx, 2*settle)
	t.resumed = t.heal("put the cable of %s back", old.ID)
	if err := t.net.Mend(old.ID); err != nil {
		return err
	}
	wait(ctx, settle)
	return t.awaitMembers(ctx, old.ID)
}

// isolateMinority cuts the leader from the other members and the name servers,
// not from its clients, some of whom talk to nobody else.
func isolateMinority(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "cut from the other members and the name server:")
	if err != nil {
		return err
	}
	t.load.start(probes, old.Addr)
	for _, id := range append(t.followers(old.ID), t.local.Namesrvs()...) {
		if err := errors.Join(t.net.Block(old.ID, id), t.net.Block(id, old.ID)); err != nil {
			return err
		}
	}
	if err := t.awaitLeader(ctx, old.ID); err != nil {
		return errors.Join(err, t.net.Heal())
	}
	// From here on the old leader can have nothing to acknowledge.
	t.resumed = time.Now()
	wait(ctx, 2*settle)
	t.heal("mend all")
	if err := t.net.Heal(); err != nil {
		return err
	}
	return t.awaitMembers(ctx, old.ID)
}

func isolateFollower(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "pull the cable of a follower of")
	if err != nil {
		return err
	}
	victim := t.followers(old.ID)[0]
	t.out.Node = victim
	if err := t.net.Cut(victim); err != nil {
		return err
	}
	wait(ctx, cutTime)
	t.heal("put the cable of %s back", victim)
	if err := t.net.Heal(); err != nil {
		return err
	}
	return t.awaitMembers(ctx, victim)
}

func oneWayPartition(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "can send and not receive:")
	if err != nil {
		return err
	}
	deaf := func(id, other string) error { return t.net.Block(other, id) }
	mute := func(id, other string) error { return t.net.Block(id, other) }
	if err := t.oneWay(ctx, "deaf", old, t.fault, deaf); err != nil {
		return err
	}
	now, err := t.leader(ctx)
	if err != nil {
		return err
	}
	if err := t.oneWay(ctx, "mute", now, t.hurt("can receive and not send: %s", now.ID), mute); err != nil {
		return err
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

// oneWay breaks one direction between a leader and everybody else.
func (t *trial) oneWay(ctx context.Context, name string, victim local.Broker, since time.Time, block func(id, other string) error) error {
	others := append(t.followers(victim.ID), t.local.Namesrvs()...)
	for _, other := range append(others, netns.Client) {
		if err := block(victim.ID, other); err != nil {
			return errors.Join(err, t.net.Heal())
		}
	}
	t.fault = since
	b, took, err := t.elected(ctx, since, victim.ID)
	wait(ctx, settle)
	t.heal("mend all")
	if err := errors.Join(err, t.net.Heal()); err != nil {
		return err
	}
	t.out.ElectionMs, t.out.Leader = max(t.out.ElectionMs, took.Milliseconds()), b.ID
	t.out.Steps = append(t.out.Steps, Step{Name: name, Node: victim.ID, ElectionMs: took.Milliseconds()})
	return t.joined(ctx, victim.ID)
}

// ringPartition leaves each of five members a majority of its own: itself and
// its two neighbours. Either somebody leads or sends are refused; both are right.
func ringPartition(ctx context.Context, t *trial) error {
	return t.partition(ctx, "each member sees two neighbours; the leader is", func(i, j int) bool { return (j-i+5)%5 == 2 || (j-i+5)%5 == 3 })
}

// bridgePartition: members 0 and 1 do not see 3 and 4; member 2 sees all.
func bridgePartition(ctx context.Context, t *trial) error {
	return t.partition(ctx, "two pairs see each other no more; the leader is", func(i, j int) bool { return i < 2 && j > 2 || i > 2 && j < 2 })
}

// partition lets members see each other or not for a while.
func (t *trial) partition(ctx context.Context, what string, apart func(i, j int) bool) error {
	if _, err := t.begin(ctx, what); err != nil {
		return err
	}
	ids := t.cluster.Members()
	for i := range ids {
		for j := range ids {
			if !apart(i, j) {
				continue
			}
			if err := t.net.Block(ids[i], ids[j]); err != nil {
				return errors.Join(err, t.net.Heal())
			}
		}
	}
	wait(ctx, cutTime)
	t.heal("mend all")
	if err := t.net.Heal(); err != nil {
		return err
	}
	if err := t.serves(ctx); err != nil {
		return err
	}
	return t.awaitMembers(ctx, ids...)
}

func flappingLink(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "the cable of the leader goes out and in:")
	if err != nil {
		return err
	}
	for range flaps {
		err = errors.Join(err, t.net.Cut(old.ID))
		wait(ctx, flapTime)
		err = errors.Join(err, t.net.Mend(old.ID))
		wait(ctx, flapTime)
	}
	t.heal("the cable of %s stays in", old.ID)
	if err := errors.Join(err, t.net.Heal()); err != nil {
		return err
	}
	if err := t.serves(ctx); err != nil {
		return err
	}
	return t.awaitMembers(ctx, old.ID)
}

func slowLink(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "1 Mbit/s for a follower of")
	if err != nil {
		return err
	}
	victim := t.followers(old.ID)[0]
	t.out.Node = victim
	if err := t.net.Rate(victim, slowRate); err != nil {
		return err
	}
	wait(ctx, cutTime)
	_, err = t.flows(ctx)
	t.heal("full speed for %s", victim)
	if err := errors.Join(err, t.net.Rate(victim, 0)); err != nil {
		return err
	}
	return t.awaitMembers(ctx, victim)
}

// badLine is the line of bad-network; jitter as large as the delay lets packets
// overtake each other.
var badLine = netns.Impairment{Delay: 50 * time.Millisecond, Jitter: 50 * time.Millisecond, Loss: 0.05, Duplicate: 0.05}

func badNetwork(ctx context.Context, t *trial) error {
	old, err := t.begin(ctx, "a bad line for")
	if err != nil {
		return err
	}
	if err := t.impair(ctx, old.ID); err != nil {
		return err
	}
	now, err := t.leader(ctx)
	if err != nil {
		return err
	}
	victim := t.followers(now.ID)[0]
	t.hurt("a bad line for %s", victim)
	if err := t.impair(ctx, victim); err != nil {
		return err
	}
	return t.awaitMembers(ctx, t.cluster.Members()...)
}

// impair gives a member a bad line for a while; the group must make progress
// all the same.
func (t *trial) impair(ctx context.Context, id string) error {
	line, err := t.net.Impair(id, badLine)
	if err != nil {
		return err
	}
	before := t.load.acked.Load()
	wait(ctx, cutTime)
	_, err = t.flows(ctx)
	t.heal("the line of %s is good", id)
	t.out.Steps = append(t.out.Steps, Step{Name: "bad line", Node: id, Acked: t.load.acked.Load() - before, Dropped: line.Dropped.Load()})
	if err := errors.Join(err, line.End()); err != nil {
		return err
	}
	return t.serves(ctx)
}
