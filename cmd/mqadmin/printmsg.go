package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// queueFlags name one queue.
type queueFlags struct {
	topic, broker string
	id            int32
}

func needQueue(cmd *cobra.Command, into *int32, name, short string) {
	cmd.Flags().Int32VarP(into, name, short, 0, "number of the queue")
	must(cmd.MarkFlagRequired(name))
}

func (q queueFlags) queue() protocol.MessageQueue {
	return protocol.MessageQueue{Topic: q.topic, BrokerName: q.broker, QueueID: q.id}
}

// addr is where the queue can be read.
func (q queueFlags) addr(s *session) (string, error) {
	route, err := s.client.Route(s.ctx, q.topic)
	if err != nil {
		return "", err
	}
	return route.Any(q.broker)
}

func rangeText(min, max int64) string {
	if min >= max {
		return "none"
	}
	return fmt.Sprintf("%d to %d", min, max-1)
}

func copyName(id string, n int) string {
	if n == 0 {
		return id
	}
	return fmt.Sprintf("%s_%d", id, n)
}

// span is the part of queues that a command reads: stored between two times.
type span struct{ begin, end string }

func (sp *span) flags(cmd *cobra.Command, begin, end string) {
	text(cmd, &sp.begin, "beginTimestamp", begin, "from this time on: milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS")
	text(cmd, &sp.end, "endTimestamp", end, "up to this time")
}

// offsets returns the first offset of a queue and the one behind the last.
func (sp *span) offsets(s *session, addr string, q protocol.MessageQueue) (from, to int64, err error) {
	if from, err = s.client.MinOffset(s.ctx, addr, q.Topic, q.QueueID); err != nil {
		return 0, 0, err
	}
	if to, err = s.client.MaxOffset(s.ctx, addr, q.Topic, q.QueueID); err != nil {
		return 0, 0, err
	}
	for _, bound := range []struct {
		text string
		into *int64
	}{{sp.begin, &from}, {sp.end, &to}} {
		if bound.text == "" {
			continue
		}
		ms, err := parseTimestamp(bound.text)
		if err != nil {
			return 0, 0, err
		}
		if *bound.into, err = s.client.SearchOffset(s.ctx, addr, q.Topic, q.QueueID, ms); err != nil {
			return 0, 0, err
		}
	}
	return from, to, nil
}

// pullMax is how many messages one pull may bring.
const pullMax = 32

// readQueue reads a queue's messages from an offset up to another and hands each
// answer on, until one asks it to stop.
func readQueue(s *session, addr string, q protocol.MessageQueue, group, expression string, from, to int64, got func(*admin.Pulled) (goOn bool, err error)) error {
	tags := tagSet(expression)
	for from < to {
		p, err := s.client.Pull(s.ctx, addr, group, q.Topic, q.QueueID, from, int32(min(pullMax, to-from)), expression)
		if err != nil {
			return err
		}
		if p.Next <= from && p.Status != admin.PullNoNewMsg && p.Status != admin.PullOffsetIllegal {
			return fmt.Errorf("%s: the broker answers offset %d with the next offset %d", queueText(q), from, p.Next)
		}
		from = p.Next
		// Brokers compare hashes of tags only.
		p.Messages = slices.DeleteFunc(p.Messages, func(m message.Stored) bool {
			tag, _ := m.Property(message.PropertyTags)
			return len(tags) > 0 && !slices.Contains(tags, string(tag))
		})
		if goOn, err := got(p); err != nil || !goOn {
			return err
		}
	}
	return nil
}

// tagSet is the tags of a subscription; none means all.
func tagSet(expression string) []string {
	if expression == protocol.SubscribeAll || expression == "" {
		return nil
	}
	var tags []string
	for _, tag := range strings.Split(expression, "||") {
		tags = append(tags, strings.TrimSpace(tag))
	}
	return tags
}

// messageLine prints a message on one line.
func messageLine(s *session, m message.Stored, broker string, p *admin.Pulled, charset string, withBody bool) error {
	line, err := messageText(m, broker, p)
	if err != nil {
		return err
	}
	shown := "NOT PRINT BODY"
	if withBody {
		body, err := admin.Body(m)
		if err != nil {
			return err
		}
		if shown, err = decodeText(body, charset); err != nil {
			return err
		}
	}
	s.printf("MSGID: %s %s BODY: %s\n", admin.MessageID(m), line, shown)
	return nil
}

