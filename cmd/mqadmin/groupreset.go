package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// resetOptions are the flags of `group reset-offset`.
type resetOptions struct {
	topic, to, output string
	dryRun, yes       bool
}

// resetRow is one queue of `group reset-offset`.
type resetRow struct {
	Topic  string `json:"topic"`
	Broker string `json:"broker"`
	Queue  int32  `json:"queue"`
	From   int64  `json:"from"` // -1: the group had no offset
	To     int64  `json:"to"`
}

func (r resetRow) rowName() string {
	return r.Topic + "@" + r.Broker + "-" + strconv.Itoa(int(r.Queue))
}

func (r resetRow) columns() []string {
	return []string{r.Topic, r.Broker, strconv.Itoa(int(r.Queue)), strconv.FormatInt(r.From, 10), strconv.FormatInt(r.To, 10)}
}

func groupResetCommand(o *options) *cobra.Command {
	var r resetOptions
	cmd := &cobra.Command{
		Use:   "reset-offset GROUP --topic TOPIC --to WHEN",
		Short: "Move a consumer group to another place in a topic",
		Long: `Move a consumer group to another place in a topic. WHEN is earliest, latest, a
duration back from now (30m, 24h), a time (2026-10-02T15:04:05, local unless it
has a zone) or milliseconds since 1970. Members that are connected are told and go
on from there at once; without members the offsets are stored for the next start.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeGroups,
	}
	f := cmd.Flags()
	f.StringVarP(&r.topic, "topic", "t", "", "topic")
	f.StringVar(&r.to, "to", "", "earliest, latest, a duration back, or a time")
	f.BoolVar(&r.dryRun, "dry-run", false, "show what would be done")
	yesFlag(cmd, &r.yes)
	must(cmd.MarkFlagRequired("topic"))
	must(cmd.MarkFlagRequired("to"))
	must(cmd.RegisterFlagCompletionFunc("topic", o.completeTopicFlag))
	must(cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"earliest", "latest", "1h", "24h"}, cobra.ShellCompDirectiveNoFileComp)))
	outputFlag(cmd, &r.output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at, err := parseWhen(r.to, time.Now())
		if err == nil && !r.dryRun {
			err = o.confirm(cmd, r.yes, "reset group", args[0])
		}
		if err != nil {
			return err
		}
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		rows, missing := r.reset(ctx, client, args[0], at)
		if unanswered(missing) {
			return missing
		}
		err = printRows(cmd.OutOrStdout(), r.output, rows, []string{"TOPIC", "BROKER", "QUEUE", "FROM", "TO"}, resetRow.columns)
		return cmp.Or(err, missing)
	}
	return cmd
}

// Times that stand for the ends of a queue.
const (
	earliest = int64(0)
	latest   = int64(-1)
)

// parseWhen reads a point in a topic: milliseconds since 1970, earliest or latest.
func parseWhen(text string, now time.Time) (int64, error) {
	switch text {
	case "earliest":
		return earliest, nil
	case "latest", "now":
		return latest, nil
	}
	if d, err := time.ParseDuration(strings.TrimPrefix(text, "-")); err == nil && d > 0 {
		return now.Add(-d).UnixMilli(), nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 {
		return ms, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateTime, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil && t.UnixMilli() > 0 {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%q is no time: give earliest, latest, a duration back like 30m, a time like %s, or milliseconds since 1970",
		text, now.Format("2006-01-02T15:04:05"))
}

// reset moves the group on every broker that has the topic.
func (r *resetOptions) reset(ctx context.Context, client *admin.Client, group string, at int64) ([]resetRow, error) {
	targets, err := groupTargets(ctx, client, "")
	if err != nil {
		return nil, err
	}
	stats, err := client.AllTopicStats(ctx, r.topic)
	if err != nil {
		return nil, err
	}
	if len(stats) == 0 {
		return nil, explain.UnknownTopic(nil, r.topic, len(client.NameServers()), nil)
	}
	answers, missing := askAll(ctx, targets, func(ctx context.Context, t target) ([]resetRow, error) {
		var rows []resetRow
		for _, q := range stats {
			if q.Queue.BrokerName != t.Broker {
				continue
			}
			row, err := r.plan(ctx, client, t.Addr, group, q, at)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
		if r.dryRun || len(rows) == 0 {
			return rows, nil
		}
		return rows, carryOut(ctx, client, t.Addr, group, at, rows)
	})
	rows := slices.Concat(answers...)
	slices.SortFunc(rows, func(a, b resetRow) int {
		return cmp.Or(strings.Compare(a.Broker, b.Broker), cmp.Compare(a.Queue, b.Queue))
	})
	return rows, missing
}

// plan finds where one queue shall be read from.
func (r *resetOptions) plan(ctx context.Context, client *admin.Client, addr, group string, q admin.QueueStats, at int64) (resetRow, error) {
	row := resetRow{Topic: r.topic, Broker: q.Queue.BrokerName, Queue: q.Queue.QueueID, From: -1}
	from, known, err := client.ConsumerOffset(ctx, addr, group, r.topic, q.Queue.QueueID)
	if err != nil {
		return row, err
	}
	if known {
		row.From = from
	}
	switch at {
	case earliest:
		row.To = q.MinOffset
	case latest:
		row.To = q.MaxOffset
	default:
		row.To, err = client.SearchOffset(ctx, addr, r.topic, q.Queue.QueueID, at)
	}
	return row, err
}

// carryOut tells the members of the group through the broker, or when none is
// connected stores the offsets.
func carryOut(ctx context.Context, client *admin.Client, addr, group string, at int64, rows []resetRow) error {
	members, err := client.Consumers(ctx, addr, group)
	if err != nil {
		return err
	}
	if len(members.Connections) == 0 {
		for _, row := range rows {
			if err := client.CommitOffset(ctx, addr, group, row.Topic, row.Queue, row.To); err != nil {
				return err
			}
		}
		return nil
	}
	offsets, err := client.ResetOffset(ctx, addr, group, rows[0].Topic, at, true)
	if err != nil {
		return err
	}
	for i, row := range rows {
		to, told := offsets[protocol.MessageQueue{Topic: row.Topic, BrokerName: row.Broker, QueueID: row.Queue}]
		if !told {
			return fmt.Errorf("%s did not reset queue %d of topic %s", addr, row.Queue, row.Topic)
		}
		rows[i].To = to
	}
	return nil
}

func groupRmCommand(o *options) *cobra.Command {
	var keepOffsets, yes bool
	cmd := &cobra.Command{
		Use: "rm GROUP", Aliases: []string{"delete"}, Short: "Delete a consumer group with its offsets, from all brokers", Args: cobra.ExactArgs(1),
		ValidArgsFunction: o.completeGroups,
	}
	cmd.Flags().BoolVar(&keepOffsets, "keep-offsets", false, "a group of this name goes on where this one was")
	yesFlag(cmd, &yes)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.confirm(cmd, yes, "delete group", args[0]); err != nil {
			return err
		}
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		d, err := describeGroup(ctx, client, args[0])
		if err != nil {
			return err
		}
		if len(d.Members) > 0 {
			return fmt.Errorf("group %s has %d connected members, e.g. %s: they would make it again; stop them first", args[0], len(d.Members), d.Members[0].ClientID)
		}
		targets, err := groupTargets(ctx, client, "")
		if err != nil {
			return err
		}
		for _, t := range targets {
			if !slices.Contains(d.Brokers, t.Broker) {
				continue
			}
			if err := client.DeleteGroup(ctx, t.Addr, args[0], !keepOffsets); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "deleted group %s from %s\n", args[0], t.Broker); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}
