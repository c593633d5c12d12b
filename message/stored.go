package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// ErrMalformed is what ParseStored, ViewStored and EachBatchItem wrap: the bytes
// are no record of the expected form.
var ErrMalformed = errors.New("malformed message")

// Stored is a view over one stored record, made by ParseStored or ViewStored.
// The accessors read in place: what they return shares memory with the record.
// A Stored that was not made by those two (or is nil) must not be asked anything.
type Stored []byte

// ParseStored checks the record at the beginning of b in every internal length,
// in its magic and in its body checksum, and returns a view over exactly its
// bytes. Anything after the record is ignored. Errors wrap ErrMalformed.
func ParseStored(b []byte) (Stored, error) {
	s, err := ViewStored(b)
	if err != nil {
		return nil, err
	}
	if got, want := BodyCRC(s.Body()), s.BodyCRC(); got != want {
		return nil, fmt.Errorf("%w: body checksum is %08x, the record says %08x", ErrMalformed, got, want)
	}
	return s, nil
}

// ViewStored is ParseStored without the body checksum, for callers whose bytes
// have just passed a checksum that covers the whole record.
func ViewStored(b []byte) (Stored, error) {
	if len(b) < MinStoredSize {
		return nil, fmt.Errorf("%w: %d bytes are less than the smallest record of %d", ErrMalformed, len(b), MinStoredSize)
	}
	be := binary.BigEndian
	size := int64(be.Uint32(b))
	if size < MinStoredSize || size > int64(len(b)) {
		return nil, fmt.Errorf("%w: size %d with %d bytes at hand", ErrMalformed, size, len(b))
	}
	if m := be.Uint32(b[posMagic:]); m != magicV1 {
		return nil, fmt.Errorf("%w: magic %08x, want %08x", ErrMalformed, m, magicV1)
	}
	s := Stored(b[:size:size])
	// Each position is compared before the length that stands there is read;
	// int64 keeps the sums of 32-bit lengths from wrapping.
	pos := int64(s.bodyLenPos())
	if pos+4 > size {
		return nil, fmt.Errorf("%w: no room for the body length", ErrMalformed)
	}
	pos += 4 + int64(be.Uint32(s[pos:]))
	if pos+1 > size {
		return nil, fmt.Errorf("%w: body passes the end", ErrMalformed)
	}
	topic := int64(s[pos])
	if topic == 0 || topic > TopicBytesMax {
		return nil, fmt.Errorf("%w: topic length %d", ErrMalformed, topic)
	}
	pos += 1 + topic
	if pos+2 > size {
		return nil, fmt.Errorf("%w: topic passes the end", ErrMalformed)
	}
	props := int64(be.Uint16(s[pos:]))
	if props > PropertiesBytesMax {
		return nil, fmt.Errorf("%w: properties length %d", ErrMalformed, props)
	}
	if pos += 2 + props; pos != size {
		return nil, fmt.Errorf("%w: parts add up to %d bytes, size says %d", ErrMalformed, pos, size)
	}
	return s, nil
}

func (s Stored) storeTimePos() int {
	if s[posSysFlag+3]&SysFlagBornHostV6 != 0 {
		return posBornHost + hostV6
	}
	return posBornHost + hostV4
}

func (s Stored) reconsumePos() int {
	pos := s.storeTimePos() + 8 + hostV4
	if s[posSysFlag+3]&SysFlagStoreHostV6 != 0 {
		pos += hostV6 - hostV4
	}
	return pos
}

func (s Stored) bodyLenPos() int { return s.reconsumePos() + 12 }

func (s Stored) topicLenPos() int {
	pos := s.bodyLenPos()
	return pos + 4 + int(binary.BigEndian.Uint32(s[pos:]))
}

func (s Stored) i32(pos int) int32 { return int32(binary.BigEndian.Uint32(s[pos:])) }
func (s Stored) i64(pos int) int64 { return int64(binary.BigEndian.Uint64(s[pos:])) }

// Size is the length of the whole record in bytes.
func (s Stored) Size() int { return len(s) }

// Topic returns the topic's bytes.
func (s Stored) Topic() []byte {
	pos := s.topicLenPos()
	return s[pos+1 : pos+1+int(s[pos])]
}

// QueueID returns the queue the message was sent to.
func (s Stored) QueueID() int32 { return s.i32(posQueueID) }

// Flag returns the user's flag.
func (s Stored) Flag() int32 { return s.i32(posFlag) }

// SysFlag returns the SysFlag… bits.
func (s Stored) SysFlag() int32 { return s.i32(posSysFlag) }

// QueueOffset returns the patched queue offset; 0 in bytes fresh from the log.
func (s Stored) QueueOffset() QueueOffset { return QueueOffset(s.i64(posQueueOffset)) }

// PhyOffset returns the patched physical offset; 0 in bytes fresh from the log.
func (s Stored) PhyOffset() PhyOffset { return PhyOffset(s.i64(posPhyOffset)) }

// BornTimestamp returns when the producer made the message, unix ms.
func (s Stored) BornTimestamp() int64 { return s.i64(posBornTime) }

// StoreTimestamp returns the group time at which the message was stored, unix ms.
func (s Stored) StoreTimestamp() int64 { return s.i64(s.storeTimePos()) }

