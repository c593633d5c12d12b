package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// Times that a client has to answer a request of ours.
const (
	consumerCallTimeout = 10 * time.Second
	// callPatience is longer, so that a client's silence is told from our own.
	callPatience = consumerCallTimeout + 2*time.Second
	// Tools wait for five seconds themselves: with RocketMQ's five a single
	// hanging member would cost the answers of all others.
	consumerStatusTimeout = 4 * time.Second
)

// asker is what a member's connection can do beyond being known.
type asker interface {
	InvokeAsync(req *protocol.Command, timeout time.Duration, done func(*protocol.Command, error))
}

// member finds the connection of a consumer: the one with the newest heartbeat
// when the client has several. An empty id means any member.
func (b *Broker) member(name, clientID string) (group.Client, bool) {
	var found group.Client
	for _, c := range b.clients.Consumers(name) {
		if (clientID == "" || c.ID == clientID) && (found.Conn == nil || c.LastHeartbeat.After(found.LastHeartbeat)) {
			found = c
		}
	}
	return found, found.Conn != nil
}

// askMember sends a request to a member and waits for its answer.
func askMember(ctx context.Context, c group.Client, req *protocol.Command, timeout time.Duration) (*protocol.Command, error) {
	conn, ok := c.Conn.(asker)
	if !ok {
		return nil, errors.New("this connection cannot be asked")
	}
	type answer struct {
		resp *protocol.Command
		err  error
	}
	got := make(chan answer, 1)
	conn.InvokeAsync(req, timeout, func(resp *protocol.Command, err error) { got <- answer{resp, err} })
	select {
	case a := <-got:
		return a.resp, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", remoting.ErrTimeout, ctx.Err())
	}
}

// consumerHeader is the admin's header as the client gets it.
type consumerHeader struct {
	cmd    *protocol.Command
	client string
	broker string // "" = leave the field alone
}

// EncodeFields writes the fields, except our own mark.
func (h consumerHeader) EncodeFields(w *protocol.FieldWriter) {
	for _, f := range h.cmd.Fields {
		switch string(f.Key) {
		case fieldForwarded, "clientId":
			continue
		case "brokerName":
			if h.broker != "" {
				continue
			}
		}
		w.Bytes(string(f.Key), f.Value)
	}
	w.String("clientId", h.client)
	if h.broker != "" {
		w.String("brokerName", h.broker)
	}
}

// callConsumer sends an admin's request on to the consumer it names and returns
// the consumer's answer, whatever that is.
func (b *Broker) callConsumer(ctx context.Context, r request, brokerName string, body []byte) (*protocol.Response, error) {
	name, id := r.cmd.Str("consumerGroup"), r.cmd.Str("clientId")
	c, ok := b.member(name, id)
	if !ok {
		return nil, refuse(protocol.StatusSystemError, "The Consumer <%s> <%s> not online", name, id)
	}
	if c.Version < protocol.VersionConsumeDirectly {
		return nil, refuse(protocol.StatusSystemError, "The Consumer <%s> Version <%s> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
			id, protocol.VersionDesc(c.Version))
	}
	req := protocol.NewRequest(r.cmd.Code).SetHeader(consumerHeader{r.cmd, c.ID, brokerName}).SetBody(body)
	resp, err := askMember(ctx, c, req, consumerCallTimeout)
	switch {
	case errors.Is(err, remoting.ErrTimeout):
		return nil, refuse(protocol.StatusConsumeMsgTimeout, "consumer <%s> <%s> Timeout: no answer within %s", name, c.ID, consumerCallTimeout)
	case err != nil:
		return nil, refuse(protocol.StatusSystemError, "invoke consumer <%s> <%s> Exception: %v", name, c.ID, err)
	}
	if resp.Code == protocol.StatusSuccess && len(resp.Body) == 0 {
		// The Go client 2.1.2 cannot write its running info between ten and twenty
		// seconds after its start, and says so with "success" and no body. Java's
		// tools make "CODE: 0" of that.
		remark := resp.Remark
		resp.Release()
		return nil, refuse(protocol.StatusSystemError, "consumer <%s> <%s> answered without a result: %s", name, c.ID, remark)
	}
	answer := &protocol.Response{Code: resp.Code, Remark: resp.Remark, Body: resp.Body, Release: resp.Release}
	if len(resp.Fields) > 0 {
		answer.Header = resp
	}
	return answer, nil
}

