package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
)

// sendOptions are the flags of mqadmin send.
type sendOptions struct {
	file        string
	tags, keys  string
	props       []string
	delay       time.Duration
	properties  []byte // of every message, made of props and delay
	queue       int32
	outstanding int
	output      string
}

func sendCommand(o *options) *cobra.Command {
	var s sendOptions
	cmd := &cobra.Command{
		Use:   "send TOPIC [MESSAGE…]",
		Short: "Send messages: the arguments, or a line per message from --file or standard input",
		Long: `Send messages: the arguments, or a line per message from --file or standard input.

A send that fails is retried with a fresh route for as long as --timeout allows,
so a message can be stored twice when a leader dies. With --outstanding 1 the
messages of a queue keep their order even then.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: o.completeTopics,
	}
	f := cmd.Flags()
	f.StringVarP(&s.file, "file", "f", "", `file with a line per message ("-" is standard input)`)
	f.StringVarP(&s.tags, "tags", "c", "", "tag of the messages")
	f.StringArrayVarP(&s.props, "property", "p", nil, "key=value, a property of the messages; may be repeated")
	f.DurationVar(&s.delay, "delay", 0, "deliver them so much later (a broker of RocketMQ 4 does not know that)")
	f.StringVarP(&s.keys, "keys", "k", "", "keys of the messages, separated by spaces")
	f.Int32VarP(&s.queue, "queue", "i", admin.AnyQueue, "queue to send to; -1 spreads over all")
	f.IntVar(&s.outstanding, "outstanding", 64, "sends under way at a time")
	outputFlag(cmd, &s.output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if s.outstanding < 1 || s.outstanding > 1<<16 {
			return fmt.Errorf("--outstanding %d is not allowed: 1 to %d", s.outstanding, 1<<16)
		}
		if err := s.checkProperties(); err != nil {
			return err
		}
		client, err := o.client()
		if err != nil {
			return err
		}
		defer client.Close()
		return s.run(cmd, client, o.timeout, args[0], args[1:])
	}
	return cmd
}

// checkProperties turns --property and --delay into properties.
func (s *sendOptions) checkProperties() error {
	for _, text := range s.props {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" || strings.ContainsAny(text, "\x01\x02") {
			return fmt.Errorf("--property %q is not allowed: key=value", text)
		}
		s.properties = message.AppendProperty(s.properties, key, value)
	}
	if s.delay < 0 || s.delay > 0 && s.delay < time.Millisecond {
		return fmt.Errorf("--delay %s is not allowed: at least 1ms", s.delay)
	}
	if s.delay > 0 {
		s.properties = message.AppendProperty(s.properties, message.PropertyTimerDelayMS, strconv.FormatInt(s.delay.Milliseconds(), 10))
	}
	return nil
}

// sent is one message as printed with -o json.
type sent struct {
	Topic  string `json:"topic"`
	Broker string `json:"broker"`
	Queue  int32  `json:"queue"`
	Offset int64  `json:"offset"`
	MsgID  string `json:"msgId"`
}

// sentSummary is what -o json prints for a file or standard input.
type sentSummary struct {
	Topic   string `json:"topic"`
	Sent    int    `json:"sent"`
	TookMs  int64  `json:"tookMs"`
	Retried int    `json:"retried"` // sends that needed more than one attempt
}

func (s *sendOptions) run(cmd *cobra.Command, client *admin.Client, timeout time.Duration, topic string, args []string) error {
	lines, closeFile, err := s.source(cmd, args)
	if err != nil {
		return err
	}
	defer closeFile()
	began := time.Now()
	var results []admin.SendResult
	sum := sentSummary{Topic: topic}
	err = s.pump(cmd.Context(), client, timeout, topic, lines, func(r admin.SendResult) {
		sum.Sent++
		if r.Attempts > 1 {
			sum.Retried++
		}
		if len(args) > 0 {
			results = append(results, r)
		}
	})
	sum.TookMs = time.Since(began).Milliseconds()
	if err != nil {
		return fmt.Errorf("%w (%d messages were acknowledged before)", err, sum.Sent)
	}
	w := cmd.OutOrStdout()
	for _, r := range results {
		one := sent{topic, r.Broker, r.Queue, r.Offset, r.MsgID}
		if s.output == formatYAML {
			err = printNext(w, s.output, one)
		} else if s.output == formatJSON {
			err = printJSON(w, one)
		} else {
			_, err = fmt.Fprintf(w, "%s  queue %d  offset %d  %s\n", r.Broker, r.Queue, r.Offset, r.MsgID)
		}
		if err != nil {
			return err
		}
	}
	if len(args) > 0 {
		return nil
	}
	if isData(s.output) {
		return printData(w, s.output, sum)
	}
	_, err = fmt.Fprintf(w, "sent %d messages to topic %s in %.2f s\n", sum.Sent, topic, time.Since(began).Seconds())
	return err
}

// source returns a function that yields one body after the other, io.EOF at the
// end.
func (s *sendOptions) source(cmd *cobra.Command, args []string) (next func() ([]byte, error), done func(), err error) {
	if len(args) > 0 {
		if s.file != "" {
			return nil, nil, errors.New("give messages as arguments or by --file, not both")
		}
		return func() ([]byte, error) {
			if len(args) == 0 {
				return nil, io.EOF
			}
			body := []byte(args[0])
			args = args[1:]
			return body, nil
		}, func() {}, nil
	}
	in, done := cmd.InOrStdin(), func() {}
	if s.file != "" && s.file != "-" {
		file, err := os.Open(s.file)
		if err != nil {
			return nil, nil, fmt.Errorf("read messages: %w", err)
		}
		in, done = file, func() { file.Close() }
	}
	r := bufio.NewReader(in)
	return func() ([]byte, error) {
		line, err := r.ReadBytes('\n')
		if len(line) == 0 {
			if err != nil && !errors.Is(err, io.EOF) {
				err = fmt.Errorf("read messages: %w", err)
			}
			return nil, err
		}
		return bytes.TrimSuffix(line, []byte("\n")), nil
	}, done, nil
}

// pump sends bodies in the order they come, a bounded number under way, and
// hands every result to done, one at a time. It stops at the first failure.
func (s *sendOptions) pump(ctx context.Context, client *admin.Client, timeout time.Duration, topic string, next func() ([]byte, error), done func(admin.SendResult)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, s.outstanding)
	var wg sync.WaitGroup
	var mu sync.Mutex // serialises done
	finish := func(r admin.SendResult, err error) {
		if err != nil {
			cancel(err)
		} else {
			mu.Lock()
			done(r)
			mu.Unlock()
		}
		<-slots
		wg.Done()
	}
	var failed error
	for ctx.Err() == nil {
		body, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			failed = err
			break
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		wg.Add(1)
		m := admin.Message{Topic: topic, Queue: s.queue, Body: body, Tags: s.tags, Keys: s.keys, Properties: s.properties}
		// The first attempt leaves in the order of the input; only a message that
		// fails falls behind.
		client.SendAsync(ctx, m, func(r admin.SendResult, err error) {
			if err == nil {
				r.Attempts = 1
				finish(r, nil)
				return
			}
			go func() {
				sctx, stop := context.WithTimeout(ctx, timeout)
				defer stop()
				r, err := client.Send(sctx, m)
				r.Attempts++
				finish(r, err)
			}()
		})
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
