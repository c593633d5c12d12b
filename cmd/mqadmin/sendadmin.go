package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// sendCommands are RocketMQ's sub-commands that send messages.
func sendCommands(o *options) []*cobra.Command {
	return []*cobra.Command{sendMessageCommand(o), sendMsgStatusCommand(o), checkMsgSendRTCommand(o), clusterRTCommand(o)}
}

// sender gives messages the ids and properties that RocketMQ's producers give
// them.
type sender struct {
	s   *session
	ids *message.UniqueIDs
}

func newSender(s *session) sender {
	return sender{s, message.NewUniqueIDs(netip.AddrFrom4([4]byte{127, 0, 0, 1}))}
}

// send stores a message in the given queue, or in any one, and returns its id.
func (sd sender) send(m admin.Message, queue *admin.Queue) (id string, res admin.SendResult, err error) {
	id = sd.ids.Next(time.Now())
	m.Properties = message.AppendProperty(m.Properties, message.PropertyUniqKey, id)
	m.Properties = message.AppendProperty(m.Properties, message.PropertyWaitStoreMsgOK, "true")
	if queue == nil {
		m.Queue = admin.AnyQueue
		res, err = sd.s.client.Send(sd.s.ctx, m)
		return id, res, err
	}
	route, err := sd.s.client.Route(sd.s.ctx, m.Topic)
	if err != nil {
		return id, res, err
	}
	addr, err := route.Leader(queue.Broker)
	if err != nil {
		return id, res, err
	}
	m.Queue = queue.ID
	res, err = sd.s.client.SendTo(sd.s.ctx, addr, m)
	res.Broker = queue.Broker
	return id, res, err
}

// sendResultText is the outcome of a send on one line.
func sendResultText(topic, id string, res admin.SendResult) string {
	return fmt.Sprintf("SendResult [sendStatus=%s, msgId=%s, offsetMsgId=%s, messageQueue=%s, queueOffset=%d]", sendStatusText(res.Status), id,
		res.MsgID, queueText(protocol.MessageQueue{Topic: topic, BrokerName: res.Broker, QueueID: res.Queue}), res.Offset)
}

const sendColumns columns = "%-32v  %-4v  %-20v    %v"

func sendMessageCommand(o *options) *cobra.Command {
	var body, broker string
	var m admin.Message
	var queue int32
	var trace bool
	cmd := rocketmq("sendMessage", "Send a message")
	needText(cmd, &m.Topic, "topic", "t", "topic")
	needText(cmd, &body, "body", "p", "the message")
	text(cmd, &m.Keys, "key", "k", "its keys, separated by blanks")
	text(cmd, &m.Tags, "tags", "c", "its tag")
	text(cmd, &broker, "broker", "b", "name of the broker to send to")
	cmd.Flags().Int32VarP(&queue, "qid", "i", 0, "number of the queue to send to")
	trueFalse(cmd, &trace, "msgTraceEnable", "m", "leave a trace for queryMsgTraceById")
	return o.run(cmd, ordinary, func(s *session) error {
		var to *admin.Queue
		switch {
		case cmd.Flags().Changed("qid") && broker == "":
			return errors.New("broker name (-b) must be set if the queue is chosen")
		case cmd.Flags().Changed("qid"):
			to = &admin.Queue{Broker: broker, ID: queue}
		case broker != "":
			route, err := s.client.Route(s.ctx, m.Topic)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(route.Writable, func(q admin.Queue) bool { return q.Broker == broker })
			if at < 0 {
				return fmt.Errorf("broker %s has no queue of topic %s that can be written", broker, m.Topic)
			}
			to = &route.Writable[at]
		}
		m.Body = []byte(body)
		began := time.Now()
		id, res, err := newSender(s).send(m, to)
		if trace {
			if terr := leaveTrace(s, m, id, res, began, err == nil); terr != nil {
				s.warn("the message has no trace: %v", terr)
			}
		}
		if err != nil {
			return err
		}
		s.row(sendColumns, "#Broker Name", "#QID", "#Send Result", "#MsgId")
		s.row(sendColumns, res.Broker, res.Queue, sendStatusText(res.Status), id)
		return nil
	})
}

func sendMsgStatusCommand(o *options) *cobra.Command {
	var broker string
	size, count := 128, 50
	cmd := rocketmq("sendMsgStatus", "Send messages to a broker's own topic and time them")
	needText(cmd, &broker, "brokerName", "b", "name of the broker")
	cmd.Flags().IntVarP(&size, "messageSize", "s", size, "bytes of a message")
	cmd.Flags().IntVarP(&count, "count", "c", count, "how many messages")
	return o.run(cmd, forever, func(s *session) error {
		hello := func(size int) []byte { return bytes.Repeat([]byte("hello jodie"), (size+10)/11) }
		sd := newSender(s)
		if _, _, err := sd.send(admin.Message{Topic: broker, Body: hello(16)}, nil); err != nil { // connects
			return err
		}
		for range count {
			began := time.Now()
			id, res, err := sd.send(admin.Message{Topic: broker, Body: hello(size)}, nil)
			if err != nil {
				return err
			}
			s.printf("rt=%dms, SendResult=%s\n", time.Since(began).Milliseconds(), sendResultText(broker, id, res))
		}
		return nil
	})
}

