package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/cometmq/cometmq/broker/delay"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// sendOp is one send from its frame to its answer. It is pooled, because a
// broker makes one for each message: building it costs the few copies that
// encode the message and no allocation.
//
// Life: handleSend fills it on the connection's goroutine and proposes it; the
// proposal's Done, on a goroutine of the node, answers the client and gives it
// back. Nothing else refers to it.
type sendOp struct {
	b        *Broker
	r        request
	route    *route
	proposal dledger.Proposal
	head     protocol.SendHeader
	msg      message.Message
	props    []byte // property string as it will be stored
	answer   protocol.SendResponseHeader
	resp     protocol.Response
	newTopic bool          // the proposal begins with commands that create topics
	began    time.Duration // since the broker's start
	since    int64         // the group time before it was first proposed
	queue    int32
	once     bool // the topic has de-duplication
	kind     messageType
	topic    string // as the client named it
	dead     string // the group that gave the message up, or ""
	wrapped  wrapped
	reply    *reply // of a reply to a request, else nil
}

// sendOpBytesMax is the capacity above which a used buffer is left to the
// collector: one large batch must not stay in the pool for good.
const sendOpBytesMax = 256 << 10

// newSendOp takes an op from the pool.
func (b *Broker) newSendOp(r request) *sendOp {
	op, ok := b.sendOps.Get().(*sendOp)
	if !ok {
		op = &sendOp{b: b}
		op.proposal.User = op
		op.proposal.Done = sendDone
	}
	op.r, op.route = r, b.routes[r.cmd.Code]
	return op
}

func (op *sendOp) recycle() {
	p := &op.proposal
	if cap(p.Data) > sendOpBytesMax || cap(op.props) > sendOpBytesMax {
		return
	}
	id := op.answer.MsgID[:0]
	op.r, op.route = request{}, nil
	op.head, op.msg = protocol.SendHeader{}, message.Message{}
	op.answer = protocol.SendResponseHeader{MsgID: id}
	op.resp = protocol.Response{}
	op.newTopic, op.props = false, op.props[:0]
	op.kind, op.topic, op.dead = typeNormal, "", ""
	op.once, op.wrapped, op.reply = false, wrapped{payload: op.wrapped.payload[:0]}, nil
	p.Data, p.Stamps, p.Records, p.Results, p.Err = p.Data[:0], p.Stamps[:0], 0, nil, nil
	op.b.sendOps.Put(op)
}

// handleSend serves SEND_MESSAGE, SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE.
func (b *Broker) handleSend(r request) {
	if r.doubt.open() {
		b.settleSend(r)
		return
	}
	op := b.newSendOp(r)
	if err := op.build(); err != nil {
		op.recycle()
		b.stats.PutFailed()
		b.fail(r, err)
		return
	}
	op.propose()
}

// propose hands the op to the node; sendDone has it from then on.
func (op *sendOp) propose() {
	term := op.r.term
	if term == 0 {
		term = op.b.term.Load()
	}
	op.proposeIn(term)
}

// proposeIn is propose for one term: the send enters the log in that term or not
// at all, so that it can be settled if its outcome stays unknown.
func (op *sendOp) proposeIn(term uint64) {
	op.began = time.Since(op.b.stats.Start())
	if op.since = op.r.doubt.since; !op.r.doubt.open() {
		op.since = op.b.store.AppliedTime()
	}
	op.proposal.Term = term
	op.b.waitingSends.enter(op.began)
	op.b.node.Propose(&op.proposal)
}