// handleRunningInfo serves GET_CONSUMER_RUNNING_INFO.
func (b *Broker) handleRunningInfo(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	f.Str("consumerGroup")
	f.Str("clientId")
	if err := f.Err(); err != nil {
		return nil, err
	}
	return b.callConsumer(ctx, r, "", r.cmd.Body)
}

// handleConsumeDirectly serves CONSUME_MESSAGE_DIRECTLY: a consumer processes one
// stored message now, outside of its queue's order, and says what came of it.
func (b *Broker) handleConsumeDirectly(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	f.Str("consumerGroup")
	id := f.Str("msgId")
	if err := f.Err(); err != nil {
		return nil, err
	}
	_, at, err := message.ParseOffsetMsgID(id)
	if err != nil {
		return nil, refuse(protocol.StatusSystemError, "msgId %.80q is not the id of a stored message: %v", id, err)
	}
	m, err := b.store.MessageAt(at)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse(protocol.StatusSystemError, "can not find message by the id, %s (offset %d)", id, at)
	}
	if err != nil {
		return nil, err
	}
	return b.callConsumer(ctx, r, b.brokerName, m)
}

// handleResetOffset serves INVOKE_BROKER_TO_RESET_OFFSET: it tells all live
// members of a group where to go on reading. The offsets kept here stay: the
// members stop, forget what they fetched, and commit the new ones themselves. A
// reset that we wrote meanwhile would be overwritten by commits on their way.
//
// 5.x tools can name one queue, and the offset for it.
func (b *Broker) handleResetOffset(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	topicName, name, at := f.Str("topic"), f.Str("group"), f.Int64("timestamp")
	if err := f.Err(); err != nil {
		return nil, err
	}
	topic, ok := b.topicConfig(topicName)
	if !ok {
		return nil, refuse(protocol.StatusSystemError, "[reset-offset] reset offset failed, no topic in this broker. topic=%s", topicName)
	}
	only, fixed := r.cmd.Int("queueId", -1), r.cmd.Int64("offset", -1)
	if only >= topic.WriteQueueNums {
		return nil, refuse(protocol.StatusSystemError, "queueId %d is not allowed: topic %s has %d write queues", only, topicName, topic.WriteQueueNums)
	}
	if err := b.settle(ctx, r, ofGroup(name, topicName)); err != nil {
		return nil, err
	}
	force := r.cmd.Bool("isForce")
	table := protocol.ResetOffsetBody{Offsets: map[protocol.MessageQueue]int64{}}
	for q := range topic.WriteQueueNums {
		if only >= 0 && q != only {
			continue
		}
		old, ok := b.meta.Offset(name, topicName, q)
		if !ok {
			return nil, refuse(protocol.StatusSystemError, "THe consumer group <%s> not exist: it has no offset of queue %d of topic %s", name, q, topicName)
		}
		target := fixed
		if only < 0 || fixed < 0 {
			target = b.offsetAt(topicName, q, at)
		}
		if !force && target > old {
			target = old
		}
		table.Offsets[protocol.MessageQueue{Topic: topicName, BrokerName: b.brokerName, QueueID: q}] = target
	}
	if err := b.pushReset(r, topicName, name, at, &table); err != nil {
		return nil, err
	}
	return withBody(protocol.Encode(&table), nil)
}

// offsetAt is the offset of a point in time, where -1 is the end of the queue.
func (b *Broker) offsetAt(topic string, queue int32, at int64) int64 {
	if at == -1 {
		_, end := b.store.QueueRange(topic, queue)
		return int64(end)
	}
	return max(int64(b.store.OffsetByTime(topic, queue, at, store.Nearest)), 0)
}

