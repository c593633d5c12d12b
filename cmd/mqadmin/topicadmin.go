package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// topicCommands are RocketMQ's sub-commands for topics.
func topicCommands(o *options) []*cobra.Command {
	return []*cobra.Command{
		updateTopicCommand(o), deleteTopicCommand(o), updateTopicPermCommand(o), updateOrderConfCommand(o),
		topicListCommand(o), topicRouteCommand(o), topicStatusCommand(o), topicClusterListCommand(o), allocateMQCommand(o),
	}
}

const topicListColumns columns = "%-20.20v  %-64.64v  %-64.64v"

func topicListCommand(o *options) *cobra.Command {
	var withCluster bool
	cmd := rocketmq("topicList", "List the topics that the name server knows")
	cmd.Flags().BoolVarP(&withCluster, "clusterModel", "c", false, "with cluster and consumer groups")
	return o.run(cmd, lengthy, func(s *session) error {
		names, err := s.client.Topics(s.ctx)
		if err != nil {
			return err
		}
		if !withCluster {
			for _, name := range names {
				s.print(name + "\n")
			}
			return nil
		}
		s.row("%-20v  %-48v  %-48v", "#Cluster Name", "#Topic", "#Consumer Group")
		for _, name := range names {
			if message.IsRetryTopic(name) || message.IsDLQTopic(name) {
				continue
			}
			cluster, groups, err := s.client.TopicConsumers(s.ctx, name)
			if err != nil && !admin.NotSent(err) && !admin.IsStatus(err, protocol.StatusRequestCodeNotSupported, protocol.StatusTopicNotExist) {
				return err
			}
			if len(groups) == 0 {
				groups = []string{""}
			}
			for _, g := range groups {
				s.row(topicListColumns, cluster, name, g)
			}
		}
		return nil
	})
}

func updateTopicCommand(o *options) *cobra.Command {
	var at scope
	var unit, unitSub bool
	var attributes []string
	cfg := protocol.TopicConfig{}
	cmd := rocketmq("updateTopic", "Create or change a topic")
	at.flags(cmd)
	needText(cmd, &cfg.TopicName, "topic", "t", "topic")
	f := cmd.Flags()
	f.Int32VarP(&cfg.ReadQueueNums, "readQueueNums", "r", 8, "number of queues to read")
	f.Int32VarP(&cfg.WriteQueueNums, "writeQueueNums", "w", 8, "number of queues to write")
	f.Int32VarP(&cfg.Perm, "perm", "p", 6, "2 write, 4 read, 6 both")
	f.StringSliceVarP(&attributes, "attributes", "a", nil, "+key=value sets an attribute, -key removes it; as in RocketMQ 5")
	trueFalse(cmd, &cfg.Order, "order", "o", "messages are ordered over the whole topic")
	trueFalse(cmd, &unit, "unit", "u", "unit flag")
	trueFalse(cmd, &unitSub, "hasUnitSub", "s", "unit subscription flag")
	return o.run(cmd, ordinary, func(s *session) error {
		cfg.Attributes = map[string]string{}
		for _, a := range attributes {
			key, value, _ := strings.Cut(a, "=")
			cfg.Attributes[key] = value
		}
		if unit {
			cfg.TopicSysFlag |= 1
		}
		if unitSub {
			cfg.TopicSysFlag |= 2
		}
		if err := validTopicConfig(cfg); err != nil {
			return err
		}
		addrs, err := at.leaders(s)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			if err := s.client.PutTopic(s.ctx, addr, cfg); err != nil {
				return err
			}
			s.printf("create topic to %s success.\n", addr)
		}
		if cfg.Order {
			conf, err := putOrder(s, at, cfg)
			if err != nil {
				return err
			}
			where := "cluster"
			if at.broker != "" {
				where = "broker"
			}
			s.printf("set %s orderConf. isOrder=true, orderConf=[%s]\n", where, conf)
		}
		s.print(topicConfigText(cfg) + "\n")
		return nil
	})
}

