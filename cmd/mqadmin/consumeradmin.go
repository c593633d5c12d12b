package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// consumerCommands are RocketMQ's sub-commands for consumer groups.
func consumerCommands(o *options) []*cobra.Command {
	return []*cobra.Command{
		updateSubGroupCommand(o), deleteSubGroupCommand(o), getConsumerConfigCommand(o),
		consumerProgressCommand(o), consumerStatusCommand(o), brokerConsumeStatsCommand(o),
	}
}

func updateSubGroupCommand(o *options) *cobra.Command {
	var at scope
	cmd := rocketmq("updateSubGroup", "Create or change a consumer group")
	g := protocol.NewSubscriptionGroupConfig("")
	g.ConsumeBroadcastEnable, g.ConsumeFromMinEnable = false, false // as RocketMQ's tool has it
	at.flags(cmd)
	needText(cmd, &g.GroupName, "groupName", "g", "consumer group")
	f := cmd.Flags()
	trueFalse(cmd, &g.ConsumeEnable, "consumeEnable", "s", "the group may consume")
	trueFalse(cmd, &g.ConsumeFromMinEnable, "consumeFromMinEnable", "m", "the group may start at the oldest message")
	trueFalse(cmd, &g.ConsumeBroadcastEnable, "consumeBroadcastEnable", "d", "the group may consume as broadcast")
	f.Int32VarP(&g.RetryQueueNums, "retryQueueNums", "q", g.RetryQueueNums, "number of retry queues")
	f.Int32VarP(&g.RetryMaxTimes, "retryMaxTimes", "r", g.RetryMaxTimes, "retries before the dead-letter queue")
	f.Int64VarP(&g.BrokerID, "brokerId", "i", g.BrokerID, "member to consume from")
	f.Int64VarP(&g.WhichBrokerWhenConsumeSlowly, "whichBrokerWhenConsumeSlowly", "w", g.WhichBrokerWhenConsumeSlowly, "member to consume from when far behind")
	trueFalse(cmd, &g.NotifyConsumerIDsChangedEnable, "notifyConsumerIdsChanged", "a", "tell members when others come and go")
	return o.run(cmd, ordinary, func(s *session) error {
		if err := message.ValidGroup(g.GroupName); err != nil {
			return err
		}
		addrs, err := at.leaders(s)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			if err := s.client.PutGroup(s.ctx, addr, g); err != nil {
				return err
			}
			s.printf("create subscription group to %s success.\n", addr)
		}
		s.printf("SubscriptionGroupConfig [groupName=%s, consumeEnable=%t, consumeFromMinEnable=%t, consumeBroadcastEnable=%t, retryQueueNums=%d, "+
			"retryMaxTimes=%d, brokerId=%d, whichBrokerWhenConsumeSlowly=%d, notifyConsumerIdsChangedEnable=%t]\n",
			g.GroupName, g.ConsumeEnable, g.ConsumeFromMinEnable, g.ConsumeBroadcastEnable, g.RetryQueueNums,
			g.RetryMaxTimes, g.BrokerID, g.WhichBrokerWhenConsumeSlowly, g.NotifyConsumerIDsChangedEnable)
		return nil
	})
}

func deleteSubGroupCommand(o *options) *cobra.Command {
	var at scope
	var group string
	var offsets bool
	cmd := rocketmq("deleteSubGroup", "Delete a consumer group; with -c also its retry and dead-letter topics")
	at.flags(cmd)
	needText(cmd, &group, "groupName", "g", "consumer group")
	trueFalse(cmd, &offsets, "removeOffset", "r", "its offsets too")
	return o.run(cmd, ordinary, func(s *session) error {
		addrs, err := at.leaders(s)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			if err := s.client.DeleteGroup(s.ctx, addr, group, offsets); err != nil {
				return err
			}
			if at.broker != "" {
				s.printf("delete subscription group [%s] from broker [%s] success.\n", group, addr)
			} else {
				s.printf("delete subscription group [%s] from broker [%s] in cluster [%s] success.\n", group, addr, at.cluster)
			}
		}
		if at.cluster == "" {
			return nil
		}
		return errors.Join(deleteTopicOf(s, at.cluster, message.RetryTopic(group)), deleteTopicOf(s, at.cluster, message.DLQTopic(group)))
	})
}