// build checks the request in RocketMQ's order and encodes what it stores into
// the proposal.
func (op *sendOp) build() error {
	b, h, cfg := op.b, &op.head, op.b.cfg()
	if err := h.Decode(op.r.cmd); err != nil {
		return err
	}
	if cfg.StartAccept > 0 && b.node.Now() < cfg.StartAccept {
		return refuse(protocol.StatusSystemError, "broker unable to service, until %s", time.UnixMilli(cfg.StartAccept).Format(time.DateTime))
	}
	if err := b.diskRefusal(); err != nil {
		return err
	}
	topic, known := b.meta.TopicBytes(h.Topic)
	if cfg.Permission&protocol.PermWrite == 0 && known && b.register.ordered(topic) {
		return refuse(protocol.StatusNoPermission, "the broker[%s] sending message is forbidden", b.ip)
	}
	if !known {
		// A topic of the table has a legal name; only others need the look.
		if err := message.ValidTopic(string(h.Topic)); err != nil {
			return err
		}
	}
	if forbiddenTopic(h.Topic) {
		return refuse(protocol.StatusNoPermission, "Sending message to topic[%s] is forbidden.", h.Topic)
	}
	if !known {
		if b.lightQueue(string(h.Topic)) {
			return refuse(protocol.StatusNoPermission, "Sending message to light queue[%s] is forbidden, send to a topic and name the queue in the property %s",
				h.Topic, message.PropertyInnerMultiDispatch)
		}
		var err error
		if topic, err = op.createTopic(); err != nil {
			return err
		}
	}
	if queues := max(topic.WriteQueueNums, topic.ReadQueueNums); h.QueueID >= queues {
		return refuse(protocol.StatusSystemError, "request queueId[%d] is illegal, %s Producer: %s",
			h.QueueID, topicText(topic), op.r.clientAddr())
	}
	if len(op.r.cmd.Body) > cfg.MaxMessageSize || len(h.Properties) > message.PropertiesBytesMax {
		return refuse(protocol.StatusMessageIllegal, remarkIllegal, cfg.MaxMessageSize)
	}
	op.queue = h.QueueID
	if op.queue < 0 {
		op.queue = rand.Int32N(max(topic.WriteQueueNums, 1))
	}
	op.fill(topic)
	op.once = cfg.deduplicates(topic) && !message.IsRetryTopic(topic.TopicName) && !message.IsDLQTopic(topic.TopicName)
	if h.Batch {
		return op.buildBatch()
	}
	return op.buildSingle(topic)
}

// fill sets what single messages and the items of a batch have in common.
func (op *sendOp) fill(topic *protocol.TopicConfig) {
	h := &op.head
	op.topic = topic.TopicName
	op.msg = message.Message{
		Topic:          topic.TopicName,
		QueueID:        op.queue,
		Flag:           h.Flag,
		SysFlag:        h.SysFlag,
		ReconsumeTimes: h.ReconsumeTimes,
		BornTimestamp:  h.BornTimestamp,
		BornHost:       op.r.clientAddr(),
		StoreHost:      op.b.addr,
		Body:           op.r.cmd.Body,
	}
	if topic.TopicFilterType == protocol.FilterMultiTag {
		op.msg.SysFlag |= message.SysFlagMultiTags
	}
}

// buildSingle applies what only single sends know: dead letters for retried
// messages, transactions, delays.
func (op *sendOp) buildSingle(topic *protocol.TopicConfig) error {
	b := op.b
	props, found := sendProperties(op.props[:0], op.head.Properties, b.cfg().ClusterName)
	op.props = props
	if found.requester != nil && op.reply == nil {
		b.introduce(op.r, &op.head, found.requester)
	}
	dead, err := op.deadLetter(topic)
	if err != nil {
		return err
	}
	if dead {
		op.props = message.DeleteProperty(nil, op.props, message.PropertyDelayTimeLevel)
	}
	half := op.transactional(&found)
	op.kind = found.kind(half)
	switch {
	case half:
		err = op.prepare(&found)
	case !dead:
		op.props, err = b.later(&op.msg, op.props, found.delay, &found.timing)
	}
	if err == nil && found.light != nil && op.reply == nil {
		op.props, err = b.light(&op.msg, topic.TopicName, op.props, found.light)
	}
	if err != nil {
		return err
	}
	op.msg.Properties = op.props
	return op.addSingle(half, topic.TopicName, found.unique)
}

// addSingle puts the message into the proposal, inside the command that it
// needs, if any.
func (op *sendOp) addSingle(half bool, topic string, unique []byte) error {
	once := op.storesOnce(unique)
	switch {
	case once && half:
		op.openOnce(metadata.OncePrepare)
	case once:
		op.openOnce(metadata.OncePublish)
	case half:
		op.openCommand(metadata.OpPrepare, metadata.AppendPreparePayload(op.wrapped.payload[:0], op.queue))
	default:
		return op.add()
	}
	if err := op.add(); err != nil {
		return err
	}
	if once {
		op.closeOnce(topic, unique)
	} else {
		op.closeCommand()
	}
	return nil
}