// putOrder gives the brokers their queues in a topic's order configuration: one
// broker beside what is there, a cluster instead of it.
func putOrder(s *session, at scope, cfg protocol.TopicConfig) (string, error) {
	brokers, err := s.client.Brokers(s.ctx, at.cluster)
	if err != nil {
		return "", err
	}
	var entries []string
	for _, b := range brokers {
		entry := fmt.Sprintf("%s:%d", b.Name, cfg.WriteQueueNums)
		if (at.broker == "" || b.Addr == at.broker) && !slices.Contains(entries, entry) {
			entries = append(entries, entry)
		}
	}
	if len(entries) == 0 {
		return "", fmt.Errorf("the topic was created, but the name server knows no broker %s, so it has no order configuration", at.broker)
	}
	conf := strings.Join(entries, ";")
	if at.broker == "" {
		return conf, s.client.PutOrder(s.ctx, cfg.TopicName, conf)
	}
	return conf, s.client.MergeOrder(s.ctx, cfg.TopicName, conf)
}

// validTopicConfig refuses what no broker takes.
func validTopicConfig(cfg protocol.TopicConfig) error {
	if err := message.ValidTopic(cfg.TopicName); err != nil {
		return err
	}
	if cfg.ReadQueueNums < 1 || cfg.WriteQueueNums < 1 || cfg.Perm < 0 || cfg.Perm > 7 {
		return fmt.Errorf("a topic needs at least one queue and a permission of 0 to 7 (6: read and write), not %d, %d and %d",
			cfg.ReadQueueNums, cfg.WriteQueueNums, cfg.Perm)
	}
	return nil
}

func topicConfigText(cfg protocol.TopicConfig) string {
	return fmt.Sprintf("TopicConfig [topicName=%s, readQueueNums=%d, writeQueueNums=%d, perm=%s, topicFilterType=SINGLE_TAG, topicSysFlag=%d, order=%t]",
		cfg.TopicName, cfg.ReadQueueNums, cfg.WriteQueueNums, permText(cfg.Perm), cfg.TopicSysFlag, cfg.Order)
}

// permText writes a permission as RocketMQ's tools do.
func permText(perm int32) string {
	text := []byte("---")
	for i, bit := range []int32{protocol.PermRead, protocol.PermWrite, protocol.PermInherit} {
		if perm&bit != 0 {
			text[i] = "RWX"[i]
		}
	}
	return string(text)
}

func deleteTopicCommand(o *options) *cobra.Command {
	var cluster, topic string
	cmd := rocketmq("deleteTopic", "Delete a topic from brokers and name servers")
	needText(cmd, &topic, "topic", "t", "topic")
	needText(cmd, &cluster, "clusterName", "c", "cluster to delete it from")
	return o.run(cmd, ordinary, func(s *session) error { return deleteTopicOf(s, cluster, topic) })
}

// deleteTopicOf deletes a topic as deleteTopic does.
func deleteTopicOf(s *session, cluster, topic string) error {
	at := scope{cluster: cluster}
	addrs, err := at.everyone(s) // RocketMQ's followers look for changes only now and then
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if err := s.client.DeleteTopic(s.ctx, addr, topic); err != nil {
			return err
		}
	}
	s.printf("delete topic [%s] from cluster [%s] success.\n", topic, cluster)
	if err := s.client.DeleteTopicRoute(s.ctx, topic); err != nil {
		return err
	}
	s.printf("delete topic [%s] from NameServer success.\n", topic)
	return nil
}