func getConsumerConfigCommand(o *options) *cobra.Command {
	var group string
	cmd := rocketmq("getConsumerConfig", "Show a consumer group's configuration on each broker")
	needText(cmd, &group, "groupName", "g", "consumer group")
	return o.run(cmd, ordinary, func(s *session) error {
		brokers, err := s.client.Brokers(s.ctx, "")
		if err != nil {
			return err
		}
		asked, found := "", false
		for _, b := range brokers {
			if b.Name == asked {
				continue // another member of the same group
			}
			asked = b.Name
			table, err := s.client.BrokerGroups(s.ctx, b.Addr)
			if err != nil {
				return err
			}
			g := table.SubscriptionGroupTable[group]
			if g == nil {
				continue
			}
			found = true
			s.printf("=============================%s:%s=============================\n", b.Cluster, b.Name)
			for _, f := range []struct {
				name  string
				value any
			}{
				{"groupName", g.GroupName}, {"consumeEnable", g.ConsumeEnable}, {"consumeFromMinEnable", g.ConsumeFromMinEnable},
				{"consumeBroadcastEnable", g.ConsumeBroadcastEnable}, {"retryQueueNums", g.RetryQueueNums}, {"retryMaxTimes", g.RetryMaxTimes},
				{"brokerId", g.BrokerID}, {"whichBrokerWhenConsumeSlowly", g.WhichBrokerWhenConsumeSlowly},
				{"notifyConsumerIdsChangedEnable", g.NotifyConsumerIDsChangedEnable},
			} {
				s.printf("%-40s=  %v\n", f.name, f.value)
			}
		}
		if !found {
			return fmt.Errorf("no broker has a consumer group %s", group)
		}
		return nil
	})
}

const (
	progressColumns   columns = "%-64.64v  %-32.32v  %-4v  %-20v  %-20v  %-20v  %v"
	progressIPColumns columns = "%-64.64v  %-32.32v  %-4v  %-20v  %-20v  %-20v %-20v  %v"
	groupColumns      columns = "%-64.64v  %-6v  %-24v %-5v  %-14v  %-7v  %v"
)

func consumerProgressCommand(o *options) *cobra.Command {
	var group string
	var showIP bool
	cmd := rocketmq("consumerProgress", "Show how far consumer groups are")
	text(cmd, &group, "groupName", "g", "one group, by queue")
	trueFalse(cmd, &showIP, "showClientIP", "s", "with the member that has the queue")
	return o.run(cmd, lengthy, func(s *session) error {
		if group == "" {
			return allProgress(s)
		}
		return groupProgress(s, group, showIP)
	})
}

func groupProgress(s *session, group string, showIP bool) error {
	stats, err := s.client.GroupStats(s.ctx, group, "")
	if err != nil {
		return err
	}
	if len(stats.Offsets) == 0 {
		return fmt.Errorf("consumer group %s has no offsets: it has not consumed any message", group)
	}
	owners := map[protocol.MessageQueue]string{}
	if showIP {
		s.row(progressIPColumns, "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Client IP", "#Diff", "#LastTime")
		owners = queueOwners(s, group)
	} else {
		s.row(progressColumns, "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Diff", "#LastTime")
	}
	total := int64(0)
	for _, q := range sortedQueues(stats.Offsets) {
		at := stats.Offsets[q]
		diff := at.BrokerOffset - at.ConsumerOffset
		total += diff
		last := "N/A"
		if at.LastTimestamp > 0 {
			last = secondText(at.LastTimestamp)
		}
		if showIP {
			owner := owners[q]
			if owner == "" {
				owner = "N/A"
			}
			s.row(progressIPColumns, q.Topic, q.BrokerName, q.QueueID, at.BrokerOffset, at.ConsumerOffset, owner, diff, last)
		} else {
			s.row(progressColumns, q.Topic, q.BrokerName, q.QueueID, at.BrokerOffset, at.ConsumerOffset, diff, last)
		}
	}
	s.printf("\nConsume TPS: %.2f\nDiff Total: %d\n", stats.ConsumeTps, total)
	return nil
}

