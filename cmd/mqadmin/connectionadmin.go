package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// connectionCommands are RocketMQ's sub-commands for connected clients.
func connectionCommands(o *options) []*cobra.Command {
	return []*cobra.Command{consumerConnectionCommand(o), producerConnectionCommand(o), producerCommand(o)}
}

// groupMembers returns the connected members of a group, as one broker knows
// them or, with broker "", as any does.
func groupMembers(s *session, group, broker string) (*protocol.ConsumerConnection, error) {
	if broker == "" {
		return s.client.OnlineMembers(s.ctx, group)
	}
	members, err := s.client.Consumers(s.ctx, broker, group)
	if err == nil && len(members.Connections) == 0 {
		err = fmt.Errorf("consumer group %s at %s: %w", group, broker, admin.ErrNotOnline)
	}
	return members, err
}

func consumerConnectionCommand(o *options) *cobra.Command {
	var group, broker string
	cmd := rocketmq("consumerConnection", "List the connected members of a consumer group, and what it subscribes")
	needText(cmd, &group, "consumerGroup", "g", "consumer group")
	text(cmd, &broker, "brokerAddr", "b", "broker to ask")
	return o.run(cmd, ordinary, func(s *session) error {
		members, err := groupMembers(s, group, broker)
		if err != nil {
			return err
		}
		const line columns = "%-36v %-22v %-10v %v"
		s.row(line, "#ClientId", "#ClientAddr", "#Language", "#Version")
		for _, m := range members.Connections {
			s.row(line, m.ClientID, m.ClientAddr, m.Language, protocol.VersionDesc(m.Version))
		}
		s.print("\nBelow is subscription:\n")
		s.row("%-20v %v", "#Topic", "#SubExpression")
		for _, topic := range sorted(members.Subscriptions) {
			s.row("%-20v %v", topic, members.Subscriptions[topic].SubString)
		}
		s.printf("\nConsumeType: %s\nMessageModel: %s\nConsumeFromWhere: %s\n", members.ConsumeType, members.MessageModel, members.ConsumeFromWhere)
		return nil
	})
}

func producerConnectionCommand(o *options) *cobra.Command {
	var group, topic string
	cmd := rocketmq("producerConnection", "List the connected members of a producer group")
	needText(cmd, &group, "producerGroup", "g", "producer group")
	needText(cmd, &topic, "topic", "t", "topic whose brokers are asked")
	return o.run(cmd, ordinary, func(s *session) error {
		members, err := s.client.Producers(s.ctx, group, topic)
		if err != nil {
			return err
		}
		for i, m := range members {
			s.printf("%04d  %-32s %-22s %-8s %s\n", i+1, m.ClientID, m.ClientAddr, m.Language, protocol.VersionDesc(m.Version))
		}
		return nil
	})
}

func producerCommand(o *options) *cobra.Command {
	var broker string
	cmd := rocketmq("producer", "List the producers that are connected to a broker")
	needText(cmd, &broker, "broker", "b", "address of the broker")
	return o.run(cmd, ordinary, func(s *session) error {
		groups, err := s.client.AllProducers(s.ctx, broker)
		if err != nil {
			return err
		}
		for _, group := range sorted(groups) {
			if len(groups[group]) == 0 {
				s.printf("producer group (%s) instances are empty\n", group)
			}
			for _, p := range groups[group] {
				s.printf("producer group (%s) instance : clientId=%s,remoteIP=%s, language=%s, version=%d, lastUpdateTimestamp=%d\n",
					group, p.ClientID, p.RemoteIP, p.Language, p.Version, p.LastUpdateTimestamp)
			}
		}
		return nil
	})
}