func updateTopicPermCommand(o *options) *cobra.Command {
	var at scope
	var topic string
	var perm int32
	cmd := rocketmq("updateTopicPerm", "Change what may be done with a topic")
	at.flags(cmd)
	needText(cmd, &topic, "topic", "t", "topic")
	cmd.Flags().Int32VarP(&perm, "perm", "p", 0, "2 write, 4 read, 6 both")
	must(cmd.MarkFlagRequired("perm"))
	return o.run(cmd, ordinary, func(s *session) error {
		data, err := s.client.RouteData(s.ctx, topic)
		if err != nil {
			return err
		}
		addrs, err := at.leaders(s)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			q := queuesAt(data, addr)
			if q == nil && at.broker != "" {
				return fmt.Errorf("%s does not lead a broker of topic %s; see: mqadmin topicRoute -t %s", addr, topic, topic)
			}
			if q == nil {
				continue // the topic is not on every broker of the cluster
			}
			if q.Perm == perm && at.broker != "" {
				s.print("new perm equals to the old one!\n")
				return nil
			}
			cfg := protocol.TopicConfig{TopicName: topic, ReadQueueNums: q.ReadQueueNums, WriteQueueNums: q.WriteQueueNums, TopicSysFlag: q.TopicSysFlag, Perm: perm}
			if err := validTopicConfig(cfg); err != nil {
				return err
			}
			if err := s.client.PutTopic(s.ctx, addr, cfg); err != nil {
				return err
			}
			s.printf("update topic perm from %d to %d in %s success.\n", q.Perm, perm, addr)
			if at.broker != "" {
				s.printf("%s.\n", topicConfigText(cfg))
			}
		}
		return nil
	})
}

// queuesAt returns the queues of the broker that is led at an address.
func queuesAt(data *protocol.TopicRouteData, leader string) *protocol.QueueData {
	for _, b := range data.BrokerDatas {
		if b.BrokerAddrs[protocol.MasterID] != leader {
			continue
		}
		for i, q := range data.QueueDatas {
			if q.BrokerName == b.BrokerName {
				return &data.QueueDatas[i]
			}
		}
	}
	return nil
}

func updateOrderConfCommand(o *options) *cobra.Command {
	var topic, conf, method string
	cmd := rocketmq("updateOrderConf", "Set, show or delete a topic's order configuration")
	needText(cmd, &topic, "topic", "t", "topic")
	text(cmd, &conf, "orderConf", "v", "queues by broker: broker-a:4;broker-b:4")
	needText(cmd, &method, "method", "m", "get, put or delete")
	return o.run(cmd, ordinary, func(s *session) error {
		switch method {
		case "get":
			value, err := s.client.Order(s.ctx, topic)
			if err != nil {
				return err
			}
			s.printf("get orderConf success. topic=[%s], orderConf=[%s] \n", topic, value)
		case "put":
			if conf == "" {
				return errors.New("please set orderConf with option -v")
			}
			if err := s.client.PutOrder(s.ctx, topic, conf); err != nil {
				return err
			}
			s.printf("update orderConf success. topic=[%s], orderConf=[%s]\n", topic, conf)
		case "delete":
			if err := s.client.DeleteOrder(s.ctx, topic); err != nil {
				return err
			}
			s.printf("delete orderConf success. topic=[%s]\n", topic)
		default:
			return fmt.Errorf("-m %s is not known: get, put or delete", method)
		}
		return nil
	})
}

const routeColumns columns = "%-45v %-32v %-50v %-10v %-11v %-5v"

func topicRouteCommand(o *options) *cobra.Command {
	var topic string
	var list bool
	cmd := rocketmq("topicRoute", "Show where a topic is served")
	needText(cmd, &topic, "topic", "t", "topic")
	cmd.Flags().BoolVarP(&list, "list", "l", false, "as a table")
	return o.run(cmd, ordinary, func(s *session) error {
		data, err := s.client.RouteData(s.ctx, topic)
		if err != nil {
			return err
		}
		if !list {
			s.print(prettyJSON(protocol.Encode(data)) + "\n")
			return nil
		}
		s.row(routeColumns, "#ClusterName", "#BrokerName", "#BrokerAddrs", "#ReadQueue", "#WriteQueue", "#Perm")
		queues := map[string]protocol.QueueData{}
		for _, q := range data.QueueDatas {
			queues[q.BrokerName] = q
		}
		slices.SortFunc(data.BrokerDatas, func(a, b protocol.BrokerData) int { return strings.Compare(a.BrokerName, b.BrokerName) })
		var reads, writes int32
		for _, b := range data.BrokerDatas {
			q := queues[b.BrokerName]
			reads, writes = reads+q.ReadQueueNums, writes+q.WriteQueueNums
			s.row(routeColumns, b.Cluster, b.BrokerName, addrsText(b.BrokerAddrs), q.ReadQueueNums, q.WriteQueueNums, q.Perm)
		}
		s.print(strings.Repeat("-", 158) + "\n")
		s.row(routeColumns, "Total:", len(queues), "", reads, writes, "")
		return nil
	})
}

