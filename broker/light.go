package broker

import (
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// remarkLightQueues is RocketMQ's remark for too many light queues.
const remarkLightQueues = "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]broker config enableLmq and enableMultiDispatch, " +
	"lmq consumeQueue num exceed maxLmqConsumeQueueNum config num, default limit 2w."

// light makes a message one that can be read from the light queues it names, too,
// if that is switched on, and returns its new property string, which may be props
// grown. topic is where the message belongs: one that waits first is made so by
// lightLater when it gets there. It must be the last change of the properties.
func (b *Broker) light(m *message.Message, topic string, props, value []byte) ([]byte, error) {
	if !b.dispatchesLight() || !message.FeedsLightQueues(topic) {
		return props, nil
	}
	grown, err := b.withLight(props, value, m.Topic == topic)
	if err != nil || m.Topic != topic {
		return props, err
	}
	return grown, nil
}

// lightLater does the same when a message gets to its topic that waited, for a
// time or for the end of its transaction. It is too late to refuse it: what speaks
// against it now keeps it out of the light queues, not out of its topic.
func (b *Broker) lightLater(topic, props []byte) []byte {
	if !b.dispatchesLight() || !message.FeedsLightQueues(string(topic)) {
		return props
	}
	value, ok := message.Property(props, message.PropertyInnerMultiDispatch)
	if !ok {
		return props
	}
	props = dropProperty(props, message.PropertyInnerMultiQueueOffset)
	grown, err := b.withLight(props, value, true)
	if err != nil {
		b.unlit.Warn("a message that waited gets to its topic only, not to its light queues", "topic", string(topic), "error", err)
		return props
	}
	return grown
}

// dispatchesLight tells whether messages may name light queues.
func (b *Broker) dispatchesLight() bool {
	cfg := b.cfg()
	return cfg.LightQueues && cfg.MultiDispatch
}

// withLight adds the room for the offsets in the named light queues. bounded: also
// if the number of light queues allows it. That is looked at before the message is
// stored, so that sends under way at the same time can pass the bound together.
func (b *Broker) withLight(props, value []byte, bounded bool) ([]byte, error) {
	names, err := message.LightQueues(value)
	if err != nil {
		return nil, refuse(protocol.StatusMessageIllegal, "the message is illegal, %v", err)
	}
	if len(names) == 0 {
		return props, nil
	}
	if have, missing := b.store.LightQueues(names); bounded && missing > 0 && have+missing > b.cfg().LightQueuesMax {
		return nil, refuse(protocol.StatusSystemError, "%s", remarkLightQueues)
	}
	props = message.AppendLightOffsets(props, len(names))
	if len(props) > message.PropertiesBytesMax {
		return nil, refuse(protocol.StatusMessageIllegal, "the message is illegal: with %d bytes for its offsets in light queues, properties have more than %d",
			message.LightOffsetsSize(len(names)), message.PropertiesBytesMax)
	}
	return props, nil
}

// lightQueue tells whether a name is one of light queues, or of a group of theirs,
// and has no settings of its own.
func (b *Broker) lightQueue(name string) bool {
	return message.IsLightQueue(name) && b.cfg().LightQueues
}

// topicConfig returns a topic's configuration, and that of a light queue, which is
// in no table.
func (b *Broker) topicConfig(name string) (*protocol.TopicConfig, bool) {
	cfg, ok := b.meta.Topic(name)
	if !ok && b.lightQueue(name) && message.ValidTopic(name) == nil {
		return readWriteTopic(name, 1), true
	}
	return cfg, ok
}

// groupConfig returns a group's configuration. As in RocketMQ a group of light
// queues has the default one.
func (b *Broker) groupConfig(name string) (*protocol.SubscriptionGroupConfig, bool) {
	cfg, ok := b.meta.Group(name)
	if !ok && b.lightQueue(name) && message.ValidGroup(name) == nil {
		return protocol.NewSubscriptionGroupConfig(name), true
	}
	return cfg, ok
}

// lightStats is the name under which a topic or group is counted: light ones come
// and go in great number and are counted together, as in RocketMQ.
func lightStats(name string) string {
	if message.IsLightQueue(name) {
		return message.LightPrefix
	}
	return name
}