// pushReset sends RESET_CONSUMER_CLIENT_OFFSET to all members.
//
// RocketMQ chooses between two forms of the body by the language of the tool
// that asks, and a C++ tool then breaks Java members. Each member gets the form
// it reads: C++ the list, Java and Go the map, and others what the tool reads.
func (b *Broker) pushReset(r request, topic, name string, at int64, table *protocol.ResetOffsetBody) error {
	members := b.clients.Consumers(name)
	if len(members) == 0 {
		return refuse(protocol.StatusConsumerNotOnline, "Consumer not online, so can not reset offset, Group: %s Topic: %s Timestamp: %d", name, topic, at)
	}
	for _, c := range members {
		if c.Version < protocol.VersionResetOffset {
			return refuse(protocol.StatusSystemError, "the client does not support this feature. version=%s", protocol.VersionDesc(c.Version))
		}
	}
	asMap, asList := protocol.Encode(table), table.AppendListJSON(nil)
	for _, c := range members {
		body := asMap
		if c.Language == protocol.LanguageCPP ||
			r.cmd.Language == protocol.LanguageCPP && c.Language != protocol.LanguageJava && c.Language != protocol.LanguageGo {
			body = asList
		}
		req := protocol.NewRequest(protocol.CodeResetConsumerClientOffset).SetHeader(protocol.Pairs{
			{"group", name}, {"isForce", "false"}, {"timestamp", fmt.Sprint(at)}, {"topic", topic},
		}).SetBody(body)
		conn, ok := c.Conn.(oneway)
		if !ok {
			continue
		}
		if err := conn.Oneway(req); err != nil {
			b.log.Warn("a member was not told of the reset of its offsets", "group", name, "topic", topic, "client", c.ID, "error", err)
		}
	}
	b.log.Info("consumer offsets reset by request", "group", name, "topic", topic, "timestamp", at, "members", len(members), "queues", len(table.Offsets))
	return nil
}

