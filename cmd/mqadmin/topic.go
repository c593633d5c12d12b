package main

import (
	"context"
	"fmt"
	"io"
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
	outputFlag(cmd, &output, formatName)
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
			addrs, err := putTopic(o, cmd, cluster, cfg)
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

// putTopic creates a topic on the leaders of a cluster.
func putTopic(o *options, cmd *cobra.Command, cluster string, cfg protocol.TopicConfig) ([]string, error) {
	if err := validTopicConfig(cfg); err != nil {
		return nil, err
	}
	client, ctx, done, err := o.connect(cmd)
	if err != nil {
		return nil, err
	}
	defer done()
	addrs, err := client.Leaders(ctx, cluster)
	if err != nil {
		return nil, err
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