// queueOwners is which member consumes which queue; what cannot be found out is
// missing.
func queueOwners(s *session, group string) map[protocol.MessageQueue]string {
	owners := map[protocol.MessageQueue]string{}
	members, err := s.client.OnlineMembers(s.ctx, group)
	if err != nil {
		return owners
	}
	for _, m := range members.Connections {
		info, err := s.client.RunningInfo(s.ctx, group, m.ClientID, false)
		if err != nil {
			s.warn("%v", err)
			continue
		}
		ip, _, _ := strings.Cut(m.ClientID, "@")
		for q := range info.Queues {
			owners[q] = ip
		}
	}
	return owners
}

// allProgress prints a line for each group. A group is one that has a retry
// topic.
func allProgress(s *session) error {
	names, err := s.client.Topics(s.ctx)
	if err != nil {
		return err
	}
	s.row(groupColumns, "#Group", "#Count", "#Version", "#Type", "#Model", "#TPS", "#Diff Total")
	var failures []error
	for _, name := range names {
		group, ok := strings.CutPrefix(name, message.RetryPrefix)
		if !ok {
			continue
		}
		stats, err := s.client.GroupStats(s.ctx, group, "")
		if err != nil {
			failures = append(failures, err)
			stats = &protocol.ConsumeStats{}
		}
		members, err := s.client.OnlineMembers(s.ctx, group)
		if err != nil {
			if !errors.Is(err, admin.ErrNotOnline) {
				failures = append(failures, err)
			}
			members = &protocol.ConsumerConnection{}
		}
		diff := int64(0)
		for _, at := range stats.Offsets {
			diff += at.BrokerOffset - at.ConsumerOffset
		}
		version, kind, model := "OFFLINE", "", ""
		if n := len(members.Connections); n > 0 {
			version = protocol.VersionDesc(oldest(members.Connections))
			kind = "PUSH"
			if members.ConsumeType == protocol.ConsumeActively {
				kind = "PULL"
			} else {
				model = members.MessageModel
			}
		}
		s.row(groupColumns, group, len(members.Connections), version, kind, model, int64(stats.ConsumeTps), diff)
	}
	return errors.Join(failures...)
}

func oldest(members []protocol.Connection) int32 {
	low := members[0].Version
	for _, m := range members {
		low = min(low, m.Version)
	}
	return low
}

func brokerConsumeStatsCommand(o *options) *cobra.Command {
	var broker string
	var limit, level int64
	var order bool
	cmd := rocketmq("brokerConsumeStats", "Show how far all consumer groups are on one broker")
	needText(cmd, &broker, "brokerAddr", "b", "address of the broker")
	cmd.Flags().Int64VarP(&limit, "timeoutMillis", "t", 50000, "how long the broker may take, in ms")
	cmd.Flags().Int64VarP(&level, "level", "l", 0, "only queues that are at least so many messages behind")
	trueFalse(cmd, &order, "order", "o", "only ordered topics")
	return o.run(cmd, lengthy, func(s *session) error {
		list, err := s.client.BrokerConsumeStats(s.ctx, broker, order, millis(limit))
		if err != nil {
			return err
		}
		const line columns = "%-64.64v  %-64v  %-32.32v  %-4v  %-20v  %-20v  %-20v  %v"
		s.row(line, "#Topic", "#Group", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Diff", "#LastTime")
		slices.SortFunc(list.Groups, func(a, b protocol.GroupConsumeStats) int { return strings.Compare(a.Group, b.Group) })
		for _, g := range list.Groups {
			for _, stats := range g.Stats {
				for _, q := range sortedQueues(stats.Offsets) {
					at := stats.Offsets[q]
					if diff := at.BrokerOffset - at.ConsumerOffset; diff >= level && at.LastTimestamp > 0 {
						s.row(line, q.Topic, g.Group, q.BrokerName, q.QueueID, at.BrokerOffset, at.ConsumerOffset, diff, secondText(at.LastTimestamp))
					}
				}
			}
		}
		s.printf("\nDiff Total: %d\n", list.TotalDiff)
		return nil
	})
}
