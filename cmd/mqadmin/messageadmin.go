package main

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
)

// messageCommands are RocketMQ's sub-commands that look for messages.
func messageCommands(o *options) []*cobra.Command {
	return []*cobra.Command{
		queryMsgByIDCommand(o), queryMsgByKeyCommand(o), queryMsgByUniqueKeyCommand(o), queryMsgByOffsetCommand(o),
		queryMsgTraceByIDCommand(o), printMsgCommand(o), printMsgByQueueCommand(o), consumeMessageCommand(o),
	}
}

func queryMsgByIDCommand(o *options) *cobra.Command {
	var ids, group, client, unit string
	var resend bool
	cmd := rocketmq("queryMsgById", "Show the messages with the given offset ids, and which groups have consumed them")
	needText(cmd, &ids, "msgId", "i", "offset message ids, separated by commas")
	text(cmd, &group, "consumerGroup", "g", "with -d: have a member of this group process the message")
	text(cmd, &client, "clientId", "d", "that member")
	trueFalse(cmd, &resend, "sendMessage", "s", "send the message again")
	text(cmd, &unit, "unitName", "u", "taken and not needed, as in RocketMQ")
	cmd.MarkFlagsRequiredTogether("consumerGroup", "clientId")
	return o.run(cmd, lengthy, func(s *session) error {
		var failures []error
		for _, id := range strings.Split(ids, ",") {
			if id = strings.TrimSpace(id); id == "" {
				continue
			}
			m, err := s.client.View(s.ctx, id)
			switch {
			case err != nil:
			case group != "":
				err = consumeDirectly(s, m, group, client)
			case resend:
				err = sendAgain(s, m, id)
			default:
				err = printMessage(s, m, true, admin.MessageID(m))
			}
			failures = append(failures, err)
		}
		return errors.Join(failures...)
	})
}

// printMessage prints what is known of a message, puts its body into a file, and
// tells how far each group is with it. more are properties that it has got on the
// way here.
func printMessage(s *session, m message.Stored, withID bool, file string, more ...[2]string) error {
	path, err := bodyFile(m, file)
	if err != nil {
		return err
	}
	const line columns = "%-20v %v"
	if withID {
		s.row(line, "OffsetID:", offsetMsgID(m))
	}
	s.row(line, "Topic:", string(m.Topic()))
	s.row(line, "Tags:", "["+property(m, message.PropertyTags)+"]")
	s.row(line, "Keys:", "["+property(m, message.PropertyKeys)+"]")
	s.row(line, "Queue ID:", m.QueueID())
	s.row(line, "Queue Offset:", m.QueueOffset())
	s.row(line, "CommitLog Offset:", m.PhyOffset())
	s.row(line, "Reconsume Times:", m.ReconsumeTimes())
	s.row(line, "Born Timestamp:", clockText(m.BornTimestamp()))
	s.row(line, "Store Timestamp:", clockText(m.StoreTimestamp()))
	s.row(line, "Born Host:", m.BornHost())
	s.row(line, "Store Host:", m.StoreHost())
	s.row(line, "System Flag:", m.SysFlag())
	s.row(line, "Properties:", propertyMap(m, more...))
	s.row(line, "Message Body Path:", path)
	tracks, err := s.client.Tracks(s.ctx, m)
	if err != nil {
		return err
	}
	if len(tracks) == 0 {
		s.print("\n\nWARN: No Consumer\n")
		return nil
	}
	s.print("\n\n")
	for _, t := range tracks {
		detail := t.Detail
		if detail == "" {
			detail = "null"
		}
		s.printf("MessageTrack [consumerGroup=%s, trackType=%s, exceptionDesc=%s]\n", t.Group, t.Type, detail)
	}
	return nil
}

// consumeDirectly has a member of a group process a message.
func consumeDirectly(s *session, m message.Stored, group, client string) error {
	r, err := s.client.ConsumeDirectly(s.ctx, m.StoreHost().String(), group, client, offsetMsgID(m))
	if err != nil {
		return err
	}
	result, remark := r.ConsumeResult, r.Remark
	if result == "" {
		result = "null"
	}
	if remark == "" {
		remark = "null"
	}
	s.printf("ConsumeMessageDirectlyResult [order=%t, autoCommit=%t, consumeResult=%s, remark=%s, spentTimeMills=%d]\n",
		r.Order, r.AutoCommit, result, remark, r.SpentTimeMills)
	return nil
}