// add appends the message to the proposal and says where the group time goes.
func (op *sendOp) add() error {
	p := &op.proposal
	start := len(p.Data)
	data, err := op.msg.AppendStored(p.Data)
	if err != nil {
		return err
	}
	p.Stamps = append(p.Stamps, int32(start+message.StoreTimestampPos(data[start:])))
	p.Data = data
	p.Records++
	return nil
}

// buildBatch turns each item of the body into a record of its own. One
// proposal is one Raft entry, so that a batch is stored whole or not at all.
func (op *sendOp) buildBatch() error {
	if message.IsRetryTopic(op.msg.Topic) || message.IsDLQTopic(op.msg.Topic) {
		return refuse(protocol.StatusMessageIllegal, "batch request does not support retry group %s", op.msg.Topic)
	}
	outer := message.AppendProperties(nil, op.head.Properties)
	outer = message.SetProperty(nil, outer, message.PropertyCluster, op.b.cfg().ClusterName)
	var unique []byte
	if op.once {
		unique = batchUnique(&op.head, op.r.cmd.Body)
	}
	once := op.storesOnce(unique)
	if once {
		op.openOnce(metadata.OncePublish)
	}
	err := message.EachBatchItem(op.r.cmd.Body, func(item message.BatchItem) error {
		props := dropProperty(item.Properties, message.PropertyInnerMultiQueueOffset)
		op.props = message.AppendProperties(append(op.props[:0], props...), outer)
		op.msg.Flag, op.msg.Body, op.msg.Properties = item.Flag, item.Body, op.props
		return op.add()
	})
	if err == nil && len(op.proposal.Stamps) == 0 {
		err = refuse(protocol.StatusMessageIllegal, "the batch holds no message")
	}
	if once && err == nil {
		op.closeOnce(op.msg.Topic, unique)
	}
	return err
}

// foundProperties are the values that decide what becomes of a send.
type foundProperties struct {
	delay, transaction, unique []byte
	requester                  []byte // the client that waits for a reply
	light                      []byte // light queues to be read from, too
	timing                     timing
	sharded                    bool
}

// kind is the type that RocketMQ 5 gives a message with these properties.
func (f *foundProperties) kind(half bool) messageType {
	switch {
	case half:
		return typeTransaction
	case len(f.delay) > 0 || f.timing.given():
		return typeDelay
	case f.sharded:
		return typeFIFO
	}
	return typeNormal
}

// sendProperties appends the properties of a single send as they are stored:
// WAIT is a word to the broker and goes, CLUSTER comes in, because the consumer
// of a request answers to the cluster it names.
func sendProperties(dst, props []byte, cluster string) ([]byte, foundProperties) {
	var found foundProperties
	message.EachProperty(props, func(k, v []byte) bool {
		switch string(k) {
		case message.PropertyWaitStoreMsgOK, message.PropertyCluster:
			return true
		case message.PropertyDelayTimeLevel:
			found.delay = v
		case message.PropertyTransactionPrepared:
			found.transaction = v
		case message.PropertyUniqKey:
			found.unique = v
		case message.PropertyShardingKey:
			found.sharded = true
		case message.PropertyReplyToClient:
			found.requester = v
		case message.PropertyInnerMultiDispatch:
			found.light = v
		case message.PropertyInnerMultiQueueOffset:
			return true // the broker's alone
		default:
			found.timing.note(k, v)
		}
		dst = message.AppendProperty(dst, k, v)
		return true
	})
	return message.AppendProperty(dst, message.PropertyCluster, cluster), found
}

// delayLevel reads the property DELAY; 0 when there is none.
func delayLevel(text []byte) (int, error) {
	if len(text) == 0 {
		return 0, nil
	}
	level, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil {
		return 0, refuse(protocol.StatusSystemError, "property DELAY=%.32q is not a number", text)
	}
	return int(level), nil
}

// schedule rewrites a message so that it waits for a delay level first, and
// returns its new property string, which may be props grown. The queue of a
// level is its number minus one; where the message really belongs is kept in its
// properties.
func schedule(m *message.Message, props []byte, level int, levels delay.Levels) []byte {
	level = levels.Clamp(level)
	props = dropProperty(props, message.PropertyRealTopic)
	props = dropProperty(props, message.PropertyRealQueueID)
	props = message.AppendProperty(props, message.PropertyRealTopic, m.Topic)
	props = message.AppendProperty(props, message.PropertyRealQueueID, strconv.Itoa(int(m.QueueID)))
	m.Topic, m.QueueID = message.TopicSchedule, int32(level-1)
	return props
}

