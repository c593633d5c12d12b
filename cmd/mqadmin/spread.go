package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func clusterSpreadCommand(o *options) *cobra.Command {
	var cluster string
	var ordered bool
	cmd := &cobra.Command{
		Use:   "spread [BROKERNAME]",
		Short: "Give broker groups the topics and consumer groups of the others",
		Long: `Give every broker group of a cluster (or the named one) the topics and consumer
groups that another has and it lacks, with the same settings. What is there is
left as it is. A group that is being drained gets nothing.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, ctx, done, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer done()
			s := spreader{client: client, out: cmd.OutOrStdout(), ordered: ordered}
			return s.run(ctx, cluster, strings.Join(args, ""), "")
		},
	}
	cmd.Flags().StringVarP(&cluster, "cluster", "c", "", "cluster (default: the only one)")
	cmd.Flags().BoolVar(&ordered, "ordered", false, "topics with order=true too, whose keys move to other queues")
	return cmd
}

func topicSpreadCommand(o *options) *cobra.Command {
	var cluster string
	var ordered bool
	cmd := &cobra.Command{
		Use:   "spread TOPIC",
		Short: "Give a topic queues on every broker group of its cluster",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, ctx, done, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer done()
			s := spreader{client: client, out: cmd.OutOrStdout(), ordered: ordered}
			return s.run(ctx, cluster, "", args[0])
		},
	}
	cmd.Flags().StringVarP(&cluster, "cluster", "c", "", "cluster (default: the only one)")
	cmd.Flags().BoolVar(&ordered, "ordered", false, "even if it has order=true: its keys move to other queues")
	return cmd
}

// spreader copies topics and consumer groups between the groups of a cluster.
type spreader struct {
	client  *admin.Client
	out     io.Writer
	ordered bool
}

// groupTables is what one broker group has.
type groupTables struct {
	name, leader string
	topics       map[string]*protocol.TopicConfig
	groups       map[string]*protocol.SubscriptionGroupConfig
	serving      bool
}

// run spreads to one broker or, with "", to all; one topic, or all with their
// consumer groups.
func (s *spreader) run(ctx context.Context, cluster, broker, topic string) error {
	cluster, tables, err := s.tables(ctx, cluster)
	if err != nil {
		return err
	}
	if broker != "" && !slices.ContainsFunc(tables, func(t groupTables) bool { return t.name == broker }) {
		return fmt.Errorf("cluster %s has no broker %q", cluster, broker)
	}
	topics, groups := union(tables)
	if topic != "" {
		only, ok := topics[topic]
		if !ok {
			return fmt.Errorf("%w: no broker of cluster %s has %s; create it with: mqadmin topic create %s", admin.ErrNoTopic, cluster, topic, topic)
		}
		topics, groups = map[string]*protocol.TopicConfig{topic: only}, nil
	}
	for _, to := range tables {
		if broker != "" && to.name != broker {
			continue
		}
		if !to.serving {
			if broker != "" {
				return fmt.Errorf("%s is being drained; put it back first: mqadmin cluster drain %s --undo", broker, broker)
			}
			continue
		}
		if err := s.give(ctx, cluster, to, topics, groups); err != nil {
			return err
		}
	}
	return nil
}

// give makes what a broker group lacks, consumer groups first, so that a topic
// never has a message of which a group could not say that it consumed it.
func (s *spreader) give(ctx context.Context, cluster string, to groupTables, topics map[string]*protocol.TopicConfig, groups map[string]*protocol.SubscriptionGroupConfig) error {
	newTopics, newGroups := 0, 0
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if to.groups[name] != nil {
			continue
		}
		if err := s.client.PutGroup(ctx, to.leader, groups[name]); err != nil {
			return err
		}
		newGroups++
	}
	var left []string
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		if to.topics[name] != nil || name == cluster || name == cluster+message.ReplySuffix {
			continue
		}
		if topics[name].Order && !s.ordered {
			left = append(left, name)
			continue
		}
		t := *topics[name]
		t.Attributes = added(t.Attributes)
		if err := s.client.PutTopic(ctx, to.leader, t); err != nil {
			return err
		}
		newTopics++
	}
	fmt.Fprintf(s.out, "%s: %d topics and %d consumer groups added\n", to.name, newTopics, newGroups)
	if len(left) > 0 {
		fmt.Fprintf(s.out, "  left out: %s with order=true, because more queues move its keys; pause its producers until all is consumed and say --ordered\n", someOf("topic", left))
	}
	return nil
}

// added turns attributes into the changes that make them.
func added(attributes map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range attributes {
		out["+"+k] = v
	}
	return out
}

// tables reads what each broker group of a cluster has.
func (s *spreader) tables(ctx context.Context, cluster string) (string, []groupTables, error) {
	info, err := s.client.Cluster(ctx)
	if err != nil {
		return "", nil, err
	}
	if cluster == "" {
		names := slices.Sorted(maps.Keys(info.ClusterAddrTable))
		if len(names) != 1 {
			return "", nil, fmt.Errorf("name the cluster with -c; the name server knows %d: %s", len(names), strings.Join(names, ", "))
		}
		cluster = names[0]
	}
	var out []groupTables
	for _, name := range slices.Sorted(slices.Values(info.ClusterAddrTable[cluster])) {
		t := groupTables{name: name, leader: info.BrokerAddrTable[name].BrokerAddrs[protocol.MasterID], groups: map[string]*protocol.SubscriptionGroupConfig{}}
		if t.leader == "" {
			return "", nil, fmt.Errorf("broker %s: %w", name, admin.ErrNoLeader)
		}
		settings, err := s.client.BrokerSettings(ctx, t.leader)
		if err != nil {
			return "", nil, err
		}
		state, err := stateOf(settings)
		if err != nil {
			return "", nil, err
		}
		t.serving = state == stateServing
		if t.topics, err = s.client.TopicConfigs(ctx, t.leader); err != nil {
			return "", nil, err
		}
		groups, err := s.client.Groups(ctx, t.leader)
		if err != nil {
			return "", nil, err
		}
		for _, g := range groups {
			t.groups[g.GroupName] = g
		}
		out = append(out, t)
	}
	if len(out) == 0 {
		return "", nil, fmt.Errorf("cluster %q has no broker that the name server knows; see: mqadmin clusterList", cluster)
	}
	return cluster, out, nil
}

// union is what at least one group has; where settings differ, those of the first
// in the order of names.
func union(tables []groupTables) (map[string]*protocol.TopicConfig, map[string]*protocol.SubscriptionGroupConfig) {
	topics, groups := map[string]*protocol.TopicConfig{}, map[string]*protocol.SubscriptionGroupConfig{}
	brokers := map[string]bool{}
	for _, t := range tables {
		brokers[t.name] = true
	}
	for _, t := range tables {
		for name, c := range t.topics {
			if usersTopic(name) && !brokers[name] && topics[name] == nil {
				topics[name] = c
			}
		}
		for name, g := range t.groups {
			if groups[name] == nil {
				groups[name] = g
			}
		}
	}
	return topics, groups
}
