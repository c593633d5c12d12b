package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
)

// A shell asks for values while somebody waits with a finger on the tab key:
// rather none than late, and not more than fit on a screen or two.
const (
	completionTimeout = 500 * time.Millisecond
	completionMax     = 200
)

type completion = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// complete asks a cluster for the values of a first argument or a flag.
func (o *options) complete(list func(context.Context, *admin.Client) ([]string, error), all bool) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		const nothing = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 && !all {
			return nil, nothing
		}
		client, err := admin.New(admin.Config{NameServers: o.nameServers(), Timeout: completionTimeout})
		if err != nil {
			return nil, nothing
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
		defer cancel()
		names, err := list(ctx, client)
		if err != nil {
			return nil, nothing
		}
		var out []string
		for _, name := range names {
			if len(out) < completionMax && len(name) >= len(toComplete) && name[:len(toComplete)] == toComplete {
				out = append(out, name)
			}
		}
		return out, nothing
	}
}

// completeTopics completes the name of a topic as the first argument.
func (o *options) completeTopics(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return o.complete(userTopics, false)(cmd, args, toComplete)
}

// completeTopicFlag completes the value of a flag, whatever the arguments are.
func (o *options) completeTopicFlag(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return o.complete(userTopics, true)(cmd, args, toComplete)
}

// completeGroups completes the name of a consumer group as the first argument.
func (o *options) completeGroups(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return o.complete(func(ctx context.Context, client *admin.Client) ([]string, error) {
		targets, err := groupTargets(ctx, client, "")
		if err != nil {
			return nil, err
		}
		groups, err := client.Groups(ctx, targets[0].Addr)
		var names []string
		for _, g := range groups {
			if !message.IsSystemGroup(g.GroupName) {
				names = append(names, g.GroupName)
			}
		}
		return names, err
	}, false)(cmd, args, toComplete)
}

// userTopics lists topics without those of the system.
func userTopics(ctx context.Context, client *admin.Client) ([]string, error) {
	names, err := client.Topics(ctx)
	if err != nil {
		return nil, err
	}
	info, err := client.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	shown := []string{}
	for _, name := range names {
		if !systemTopic(name, info) {
			shown = append(shown, name)
		}
	}
	return shown, nil
}