func printMsgCommand(o *options) *cobra.Command {
	var topic string
	var within span
	charset, expression, withBody := "UTF-8", protocol.SubscribeAll, true
	cmd := rocketmq("printMsg", "Print the messages of a topic")
	needText(cmd, &topic, "topic", "t", "topic")
	text(cmd, &charset, "charsetName", "c", "character set of the bodies")
	text(cmd, &expression, "subExpression", "s", "only these tags: TagA || TagB")
	within.flags(cmd, "b", "e")
	trueFalse(cmd, &withBody, "printBody", "d", "with the bodies")
	return o.run(cmd, forever, func(s *session) error {
		route, err := s.client.Route(s.ctx, topic)
		if err != nil {
			return err
		}
		for _, rq := range route.Readable {
			q := protocol.MessageQueue{Topic: topic, BrokerName: rq.Broker, QueueID: rq.ID}
			addr, err := route.Any(rq.Broker)
			if err != nil {
				return err
			}
			from, to, err := within.offsets(s, addr, q)
			if err != nil {
				return err
			}
			s.printf("minOffset=%d, maxOffset=%d, %s\n", from, to, queueText(q))
			err = readQueue(s, addr, q, "", expression, from, to, func(p *admin.Pulled) (bool, error) {
				switch p.Status {
				case admin.PullFound:
					for _, m := range p.Messages {
						if err := messageLine(s, m, q.BrokerName, p, charset, withBody); err != nil {
							return false, err
						}
					}
				case admin.PullNoMatchedMsg:
					s.printf("%s no matched msg. status=%s, offset=%d\n", queueText(q), p.Status, p.Next)
				default:
					s.printf("%s print msg finished. status=%s, offset=%d\n", queueText(q), p.Status, p.Next)
					return false, nil
				}
				return true, s.flush()
			})
			if err != nil {
				return err
			}
			s.print("--------------------------------------------------------\n")
		}
		return nil
	})
}

func printMsgByQueueCommand(o *options) *cobra.Command {
	var q queueFlags
	var within span
	var show, withBody, byTag bool
	charset, expression := "UTF-8", protocol.SubscribeAll
	cmd := rocketmq("printMsgByQueue", "Print the messages of one queue, or count them by tag")
	needText(cmd, &q.topic, "topic", "t", "topic")
	needText(cmd, &q.broker, "brokerName", "a", "name of the broker")
	needQueue(cmd, &q.id, "queueId", "i")
	text(cmd, &charset, "charsetName", "c", "character set of the bodies")
	text(cmd, &expression, "subExpression", "s", "only these tags: TagA || TagB")
	within.flags(cmd, "b", "e")
	trueFalse(cmd, &show, "print", "p", "print the messages")
	trueFalse(cmd, &withBody, "printBody", "d", "with the bodies")
	trueFalse(cmd, &byTag, "calculate", "f", "count them by tag")
	return o.run(cmd, forever, func(s *session) error {
		addr, err := q.addr(s)
		if err != nil {
			return err
		}
		from, to, err := within.offsets(s, addr, q.queue())
		if err != nil {
			return err
		}
		counts := map[string]int{}
		err = readQueue(s, addr, q.queue(), "", expression, from, to, func(p *admin.Pulled) (bool, error) {
			for _, m := range p.Messages {
				if tag, ok := m.Property(message.PropertyTags); ok && strings.TrimSpace(string(tag)) != "" {
					counts[string(tag)]++
				}
				if show {
					if err := messageLine(s, m, q.broker, p, charset, withBody); err != nil {
						return false, err
					}
				}
			}
			return p.Status == admin.PullFound || p.Status == admin.PullNoMatchedMsg, s.flush()
		})
		if err != nil || !byTag {
			return err
		}
		tags := sorted(counts)
		slices.SortStableFunc(tags, func(a, b string) int { return cmp.Compare(counts[b], counts[a]) })
		for _, tag := range tags {
			s.printf("Tag: %-30s Count: %d\n", tag, counts[tag])
		}
		return nil
	})
}