// BornHost returns the producer's address.
func (s Stored) BornHost() netip.AddrPort {
	return s.host(posBornHost, s[posSysFlag+3]&SysFlagBornHostV6 != 0)
}

// StoreHost returns the advertised address of the broker that took the message.
func (s Stored) StoreHost() netip.AddrPort {
	return s.host(s.storeTimePos()+8, s[posSysFlag+3]&SysFlagStoreHostV6 != 0)
}

func (s Stored) host(pos int, v6 bool) netip.AddrPort {
	if v6 {
		ip := netip.AddrFrom16([16]byte(s[pos : pos+16]))
		return netip.AddrPortFrom(ip, uint16(s.i32(pos+16)))
	}
	ip := netip.AddrFrom4([4]byte(s[pos : pos+4]))
	return netip.AddrPortFrom(ip, uint16(s.i32(pos+4)))
}

// ReconsumeTimes returns how often consumers gave the message back.
func (s Stored) ReconsumeTimes() int32 { return s.i32(s.reconsumePos()) }

// PreparedTransactionOffset returns where the half message of a committed
// transactional message lies; 0 for others.
func (s Stored) PreparedTransactionOffset() PhyOffset {
	return PhyOffset(s.i64(s.reconsumePos() + 4))
}

// Body returns the body as stored, compressed or not.
func (s Stored) Body() []byte {
	pos := s.bodyLenPos()
	n := int(binary.BigEndian.Uint32(s[pos:]))
	return s[pos+4 : pos+4+n]
}

// BodyCRC returns the body checksum the record carries.
func (s Stored) BodyCRC() uint32 { return binary.BigEndian.Uint32(s[posBodyCRC:]) }

// Properties returns the property string.
func (s Stored) Properties() []byte {
	pos := s.topicLenPos()
	return s[pos+1+int(s[pos])+2:]
}

// Property returns the value of one property; see the function Property.
func (s Stored) Property(key string) ([]byte, bool) { return Property(s.Properties(), key) }

// TagsCode returns the code a consume queue keeps for the record's tag: TagsCode
// of property TAGS, 0 without one.
func (s Stored) TagsCode() int64 {
	tag, _ := find(s.Properties(), []byte(PropertyTags))
	return TagsCode(tag)
}

// Marks returns the properties by which a store finds messages, TAGS, UNIQ_KEY
// and KEYS, in one pass; nil for one that is missing. They share memory with the
// record.
func (s Stored) Marks() (tags, unique, keys []byte) {
	for rest := s.Properties(); len(rest) > 0; {
		segment := rest
		if i := bytes.IndexByte(rest, PropertySeparator); i >= 0 {
			segment, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		if len(segment) < len(markTags)+1 {
			continue
		}
		// The first letter alone passes over nearly all others.
		switch segment[0] {
		case markTags[0]:
			if v, ok := bytes.CutPrefix(segment, markTags); ok && len(v) > 0 {
				tags = v
			}
		case markUnique[0]:
			if v, ok := bytes.CutPrefix(segment, markUnique); ok && len(v) > 0 {
				unique = v
			}
		case markKeys[0]:
			if v, ok := bytes.CutPrefix(segment, markKeys); ok && len(v) > 0 {
				keys = v
			}
		}
	}
	return tags, unique, keys
}

var (
	markTags   = []byte(PropertyTags + "\x01")
	markUnique = []byte(PropertyUniqKey + "\x01")
	markKeys   = []byte(PropertyKeys + "\x01")
)

// Decode copies the record into a Message that shares no memory with it.
func (s Stored) Decode() Message {
	m := Message{
		Topic:                     string(s.Topic()),
		QueueID:                   s.QueueID(),
		Flag:                      s.Flag(),
		SysFlag:                   s.SysFlag(),
		ReconsumeTimes:            s.ReconsumeTimes(),
		BornTimestamp:             s.BornTimestamp(),
		StoreTimestamp:            s.StoreTimestamp(),
		BornHost:                  s.BornHost(),
		StoreHost:                 s.StoreHost(),
		PreparedTransactionOffset: s.PreparedTransactionOffset(),
	}
	// One allocation for both parts; an empty part stays nil as in a Message
	// that never had one.
	body, props := s.Body(), s.Properties()
	if n := len(body) + len(props); n > 0 {
		both := append(append(make([]byte, 0, n), body...), props...)
		if len(body) > 0 {
			m.Body = both[:len(body):len(body)]
		}
		if len(props) > 0 {
			m.Properties = both[len(body):]
		}
	}
	return m
}

// Clone returns a view over a copy of the record.
func (s Stored) Clone() Stored { return bytes.Clone(s) }

// PatchOffsets writes queue and physical offset into a copy of a record on its
// way out. rec must begin with a checked record. The bytes in the log keep their
// zeros: they are covered by checksums and equal on every replica.
func PatchOffsets(rec []byte, q QueueOffset, p PhyOffset) {
	binary.BigEndian.PutUint64(rec[posQueueOffset:], uint64(q))
	binary.BigEndian.PutUint64(rec[posPhyOffset:], uint64(p))
}

// StoreTimestampPos returns where in rec (which begins with a checked record)
// the eight bytes lie that the collector stamps with the group time.
func StoreTimestampPos(rec []byte) int { return Stored(rec).storeTimePos() }
