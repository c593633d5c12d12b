package metadata

import (
	"strings"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// reservedTopics are the names no command may put or delete, whether or not
// this configuration makes the topic. The cluster's and the broker's name and
// the reply topic come on top.
var reservedTopics = []string{
	message.TopicAutoCreate, message.TopicSchedule, message.TopicBenchmark, message.TopicTransHalf,
	message.TopicTransOpHalf, message.TopicTransCheckMaxTime, message.TopicTrace,
	message.TopicSelfTest, message.TopicOffsetMoved,
}

// reservedTopicNames depends on the group's identity alone, not on what else
// is configured: commands must be refused alike on all replicas.
func reservedTopicNames(cfg Config) map[string]bool {
	names := make(map[string]bool, len(reservedTopics)+3)
	for _, n := range reservedTopics {
		names[n] = true
	}
	if cfg.Cluster != "" {
		names[cfg.Cluster] = true
		names[replyTopic(cfg.Cluster)] = true
	}
	if cfg.BrokerName != "" {
		names[cfg.BrokerName] = true
	}
	return names
}

func replyTopic(cluster string) string { return cluster + message.ReplySuffix }

// systemTopics are the topics every broker of this configuration has. RocketMQ
// makes the transaction topics at their first use; making them here saves a
// replicated command on that path and shows the same route afterwards.
func systemTopics(cfg Config) []*protocol.TopicConfig {
	const rw = protocol.PermRead | protocol.PermWrite
	topics := []*protocol.TopicConfig{
		newTopic(message.TopicSelfTest, 1, rw),
		newTopic(message.TopicBenchmark, 1024, rw),
		newTopic(message.TopicOffsetMoved, 1, rw),
		newTopic(message.TopicSchedule, cfg.DelayLevels, rw),
		newTopic(message.TopicTransHalf, 1, rw),
		newTopic(message.TopicTransOpHalf, 1, rw),
		newTopic(message.TopicTransCheckMaxTime, 1, rw),
	}
	if cfg.AutoCreateTopic {
		topics = append(topics, newTopic(message.TopicAutoCreate, cfg.DefaultTopicQueues, rw|protocol.PermInherit))
	}
	if cfg.Cluster != "" {
		topics = append(topics,
			newTopic(cfg.Cluster, 16, rw|inherit(cfg.ClusterTopic)),
			newTopic(replyTopic(cfg.Cluster), 1, rw))
	}
	if cfg.BrokerName != "" {
		topics = append(topics, newTopic(cfg.BrokerName, 1, rw|inherit(cfg.BrokerTopic)))
	}
	if cfg.TraceTopic {
		topics = append(topics, newTopic(message.TopicTrace, 1, rw))
	}
	return topics
}

func inherit(on bool) int32 {
	if on {
		return protocol.PermInherit
	}
	return 0
}

func newTopic(name string, queues, perm int32) *protocol.TopicConfig {
	return &protocol.TopicConfig{
		TopicName: name, ReadQueueNums: queues, WriteQueueNums: queues, Perm: perm, TopicFilterType: protocol.FilterSingleTag,
	}
}

func isSystemPrefix(topic string) bool { return strings.HasPrefix(topic, message.TopicSystemPrefix) }