func checkMsgSendRTCommand(o *options) *cobra.Command {
	var topic string
	amount, size := 100, 128
	cmd := rocketmq("checkMsgSendRT", "Send messages to each queue of a topic in turn and time them")
	needText(cmd, &topic, "topic", "t", "topic")
	cmd.Flags().IntVarP(&amount, "amount", "a", amount, "how many messages")
	cmd.Flags().IntVarP(&size, "size", "s", size, "bytes of a message")
	return o.run(cmd, forever, func(s *session) error {
		route, err := s.client.Route(s.ctx, topic)
		if err != nil {
			return err
		}
		if len(route.Writable) == 0 {
			return fmt.Errorf("topic %s: %w", topic, admin.ErrNoLeader)
		}
		s.row(sendColumns, "#Broker Name", "#QID", "#Send Result", "#RT")
		sd := newSender(s)
		var times []time.Duration
		var failed error
		for i := range amount {
			q := route.Writable[i%len(route.Writable)]
			began := time.Now()
			_, _, err := sd.send(admin.Message{Topic: topic, Body: bytes.Repeat([]byte("a"), size)}, &q)
			if took := time.Since(began); i != 0 { // the first one connects
				times = append(times, took)
			}
			failed = errors.Join(failed, err)
			s.row(sendColumns, q.Broker, q.ID, err == nil, time.Since(began).Milliseconds())
		}
		s.printf("Avg RT: %s\n", meanText(times))
		return failed
	})
}

// meanText is the mean of some times in milliseconds.
func meanText(times []time.Duration) string {
	sum := time.Duration(0)
	for _, t := range times {
		sum += t
	}
	return strconv.FormatFloat(float64(sum)/float64(time.Millisecond)/float64(max(len(times), 1)), 'f', 2, 64)
}

func clusterRTCommand(o *options) *cobra.Command {
	var cluster string
	var asLog, once bool
	amount, size, every, room := 100, 128, int64(10), "noname"
	cmd := rocketmq("clusterRT", "Send messages to the own topic of each broker, time them, and again after a while")
	f := cmd.Flags()
	f.IntVarP(&amount, "amount", "a", amount, "how many messages to each broker")
	f.IntVarP(&size, "size", "s", size, "bytes of a message")
	text(cmd, &cluster, "cluster", "c", "one cluster; else all")
	trueFalse(cmd, &asLog, "tlog", "p", "print lines for a log")
	text(cmd, &room, "machine-room", "m", "name of the machine room in such lines")
	f.Int64VarP(&every, "interval", "i", every, "seconds until the next round")
	f.BoolVar(&once, "once", false, "one round only")
	return o.run(cmd, forever, func(s *session) error {
		const heading, line columns = "%-24v  %-24v  %-4v  %-8v  %-8v", "%-24v  %-24v  %-8v  %-16v  %-16v"
		if !asLog {
			s.row(heading, "#Cluster Name", "#Broker Name", "#RT", "#successCount", "#failCount")
		}
		sd := newSender(s)
		for {
			brokers, err := s.client.Brokers(s.ctx, cluster)
			if err != nil {
				return err
			}
			var failed error
			last := ""
			for _, b := range brokers {
				if b.Name == last {
					continue // another member of the same group
				}
				last = b.Name
				times, failures, err := timeSends(sd, b.Name, amount, size)
				failed = errors.Join(failed, err)
				if asLog {
					mean, _ := strconv.ParseFloat(meanText(times), 64)
					// RocketMQ writes the time of China here, wherever it runs.
					s.printf("%s|%s|%s|%s|%.0f\n", time.Now().In(time.FixedZone("GMT+8", 8*3600)).Format(time.DateTime), room, b.Cluster, b.Name, mean)
				} else {
					s.row(line, b.Cluster, b.Name, meanText(times), amount-failures, failures)
				}
			}
			if once || every <= 0 {
				return failed
			}
			if failed != nil {
				s.warn("%v", failed)
			}
			if err := s.pause(time.Duration(every) * time.Second); err != nil {
				return err
			}
		}
	})
}

// sendLimit is how long one timed message may take.
const sendLimit = 5 * time.Second

// timeSends sends messages to a topic and returns how long each took but for the
// first, which connects, how many failed, and why the last of them did.
func timeSends(sd sender, topic string, amount, size int) (times []time.Duration, failures int, last error) {
	for i := range amount {
		ctx, cancel := context.WithTimeout(sd.s.ctx, sendLimit)
		one := *sd.s
		one.ctx = ctx
		began := time.Now()
		_, _, err := sender{&one, sd.ids}.send(admin.Message{Topic: topic, Body: bytes.Repeat([]byte("a"), size)}, nil)
		if i != 0 {
			times = append(times, time.Since(began))
		}
		cancel()
		if err != nil {
			failures, last = failures+1, err
		}
	}
	return times, failures, last
}
