package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"net/netip"
)

// PhyOffset is a byte position in a group's commit log. It is the same on every
// replica. It is never added to a QueueOffset.
type PhyOffset int64

// QueueOffset is the ordinal of a message in one queue of one topic, from 0.
type QueueOffset int64

// Limits of the stored form: the one-byte and two-byte lengths are signed for
// the Java reader.
const (
	TopicBytesMax      = 127
	PropertiesBytesMax = 32767
)

// Sizes and fixed positions of the stored form, see the drawing in doc.go.
const (
	magicV1 uint32 = 0xDAA320A7
	// Magic is the second word of every stored message; what follows the size
	// tells a message record from a command record of the same log.
	Magic = magicV1

	// MinStoredSize is the size of a record without topic, body and properties
	// and with two IPv4 hosts.
	MinStoredSize = 91

	posMagic       = 4
	posBodyCRC     = 8
	posQueueID     = 12
	posFlag        = 16
	posQueueOffset = 20
	posPhyOffset   = 28
	posSysFlag     = 36
	posBornTime    = 40
	posBornHost    = 48

	hostV4 = 8
	hostV6 = 20
)

var (
	// ErrTopicLength says that a topic is empty or longer than TopicBytesMax and
	// so has no stored form.
	ErrTopicLength = errors.New("topic must have 1 to 127 bytes")
	// ErrPropertiesLength says that the properties exceed PropertiesBytesMax.
	ErrPropertiesLength = errors.New("properties must not exceed 32767 bytes")
	// ErrBodyLength says that a body does not fit the record's 32-bit sizes.
	ErrBodyLength = errors.New("body does not fit a 32-bit record size")
)

// Message is one message with its fields apart, called MessageExtBrokerInner and
// MessageExt in RocketMQ. Queue and physical offset are missing on purpose: they
// are not part of the message but of where it came to lie.
type Message struct {
	Topic   string
	QueueID int32
	// Flag is the user's own; the broker only carries it.
	Flag int32
	// SysFlag holds the SysFlag… bits. AppendStored corrects the two bits that
	// tell the address families.
	SysFlag        int32
	ReconsumeTimes int32
	// BornTimestamp and StoreTimestamp are unix milliseconds.
	BornTimestamp  int64
	StoreTimestamp int64
	// BornHost is the producer's address, StoreHost the advertised address of
	// the broker, which ends up in the offset message id.
	BornHost, StoreHost netip.AddrPort
	// PreparedTransactionOffset is the half message's position in a committed
	// transactional message, else 0.
	PreparedTransactionOffset PhyOffset
	// Body is stored as it is, compressed or not.
	Body []byte
	// Properties is the property string: k 0x01 v 0x02 k 0x01 v.
	Properties []byte
}

// StoredSize returns the exact number of bytes AppendStored adds.
func (m *Message) StoredSize() int { return m.storedSize(len(m.Topic)) }

func (m *Message) storedSize(topic int) int {
	n := MinStoredSize + len(m.Body) + topic + len(m.Properties)
	if isV6(m.BornHost) {
		n += hostV6 - hostV4
	}
	if isV6(m.StoreHost) {
		n += hostV6 - hostV4
	}
	return n
}

// AppendStored appends the stored form to dst, with queue and physical offset 0.
// On an error dst is returned as it was. Errors: ErrTopicLength,
// ErrPropertiesLength, ErrBodyLength.
func (m *Message) AppendStored(dst []byte) ([]byte, error) {
	return appendStored(m, dst, m.Topic)
}

// AppendStoredTopic is AppendStored with the topic taken from the caller's bytes
// instead of m.Topic, for the send path that holds the topic only as a part of a
// frame and must not make a string of it.
func (m *Message) AppendStoredTopic(dst, topic []byte) ([]byte, error) {
	return appendStored(m, dst, topic)
}

func appendStored[T string | []byte](m *Message, dst []byte, topic T) ([]byte, error) {
	if len(topic) == 0 || len(topic) > TopicBytesMax {
		return dst, fmt.Errorf("store a message with a topic of %d bytes: %w", len(topic), ErrTopicLength)
	}
	if len(m.Properties) > PropertiesBytesMax {
		return dst, fmt.Errorf("store a message with %d bytes of properties: %w", len(m.Properties), ErrPropertiesLength)
	}
	size := m.storedSize(len(topic))
	if size > math.MaxInt32 {
		return dst, fmt.Errorf("store a message with a body of %d bytes: %w", len(m.Body), ErrBodyLength)
	}

	sysFlag := m.SysFlag &^ (SysFlagBornHostV6 | SysFlagStoreHostV6)
	if isV6(m.BornHost) {
		sysFlag |= SysFlagBornHostV6
	}
	if isV6(m.StoreHost) {
		sysFlag |= SysFlagStoreHostV6
	}

	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(size))
	dst = be.AppendUint32(dst, magicV1)
	dst = be.AppendUint32(dst, BodyCRC(m.Body))
	dst = be.AppendUint32(dst, uint32(m.QueueID))
	dst = be.AppendUint32(dst, uint32(m.Flag))
	dst = be.AppendUint64(dst, 0) // queue offset
	dst = be.AppendUint64(dst, 0) // physical offset
	dst = be.AppendUint32(dst, uint32(sysFlag))
	dst = be.AppendUint64(dst, uint64(m.BornTimestamp))
	dst = appendHost(dst, m.BornHost)
	dst = be.AppendUint64(dst, uint64(m.StoreTimestamp))
	dst = appendHost(dst, m.StoreHost)
	dst = be.AppendUint32(dst, uint32(m.ReconsumeTimes))
	dst = be.AppendUint64(dst, uint64(m.PreparedTransactionOffset))
	dst = be.AppendUint32(dst, uint32(len(m.Body)))
	dst = append(dst, m.Body...)
	dst = append(dst, byte(len(topic)))
	dst = append(dst, topic...)
	dst = be.AppendUint16(dst, uint16(len(m.Properties)))
	return append(dst, m.Properties...), nil
}

// BodyCRC is the checksum the stored form carries for a body: CRC-32 (IEEE) with
// the sign bit cleared, because Java keeps it in an int and compares it masked.
func BodyCRC(body []byte) uint32 { return crc32.ChecksumIEEE(body) & 0x7FFFFFFF }

// isV6 tells whether the address needs 16 bytes. An IPv4 address that came in
// through an IPv6 socket is an IPv4 address; a missing one is stored as 0.0.0.0.
func isV6(a netip.AddrPort) bool {
	ip := a.Addr()
	return ip.Is6() && !ip.Is4In6()
}

func appendHost(dst []byte, a netip.AddrPort) []byte {
	switch ip := a.Addr(); {
	case !ip.IsValid():
		dst = append(dst, 0, 0, 0, 0)
	case isV6(a):
		b := ip.As16()
		dst = append(dst, b[:]...)
	default:
		b := ip.Unmap().As4()
		dst = append(dst, b[:]...)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(a.Port()))
}
