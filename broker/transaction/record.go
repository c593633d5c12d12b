package transaction

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/cometmq/cometmq/message"
)

// ErrHalf says that a record is no half message that could be ended.
var ErrHalf = errors.New("transaction: not a half message")

// Prepare turns a message into its half: it keeps topic and queue in the
// properties, takes the place of both with the half topic, and clears the
// transaction bits, so that the half message is readable like any other. group
// is set as PGROUP unless the message names its group itself. The returned
// properties, which m holds too, may be props grown.
func Prepare(m *message.Message, props []byte, group []byte) []byte {
	props = drop(props, message.PropertyRealTopic)
	props = drop(props, message.PropertyRealQueueID)
	props = message.AppendProperty(props, message.PropertyRealTopic, m.Topic)
	props = message.AppendProperty(props, message.PropertyRealQueueID, strconv.Itoa(int(m.QueueID)))
	if _, ok := message.Property(props, message.PropertyProducerGroup); !ok {
		props = message.AppendProperty(props, message.PropertyProducerGroup, group)
	}
	m.Topic, m.QueueID = message.TopicTransHalf, 0
	m.SysFlag &^= message.SysFlagTransactionMask
	m.Properties = props
	return props
}

func drop(props []byte, key string) []byte {
	if _, ok := message.Property(props, key); !ok {
		return props
	}
	return message.DeleteProperty(nil, props, key)
}

// Final is the message that a commit publishes: the half message, at phy, back
// in its topic and queue. Its properties stay as they are, TRAN_MSG and the
// REAL_ pair included, because that is what RocketMQ 4.9.4 leaves in them and
// what clients read the transaction id by.
func Final(half message.Stored, phy message.PhyOffset, host netip.AddrPort) (message.Message, error) {
	m, err := restore(half)
	if err != nil {
		return message.Message{}, err
	}
	m.SysFlag = m.SysFlag&^message.SysFlagTransactionMask | message.SysFlagTransactionCommit
	m.PreparedTransactionOffset = phy
	m.StoreHost = host
	return m, nil
}

// CheckBody is the body of CHECK_TRANSACTION_STATE: one stored record of the half
// message with its real topic and queue. checks is the number of this check.
func CheckBody(half message.Stored, checks int32) ([]byte, error) {
	m, err := restore(half)
	if err != nil {
		return nil, err
	}
	m.Properties = message.SetProperty(nil, m.Properties, message.PropertyTransactionCheckTimes, strconv.Itoa(int(checks)))
	body, err := m.AppendStored(nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHalf, err)
	}
	message.PatchOffsets(body, half.QueueOffset(), half.PhyOffset())
	return body, nil
}

// restore decodes a half message and puts it back in its place.
func restore(half message.Stored) (message.Message, error) {
	if string(half.Topic()) != message.TopicTransHalf {
		return message.Message{}, fmt.Errorf("%w: topic %s", ErrHalf, half.Topic())
	}
	topic, _ := half.Property(message.PropertyRealTopic)
	if err := message.ValidTopic(string(topic)); err != nil {
		return message.Message{}, fmt.Errorf("%w: property %s: %w", ErrHalf, message.PropertyRealTopic, err)
	}
	text, _ := half.Property(message.PropertyRealQueueID)
	queue, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil || queue < 0 {
		return message.Message{}, fmt.Errorf("%w: property %s is %.40q", ErrHalf, message.PropertyRealQueueID, text)
	}
	m := half.Decode()
	m.Topic, m.QueueID = string(topic), int32(queue)
	return m, nil
}

// GivenUp is the copy of a half message that is put aside after checks
// check-backs. It remembers which half message it was, so that it can be resumed.
func GivenUp(half message.Stored, offset message.QueueOffset, checks int32, host netip.AddrPort) message.Message {
	m := half.Decode()
	m.Topic, m.QueueID = message.TopicTransCheckMaxTime, 0
	m.StoreHost = host
	m.Properties = message.SetProperty(nil, m.Properties, message.PropertyTransactionCheckTimes, strconv.Itoa(int(checks)))
	m.Properties = message.SetProperty(nil, m.Properties, message.PropertyTranPreparedOffset, strconv.FormatInt(int64(offset), 10))
	return m
}

// Resumed is the half message made from a copy that was put aside, and the queue
// offset of the half message it was.
func Resumed(aside message.Stored, host netip.AddrPort) (message.Message, message.QueueOffset, error) {
	if string(aside.Topic()) != message.TopicTransCheckMaxTime {
		return message.Message{}, 0, fmt.Errorf("%w: the message is of topic %s, not of %s", ErrHalf, aside.Topic(), message.TopicTransCheckMaxTime)
	}
	text, _ := aside.Property(message.PropertyTranPreparedOffset)
	offset, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || offset < 0 {
		return message.Message{}, 0, fmt.Errorf("%w: property %s is %.40q", ErrHalf, message.PropertyTranPreparedOffset, text)
	}
	m := aside.Decode()
	m.Topic, m.QueueID = message.TopicTransHalf, 0
	m.StoreHost = host
	m.Properties = drop(m.Properties, message.PropertyTranPreparedOffset)
	m.Properties = message.SetProperty(nil, m.Properties, message.PropertyTransactionCheckTimes, "0")
	return m, message.QueueOffset(offset), nil
}
