package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// brokerCommands are RocketMQ's sub-commands for brokers.
func brokerCommands(o *options) []*cobra.Command {
	return []*cobra.Command{
		clusterListCommand(o), brokerStatusCommand(o), getBrokerConfigCommand(o), updateBrokerConfigCommand(o),
		cleanCommand(o, "cleanExpiredCQ", "Drop the consume queues of topics that are gone", (*admin.Client).CleanQueues),
		cleanCommand(o, "cleanUnusedTopic", "Drop what is left of topics that are gone", (*admin.Client).CleanTopics),
		cleanCommand(o, "deleteExpiredCommitLog", "Delete messages that are old enough", (*admin.Client).CleanLog),
	}
}

func getBrokerConfigCommand(o *options) *cobra.Command {
	var at scope
	cmd := rocketmq("getBrokerConfig", "Show the settings of a broker or of a cluster's brokers")
	at.flags(cmd)
	return o.run(cmd, ordinary, func(s *session) error {
		show := func(heading, addr string) error {
			settings, err := s.client.BrokerSettings(s.ctx, addr)
			if err != nil {
				return err
			}
			s.print("============" + heading + addr + "============\n")
			printSettings(s, settings)
			s.print("\n")
			return nil
		}
		if at.broker != "" {
			return show("", at.broker)
		}
		brokers, err := s.client.Brokers(s.ctx, at.cluster)
		if err != nil {
			return err
		}
		leader := admin.Broker{}
		var failures []error
		for _, b := range brokers {
			switch {
			case b.ID == protocol.MasterID:
				leader = b
				failures = append(failures, show("Master: ", b.Addr))
			case leader.Name == b.Name:
				failures = append(failures, show("My Master: "+leader.Addr+"=====Slave: ", b.Addr))
			default: // no leader is known
				failures = append(failures, show("Slave: ", b.Addr))
			}
		}
		return errors.Join(failures...)
	})
}

func updateBrokerConfigCommand(o *options) *cobra.Command {
	var at scope
	var key, value string
	cmd := rocketmq("updateBrokerConfig", "Change a setting of a broker, or of the leaders of a cluster")
	at.flags(cmd)
	needText(cmd, &key, "key", "k", "name of the setting")
	needText(cmd, &value, "value", "v", "its value")
	return o.run(cmd, ordinary, func(s *session) error {
		addrs, err := at.leaders(s)
		if err != nil {
			return err
		}
		var failures []error
		for _, addr := range addrs {
			if err := s.client.ChangeBrokerSettings(s.ctx, addr, map[string]string{key: value}); err != nil {
				failures = append(failures, err)
				continue
			}
			s.printf("update broker config success, %s\n", addr)
		}
		if at.cluster != "" && len(failures) == 0 {
			warnOfFollowers(s, at.cluster, key)
		}
		return errors.Join(failures...)
	})
}

// warnOfFollowers says which members a change to the leaders of a cluster left
// out: a setting that is not the group's is each member's own, and a follower may
// lead tomorrow.
func warnOfFollowers(s *session, cluster, key string) {
	brokers, err := s.client.Brokers(s.ctx, cluster)
	if err != nil {
		return
	}
	var others []string
	for _, b := range brokers {
		if b.ID == protocol.MasterID {
			continue
		}
		if group, err := s.client.GroupSettings(s.ctx, b.Addr); err != nil || !slices.Contains(group, key) {
			others = append(others, b.Addr)
		}
	}
	if len(others) > 0 {
		s.warn("only the leaders were changed, as RocketMQ's mqadmin does, and this setting is each member's own; for the other members use -b with each of: %s", strings.Join(others, " "))
	}
}

// cleanCommand is one of the three that tidy brokers up: one, those of a
// cluster, or all.
func cleanCommand(o *options, name, short string, clean func(*admin.Client, context.Context, string) error) *cobra.Command {
	var at scope
	cmd := rocketmq(name, short)
	text(cmd, &at.broker, "brokerAddr", "b", "address of a broker")
	text(cmd, &at.cluster, "cluster", "c", "cluster; else all clusters")
	cmd.MarkFlagsMutuallyExclusive("brokerAddr", "cluster")
	return o.run(cmd, lengthy, func(s *session) error {
		addrs, err := at.everyone(s)
		if err != nil {
			return err
		}
		var failures []error
		for _, addr := range addrs {
			failures = append(failures, clean(s.client, s.ctx, addr))
		}
		if err := errors.Join(failures...); err != nil {
			s.print("false\n")
			return err
		}
		s.print("success\n")
		return nil
	})
}
