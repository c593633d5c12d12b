package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
)

// tailOptions are the flags of mqadmin tail.
type tailOptions struct {
	follow  bool
	fromEnd bool
	queue   int32
	output  string
	from    string // a time, "" for the beginning
	tag     string // only messages with this tag
	format  string
	since   int64 // from, in unix ms
}

func tailCommand(o *options) *cobra.Command {
	var t tailOptions
	cmd := &cobra.Command{
		Use:   "tail TOPIC[@TAG]",
		Short: "Print the messages of a topic, a line each",
		Long: `Print the messages of a topic, a line each. With --format a line has what these
stand for, and the text between them: %t topic, %q queue, %o offset, %T tag, %k keys,
%b body, %i message id, %s store time, %n size of the body, %% a percent sign;
\n and \t are a new line and a tab.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeTopics,
	}
	f := cmd.Flags()
	f.BoolVarP(&t.follow, "follow", "f", false, "go on with messages that arrive later, until Ctrl-C")
	f.BoolVar(&t.fromEnd, "from-end", false, "begin behind what is there")
	f.StringVar(&t.from, "from", "", "begin at a time, or so long ago: 10m, 2026-10-02T15:04:05")
	f.StringVar(&t.format, "format", "", "what a line has, e.g. '%t %q %o %k %b\\n'")
	f.Int32Var(&t.queue, "queue", admin.AnyQueue, "one queue only")
	outputFlag(cmd, &t.output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var topic string
		topic, t.tag, _ = strings.Cut(args[0], "@")
		if err := t.check(); err != nil {
			return err
		}
		client, err := o.client()
		if err != nil {
			return err
		}
		defer client.Close()
		return t.run(cmd.Context(), client, o.timeout, topic, cmd.OutOrStdout())
	}
	return cmd
}

func (t *tailOptions) run(ctx context.Context, client *admin.Client, timeout time.Duration, topic string, w io.Writer) error {
	readers, err := t.readers(ctx, client, timeout, topic)
	if err != nil {
		return err
	}
	if err := merge(ctx, readers, timeout, func(m message.Stored) error { return t.print(w, m) }); err != nil || !t.follow {
		return err
	}
	return t.followAll(ctx, readers, w)
}

func (t *tailOptions) readers(ctx context.Context, client *admin.Client, timeout time.Duration, topic string) ([]*admin.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	data, err := client.RouteData(ctx, topic) // not Route: a template is no topic
	if err != nil {
		return nil, err
	}
	route, err := client.Route(ctx, topic)
	if err != nil {
		return nil, err
	}
	var readers []*admin.Reader
	for _, q := range route.Readable {
		if t.queue != admin.AnyQueue && t.queue != q.ID {
			continue
		}
		from := int64(0)
		switch {
		case t.since > 0:
			addr, err := route.Any(q.Broker)
			if err != nil {
				return nil, err
			}
			if from, err = client.SearchOffset(ctx, addr, topic, q.ID, t.since); err != nil {
				return nil, err
			}
		case t.fromEnd:
			addr, err := route.Any(q.Broker)
			if err != nil {
				return nil, err
			}
			if from, err = client.MaxOffset(ctx, addr, topic, q.ID); err != nil {
				return nil, err
			}
		}
		readers = append(readers, client.NewReader(topic, q, from))
	}
	if len(readers) == 0 {
		return nil, fmt.Errorf("topic %s has no readable queue %d (%d brokers serve it)", topic, t.queue, len(data.BrokerDatas))
	}
	return readers, nil
}

// merge reads every queue to its present end and hands the messages over by
// store time; within a queue always in order.
func merge(ctx context.Context, readers []*admin.Reader, timeout time.Duration, each func(message.Stored) error) error {
	heads := make([][]message.Stored, len(readers))
	ended := make([]bool, len(readers))
	for {
		next := -1
		for i, r := range readers {
			for len(heads[i]) == 0 && !ended[i] {
				var err error
				if heads[i], err = read(ctx, r, timeout); err != nil {
					return err
				}
				ended[i] = len(heads[i]) == 0 && r.Next() >= r.Max()
			}
			if len(heads[i]) > 0 && (next < 0 || heads[i][0].StoreTimestamp() < heads[next][0].StoreTimestamp()) {
				next = i
			}
		}
		if next < 0 {
			return nil
		}
		if err := each(heads[next][0]); err != nil {
			return err
		}
		heads[next] = heads[next][1:]
	}
}

func read(ctx context.Context, r *admin.Reader, timeout time.Duration) ([]message.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return r.Read(ctx, 0)
}

// holdTime is how long the broker keeps a reading request that finds nothing.
const holdTime = 10 * time.Second

// followAll goes on until ctx ends, which is the usual end and no error.
func (t *tailOptions) followAll(ctx context.Context, readers []*admin.Reader, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type batch struct {
		msgs []message.Stored
		err  error
	}
	batches := make(chan batch)
	for _, r := range readers {
		go func() {
			for ctx.Err() == nil {
				msgs, err := r.Read(ctx, holdTime)
				select {
				case batches <- batch{msgs, err}:
				case <-ctx.Done():
				}
			}
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-batches:
			if b.err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return b.err
			}
			for _, m := range b.msgs {
				if err := t.print(w, m); err != nil {
					return err
				}
			}
		}
	}
}

// tailed is one message as printed with -o json.
type tailed struct {
	Topic     string `json:"topic"`
	Queue     int32  `json:"queue"`
	Offset    int64  `json:"offset"`
	StoreTime int64  `json:"storeTime"` // unix ms
	MsgID     string `json:"msgId"`
	Tags      string `json:"tags,omitempty"`
	Keys      string `json:"keys,omitempty"`
	Body      string `json:"body"`
	Base64    bool   `json:"base64,omitempty"` // the body is no UTF-8 and given in base64
}

// bodyMax bounds what a compressed body may become.
const bodyMax = 64 << 20

func (t *tailOptions) print(w io.Writer, m message.Stored) error {
	if tag, _ := m.Property(message.PropertyTags); t.tag != "" && string(tag) != t.tag {
		return nil
	}
	body, err := message.DecompressBody(m.SysFlag(), m.Body(), bodyMax)
	if err != nil {
		return fmt.Errorf("message at queue %d offset %d: %w", m.QueueID(), m.QueueOffset(), err)
	}
	if t.format != "" {
		_, err := w.Write(t.line(m, body))
		return err
	}
	if !isData(t.output) {
		_, err := w.Write(append(body[:len(body):len(body)], '\n'))
		return err
	}
	out := tailed{Topic: string(m.Topic()), Queue: m.QueueID(), Offset: int64(m.QueueOffset()), StoreTime: m.StoreTimestamp(),
		MsgID: message.OffsetMsgID(m.StoreHost(), m.PhyOffset()), Body: string(body)}
	tags, _ := m.Property(message.PropertyTags)
	keys, _ := m.Property(message.PropertyKeys)
	out.Tags, out.Keys = string(tags), string(keys)
	if !utf8.Valid(body) {
		out.Body, out.Base64 = base64.StdEncoding.EncodeToString(body), true
	}
	return printNext(w, t.output, out)
}

// check refuses flags that contradict each other or make no sense.
func (t *tailOptions) check() error {
	if t.format != "" && t.output != formatTable {
		return errors.New("give -o or --format, not both")
	}
	if t.from != "" {
		if t.fromEnd {
			return errors.New("give --from or --from-end, not both")
		}
		at, err := parseWhen(t.from, time.Now())
		if err != nil {
			return err
		}
		t.fromEnd, t.since = at == latest, max(at, 0)
	}
	for i := 0; i < len(t.format); i++ {
		if t.format[i] != '%' {
			continue
		}
		if i++; i == len(t.format) || !strings.ContainsRune("tqoTkbisn%", rune(t.format[i])) {
			return fmt.Errorf("--format %q: behind a percent sign comes one of t q o T k b i s n %%", t.format)
		}
	}
	return nil
}

// line is a message as --format asks, which check has seen.
func (t *tailOptions) line(m message.Stored, body []byte) []byte {
	var out []byte
	for i := 0; i < len(t.format); i++ {
		c := t.format[i]
		if i+1 == len(t.format) || c != '%' && c != '\\' {
			out = append(out, c)
			continue
		}
		i++
		if c == '\\' {
			switch t.format[i] {
			case 'n':
				out = append(out, '\n')
			case 't':
				out = append(out, '\t')
			default:
				out = append(out, c, t.format[i])
			}
			continue
		}
		switch t.format[i] {
		case 't':
			out = append(out, m.Topic()...)
		case 'q':
			out = strconv.AppendInt(out, int64(m.QueueID()), 10)
		case 'o':
			out = strconv.AppendInt(out, int64(m.QueueOffset()), 10)
		case 'T':
			tag, _ := m.Property(message.PropertyTags)
			out = append(out, tag...)
		case 'k':
			keys, _ := m.Property(message.PropertyKeys)
			out = append(out, keys...)
		case 'b':
			out = append(out, body...)
		case 'i':
			out = append(out, message.OffsetMsgID(m.StoreHost(), m.PhyOffset())...)
		case 's':
			out = time.UnixMilli(m.StoreTimestamp()).AppendFormat(out, "2006-01-02T15:04:05.000Z07:00")
		case 'n':
			out = strconv.AppendInt(out, int64(len(body)), 10)
		case '%':
			out = append(out, '%')
		}
	}
	return out
}