// handleConsumerStatus serves INVOKE_BROKER_TO_GET_CONSUMER_STATUS: where each
// member of a group stands in a topic, by its own account. A member that does
// not answer is left out.
func (b *Broker) handleConsumerStatus(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	topic, name := f.Str("topic"), f.Str("group")
	if err := f.Err(); err != nil {
		return nil, err
	}
	only := r.cmd.Str("clientAddr") // RocketMQ's name for a client id
	members := b.clients.Consumers(name)
	if len(members) == 0 {
		return nil, refuse(protocol.StatusSystemError, "No Any Consumer online in the consumer group: [%s]", name)
	}
	status := protocol.GetConsumerStatusBody{ConsumerTable: map[string]map[protocol.MessageQueue]int64{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, c := range members {
		if only != "" && c.ID != only {
			continue
		}
		if c.Version < protocol.VersionResetOffset {
			return nil, refuse(protocol.StatusSystemError, "the client does not support this feature. version=%s", protocol.VersionDesc(c.Version))
		}
		wg.Go(func() {
			req := protocol.NewRequest(protocol.CodeGetConsumerStatusFromClient).SetHeader(protocol.Pairs{{"group", name}, {"topic", topic}})
			resp, err := askMember(ctx, c, req, consumerStatusTimeout)
			if err == nil && resp.Code != protocol.StatusSuccess {
				err = fmt.Errorf("it answered %d: %s", resp.Code, resp.Remark)
			}
			var got protocol.GetConsumerStatusBody
			if err == nil {
				err = got.Decode(resp.Body)
			}
			if err != nil {
				b.log.Warn("a member did not tell its status", "group", name, "client", c.ID, "error", err)
				return
			}
			mu.Lock()
			status.ConsumerTable[c.ID] = got.MessageQueueTable
			mu.Unlock()
		})
	}
	wg.Wait()
	return withBody(protocol.Encode(&status), nil)
}

// cloneChunk is how many offsets go into one command.
const cloneChunk = 2000

// handleCloneOffset serves CLONE_GROUP_OFFSET: a group begins where another one
// stands.
func (b *Broker) handleCloneOffset(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	src, dest := f.Str("srcGroup"), f.Str("destGroup")
	if err := f.Err(); err != nil {
		return nil, err
	}
	if err := message.ValidGroup(dest); err != nil {
		return nil, err
	}
	if err := b.settle(ctx, r, ofGroup(src, r.cmd.Str("topic"))); err != nil {
		return nil, err
	}
	var commits []group.Commit
	for _, topic := range b.topicsOf(src, r.cmd.Str("topic"), r.cmd.Bool("offline")) {
		for queue, offset := range b.meta.Offsets(src, topic.TopicName) {
			commits = append(commits, group.Commit{Group: dest, Topic: topic.TopicName, Queue: queue, Offset: offset})
		}
	}
	for len(commits) > 0 {
		n := min(len(commits), cloneChunk)
		if err := b.commitAll(ctx, commits[:n]); err != nil {
			return nil, err
		}
		commits = commits[n:]
	}
	return success()
}

// commitAll stores offsets by the way that consumers' own commits take, so that
// an older commit of the same queue that still waits there cannot come after.
func (b *Broker) commitAll(ctx context.Context, commits []group.Commit) error {
	done := make(chan error, len(commits))
	for _, c := range commits {
		if err := b.offsets.CommitWait(c, func(err error) { done <- err }); err != nil {
			return offsetError(err)
		}
	}
	for range commits {
		select {
		case err := <-done:
			if err != nil {
				return offsetError(err)
			}
		case <-ctx.Done():
			return offsetError(group.ErrOffsetsDropped)
		}
	}
	return nil
}

// handleCorrection serves QUERY_CORRECTION_OFFSET: the least offset of each queue
// that any group still has to read, groups of a filter left out, or "none" (the
// largest number) where the compared group is behind all of them. RocketMQ
// deletes the filtered groups' offsets while it answers, and fails on a queue
// that only the compared group has.
func (b *Broker) handleCorrection(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	topic, compare := f.Str("topic"), f.Str("compareGroup")
	if err := f.Err(); err != nil {
		return nil, err
	}
	if err := b.settle(ctx, r, func(_, t string) bool { return t == topic }); err != nil {
		return nil, err
	}
	skip := map[string]bool{}
	for name := range strings.SplitSeq(r.cmd.Str("filterGroups"), ",") {
		skip[strings.TrimSpace(name)] = true
	}
	least := map[int32]int64{}
	for _, name := range b.meta.TopicGroups(topic) {
		if skip[name] {
			continue
		}
		for queue, offset := range b.meta.Offsets(name, topic) {
			if first, _ := b.store.QueueRange(topic, queue); offset < int64(first) {
				continue // where it stands is gone
			}
			if old, ok := least[queue]; !ok || offset < old {
				least[queue] = offset
			}
		}
	}
	for queue, offset := range b.meta.Offsets(compare, topic) {
		if min, ok := least[queue]; !ok || min > offset {
			least[queue] = maxOffset
		}
	}
	return withBody(protocol.Encode(&protocol.CorrectionOffsets{Offsets: least}), nil)
}

// maxOffset is Java's Long.MAX_VALUE.
const maxOffset = 1<<63 - 1

// handleAllOffsets serves GET_ALL_CONSUMER_OFFSET.
func (b *Broker) handleAllOffsets(ctx context.Context, r request) (*protocol.Response, error) {
	if err := b.settle(ctx, r, func(string, string) bool { return true }); err != nil {
		return nil, err
	}
	return withBody(protocol.Encode(&protocol.OffsetTable{Offsets: b.meta.OffsetTable()}), nil)
}

// handleDelayOffsets serves GET_ALL_DELAY_OFFSET.
func (b *Broker) handleDelayOffsets(context.Context, request) (*protocol.Response, error) {
	body := protocol.DelayOffsets{Offsets: map[int32]int64{}}
	for level := int32(1); level <= int32(len(b.levels)); level++ {
		if at := b.meta.DelayProgress(level); at > 0 {
			body.Offsets[level] = int64(at)
		}
	}
	return withBody(protocol.Encode(&body), nil)
}