// dropProperty returns props without the named property, unchanged and without
// a copy when it is not there, as it nearly always is.
func dropProperty(props []byte, key string) []byte {
	if _, ok := message.Property(props, key); !ok {
		return props
	}
	return message.DeleteProperty(nil, props, key)
}

// deadLetter redirects a message that its consumer group gave up on: a send to
// the group's retry topic that was consumed as often as the group allows.
func (op *sendOp) deadLetter(topic *protocol.TopicConfig) (bool, error) {
	group, ok := strings.CutPrefix(topic.TopicName, message.RetryPrefix)
	if !ok {
		return false, nil
	}
	cfg, ok := op.b.groupConfig(group)
	if !ok {
		return false, refuse(protocol.StatusSubscriptionGroupMissing, "subscription group not exist, %s", group)
	}
	limit := cfg.RetryMaxTimes
	if op.head.MaxReconsumeTimes >= 0 && op.r.cmd.Version >= protocol.VersionMaxReconsume {
		limit = op.head.MaxReconsumeTimes
	}
	if op.head.ReconsumeTimes < limit {
		return false, nil
	}
	dlq := message.DLQTopic(group)
	if _, ok := op.b.meta.Topic(dlq); !ok {
		if err := message.ValidTopic(dlq); err != nil {
			return false, err
		}
		op.putTopic(readWriteTopic(dlq, 1))
	}
	op.msg.Topic, op.msg.QueueID, op.dead = dlq, 0, group
	return true, nil
}

// createTopic makes a first send's topic: the command that creates it goes into
// the same proposal, before the message, so that no follower ever has one
// without the other. When several first sends race, the first command in the
// log wins and the others change nothing.
func (op *sendOp) createTopic() (*protocol.TopicConfig, error) {
	name := string(op.head.Topic)
	if message.IsRetryTopic(name) {
		topic := readWriteTopic(name, 1)
		if op.head.UnitMode {
			topic.TopicSysFlag = topicFlagUnitSub
		}
		return op.putTopic(topic), nil
	}
	template, ok := op.b.meta.TopicBytes(op.head.DefaultTopic)
	if !ok && string(op.head.DefaultTopic) == message.TopicAutoCreate43 {
		template, ok = op.b.meta.Topic(message.TopicAutoCreate)
	}
	if !ok || op.b.hidden(template.TopicName) || template.Perm&protocol.PermInherit == 0 {
		return nil, refuse(protocol.StatusTopicNotExist, "topic[%s] not exist, apply first please!", name)
	}
	queues := min(op.head.DefaultTopicQueueNums, template.WriteQueueNums)
	if queues < 1 {
		queues = 1
	}
	topic := readWriteTopic(name, queues)
	topic.Perm = template.Perm &^ protocol.PermInherit
	topic.TopicFilterType = template.TopicFilterType
	if op.head.UnitMode {
		topic.TopicSysFlag = topicFlagUnit
	}
	return op.putTopic(topic), nil
}

func (op *sendOp) putTopic(topic *protocol.TopicConfig) *protocol.TopicConfig {
	op.proposal.Data = metadata.AppendPutTopic(op.proposal.Data, topic, metadata.IfAbsent)
	op.proposal.Records++
	op.newTopic = true
	return topic
}

func readWriteTopic(name string, queues int32) *protocol.TopicConfig {
	return &protocol.TopicConfig{
		TopicName: name, ReadQueueNums: queues, WriteQueueNums: queues,
		Perm: protocol.PermRead | protocol.PermWrite, TopicFilterType: protocol.FilterSingleTag,
	}
}

