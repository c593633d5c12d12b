package main

import (
	"cmp"
	"context"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// groupMember is a connected consumer.
type groupMember struct {
	ClientID string `json:"clientId"`
	Addr     string `json:"addr"`
	Language string `json:"language"`
	Version  string `json:"version"`
}

// groupDescription is what `group describe` prints.
type groupDescription struct {
	groupRow
	ConsumeType   string            `json:"consumeType,omitempty"`
	MessageModel  string            `json:"messageModel,omitempty"`
	ConsumeFrom   string            `json:"consumeFromWhere,omitempty"`
	Subscriptions map[string]string `json:"subscriptions"` // topic to expression
	Members       []groupMember     `json:"members"`
	Lag           int64             `json:"lag"`
	TPS           float64           `json:"tps"`
}

func groupDescribeCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "describe GROUP", Short: "Show a consumer group: settings, members, subscriptions, lag", Args: cobra.ExactArgs(1),
		ValidArgsFunction: o.completeGroups,
	}
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		d, missing := describeGroup(ctx, client, args[0])
		if unanswered(missing) {
			return missing
		}
		err = printAs(cmd.OutOrStdout(), output, d, d.print)
		return cmp.Or(err, missing)
	}
	watchFlag(cmd)
	return cmd
}

// describeGroup gathers what all brokers know of a group.
func describeGroup(ctx context.Context, client *admin.Client, name string) (*groupDescription, error) {
	targets, err := groupTargets(ctx, client, "")
	if err != nil {
		return nil, err
	}
	type answer struct {
		target
		names []string
		cfg   *protocol.SubscriptionGroupConfig
		conn  *protocol.ConsumerConnection
		stats *protocol.ConsumeStats
	}
	answers, missing := askAll(ctx, targets, func(ctx context.Context, t target) (a answer, err error) {
		a.target = t
		groups, err := client.Groups(ctx, t.Addr)
		if err != nil {
			return a, err
		}
		for _, g := range groups {
			a.names = append(a.names, g.GroupName)
			if g.GroupName == name {
				a.cfg = g
			}
		}
		if a.conn, err = client.Consumers(ctx, t.Addr, name); err == nil {
			a.stats, err = client.ConsumeStats(ctx, t.Addr, name, "")
		}
		return a, err
	})
	if unanswered(missing) {
		return nil, missing
	}
	d := &groupDescription{groupRow: groupRow{Group: name}, Subscriptions: map[string]string{}, Members: []groupMember{}}
	known := false
	var names []string
	members := map[string]groupMember{}
	for _, a := range answers {
		names = append(names, a.names...)
		if a.cfg != nil {
			known = true
			d.Brokers = append(d.Brokers, a.Broker)
			d.ConsumeEnable, d.Broadcast = a.cfg.ConsumeEnable, a.cfg.ConsumeBroadcastEnable
			d.RetryMaxTimes, d.RetryQueues = a.cfg.RetryMaxTimes, a.cfg.RetryQueueNums
		}
		for _, c := range a.conn.Connections {
			members[c.ClientID] = groupMember{c.ClientID, c.ClientAddr, c.Language, protocol.VersionDesc(c.Version)}
		}
		for topic, s := range a.conn.Subscriptions {
			d.Subscriptions[topic] = s.SubString
		}
		d.ConsumeType = cmp.Or(d.ConsumeType, a.conn.ConsumeType)
		d.MessageModel = cmp.Or(d.MessageModel, a.conn.MessageModel)
		d.ConsumeFrom = cmp.Or(d.ConsumeFrom, a.conn.ConsumeFromWhere)
		d.TPS += a.stats.ConsumeTps
		d.Lag += behind(a.stats)
	}
	if !known {
		return nil, explain.UnknownGroup(name, len(answers), explain.Similar(name, names))
	}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		d.Members = append(d.Members, members[id])
	}
	return d, missing
}

// behind adds up how many messages a group has not consumed yet.
func behind(s *protocol.ConsumeStats) int64 {
	total := int64(0)
	for _, o := range s.Offsets {
		total += o.Lag()
	}
	return total
}

func (d *groupDescription) print(w io.Writer) error {
	rows := [][]string{
		{"group", d.Group}, {"brokers", strings.Join(d.Brokers, ", ")},
		{"consume", yesNo(d.ConsumeEnable) + ", broadcast " + yesNo(d.Broadcast)},
		{"retries", strconv.Itoa(int(d.RetryMaxTimes)) + ", then %DLQ%" + d.Group},
		{"lag", strconv.FormatInt(d.Lag, 10) + " messages"}, {"rate", strconv.FormatFloat(d.TPS, 'f', 1, 64) + " msg/s"},
	}
	if len(d.Members) > 0 {
		rows = append(rows, []string{"kind", strings.Join([]string{d.ConsumeType, d.MessageModel, d.ConsumeFrom}, ", ")})
	}
	for _, topic := range slices.Sorted(maps.Keys(d.Subscriptions)) {
		rows = append(rows, []string{"subscribes", topic + "  " + d.Subscriptions[topic]})
	}
	for _, m := range d.Members {
		rows = append(rows, []string{"member", strings.Join([]string{m.ClientID, m.Addr, m.Language, m.Version}, "  ")})
	}
	if len(d.Members) == 0 {
		rows = append(rows, []string{"member", "none is connected"})
	}
	return table(w, rows)
}

