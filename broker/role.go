package broker

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
)

// roleChanged is called by the node, in order, when this member becomes the
// ready leader or stops to lead. What must hold before the next request is done
// here; the rest, which may wait, on the goroutine of runRoles.
func (b *Broker) roleChanged(c dledger.RoleChange) {
	if c.Leader {
		// Offsets committed in an earlier time as leader are history; the log
		// has what counts.
		b.offsets.Drop("leadership gained")
		b.reporters.Restart()
		b.forgetRelayed()
		b.term.Store(c.Term)
		b.leading.Store(true)
	} else {
		if b.leading.Swap(false) {
			b.lastLed.Store(elapsed())
		}
		b.term.Store(c.Term)
		b.offsets.Drop("leadership lost")
		b.forgetRelayed()
	}
	if c.LeaderID != "" {
		b.forward.led()
	}
	b.forward.changed(false)
	b.roleMu.Lock()
	b.role = c
	b.roleMu.Unlock()
	select {
	case b.roleWake <- struct{}{}:
	default:
	}
}

// runRoles acts on role changes. It looks at the newest one only: a leadership
// that is over before it was acted on leaves nothing to undo.
func (b *Broker) runRoles(ctx context.Context) {
	var last dledger.RoleChange
	for {
		select {
		case <-ctx.Done():
			b.stopLeading()
			return
		case <-b.roleWake:
		}
		b.roleMu.Lock()
		now := b.role
		b.roleMu.Unlock()
		if last.Leader && (!now.Leader || now.Term != last.Term) {
			b.stopLeading()
		}
		if now.Leader && (!last.Leader || now.Term != last.Term) {
			b.startLeading(now)
		}
		switch {
		case now.Leader && !last.Leader:
			b.register.kick()
		case last.Leader && !now.Leader:
			time.AfterFunc(registerYield, func() { b.register.kick() })
		}
		b.log.Info("role", "leader", now.Leader, "term", now.Term, "leader-id", now.LeaderID)
		last = now
	}
}

// startLeading announces this member to the others, who forward to the address
// they find there, and starts what only a leader does.
func (b *Broker) startLeading(c dledger.RoleChange) {
	// The secret first: who knows where the leader is can also show it.
	records, n := []byte(nil), 1
	if b.meta.Secret() == "" {
		records, n = metadata.AppendSecret(records, rand.Text()), 2
	}
	b.proposeAsync(metadata.AppendAnnounce(records, metadata.Member{ID: b.selfID, Addr: b.Addr().String(), Term: c.Term}), n)
	if cfg := b.cfg(); cfg.TraceTopic && cfg.TraceTopicName != message.TopicTrace {
		// A topic like any other; with RocketMQ's name it is a system topic.
		b.proposeAsync(metadata.AppendPutTopic(nil, readWriteTopic(cfg.TraceTopicName, 1), metadata.IfAbsent), 1)
	}
	b.delay.Start(b.ctx)
	b.timers.Start(b.ctx)
	b.checker.Start(b.ctx)
}

// stopLeading stops what only a leader does and lets waiting pulls go: their
// clients pull again and are forwarded.
func (b *Broker) stopLeading() {
	b.delay.Stop()
	b.timers.Stop()
	b.checker.Stop()
	b.held.releaseAll(false)
}

// forgetRelayed forgets the clients of other members: they are the next
// leader's, who hears of them from scratch.
func (b *Broker) forgetRelayed() {
	b.relays.reset()
	b.clients.ConnsClosed(func(c group.Conn) bool { _, ok := c.(group.Relayed); return ok })
}