// sendDone answers a send. It runs on a goroutine of the node and must not
// block. There is no answer with a FLUSH_… status: the entry was written, and
// with SYNC_FLUSH synced, by a majority before it was applied, or the send
// failed.
func sendDone(p *dledger.Proposal) {
	op := p.User.(*sendOp)
	b, r := op.b, op.r
	b.waitingSends.leave(op.began)
	sent, err := op.places()
	if err != nil {
		b.stats.PutFailed()
		if op.reply != nil {
			op.answerReply(err)
			return
		}
		rt, d, spent := op.route, doubt{term: p.Term, since: op.since}, time.Since(b.stats.Start())-op.began
		op.recycle()
		if errors.Is(err, dledger.ErrUnknown) {
			b.unsettled(r, rt, d, spent)
			return
		}
		b.failed(r, rt, err)
		return
	}
	op.tell(&sent)
}

// tell answers a send with the places of its messages.
func (op *sendOp) tell(sent *metadata.Sent) {
	b, p := op.b, &op.proposal
	for i, res := range sent.Results {
		if i > 0 {
			op.answer.MsgID = append(op.answer.MsgID, ',')
		}
		op.answer.MsgID = message.AppendOffsetMsgID(op.answer.MsgID, sent.Host, res.Phy)
	}
	op.answer.Stored = true
	op.answer.QueueID = sent.Queue
	op.answer.QueueOffset = int64(sent.Results[0].Queue)
	if !sent.Duplicate {
		b.stats.Put(statsTopic(op.msg.Topic), len(p.Stamps), len(p.Data))
		op.count()
	}
	if op.newTopic && op.afterRegistration() {
		return
	}
	op.succeed()
}

// routePatience bounds how long a send that created its topic waits for the name
// servers, so that one that is down does not cost the client its own timeout.
const routePatience = time.Second

// afterRegistration answers a send that created its topic when the name servers
// know the topic, as RocketMQ does: whoever sends a first message and then starts
// a consumer finds a route at each of them. It reports whether it will; when too
// many requests wait already, the answer leaves at once.
func (op *sendOp) afterRegistration() bool {
	b := op.b
	if b.enter() != nil {
		b.topicsChanged()
		return false
	}
	go func() {
		defer b.leave()
		ctx, cancel := context.WithTimeout(b.ctx, routePatience)
		b.register.waitRound(ctx)
		cancel()
		op.succeed()
	}()
	return true
}

// succeed answers a send that is stored.
func (op *sendOp) succeed() {
	b, r := op.b, op.r
	if op.reply != nil {
		op.answerReply(nil)
		return
	}
	op.answer.Region, op.answer.TraceOn = b.cfg().RegionID, b.cfg().TraceOn
	op.resp = protocol.Response{Code: protocol.StatusSuccess, Header: &op.answer}
	b.stats.PutTook(time.Since(b.stats.Start()) - op.began)
	r.reply(&op.resp)
	op.recycle()
}

// count counts what was stored by what the client sent.
func (op *sendOp) count() {
	c := op.b.counters
	switch {
	case op.dead != "":
		add(c.dead, topicGroup{op.topic, op.dead}, 1)
	case strings.HasPrefix(op.msg.Topic, message.TimerTopicPrefix):
		add(c.timed, op.topic, 1)
	}
	c.received(op.topic, op.kind, len(op.proposal.Stamps), len(op.proposal.Data))
}

// forbiddenTopic tells topics that only the broker itself writes to.
func forbiddenTopic(topic []byte) bool {
	switch string(topic) {
	case message.TopicSchedule, message.TopicTransHalf, message.TopicTransOpHalf,
		message.TopicTransCheckMaxTime, message.TopicSelfTest, message.TopicOffsetMoved:
		return true
	}
	return message.IsTimerTopic(topic)
}

// topicText describes a topic the way RocketMQ's remarks do.
func topicText(c *protocol.TopicConfig) string {
	return fmt.Sprintf("TopicConfig [topicName=%s, readQueueNums=%d, writeQueueNums=%d, perm=%s, topicFilterType=%s, topicSysFlag=%d, order=%t]",
		c.TopicName, c.ReadQueueNums, c.WriteQueueNums, permText(c.Perm), c.TopicFilterType, c.TopicSysFlag, c.Order)
}

// permText is RocketMQ's three letters: RW- and so on.
func permText(perm int32) string {
	text := []byte("---")
	for i, bit := range []int32{protocol.PermRead, protocol.PermWrite, protocol.PermInherit} {
		if perm&bit != 0 {
			text[i] = "RWX"[i]
		}
	}
	return string(text)
}