// sendAgain sends a copy of a message to its topic, with its properties but for
// those that the broker gave it.
func sendAgain(s *session, m message.Stored, id string) error {
	body, err := admin.Body(m)
	if err != nil {
		return err
	}
	var props []byte
	message.EachProperty(m.Properties(), func(key, value []byte) bool {
		if string(key) != message.PropertyCluster {
			props = message.AppendProperty(props, key, value)
		}
		return true
	})
	s.printf("prepare resend msg. originalMsgId=%s", id)
	res, err := s.client.Send(s.ctx, admin.Message{Topic: string(m.Topic()), Queue: admin.AnyQueue, Body: body, Properties: props})
	if err != nil {
		s.print("\n")
		return err
	}
	s.print(sendResultText(string(m.Topic()), admin.MessageID(m), res) + "\n")
	return nil
}

func queryMsgByKeyCommand(o *options) *cobra.Command {
	var topic, key string
	cmd := rocketmq("queryMsgByKey", "List the messages with a key")
	needText(cmd, &topic, "topic", "t", "topic")
	needText(cmd, &key, "msgKey", "k", "key")
	return o.run(cmd, lengthy, func(s *session) error {
		found, err := s.client.Query(s.ctx, admin.KeyQuery{Topic: topic, Key: key, End: math.MaxInt64, Max: 64})
		if err != nil {
			return err
		}
		const line columns = "%-50v %4v %40v"
		s.row(line, "#Message ID", "#QID", "#Offset")
		for _, m := range found {
			s.row(line, admin.MessageID(m), m.QueueID(), int64(m.QueueOffset()))
		}
		return nil
	})
}

func queryMsgByUniqueKeyCommand(o *options) *cobra.Command {
	var topic, id, group, client string
	var all bool
	cmd := rocketmq("queryMsgByUniqueKey", "Show the message with the id that its producer gave it")
	needText(cmd, &id, "msgId", "i", "id of the message")
	needText(cmd, &topic, "topic", "t", "topic")
	text(cmd, &group, "consumerGroup", "g", "with -d: have a member of this group process the message")
	text(cmd, &client, "clientId", "d", "that member")
	cmd.Flags().BoolVarP(&all, "showAll", "a", false, "every copy, up to 32")
	cmd.MarkFlagsRequiredTogether("consumerGroup", "clientId")
	return o.run(cmd, lengthy, func(s *session) error {
		found, err := s.client.Query(s.ctx, admin.KeyQuery{Topic: topic, Key: id, Unique: true, End: math.MaxInt64, Max: 32})
		if err != nil {
			return err
		}
		if group != "" {
			return consumeDirectly(s, found[0], group, client)
		}
		for i, m := range found {
			if i > 0 && !all {
				break
			}
			if err := printMessage(s, m, false, copyName(id, i)); err != nil {
				return err
			}
		}
		return nil
	})
}

func queryMsgByOffsetCommand(o *options) *cobra.Command {
	var q queueFlags
	var offset int64
	cmd := rocketmq("queryMsgByOffset", "Show the message at an offset of a queue")
	needText(cmd, &q.topic, "topic", "t", "topic")
	needText(cmd, &q.broker, "brokerName", "b", "name of the broker")
	needQueue(cmd, &q.id, "queueId", "i")
	cmd.Flags().Int64VarP(&offset, "offset", "o", 0, "offset in the queue")
	must(cmd.MarkFlagRequired("offset"))
	return o.run(cmd, ordinary, func(s *session) error {
		addr, err := q.addr(s)
		if err != nil {
			return err
		}
		p, err := s.client.Pull(s.ctx, addr, "", q.topic, q.id, offset, 1, "*")
		if err != nil {
			return err
		}
		if p.Status != admin.PullFound || len(p.Messages) == 0 {
			return fmt.Errorf("%w at offset %d: %s holds offsets %s", admin.ErrNoMessage, offset, queueText(q.queue()), rangeText(p.Min, p.Max))
		}
		return printMessage(s, p.Messages[0], true, admin.MessageID(p.Messages[0]), ends(p)...)
	})
}
