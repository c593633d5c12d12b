package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func topicCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "topic", Short: "List, describe, create, change and delete topics"}
	cmd.AddCommand(topicLsCommand(o), topicDescribeCommand(o), topicCreateCommand(o), topicAlterCommand(o), topicRmCommand(o), topicSpreadCommand(o))
	return cmd
}

func topicLsCommand(o *options) *cobra.Command {
	var output string
	var all bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List topics, without those that belong to the system", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, ctx, done, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer done()
			list := userTopics
			if all {
				list = func(ctx context.Context, client *admin.Client) ([]string, error) { return client.Topics(ctx) }
			}
			names, err := list(ctx, client)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), output, names, func(w io.Writer) error {
				for _, name := range names {
					if _, err := fmt.Fprintln(w, name); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	outputFlag(cmd, &output, formatYAML, formatName)
	watchFlag(cmd)
	cmd.Flags().BoolVarP(&all, "all", "a", false, "the system's topics too")
	return cmd
}

// systemTopic tells topics that exist for the broker's own use, some of which
// are named after the broker and its cluster.
func systemTopic(name string, info *protocol.ClusterInfo) bool {
	if message.IsSystemTopic(name) || message.IsRetryTopic(name) || message.IsDLQTopic(name) {
		return true
	}
	for cluster, brokers := range info.ClusterAddrTable {
		if name == cluster || name == cluster+message.ReplySuffix {
			return true
		}
		for _, b := range brokers {
			if name == b {
				return true
			}
		}
	}
	return false
}

func topicCreateCommand(o *options) *cobra.Command {
	var cluster string
	var queues int32
	cmd := &cobra.Command{
		Use: "create TOPIC", Short: "Create a topic, or change its number of queues", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := protocol.TopicConfig{TopicName: args[0], ReadQueueNums: queues, WriteQueueNums: queues, Perm: 6}
			addrs, err := putTopic(o, cmd, cluster, "", cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "created topic %s with %d queues on %s\n", args[0], queues, strings.Join(addrs, ", "))
			return err
		},
	}
	cmd.Flags().StringVarP(&cluster, "cluster", "c", "", "cluster whose brokers shall have it (default: all brokers)")
	cmd.Flags().Int32VarP(&queues, "queues", "q", 8, "number of queues on each broker")
	return cmd
}

func topicRmCommand(o *options) *cobra.Command {
	var cluster string
	var yes bool
	cmd := &cobra.Command{
		Use: "rm TOPIC", Aliases: []string{"delete"}, Short: "Delete a topic with all its messages", Args: cobra.ExactArgs(1),
		ValidArgsFunction: o.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.confirm(cmd, yes, "delete topic", args[0]); err != nil {
				return err
			}
			return deleteTopic(o, cmd, cluster, args[0], func(addr string) {
				fmt.Fprintf(cmd.OutOrStdout(), "deleted topic %s from %s\n", args[0], addr)
			})
		},
	}
	cmd.Flags().StringVarP(&cluster, "cluster", "c", "", "cluster to delete it from (default: all brokers)")
	yesFlag(cmd, &yes)
	return cmd
}

// putTopic creates a topic on one broker, or on the leaders of a cluster.
func putTopic(o *options, cmd *cobra.Command, cluster, broker string, cfg protocol.TopicConfig) ([]string, error) {
	if err := message.ValidTopic(cfg.TopicName); err != nil {
		return nil, err
	}
	if cfg.ReadQueueNums < 1 || cfg.WriteQueueNums < 1 || cfg.Perm < 0 || cfg.Perm > 7 {
		return nil, fmt.Errorf("a topic needs at least one queue and a permission of 0 to 7 (6: read and write), not %d, %d and %d",
			cfg.ReadQueueNums, cfg.WriteQueueNums, cfg.Perm)
	}
	client, ctx, done, err := o.connect(cmd)
	if err != nil {
		return nil, err
	}
	defer done()
	addrs := []string{broker}
	if broker == "" {
		if addrs, err = client.Leaders(ctx, cluster); err != nil {
			return nil, err
		}
	}
	for _, addr := range addrs {
		if err := client.PutTopic(ctx, addr, cfg); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}

func deleteTopic(o *options, cmd *cobra.Command, cluster, topic string, done func(addr string)) error {
	client, ctx, closeClient, err := o.connect(cmd)
	if err != nil {
		return err
	}
	defer closeClient()
	addrs, err := client.Leaders(ctx, cluster)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if err := client.DeleteTopic(ctx, addr, topic); err != nil {
			return err
		}
		done(addr)
	}
	return client.DeleteTopicRoute(ctx, topic)
}

func topicListCommand(o *options) *cobra.Command {
	var withCluster bool
	cmd := &cobra.Command{
		Use: "topicList", Short: "List topics (RocketMQ)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, ctx, done, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer done()
			names, err := client.Topics(ctx)
			if err != nil {
				return err
			}
			if !withCluster {
				for _, name := range names {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				return nil
			}
			rows := [][]string{{"#Cluster Name", "#Topic", "#Consumer Group"}}
			for _, name := range names {
				cluster, groups, err := client.TopicConsumers(ctx, name)
				if err != nil && !admin.NotSent(err) && !admin.IsStatus(err, protocol.StatusRequestCodeNotSupported, protocol.StatusTopicNotExist) {
					return err
				}
				if len(groups) == 0 {
					groups = []string{""}
				}
				for _, g := range groups {
					rows = append(rows, []string{cluster, name, g})
				}
			}
			return table(cmd.OutOrStdout(), rows)
		},
	}
	cmd.Flags().BoolVarP(&withCluster, "clusterModel", "c", false, "with cluster and consumer groups")
	return cmd
}

