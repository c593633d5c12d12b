package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/explain"
)

// memberRow is one broker of `cluster ls`. What a broker did not tell is missing,
// never 0.
type memberRow struct {
	Cluster  string   `json:"cluster"`
	Broker   string   `json:"broker"`
	BrokerID int64    `json:"brokerId"`
	Addr     string   `json:"addr"`
	Member   string   `json:"member,omitempty"` // its id in the replica group
	Role     string   `json:"role,omitempty"`   // leader, follower or candidate
	Term     *uint64  `json:"term,omitempty"`
	Version  string   `json:"version,omitempty"`
	InTPS    *float64 `json:"inTps,omitempty"`
	OutTPS   *float64 `json:"outTps,omitempty"`
	DiskUsed *float64 `json:"diskUsed,omitempty"` // share of the volume, 0 to 1
	Error    string   `json:"error,omitempty"`    // why the rest is missing
}

func (r memberRow) rowName() string { return r.Addr }

func (r memberRow) columns() []string {
	if r.Error != "" {
		return []string{r.Cluster, r.Broker, strconv.FormatInt(r.BrokerID, 10), r.Addr, "silent", "-", "-", "-", "-", "-"}
	}
	return []string{r.Cluster, r.Broker, strconv.FormatInt(r.BrokerID, 10), r.Addr, strings.TrimSpace(r.Role + " " + r.Member), number(r.Term, "%d"), r.Version,
		number(r.InTPS, "%.1f"), number(r.OutTPS, "%.1f"), percent(r.DiskUsed)}
}

// number prints what may be unknown.
func number[T any](v *T, format string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}

func percent(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100**v)
}

var memberHeadings = []string{"CLUSTER", "BROKER", "ID", "ADDRESS", "ROLE", "TERM", "VERSION", "IN/S", "OUT/S", "DISK"}

func clusterLsCommand(o *options) *cobra.Command {
	var output, cluster string
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List all brokers with their roles, rates and disks", Args: cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&cluster, "cluster", "c", "", "of this cluster only")
	outputFlag(cmd, &output, formatName)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		targets, err := memberTargets(ctx, client, cluster)
		if err != nil {
			return err
		}
		rows, missing := memberRows(ctx, client, targets)
		err = printRows(cmd.OutOrStdout(), output, rows, memberHeadings, memberRow.columns)
		return cmp.Or(err, missing)
	}
	watchFlag(cmd)
	return cmd
}

// memberRows asks every member for its runtime table; one that is silent has a
// row that says so.
func memberRows(ctx context.Context, client *admin.Client, targets []target) ([]memberRow, error) {
	var failures []error
	rows, _ := askAll(ctx, targets, func(ctx context.Context, t target) (memberRow, error) {
		row := memberRow{Cluster: t.Cluster, Broker: t.Broker, BrokerID: t.ID, Addr: t.Addr}
		runtime, err := client.Runtime(ctx, t.Addr)
		if err != nil {
			row.Error = explain.Reason(err)
			return row, nil
		}
		row.Member, row.Role, row.Version = runtime["raftSelfId"], runtime[admin.RuntimeKeyRole], runtime["brokerVersionDesc"]
		if row.Role == "" { // RocketMQ's
			row.Role = map[bool]string{true: "master", false: "slave"}[t.ID == 0]
		}
		if term, err := strconv.ParseUint(runtime[admin.RuntimeKeyTerm], 10, 64); err == nil {
			row.Term = &term
		}
		row.InTPS, row.OutTPS = firstRate(runtime["putTps"]), firstRate(runtime["getTransferredTps"])
		row.DiskUsed = firstRate(runtime["commitLogDiskRatio"])
		return row, nil
	})
	for _, r := range rows {
		if r.Error != "" {
			failures = append(failures, fmt.Errorf("%s (%s): %s", r.Broker, r.Addr, r.Error))
		}
	}
	if len(failures) > 0 {
		return rows, &partialError{failures}
	}
	return rows, nil
}

