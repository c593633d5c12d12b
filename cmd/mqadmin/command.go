package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// What the sub-commands that RocketMQ's mqadmin has too are made of. Their
// names, flags, columns and success lines are those of release 4.9.4. Two things
// differ on purpose: the exit code is not 0 when something failed, with the
// reason on standard error, and the last line always ends.

// rocketmqGroup is the id of their part of the list of commands.
const rocketmqGroup = "rocketmq"

// rocketmq returns an empty sub-command.
func rocketmq(name, short string, aliases ...string) *cobra.Command {
	return &cobra.Command{Use: name, Aliases: aliases, Short: short, GroupID: rocketmqGroup, Args: cobra.NoArgs}
}

// session is what one run of a sub-command works with.
type session struct {
	*printer
	ctx    context.Context
	client *admin.Client
	// warn prints a line on standard error that is no failure.
	warn func(format string, args ...any)
}

// pause hands what was printed to the output and waits; it ends early with an
// error when the command is told to end.
func (s *session) pause(d time.Duration) error {
	if err := s.flush(); err != nil {
		return err
	}
	select {
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-time.After(d):
		return nil
	}
}

// forever is the limit of commands that run until they are told to end.
const forever time.Duration = 0

// run gives a sub-command its body. The time limit is --timeout, unless that was
// not given and limit is more.
func (o *options) run(cmd *cobra.Command, limit time.Duration, body func(s *session) error) *cobra.Command {
	return o.runArgs(cmd, limit, func(s *session, _ []string) error { return body(s) })
}

// runArgs is run for a sub-command with arguments.
func (o *options) runArgs(cmd *cobra.Command, limit time.Duration, body func(s *session, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := o.client()
		if err != nil {
			return err
		}
		defer client.Close()
		ctx := cmd.Context()
		if limit != forever || cmd.Flags().Changed("timeout") {
			most := o.timeout
			if !cmd.Flags().Changed("timeout") {
				most = max(most, limit)
			}
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, most, fmt.Errorf("not done within --timeout %s", most))
			defer cancel()
		}
		s := &session{printer: newPrinter(cmd.OutOrStdout()), ctx: ctx, client: client}
		s.warn = func(format string, args ...any) {
			fmt.Fprintf(cmd.ErrOrStderr(), "mqadmin: "+format+"\n", args...)
		}
		err = body(s, args)
		if limit == forever && cmd.Context().Err() != nil {
			err = nil // it was told to end
		}
		return errors.Join(err, s.flush())
	}
	return cmd
}

// ordinary is the time limit of commands that ask a few servers.
const ordinary = 10 * time.Second

// lengthy is the limit of commands whose answers take long: those that a broker
// passes on to its clients, and those that ask for many topics.
const lengthy = time.Minute

// trimmed is a flag's text without the blanks around it.
type trimmed struct{ into *string }

func (t trimmed) String() string {
	if t.into == nil {
		return ""
	}
	return *t.into
}
func (t trimmed) Type() string { return "string" }
func (t trimmed) Set(s string) error {
	*t.into = strings.TrimSpace(s)
	return nil
}

// truth is a flag that takes true or false as a value of its own: -s true.
// RocketMQ takes every other word for false.
type truth struct{ into *bool }

func (t truth) String() string { return strconv.FormatBool(t.into != nil && *t.into) }
func (t truth) Type() string   { return "true|false" }
func (t truth) Set(s string) error {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true":
		*t.into = true
	case "false":
		*t.into = false
	default:
		return errors.New("give true or false")
	}
	return nil
}

// text adds a flag that takes a text.
func text(cmd *cobra.Command, into *string, name, short, usage string) {
	cmd.Flags().VarP(trimmed{into}, name, short, usage)
}

// needText adds a flag that must be given.
func needText(cmd *cobra.Command, into *string, name, short, usage string) {
	text(cmd, into, name, short, usage)
	must(cmd.MarkFlagRequired(name))
}

// trueFalse adds a flag that takes true or false.
func trueFalse(cmd *cobra.Command, into *bool, name, short, usage string) {
	cmd.Flags().VarP(truth{into}, name, short, usage)
}

// scope is where a command acts: on one broker, or on those of a cluster.
type scope struct{ broker, cluster string }

// flags adds -b and -c, of which a command takes one.
func (t *scope) flags(cmd *cobra.Command) {
	text(cmd, &t.broker, "brokerAddr", "b", "address of a broker")
	text(cmd, &t.cluster, "clusterName", "c", "cluster, all its brokers")
	cmd.MarkFlagsMutuallyExclusive("brokerAddr", "clusterName")
	cmd.MarkFlagsOneRequired("brokerAddr", "clusterName")
}

// leaders returns the addresses of those that take changes.
func (t *scope) leaders(s *session) ([]string, error) {
	if t.broker != "" {
		return []string{t.broker}, nil
	}
	return s.client.Leaders(s.ctx, t.cluster)
}

// everyone returns the addresses of all members, each leader before its
// followers.
func (t *scope) everyone(s *session) ([]string, error) {
	if t.broker != "" {
		return []string{t.broker}, nil
	}
	brokers, err := s.client.Brokers(s.ctx, t.cluster)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, b := range brokers {
		if !slices.Contains(addrs, b.Addr) {
			addrs = append(addrs, b.Addr)
		}
	}
	return addrs, nil
}

// clockText prints a time in the form of RocketMQ's tables, to the millisecond.
func clockText(ms int64) string {
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05,000")
}

// secondText prints a time to the second.
func secondText(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05") }

// parseTimestamp reads milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS in
// the time zone of this machine.
func parseTimestamp(s string) (int64, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, nil
	}
	// Package time knows fractions of a second only after a point or a comma.
	if at := strings.LastIndexByte(s, ':'); at > 0 {
		if t, err := time.ParseInLocation("2006-01-02#15:04:05.000", s[:at]+"."+s[at+1:], time.Local); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%q is no time: give milliseconds since 1970 or yyyy-MM-dd#HH:mm:ss:SSS", s)
}

// must is for mistakes in this program that a first start would show.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// sortedQueues returns the queues of a table by topic, broker and id.
func sortedQueues[V any](m map[protocol.MessageQueue]V) []protocol.MessageQueue {
	return slices.SortedFunc(maps.Keys(m), func(a, b protocol.MessageQueue) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.BrokerName, b.BrokerName), cmp.Compare(a.QueueID, b.QueueID))
	})
}

// sorted returns the keys of a map in order.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// queueText names a queue as RocketMQ's tools do.
func queueText(q protocol.MessageQueue) string {
	return fmt.Sprintf("MessageQueue [topic=%s, brokerName=%s, queueId=%d]", q.Topic, q.BrokerName, q.QueueID)
}