// lagRow is one queue of `group lag GROUP`.
type lagRow struct {
	Group          string `json:"group"`
	Topic          string `json:"topic"`
	Broker         string `json:"broker"`
	Queue          int32  `json:"queue"`
	BrokerOffset   int64  `json:"brokerOffset"`
	ConsumerOffset int64  `json:"consumerOffset"`
	Lag            int64  `json:"lag"`
	LastConsumed   int64  `json:"lastConsumed"` // store time of the last consumed message, unix ms; 0 unknown
}

func (r lagRow) rowName() string { return r.Topic + "@" + r.Broker + "-" + strconv.Itoa(int(r.Queue)) }

func (r lagRow) columns() []string {
	at := "-"
	if r.LastConsumed > 0 {
		at = time.UnixMilli(r.LastConsumed).Format(time.DateTime)
	}
	return []string{r.Topic, r.Broker, strconv.Itoa(int(r.Queue)), strconv.FormatInt(r.BrokerOffset, 10),
		strconv.FormatInt(r.ConsumerOffset, 10), strconv.FormatInt(r.Lag, 10), at}
}

// groupLag is one group of `group lag` without an argument.
type groupLag struct {
	Group  string  `json:"group"`
	Topics int     `json:"topics"`
	Lag    int64   `json:"lag"`
	TPS    float64 `json:"tps"`
}

func (r groupLag) rowName() string { return r.Group }

func (r groupLag) columns() []string {
	return []string{r.Group, strconv.Itoa(r.Topics), strconv.FormatInt(r.Lag, 10), strconv.FormatFloat(r.TPS, 'f', 1, 64)}
}

func groupLagCommand(o *options) *cobra.Command {
	var output, topic string
	cmd := &cobra.Command{
		Use: "lag [GROUP]", Short: "Show how far consumer groups are behind; of one group by queue", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completeGroups,
	}
	cmd.Flags().StringVarP(&topic, "topic", "t", "", "in this topic only")
	must(cmd.RegisterFlagCompletionFunc("topic", o.completeTopicFlag))
	outputFlag(cmd, &output, formatName)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		targets, err := groupTargets(ctx, client, "")
		if err != nil {
			return err
		}
		if len(args) == 0 {
			rows, missing := lagOfAll(ctx, client, targets, topic)
			if unanswered(missing) {
				return missing
			}
			err = printRows(cmd.OutOrStdout(), output, rows, []string{"GROUP", "TOPICS", "LAG", "MSG/S"}, groupLag.columns)
			return cmp.Or(err, missing)
		}
		rows, missing := lagOfOne(ctx, client, targets, args[0], topic)
		if unanswered(missing) {
			return missing
		}
		if len(rows) == 0 && missing == nil {
			if _, err := describeGroup(ctx, client, args[0]); err != nil {
				return err // the group does not exist
			}
		}
		err = printRows(cmd.OutOrStdout(), output, rows,
			[]string{"TOPIC", "BROKER", "QUEUE", "BROKER OFFSET", "CONSUMER OFFSET", "LAG", "LAST CONSUMED"}, lagRow.columns)
		return cmp.Or(err, missing)
	}
	watchFlag(cmd)
	return cmd
}

func lagOfOne(ctx context.Context, client *admin.Client, targets []target, group, topic string) ([]lagRow, error) {
	answers, missing := askAll(ctx, targets, func(ctx context.Context, t target) (*protocol.ConsumeStats, error) {
		return client.ConsumeStats(ctx, t.Addr, group, topic)
	})
	var rows []lagRow
	for _, a := range answers {
		for q, at := range a.Offsets {
			rows = append(rows, lagRow{group, q.Topic, q.BrokerName, q.QueueID, at.BrokerOffset, at.ConsumerOffset,
				at.Lag(), at.LastTimestamp})
		}
	}
	slices.SortFunc(rows, func(a, b lagRow) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), strings.Compare(a.Broker, b.Broker), cmp.Compare(a.Queue, b.Queue))
	})
	return rows, missing
}

// lagOfAll asks each broker once for all groups, however many there are.
func lagOfAll(ctx context.Context, client *admin.Client, targets []target, topic string) ([]groupLag, error) {
	answers, missing := askAll(ctx, targets, func(ctx context.Context, t target) (*protocol.ConsumeStatsList, error) {
		return client.AllConsumeStats(ctx, t.Addr)
	})
	sums, topics := map[string]*groupLag{}, map[[2]string]bool{}
	for _, a := range answers {
		for _, g := range a.Groups {
			if message.IsSystemGroup(g.Group) {
				continue
			}
			if sums[g.Group] == nil {
				sums[g.Group] = &groupLag{Group: g.Group}
			}
			sum := sums[g.Group]
			for _, s := range g.Stats {
				counted := false
				for q, at := range s.Offsets {
					if topic != "" && q.Topic != topic {
						continue
					}
					counted = true
					sum.Lag += at.Lag()
					if !topics[[2]string{g.Group, q.Topic}] {
						topics[[2]string{g.Group, q.Topic}] = true
						sum.Topics++
					}
				}
				if counted {
					sum.TPS += s.ConsumeTps
				}
			}
		}
	}
	rows := []groupLag{}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if topic == "" || sums[name].Topics > 0 {
			rows = append(rows, *sums[name])
		}
	}
	slices.SortStableFunc(rows, func(a, b groupLag) int { return cmp.Compare(b.Lag, a.Lag) })
	return rows, missing
}