// firstRate reads the first of the numbers in a value of the runtime table.
func firstRate(text string) *float64 {
	f, err := strconv.ParseFloat(strings.SplitN(strings.TrimSpace(text), " ", 2)[0], 64)
	if err != nil {
		return nil
	}
	return &f
}

// memberDetail is one member of `cluster describe`.
type memberDetail struct {
	memberRow
	LeaderID string            `json:"leaderId,omitempty"`
	Runtime  map[string]string `json:"runtime,omitempty"`
}

func clusterDescribeCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "describe [BROKER]", Short: "Show the members of a replica group and how far each is", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: o.complete(func(ctx context.Context, client *admin.Client) ([]string, error) {
			targets, err := groupTargets(ctx, client, "")
			var names []string
			for _, t := range targets {
				names = append(names, t.Broker)
			}
			return names, err
		}, false),
	}
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		targets, err := memberTargets(ctx, client, "")
		if err != nil {
			return err
		}
		if len(args) == 1 {
			targets, err = onlyBroker(targets, args[0])
			if err != nil {
				return err
			}
		}
		details, missing := askAll(ctx, targets, func(ctx context.Context, t target) (memberDetail, error) {
			d := memberDetail{memberRow: memberRow{Cluster: t.Cluster, Broker: t.Broker, BrokerID: t.ID, Addr: t.Addr}}
			runtime, err := client.Runtime(ctx, t.Addr)
			if err != nil {
				return d, err
			}
			d.Runtime, d.Member, d.Role, d.LeaderID = runtime, runtime["raftSelfId"], runtime[admin.RuntimeKeyRole], runtime[admin.RuntimeKeyLeader]
			d.Version = runtime["brokerVersionDesc"]
			if term, err := strconv.ParseUint(runtime[admin.RuntimeKeyTerm], 10, 64); err == nil {
				d.Term = &term
			}
			return d, nil
		})
		if unanswered(missing) {
			return missing
		}
		err = printAs(cmd.OutOrStdout(), output, details, func(w io.Writer) error { return printDetails(w, details) })
		return cmp.Or(err, missing)
	}
	watchFlag(cmd)
	return cmd
}

// onlyBroker keeps the members of one broker name.
func onlyBroker(targets []target, name string) ([]target, error) {
	names := map[string]bool{}
	kept := slices.DeleteFunc(slices.Clone(targets), func(t target) bool {
		names[t.Broker] = true
		return t.Broker != name
	})
	if len(kept) == 0 {
		return nil, fmt.Errorf("no broker is named %s; there are %s", name, strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	}
	return kept, nil
}

// shownKeys are what people look for in a member's runtime table.
var shownKeys = []struct{ key, name string }{
	{"raftCommitIndex", "committed entry"}, {"raftAppliedIndex", "applied entry"}, {"commitLogMinOffset", "commit log from"}, {"commitLogMaxOffset", "commit log to"},
	{"dispatchBehindBytes", "bytes behind"}, {"remainHowManyDataToFlush", "not flushed"}, {"putTps", "in/s (10 s, 1 min, 10 min)"},
	{"getTransferredTps", "out/s (10 s, 1 min, 10 min)"}, {"commitLogDirCapacity", "disk"}, {"runtime", "up for"}, {"registered", "registered"},
}

func printDetails(w io.Writer, details []memberDetail) error {
	for i, d := range details {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		rows := [][]string{{"member", strings.TrimSpace(d.Broker + " " + d.Member + "  " + d.Addr)}}
		if d.Role != "" {
			rows = append(rows, []string{"role", fmt.Sprintf("%s of term %s, leader is %s", d.Role, number(d.Term, "%d"), orDash(d.LeaderID))})
		}
		for _, k := range shownKeys {
			if v, ok := d.Runtime[k.key]; ok {
				rows = append(rows, []string{k.name, strings.TrimSpace(v)})
			}
		}
		if err := table(w, rows); err != nil {
			return err
		}
	}
	return nil
}
