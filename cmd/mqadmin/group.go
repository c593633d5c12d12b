package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// newGroupCommand is the parent of what concerns groups: those of consumers, and
// the members of a replica group.
func newGroupCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Consumer groups, and the members of a replica group",
	}
	cmd.AddCommand(groupLsCommand(o), groupCreateCommand(o), groupDescribeCommand(o), groupLagCommand(o), groupResetCommand(o), groupRmCommand(o))
	addMemberCommands(cmd, o)
	return cmd
}

// groupRow is one consumer group of `group ls`.
type groupRow struct {
	Group         string   `json:"group"`
	Brokers       []string `json:"brokers"`
	ConsumeEnable bool     `json:"consumeEnable"`
	Broadcast     bool     `json:"broadcastEnable"`
	RetryMaxTimes int32    `json:"retryMaxTimes"`
	RetryQueues   int32    `json:"retryQueues"`
}

func (r groupRow) rowName() string { return r.Group }

func (r groupRow) columns() []string {
	return []string{r.Group, strings.Join(r.Brokers, ","), yesNo(r.ConsumeEnable), yesNo(r.Broadcast), strconv.Itoa(int(r.RetryMaxTimes))}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func groupLsCommand(o *options) *cobra.Command {
	var output, cluster string
	var all bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List consumer groups, without those of the system", Args: cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&cluster, "cluster", "c", "", "of this cluster only")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "the system's groups too")
	outputFlag(cmd, &output, formatName)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		targets, err := groupTargets(ctx, client, cluster)
		if err != nil {
			return err
		}
		type answer struct {
			broker string
			groups []*protocol.SubscriptionGroupConfig
		}
		answers, missing := askAll(ctx, targets, func(ctx context.Context, t target) (answer, error) {
			groups, err := client.Groups(ctx, t.Addr)
			return answer{t.Broker, groups}, err
		})
		if unanswered(missing) {
			return missing
		}
		rows := map[string]*groupRow{}
		for _, a := range answers {
			for _, g := range a.groups {
				if !all && message.IsSystemGroup(g.GroupName) {
					continue
				}
				if rows[g.GroupName] == nil {
					rows[g.GroupName] = &groupRow{Group: g.GroupName, ConsumeEnable: g.ConsumeEnable, Broadcast: g.ConsumeBroadcastEnable,
						RetryMaxTimes: g.RetryMaxTimes, RetryQueues: g.RetryQueueNums}
				}
				rows[g.GroupName].Brokers = append(rows[g.GroupName].Brokers, a.broker)
			}
		}
		var list []groupRow
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			list = append(list, *rows[name])
		}
		err = printRows(cmd.OutOrStdout(), output, list, []string{"GROUP", "BROKERS", "ENABLED", "BROADCAST", "RETRIES"}, groupRow.columns)
		return cmp.Or(err, missing)
	}
	watchFlag(cmd)
	return cmd
}
