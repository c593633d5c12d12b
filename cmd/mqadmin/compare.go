package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// errLogsDiffer says that members of a group hold different logs, which has been
// printed.
var errLogsDiffer = errors.New("the members' logs differ")

// errNotCompared says that some member did not take part.
var errNotCompared = errors.New("not every member could be compared")

func storeCompareCommand(o *options) *cobra.Command {
	var addr, output string
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "compare [--broker ADDR]",
		Short: "Compare the logs of the running members of each group, entry by entry",
		Long: `Have the leader of each group compare its log with those of the other members,
by digests of the same ranges of entries, from the first one on. Each member reads
and checks its own disk. A member that differs from most is named with the range
and the file, and has itself repaired by the others. The leader does the same in
the background, at storeCompareRate bytes a second.

Exit code: 0 all members have the same, 3 they differ, 4 a member could not be
compared, 1 it could not be carried out.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&addr, "broker", "b", "", "compare the group of this broker only")
	cmd.Flags().DurationVar(&limit, "limit", 24*time.Hour, "how long to wait for the end")
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.timeout = limit
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		addrs := []string{addr}
		if addr == "" {
			if addrs, err = client.Leaders(ctx, ""); err != nil {
				return err
			}
		}
		var all []*protocol.LogComparison
		var verdict error
		for _, addr := range addrs {
			said := time.Now()
			before, err := client.CompareLogs(ctx, addr, func(c *protocol.LogComparison) {
				if time.Since(said) > 5*time.Second {
					said = time.Now()
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: entry %d of %d\n", c.Broker, c.At, c.To)
				}
			})
			if err != nil {
				return err
			}
			all = append(all, before)
			switch {
			case before.Differences > 0:
				verdict = errLogsDiffer
			case len(before.Missing) > 0 && verdict == nil:
				verdict = errNotCompared
			}
		}
		if isData(output) {
			err = printData(cmd.OutOrStdout(), output, all)
		} else {
			err = compareText(cmd.OutOrStdout(), all)
		}
		return errors.Join(err, verdict)
	}
	return cmd
}

// compareText is the result for people.
func compareText(w io.Writer, all []*protocol.LogComparison) error {
	rows := [][]string{{"BROKER", "LEADER", "ENTRIES", "MEMBER", "RANGES", "STATE"}}
	for _, c := range all {
		entries := fmt.Sprintf("%d to %d", c.From, c.At)
		members := slices.Sorted(maps.Keys(c.Compared))
		for _, id := range slices.Sorted(maps.Keys(c.Missing)) {
			if !slices.Contains(members, id) {
				members = append(members, id)
			}
		}
		for _, id := range members {
			state := "the same"
			if why, ok := c.Missing[id]; ok {
				state = "not compared: " + why
			}
			for _, d := range c.Found {
				if d.Member == id {
					state = fmt.Sprintf("DIFFERS: entries %d to %d, %s", d.From, d.To, d.File)
				}
			}
			rows = append(rows, []string{c.Broker, c.Leader, entries, id, strconv.FormatUint(c.Compared[id], 10), state})
		}
		for _, d := range c.Found {
			if d.Member == c.Leader {
				rows = append(rows, []string{c.Broker, c.Leader, entries, d.Member, "", fmt.Sprintf("DIFFERS: entries %d to %d, %s", d.From, d.To, d.File)})
			}
		}
	}
	return table(w, rows)
}