func consumeMessageCommand(o *options) *cobra.Command {
	var q queueFlags
	var within span
	var offset int64
	var group string
	count := int64(128)
	cmd := rocketmq("consumeMessage", "Print messages of a topic or a queue; no group's offset moves")
	needText(cmd, &q.topic, "topic", "t", "topic")
	text(cmd, &q.broker, "brokerName", "b", "name of the broker")
	f := cmd.Flags()
	f.Int32VarP(&q.id, "queueId", "i", 0, "number of the queue")
	f.Int64VarP(&offset, "offset", "o", 0, "offset in the queue")
	text(cmd, &group, "consumerGroup", "g", "consumer group to read as")
	within.flags(cmd, "s", "e")
	f.Int64VarP(&count, "MessageNumber", "c", count, "how many messages")
	return o.run(cmd, forever, func(s *session) error {
		switch {
		case count <= 0:
			return errors.New("please input a positive messageNumber (-c)")
		case f.Changed("queueId") && q.broker == "":
			return errors.New("please set the brokerName (-b) before queueId (-i)")
		case f.Changed("offset") && !f.Changed("queueId"):
			return errors.New("please set queueId (-i) before offset (-o)")
		}
		if err := within.past(time.Now()); err != nil {
			return err
		}
		route, err := s.client.Route(s.ctx, q.topic)
		if err != nil {
			return err
		}
		one := f.Changed("queueId")
		queues := []admin.Queue{{Broker: q.broker, ID: q.id}}
		if !one {
			queues = route.Readable
		}
		left := count
		for _, rq := range queues {
			if left <= 0 {
				break
			}
			mq := protocol.MessageQueue{Topic: q.topic, BrokerName: rq.Broker, QueueID: rq.ID}
			if q.broker != "" && rq.Broker != q.broker {
				continue
			}
			addr, err := route.Any(rq.Broker)
			if err != nil {
				return err
			}
			from, to, err := within.offsets(s, addr, mq)
			if err != nil {
				return err
			}
			if offset > to {
				return fmt.Errorf("%s no matched msg, offset=%d; it ends at %d", queueText(mq), offset, to)
			}
			from = max(from, offset)
			if to-from > left {
				if one {
					s.printf("The oldler %d message will be provided\n", left) // as RocketMQ spells it
				} else {
					s.printf("The older %d message of the %d queue will be provided\n", left, mq.QueueID)
				}
				to = from + left
			}
			left -= to - from
			if left > 0 {
				to++ // ask at the end of the queue too, to say that there is no more
			}
			if err := consumeQueue(s, addr, mq, group, from, to); err != nil {
				return err
			}
		}
		return nil
	})
}

// past refuses a span that has not happened yet.
func (sp *span) past(now time.Time) error {
	var at [2]int64
	for i, text := range []string{sp.begin, sp.end} {
		if text == "" {
			continue
		}
		ms, err := parseTimestamp(text)
		if err != nil {
			return err
		}
		if ms > now.UnixMilli() {
			return fmt.Errorf("please set the %s before now", []string{"beginTimestamp (-s)", "endTimestamp (-e)"}[i])
		}
		at[i] = ms
	}
	if sp.begin != "" && sp.end != "" && at[0] > at[1] {
		return errors.New("please make sure that the beginTimestamp is less than or equal to the endTimestamp")
	}
	return nil
}

// consumeQueue prints the messages of a queue from an offset up to another, and
// what there is instead.
func consumeQueue(s *session, addr string, q protocol.MessageQueue, group string, from, to int64) error {
	return readQueue(s, addr, q, group, protocol.SubscribeAll, from, to, func(p *admin.Pulled) (bool, error) {
		switch p.Status {
		case admin.PullFound:
			s.print("Consume ok\n")
			for _, m := range p.Messages {
				if err := messageLine(s, m, q.BrokerName, p, "UTF-8", true); err != nil {
					return false, err
				}
			}
		case admin.PullNoMatchedMsg:
			s.printf("%s no matched msg. status=%s, offset=%d\n", queueText(q), p.Status, p.Next)
		default:
			s.printf("%s print msg finished. status=%s, offset=%d\n", queueText(q), p.Status, p.Next)
			return false, nil
		}
		return true, s.flush()
	})
}
