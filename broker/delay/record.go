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
// Errors wrap ErrUndeliverable.
func AppendDelivery(dst []byte, rec message.Stored, host netip.AddrPort) ([]byte, error) {
	props := rec.Properties()
	topic, ok := message.Property(props, message.PropertyRealTopic)
	if !ok {
		return dst, fmt.Errorf("%w: no property %s", ErrUndeliverable, message.PropertyRealTopic)
	}
	if err := message.ValidTopic(string(topic)); err != nil {
		return dst, fmt.Errorf("%w: property %s: %w", ErrUndeliverable, message.PropertyRealTopic, err)
	}
	switch string(topic) {
	case message.TopicTransHalf, message.TopicSchedule:
		// A half message is never delayed by us, and one that claims to be
		// would start a transaction nobody ends; a delayed message that
		// returns to the schedule topic would return for ever.
		return dst, fmt.Errorf("%w: real topic %s", ErrUndeliverable, topic)
	}
	queue, ok := message.Property(props, message.PropertyRealQueueID)
	if !ok {
		return dst, fmt.Errorf("%w: no property %s", ErrUndeliverable, message.PropertyRealQueueID)
	}
	queueID, err := strconv.ParseInt(string(queue), 10, 32)
	if err != nil || queueID < 0 {
		return dst, fmt.Errorf("%w: property %s is %.40q", ErrUndeliverable, message.PropertyRealQueueID, queue)
	}
	if !host.IsValid() {
		host = rec.StoreHost()
	}
	m := message.Message{
		QueueID: int32(queueID), Flag: rec.Flag(), SysFlag: rec.SysFlag(), ReconsumeTimes: rec.ReconsumeTimes(),
		BornTimestamp: rec.BornTimestamp(), BornHost: rec.BornHost(), StoreHost: host,
		PreparedTransactionOffset: rec.PreparedTransactionOffset(),
		Body:                      rec.Body(),
		Properties:                message.DeleteProperty(nil, props, message.PropertyDelayTimeLevel),
	}
	out, err := m.AppendStoredTopic(dst, topic)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrUndeliverable, err)
	}
	return out, nil
}
