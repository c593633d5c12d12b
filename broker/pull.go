package broker

import (
	"time"

	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// pullRequest is a pull, copied out of its frame: it may wait much longer than
// a frame should be kept.
type pullRequest struct {
	group, topic string
	queue        int32
	offset       message.QueueOffset
	count        int
	sysFlag      int32
	commit       int64
	suspend      time.Duration
	subscription string
	expression   string
	subVersion   int64
	client       string
	conn         uint64 // the client's connection, wherever it is; 0 = none
	relayed      bool   // another member sent it on
	unled        bool   // served by a member that does not lead, as there is no leader
}

func (p *pullRequest) holdKey() holdKey { return holdKey{p.topic, p.queue} }

// holdMax caps what a client may ask a pull to wait: clients give up after 30 s
// and idle connections are closed after 120 s.
const holdMax = 60 * time.Second

func parsePull(r request) (*pullRequest, error) {
	var h protocol.PullHeader
	if err := h.Decode(r.cmd); err != nil {
		return nil, err
	}
	p := &pullRequest{
		group:        string(h.ConsumerGroup),
		topic:        string(h.Topic),
		queue:        h.QueueID,
		offset:       message.QueueOffset(h.QueueOffset),
		count:        int(h.MaxMsgNums),
		sysFlag:      h.SysFlag,
		commit:       h.CommitOffset,
		suspend:      min(time.Duration(max(h.SuspendTimeoutMillis, 0))*time.Millisecond, holdMax),
		subscription: string(h.Subscription),
		expression:   string(h.ExpressionType),
		subVersion:   h.SubVersion,
		client:       r.clientAddr().String(),
		unled:        r.unled,
		relayed:      r.forwarded(),
	}
	if c := r.conn(); c != nil {
		p.conn = c.ID()
	}
	if r.origin != nil {
		// The client counts from when it sent the pull.
		p.suspend = max(p.suspend-r.origin.waited, 0)
	}
	return p, nil
}

// handlePull serves PULL_MESSAGE and LITE_PULL_MESSAGE.
func (b *Broker) handlePull(r request) {
	p, err := parsePull(r)
	if err != nil {
		b.fail(r, err)
		return
	}
	call := r.call
	r.cmd.Release()
	b.pull(p, call, true)
}

// pull answers a pull, or parks it. A pull that was woken comes here a second
// time, with first false: it must be answered then, or the client waits longer
// than it asked for.
func (b *Broker) pull(p *pullRequest, call remoting.Call, first bool) {
	sel, err := b.checkPull(p)
	if err != nil {
		code, remark := b.answerOf(err)
		call.Reply(&protocol.Response{Code: code, Remark: remark, Header: protocol.EmptyHeader{}})
		return
	}
	cfg := b.cfg()
	buf := protocol.GetBuffer(pullBufferSize)
	began := time.Now()
	res := b.store.Get(store.GetRequest{
		Topic:       p.topic,
		QueueID:     p.queue,
		Offset:      p.offset,
		MaxMessages: min(max(p.count, 1), cfg.TransferCount),
		MaxBytes:    cfg.TransferBytes,
		Match:       sel.match(),
		Buf:         buf.B[:0],
	})
	if first && p.sysFlag&protocol.PullCommitOffset != 0 && !p.unled {
		b.commitPulled(p)
	}
	if res.Err != nil && res.Status != store.Found {
		// An error makes the client wait before it asks again; "nothing found"
		// would not. The store has logged the damage.
		buf.Release()
		code, remark := b.answerOf(res.Err)
		call.Reply(&protocol.Response{Code: code, Remark: remark, Header: protocol.EmptyHeader{}})
		return
	}
	code := pullStatus(res.Status, p.offset)
	if p.unled && code == protocol.StatusPullOffsetMoved && p.offset > res.Max {
		// The client has seen more than this member: it must not go back.
		code, res.Next = protocol.StatusPullNotFound, p.offset
	}
	if code == protocol.StatusPullNotFound && first && p.sysFlag&protocol.PullSuspend != 0 && b.hold(p, call, sel) {
		buf.Release()
		return
	}
	resp := protocol.Response{
		Code:   code,
		Remark: res.Status.String(),
		Header: &protocol.PullResponseHeader{
			NextBeginOffset: int64(res.Next), MinOffset: int64(res.Min), MaxOffset: int64(res.Max),
		},
	}
	if res.Status == store.Found {
		buf.B = res.Messages
		resp.Body, resp.Release = res.Messages, buf.Release
		b.stats.Get(lightStats(p.topic), lightStats(p.group), p.queue, int64(res.Next), res.Count, len(res.Messages), time.Since(began))
	} else {
		b.stats.GetMissed()
		buf.Release()
	}
	call.Reply(&resp)
	if code == protocol.StatusPullOffsetMoved {
		b.offsetMoved(p, &res)
	}
}

// pullBufferSize is the buffer a read starts with; longer answers grow it.
const pullBufferSize = 16 << 10

// unledHold is how long a member holds pulls that it serves for want of a
// leader: when there is one again, the client's next pull goes there.
const unledHold = time.Second

// hold parks a pull that found nothing. It reports false when the pull has to
// be answered now: too many wait, or the client asked for no time.
func (b *Broker) hold(p *pullRequest, call remoting.Call, sel *selection) bool {
	cfg := b.cfg()
	d := p.suspend
	if !cfg.LongPolling {
		d = min(d, cfg.ShortPolling)
	}
	if p.unled {
		d = min(d, unledHold)
	}
	if d <= 0 || !p.unled && !b.leading.Load() {
		return false
	}
	h := &heldPull{pull: p, call: call.Held(), match: sel.match(), conn: p.conn}
	if !b.held.park(h, d, cfg.HeldPullsMax) {
		return false
	}
	// A message that was applied after the read and before park woke nobody,
	// and a leadership lost meanwhile released nobody.
	if _, end := b.store.QueueRange(p.topic, p.queue); end > p.offset || !p.unled && !b.leading.Load() {
		b.held.release(h)
	}
	return true
}

// wakePull is where a parked pull goes on. It never blocks.
func (b *Broker) wakePull(h *heldPull) {
	b.readers.must(func() { b.pull(h.pull, h.call, false) })
}

// arrived is called by the store, on the goroutine that applies entries.
func (b *Broker) arrived(arrivals []store.Arrival) {
	for i := range arrivals {
		a := &arrivals[i]
		b.held.arrived(a)
		if a.Topic == message.TopicSchedule {
			b.delay.Arrived(a.QueueID)
		} else if slot, ok := message.ParseTimerTopic(a.Topic); ok {
			b.timers.Arrived(slot)
		}
	}
}

// checkPull decides in RocketMQ's order whether a pull may read, and what it
// wants of the queue.
func (b *Broker) checkPull(p *pullRequest) (*selection, error) {
	if b.cfg().Permission&protocol.PermRead == 0 {
		return nil, refuse(protocol.StatusNoPermission, "the broker[%s] pulling message is forbidden", b.ip)
	}
	cfg, err := b.groupForPull(p.group)
	if err != nil {
		return nil, err
	}
	if !cfg.ConsumeEnable {
		return nil, refuse(protocol.StatusNoPermission, "subscription group no permission, %s", p.group)
	}
	topic, ok := b.topicConfig(p.topic)
	if !ok {
		return nil, refuse(protocol.StatusTopicNotExist, "topic[%s] not exist, apply first please!", p.topic)
	}
	if topic.Perm&protocol.PermRead == 0 {
		return nil, refuse(protocol.StatusNoPermission, "the topic[%s] pulling message is forbidden", p.topic)
	}
	if p.queue < 0 || p.queue >= topic.ReadQueueNums {
		return nil, refuse(protocol.StatusSystemError, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[%s]",
			p.queue, p.topic, topic.ReadQueueNums, p.client)
	}
	return b.subscription(p, cfg)
}

// subscription finds what the pull wants of the topic: in its own header when
// it says so, else in what the group's members sent with their heartbeats.
func (b *Broker) subscription(p *pullRequest, cfg *protocol.SubscriptionGroupConfig) (*selection, error) {
	var sub *group.Subscription
	if p.sysFlag&protocol.PullSubscription != 0 {
		sub = group.NewSubscription(p.topic, p.subscription, p.expression, p.subVersion)
	} else {
		info, registered, ok := b.clients.Consumer([]byte(p.group), []byte(p.topic))
		switch {
		case !ok:
			return nil, refuse(protocol.StatusSubscriptionNotExist, "the consumer's group info not exist")
		case info.MessageModel == protocol.ModelBroadcasting && !cfg.ConsumeBroadcastEnable:
			return nil, refuse(protocol.StatusNoPermission, "the consumer group[%s] can not consume by broadcast way", p.group)
		case registered == nil:
			return nil, refuse(protocol.StatusSubscriptionNotExist, "the consumer's subscription not exist")
		case registered.Version() < p.subVersion:
			return nil, refuse(protocol.StatusSubscriptionNotLatest, "the consumer's subscription not latest")
		}
		sub = registered
	}
	return b.selectionOf(sub)
}

// groupForPull finds a group's settings. An unknown group is created in the
// background when that is allowed: a reading goroutine must not wait for the
// group of brokers, and the defaults hold meanwhile.
func (b *Broker) groupForPull(name string) (*protocol.SubscriptionGroupConfig, error) {
	if cfg, ok := b.groupConfig(name); ok {
		return cfg, nil
	}
	if err := b.mayCreateGroup(name); err != nil {
		return nil, err
	}
	cfg := protocol.NewSubscriptionGroupConfig(name)
	b.proposeAsync(metadata.AppendPutGroup(nil, cfg, metadata.IfAbsent), 1)
	return cfg, nil
}

// pullStatus maps the outcome of a read to the status that clients act on. An
// empty queue is "nothing yet" at offset 0 and "you are wrong" anywhere else.
func pullStatus(s store.Status, offset message.QueueOffset) int32 {
	switch s {
	case store.Found:
		return protocol.StatusSuccess
	case store.NoMatchedMessage, store.MessageWasRemoving:
		return protocol.StatusPullRetryImmediately
	case store.OffsetOverflowOne, store.OffsetFoundNull:
		return protocol.StatusPullNotFound
	case store.NoMessageInQueue:
		if offset == 0 {
			return protocol.StatusPullNotFound
		}
		return protocol.StatusPullOffsetMoved
	default:
		return protocol.StatusPullOffsetMoved
	}
}