// addrsText prints a broker's members: {0=10.0.0.1:10911, 1=10.0.0.2:10911}.
func addrsText(addrs map[int64]string) string {
	var parts []string
	for _, id := range sorted(addrs) {
		parts = append(parts, strconv.FormatInt(id, 10)+"="+addrs[id])
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

const topicStatusColumns columns = "%-32.32v  %-4v  %-20v  %-20v    %v"

func topicStatusCommand(o *options) *cobra.Command {
	var topic string
	cmd := rocketmq("topicStatus", "Show the offsets of a topic's queues")
	needText(cmd, &topic, "topic", "t", "topic")
	return o.run(cmd, ordinary, func(s *session) error {
		stats, err := s.client.AllTopicStats(s.ctx, topic)
		if err != nil {
			return err
		}
		s.row(topicStatusColumns, "#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated")
		for _, q := range stats {
			s.row(topicStatusColumns, q.Queue.BrokerName, q.Queue.QueueID, q.MinOffset, q.MaxOffset, timeText(q.LastUpdateTimestamp))
		}
		return nil
	})
}

func topicClusterListCommand(o *options) *cobra.Command {
	var topic string
	cmd := rocketmq("topicClusterList", "List the clusters that serve a topic")
	needText(cmd, &topic, "topic", "t", "topic")
	return o.run(cmd, ordinary, func(s *session) error {
		data, err := s.client.RouteData(s.ctx, topic)
		if err != nil {
			return err
		}
		info, err := s.client.Cluster(s.ctx)
		if err != nil {
			return err
		}
		var clusters []string
		for cluster, names := range info.ClusterAddrTable {
			if slices.ContainsFunc(data.BrokerDatas, func(b protocol.BrokerData) bool { return slices.Contains(names, b.BrokerName) }) {
				clusters = append(clusters, cluster)
			}
		}
		slices.Sort(clusters)
		for _, c := range clusters {
			s.print(c + "\n")
		}
		return nil
	})
}

func allocateMQCommand(o *options) *cobra.Command {
	var topic, ips string
	cmd := rocketmq("allocateMQ", "Show which queues each of some consumers would get")
	needText(cmd, &topic, "topic", "t", "topic")
	needText(cmd, &ips, "ipList", "i", "consumers, separated by commas")
	return o.run(cmd, ordinary, func(s *session) error {
		route, err := s.client.Route(s.ctx, topic)
		if err != nil {
			return err
		}
		members := strings.Split(ips, ",")
		result := &protocol.Allocation{Queues: map[string][]protocol.MessageQueue{}}
		for i, member := range members {
			result.Queues[member] = []protocol.MessageQueue{}
			for _, q := range averageShare(route.Readable, i, len(members)) {
				result.Queues[member] = append(result.Queues[member], protocol.MessageQueue{Topic: topic, BrokerName: q.Broker, QueueID: q.ID})
			}
		}
		s.print(string(protocol.Encode(result)) + "\n")
		return nil
	})
}

// averageShare is what a consumer gets by RocketMQ's usual strategy: a run of
// queues, one more for the first members when they cannot be divided evenly.
func averageShare(queues []admin.Queue, member, members int) []admin.Queue {
	size, more := len(queues)/members, len(queues)%members
	from := member*size + min(member, more)
	if member < more {
		size++
	}
	return queues[from : from+size]
}
