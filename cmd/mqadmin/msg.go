package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
)

// queriedMax is how many messages with one key a broker is asked for.
const queriedMax = 64

// msgRow is a message as `msg get` and `msg query` print it.
type msgRow struct {
	MsgID          string            `json:"msgId"`
	OffsetMsgID    string            `json:"offsetMsgId"`
	Topic          string            `json:"topic"`
	Queue          int32             `json:"queue"`
	Offset         int64             `json:"offset"`
	BornTime       int64             `json:"bornTime"`
	StoreTime      int64             `json:"storeTime"`
	BornHost       string            `json:"bornHost"`
	StoreHost      string            `json:"storeHost"`
	ReconsumeTimes int32             `json:"reconsumeTimes"`
	Properties     map[string]string `json:"properties"`
	Body           string            `json:"body"`
	Base64         bool              `json:"base64,omitempty"` // the body is no text
	Groups         []msgGroup        `json:"groups,omitempty"` // of msg get only
}

// msgGroup says how far a consumer group is with a message.
type msgGroup struct {
	Group  string `json:"group"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}

func (r msgRow) rowName() string { return r.MsgID }

func newMsgRow(m message.Stored) (msgRow, error) {
	body, err := admin.Body(m)
	if err != nil {
		return msgRow{}, fmt.Errorf("body of message %s: %w", admin.MessageID(m), err)
	}
	r := msgRow{
		MsgID: admin.MessageID(m), OffsetMsgID: offsetMsgID(m), Topic: string(m.Topic()), Queue: m.QueueID(), Offset: int64(m.QueueOffset()),
		BornTime: m.BornTimestamp(), StoreTime: m.StoreTimestamp(), BornHost: m.BornHost().String(), StoreHost: m.StoreHost().String(),
		ReconsumeTimes: m.ReconsumeTimes(), Properties: map[string]string{}, Body: string(body),
	}
	message.EachProperty(m.Properties(), func(key, value []byte) bool {
		r.Properties[string(key)] = string(value)
		return true
	})
	if !utf8.Valid(body) {
		r.Body, r.Base64 = base64.StdEncoding.EncodeToString(body), true
	}
	return r, nil
}

func msgCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "msg", Short: "Find a message, see who sent and consumed it, send it again"}
	cmd.AddCommand(msgGetCommand(o), msgQueryCommand(o), msgTraceCommand(o), msgResendCommand(o))
	return cmd
}

// msgIDHelp is about the two kinds of ids.
const msgIDHelp = `ID is what a send returned. An id that the producer made (msgId) needs --topic,
because brokers find it in that topic's index; an id that says where the message
lies (offsetMsgId) does not.`

// findMessages returns the copies of a message: one, or several where a send was
// repeated.
func findMessages(s *session, id, topic string) ([]message.Stored, error) {
	if topic != "" {
		found, err := s.client.Query(s.ctx, admin.KeyQuery{Topic: topic, Key: id, Unique: true, End: math.MaxInt64, Max: queriedMax})
		if errors.Is(err, admin.ErrNoMessage) {
			err = fmt.Errorf("%w; an id that says where the message lies takes no --topic", err)
		}
		return found, err
	}
	m, err := s.client.View(s.ctx, id)
	if err != nil {
		return nil, fmt.Errorf("%w; an id made by a producer needs --topic", err)
	}
	return []message.Stored{m}, nil
}

func topicFlag(o *options, cmd *cobra.Command, into *string) {
	cmd.Flags().StringVarP(into, "topic", "t", "", "topic of the message")
	must(cmd.RegisterFlagCompletionFunc("topic", o.completeTopicFlag))
}

func msgGetCommand(o *options) *cobra.Command {
	var topic, output string
	cmd := &cobra.Command{Use: "get ID", Short: "Show a message, and how far each consumer group is with it", Long: msgIDHelp, Args: cobra.ExactArgs(1)}
	topicFlag(o, cmd, &topic)
	outputFlag(cmd, &output)
	return o.runArgs(cmd, lengthy, func(s *session, args []string) error {
		found, err := findMessages(s, args[0], topic)
		if err != nil {
			return err
		}
		rows := make([]msgRow, 0, len(found))
		for _, m := range found {
			r, err := newMsgRow(m)
			if err != nil {
				return err
			}
			tracks, err := s.client.Tracks(s.ctx, m)
			if err != nil {
				return err
			}
			for _, t := range tracks {
				r.Groups = append(r.Groups, msgGroup{t.Group, string(t.Type), t.Detail})
			}
			rows = append(rows, r)
		}
		return printAs(s.w, output, rows, func(w io.Writer) error {
			var failures []error
			for i, r := range rows {
				if i > 0 {
					_, err := fmt.Fprintln(w)
					failures = append(failures, err)
				}
				failures = append(failures, r.print(w))
			}
			return errors.Join(failures...)
		})
	})
}

// print is a message for people.
func (r msgRow) print(w io.Writer) error {
	rows := [][]string{
		{"msgId", r.MsgID}, {"offsetMsgId", r.OffsetMsgID}, {"topic", r.Topic}, {"queue", strconv.Itoa(int(r.Queue))}, {"offset", strconv.FormatInt(r.Offset, 10)},
		{"born", clockText(r.BornTime) + " at " + r.BornHost}, {"stored", clockText(r.StoreTime) + " at " + r.StoreHost},
		{"reconsume times", strconv.Itoa(int(r.ReconsumeTimes))},
	}
	for _, key := range slices.Sorted(maps.Keys(r.Properties)) {
		rows = append(rows, []string{"property " + key, strconv.Quote(r.Properties[key])})
	}
	for _, g := range r.Groups {
		rows = append(rows, []string{"group " + g.Group, strings.TrimSpace(g.State + " " + g.Detail)})
	}
	if len(r.Groups) == 0 {
		rows = append(rows, []string{"groups", "none consumes the topic"})
	}
	body := "body"
	if r.Base64 {
		body = "body, base64"
	}
	return table(w, append(rows, []string{body, r.Body}))
}

func msgQueryCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "query TOPIC KEY", Short: "List the messages of a topic with a key, the oldest first", Args: cobra.ExactArgs(2),
		Long:              fmt.Sprintf("List the messages of a topic with a key, the oldest first, at most %d of each broker.", queriedMax),
		ValidArgsFunction: o.completeTopics,
	}
	outputFlag(cmd, &output, formatName)
	return o.runArgs(cmd, lengthy, func(s *session, args []string) error {
		found, err := s.client.Query(s.ctx, admin.KeyQuery{Topic: args[0], Key: args[1], End: math.MaxInt64, Max: queriedMax})
		if err != nil {
			return err
		}
		rows := make([]msgRow, 0, len(found))
		for _, m := range found {
			r, err := newMsgRow(m)
			if err != nil {
				return err
			}
			rows = append(rows, r)
		}
		return printRows(s.w, output, rows, []string{"ID", "QUEUE", "OFFSET", "STORED", "TAGS", "KEYS"}, func(r msgRow) []string {
			return []string{r.MsgID, strconv.Itoa(int(r.Queue)), strconv.FormatInt(r.Offset, 10), clockText(r.StoreTime),
				orDash(r.Properties[message.PropertyTags]), orDash(r.Properties[message.PropertyKeys])}
		})
	})
}

// traceRow is one step of a message as `msg trace` prints it.
type traceRow struct {
	Step   string `json:"step"` // sent or consumed
	Group  string `json:"group"`
	Client string `json:"client"`
	Time   int64  `json:"time"` // ms; 0: the client did not say
	CostMs int    `json:"costMs"`
	OK     bool   `json:"ok"`
}

func (r traceRow) rowName() string { return r.Group }

func msgTraceCommand(o *options) *cobra.Command {
	var topic, output string
	cmd := &cobra.Command{
		Use: "trace ID", Short: "Show who sent a message and who consumed it, where clients leave traces", Args: cobra.ExactArgs(1),
		Long: "ID is the id that the producer made.",
	}
	cmd.Flags().StringVar(&topic, "trace-topic", message.TopicTrace, "topic of the traces")
	outputFlag(cmd, &output)
	return o.runArgs(cmd, lengthy, func(s *session, args []string) error {
		records, err := readTrace(s, topic, args[0])
		if err != nil {
			return err
		}
		rows := make([]traceRow, 0, len(records))
		for _, r := range records {
			step := "sent"
			if r.kind == traceSubAfter {
				step = "consumed"
			}
			rows = append(rows, traceRow{step, r.group, r.client, r.time, r.cost, r.ok})
		}
		slices.SortStableFunc(rows, func(a, b traceRow) int { return int(a.Time - b.Time) })
		return printRows(s.w, output, rows, []string{"STEP", "GROUP", "CLIENT", "TIME", "COST", "STATUS"}, func(r traceRow) []string {
			status, at := "failed", "-"
			if r.OK {
				status = "success"
			}
			if r.Time > 0 {
				at = clockText(r.Time)
			}
			return []string{r.Step, r.Group, r.Client, at, (time.Duration(r.CostMs) * time.Millisecond).String(), status}
		})
	})
}

func msgResendCommand(o *options) *cobra.Command {
	var topic, output string
	cmd := &cobra.Command{
		Use: "resend ID", Short: "Send a copy of a message, a dead letter to the topic it came from", Args: cobra.ExactArgs(1),
		Long: "Send a copy of a message to its topic, with its body and properties; a dead letter\ngoes to the topic it came from.\n\n" + msgIDHelp,
	}
	topicFlag(o, cmd, &topic)
	outputFlag(cmd, &output)
	return o.runArgs(cmd, lengthy, func(s *session, args []string) error {
		found, err := findMessages(s, args[0], topic)
		if err != nil {
			return err
		}
		msg, err := copyOf(found[0])
		if err != nil {
			return err
		}
		res, err := s.client.Send(s.ctx, msg)
		if err != nil {
			return err
		}
		one := sent{msg.Topic, res.Broker, res.Queue, res.Offset, res.MsgID}
		return printAs(s.w, output, one, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s  %s  queue %d  offset %d  %s\n", one.Topic, one.Broker, one.Queue, one.Offset, one.MsgID)
			return err
		})
	})
}

// copyOf is a message to be sent again. What the broker or the retries of a dead
// letter added is left out; the producer's id stays, so that both are found.
func copyOf(m message.Stored) (admin.Message, error) {
	body, err := admin.Body(m)
	if err != nil {
		return admin.Message{}, err
	}
	topic, added := string(m.Topic()), []string{message.PropertyCluster}
	if message.IsDLQTopic(topic) {
		origin, ok := m.Property(message.PropertyRetryTopic)
		if !ok {
			return admin.Message{}, fmt.Errorf("message %s of %s does not say which topic it came from (property %s)", admin.MessageID(m), topic, message.PropertyRetryTopic)
		}
		topic = string(origin)
		added = append(added, message.PropertyRetryTopic, message.PropertyDelayTimeLevel, message.PropertyReconsumeTime,
			message.PropertyMaxReconsumeTimes, message.PropertyOriginMessageID)
	}
	var props []byte
	message.EachProperty(m.Properties(), func(key, value []byte) bool {
		if !slices.Contains(added, string(key)) {
			props = message.AppendProperty(props, key, value)
		}
		return true
	})
	return admin.Message{Topic: topic, Queue: admin.AnyQueue, Body: body, Properties: props}, nil
}
