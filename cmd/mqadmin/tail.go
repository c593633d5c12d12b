package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
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
}

func tailCommand(o *options) *cobra.Command {
	var t tailOptions
	cmd := &cobra.Command{
		Use:               "tail TOPIC",
		Short:             "Print the messages of a topic, a line each",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeTopics,
	}
	f := cmd.Flags()
	f.BoolVarP(&t.follow, "follow", "f", false, "go on with messages that arrive later, until Ctrl-C")
	f.BoolVar(&t.fromEnd, "from-end", false, "begin behind what is there")
	f.Int32Var(&t.queue, "queue", admin.AnyQueue, "one queue only")
	outputFlag(cmd, &t.output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := o.client()
		if err != nil {
			return err
		}
		defer client.Close()
		return t.run(cmd.Context(), client, o.timeout, args[0], cmd.OutOrStdout())
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
		if t.fromEnd {
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
	body, err := message.DecompressBody(m.SysFlag(), m.Body(), bodyMax)
	if err != nil {
		return fmt.Errorf("message at queue %d offset %d: %w", m.QueueID(), m.QueueOffset(), err)
	}
	if t.output != "json" {
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
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(out) // a line each, to be read while it grows
}
