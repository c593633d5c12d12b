package main

import (
	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// offsetCommands are RocketMQ's sub-commands for consumer offsets.
func offsetCommands(o *options) []*cobra.Command {
	return []*cobra.Command{resetOffsetByTimeCommand(o), skipAccumulatedMessageCommand(o), cloneGroupOffsetCommand(o)}
}

const (
	offsetColumns   columns = "%-40.40v  %-40v  %-40v"
	rollbackColumns columns = "%-20.32v  %-20v  %-20v  %-20v  %-20v  %-20v"
)

func resetOffsetByTimeCommand(o *options) *cobra.Command {
	var group, topic, when string
	var cplus bool
	force := true
	cmd := rocketmq("resetOffsetByTime", "Move a consumer group to the messages stored at a time")
	needText(cmd, &group, "group", "g", "consumer group")
	needText(cmd, &topic, "topic", "t", "topic")
	needText(cmd, &when, "timestamp", "s", "now, milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS")
	trueFalse(cmd, &force, "force", "f", "also forwards")
	cmd.Flags().BoolVarP(&cplus, "cplus", "c", false, "the members are written in C++")
	return o.run(cmd, lengthy, func(s *session) error {
		at := admin.OffsetNow
		if when != "now" {
			var err error
			if at, err = parseTimestamp(when); err != nil {
				return err
			}
		}
		offsets, err := s.client.ResetGroup(s.ctx, group, topic, at, force, cplus)
		if admin.IsStatus(err, protocol.StatusConsumerNotOnline) {
			done, err := s.client.RollBack(s.ctx, group, topic, at, force)
			s.printf("rollback consumer offset by specified consumerGroup[%s], topic[%s], force[%t], timestamp(string)[%s], timestamp(long)[%d]\n",
				group, topic, force, when, at)
			printRollback(s, done)
			return err
		}
		if err != nil {
			return err
		}
		s.printf("rollback consumer offset by specified group[%s], topic[%s], force[%t], timestamp(string)[%s], timestamp(long)[%d]\n",
			group, topic, force, when, at)
		printOffsets(s, offsets)
		return nil
	})
}

func skipAccumulatedMessageCommand(o *options) *cobra.Command {
	var group, topic string
	force := true
	cmd := rocketmq("skipAccumulatedMessage", "Move a consumer group past all messages it has not consumed")
	needText(cmd, &group, "group", "g", "consumer group")
	needText(cmd, &topic, "topic", "t", "topic")
	trueFalse(cmd, &force, "force", "f", "also forwards")
	return o.run(cmd, lengthy, func(s *session) error {
		offsets, err := s.client.ResetGroup(s.ctx, group, topic, admin.OffsetNow, force, false)
		if admin.IsStatus(err, protocol.StatusConsumerNotOnline) {
			done, err := s.client.RollBack(s.ctx, group, topic, admin.OffsetNow, force)
			printRollback(s, done)
			return err
		}
		if err != nil {
			return err
		}
		printOffsets(s, offsets)
		return nil
	})
}

// printOffsets prints where a group with members is now.
func printOffsets(s *session, offsets map[protocol.MessageQueue]int64) {
	s.row(offsetColumns, "#brokerName", "#queueId", "#offset")
	for _, q := range sortedQueues(offsets) {
		s.row(offsetColumns, q.BrokerName, q.QueueID, offsets[q])
	}
}

// printRollback prints where a group without members was and is.
func printRollback(s *session, done []admin.RollbackStats) {
	s.row(rollbackColumns, "#brokerName", "#queueId", "#brokerOffset", "#consumerOffset", "#timestampOffset", "#rollbackOffset")
	for _, st := range done {
		s.row(rollbackColumns, st.Queue.BrokerName, st.Queue.QueueID, st.BrokerOffset, st.ConsumerOffset, st.TimestampOffset, st.RollbackOffset)
	}
}

func cloneGroupOffsetCommand(o *options) *cobra.Command {
	var from, to, topic string
	var offline bool
	cmd := rocketmq("cloneGroupOffset", "Give a consumer group the offsets of another one in a topic")
	needText(cmd, &from, "srcGroup", "s", "group to copy from")
	needText(cmd, &to, "destGroup", "d", "group to copy to")
	needText(cmd, &topic, "topic", "t", "topic")
	trueFalse(cmd, &offline, "offline", "o", "taken and not needed, as in RocketMQ")
	return o.run(cmd, ordinary, func(s *session) error {
		if err := s.client.CloneOffsets(s.ctx, from, to, topic); err != nil {
			return err
		}
		s.printf("clone group offset success. srcGroup[%s], destGroup=[%s], topic[%s]\n", from, to, topic)
		return nil
	})
}
