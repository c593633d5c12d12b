package delay

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/cometmq/cometmq/message"
)

// ErrUndeliverable says that a message of the schedule topic cannot become a
// message of another topic. It is passed over: no later attempt would fare
// better, and it would hold up all messages behind it.
var ErrUndeliverable = errors.New("delay: undeliverable message")

// AppendDelivery appends the deliverable form of a delayed message to dst: its
// real topic and queue, without the property DELAY, all else as it was (born
// time and host, flags, reconsume times, body). The store timestamp is left 0
// for the collector to stamp; host replaces the store host unless it is zero.
// Errors wrap ErrUndeliverable; dst comes back unchanged then.
func AppendDelivery(dst []byte, rec message.Stored, host netip.AddrPort) ([]byte, error) {
	out, _, err := appendDelivery(dst, nil, rec, host, nil)
	return out, err
}

// appendDelivery is AppendDelivery with a buffer for the properties, which
// comes back for the next message, and with Config.Properties as more.
func appendDelivery(dst, buf []byte, rec message.Stored, host netip.AddrPort, more func(topic, props []byte) []byte) (out, props []byte, err error) {
	topic, queueID, err := destination(rec.Properties())
	if err != nil {
		return dst, buf, err
	}
	if !host.IsValid() {
		host = rec.StoreHost()
	}
	props = message.DeleteProperty(buf[:0], rec.Properties(), message.PropertyDelayTimeLevel)
	if more != nil {
		props = more(topic, props)
	}
	m := message.Message{
		QueueID: queueID, Flag: rec.Flag(), SysFlag: rec.SysFlag(), ReconsumeTimes: rec.ReconsumeTimes(),
		BornTimestamp: rec.BornTimestamp(), BornHost: rec.BornHost(), StoreHost: host,
		PreparedTransactionOffset: rec.PreparedTransactionOffset(),
		Body:                      rec.Body(), Properties: props,
	}
	out, err = m.AppendStoredTopic(dst, topic)
	if err != nil {
		return dst, props, fmt.Errorf("%w: %w", ErrUndeliverable, err)
	}
	return out, props, nil
}

// destination reads where a delayed message goes.
func destination(props []byte) (topic []byte, queueID int32, err error) {
	topic, ok := message.Property(props, message.PropertyRealTopic)
	if !ok {
		return nil, 0, fmt.Errorf("%w: no property %s", ErrUndeliverable, message.PropertyRealTopic)
	}
	if err := message.ValidTopic(string(topic)); err != nil {
		return nil, 0, fmt.Errorf("%w: property %s: %w", ErrUndeliverable, message.PropertyRealTopic, err)
	}
	switch string(topic) {
	case message.TopicTransHalf, message.TopicSchedule:
		// A half message is never delayed by us, and one that claims to be
		// would start a transaction nobody ends; a delayed message that
		// returns to the schedule topic would return for ever.
		return nil, 0, fmt.Errorf("%w: real topic %s", ErrUndeliverable, topic)
	}
	queue, ok := message.Property(props, message.PropertyRealQueueID)
	if !ok {
		return nil, 0, fmt.Errorf("%w: no property %s", ErrUndeliverable, message.PropertyRealQueueID)
	}
	id, err := strconv.ParseInt(string(queue), 10, 32)
	if err != nil || id < 0 {
		return nil, 0, fmt.Errorf("%w: property %s is %.40q", ErrUndeliverable, message.PropertyRealQueueID, queue)
	}
	return topic, int32(id), nil
}