func updateTopicCommand(o *options) *cobra.Command {
	var cluster, broker, order, unit, unitSub string
	var attributes []string
	cfg := protocol.TopicConfig{}
	cmd := &cobra.Command{Use: "updateTopic", Short: "Create or change a topic (RocketMQ)", Args: cobra.NoArgs}
	f := cmd.Flags()
	f.StringVarP(&broker, "brokerAddr", "b", "", "broker that shall have it")
	f.StringVarP(&cluster, "clusterName", "c", "", "cluster whose brokers shall have it")
	f.StringVarP(&cfg.TopicName, "topic", "t", "", "topic")
	f.Int32VarP(&cfg.ReadQueueNums, "readQueueNums", "r", 8, "number of queues to read")
	f.Int32VarP(&cfg.WriteQueueNums, "writeQueueNums", "w", 8, "number of queues to write")
	f.Int32VarP(&cfg.Perm, "perm", "p", 6, "2 write, 4 read, 6 both")
	f.StringSliceVarP(&attributes, "attributes", "a", nil, "+key=value sets an attribute, -key removes it; as in RocketMQ 5")
	f.StringVarP(&order, "order", "o", "false", "true: messages are ordered over the whole topic")
	f.StringVarP(&unit, "unit", "u", "false", "unit flag")
	f.StringVarP(&unitSub, "hasUnitSub", "s", "false", "unit subscription flag")
	must(cmd.MarkFlagRequired("topic"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (broker == "") == (cluster == "") {
			return errors.New("give -b BROKER or -c CLUSTER")
		}
		cfg.Order = order == "true"
		cfg.Attributes = map[string]string{}
		for _, a := range attributes {
			key, value, _ := strings.Cut(a, "=")
			cfg.Attributes[key] = value
		}
		if unit == "true" {
			cfg.TopicSysFlag |= 1
		}
		if unitSub == "true" {
			cfg.TopicSysFlag |= 2
		}
		addrs, err := putTopic(o, cmd, cluster, broker, cfg)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			fmt.Fprintf(cmd.OutOrStdout(), "create topic to %s success.\n", addr)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "TopicConfig [topicName=%s, readQueueNums=%d, writeQueueNums=%d, perm=%s, topicFilterType=SINGLE_TAG, topicSysFlag=%d, order=%t]\n",
			cfg.TopicName, cfg.ReadQueueNums, cfg.WriteQueueNums, permText(cfg.Perm), cfg.TopicSysFlag, cfg.Order)
		return err
	}
	return cmd
}

// permText writes a permission as RocketMQ's tools do.
func permText(perm int32) string {
	text := []byte("---")
	for i, bit := range []int32{4, 2, 1} {
		if perm&bit != 0 {
			text[i] = "RWX"[i]
		}
	}
	return string(text)
}

// must is for mistakes in this program that a first start would show.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func deleteTopicCommand(o *options) *cobra.Command {
	var cluster, topic string
	cmd := &cobra.Command{
		Use: "deleteTopic", Short: "Delete a topic (RocketMQ)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := deleteTopic(o, cmd, cluster, topic, func(string) {}); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "delete topic [%s] from cluster [%s] success.\n", topic, cluster)
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "delete topic [%s] from NameServer success.\n", topic)
			return err
		},
	}
	cmd.Flags().StringVarP(&cluster, "clusterName", "c", "", "cluster to delete it from")
	cmd.Flags().StringVarP(&topic, "topic", "t", "", "topic")
	must(cmd.MarkFlagRequired("clusterName"))
	must(cmd.MarkFlagRequired("topic"))
	return cmd
}

func topicRouteCommand(o *options) *cobra.Command {
	var topic string
	cmd := &cobra.Command{
		Use: "topicRoute", Short: "Show where a topic is served (RocketMQ)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, ctx, done, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer done()
			data, err := client.RouteData(ctx, topic)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(append(indentJSON(data.AppendStandardJSON(nil)), '\n'))
			return err
		},
	}
	cmd.Flags().StringVarP(&topic, "topic", "t", "", "topic")
	must(cmd.MarkFlagRequired("topic"))
	return cmd
}

func topicStatusCommand(o *options) *cobra.Command {
	var topic string
	cmd := &cobra.Command{
		Use: "topicStatus", Short: "Show the offsets of a topic's queues (RocketMQ)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, ctx, done, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer done()
			stats, err := client.AllTopicStats(ctx, topic)
			if err != nil {
				return err
			}
			rows := [][]string{{"#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated"}}
			for _, s := range stats {
				rows = append(rows, []string{s.Queue.BrokerName, strconv.Itoa(int(s.Queue.QueueID)),
					strconv.FormatInt(s.MinOffset, 10), strconv.FormatInt(s.MaxOffset, 10), timeText(s.LastUpdateTimestamp)})
			}
			return table(cmd.OutOrStdout(), rows)
		},
	}
	cmd.Flags().StringVarP(&topic, "topic", "t", "", "topic")
	must(cmd.MarkFlagRequired("topic"))
	return cmd
}
