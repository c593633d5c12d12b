package metadata

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Commands. A command record (see store.AppendCommand) carries an op, whose
// high byte is the table and whose low byte is the verb, and a payload. Every
// payload starts with formatVersion. Scalars are big-endian, `uv` is an
// unsigned and `sv` a zigzag varint (as encoding/binary has them, at most 64
// bits), `str` is uv length followed by that many
// bytes, `bool` is one byte 0 or 1.
//
//	0x0101 put topic       version u8 | mode u8 | name str | topic value
//	0x0102 delete topic    version u8 | name str
//	0x0103 clean topic     version u8 | name str
//	0x0201 put group       version u8 | mode u8 | name str | group value
//	0x0202 delete group    version u8 | name str | removeOffsets bool
//	0x0301 commit offsets  version u8 | count uv | count × (group str | topic str | queue uv | offset uv)
//	0x0401 lock queues     version u8 | group str | owner str | count uv | count × (topic str | broker str | queue uv)
//	0x0402 unlock queues   the same
//	0x0501 mature          version u8 | level uv | from u64 | to u64      (+ nested messages)
//	0x0601 announce        version u8 | id str | addr str | term u64
//	0x0602 secret          version u8 | secret str
//	0x0701 prepare         version u8 | queue uv                          (+ the half message)
//	0x0702 end             version u8 | offset u64 | phy u64 | state u8   (+ the message to publish, if any)
//	0x0703 check           version u8 | count uv | count × (offset uv | checks uv)
//	0x0704 resume          version u8 | offset u64                        (+ the new half message)
//	0x0801 once            version u8 | kind u8 | key 16 | window u64 | entries u32 | queue u32
//	                                                                      (+ the messages of a send)
//	0x0802 forget once     version u8 | before u64
//	0x0901 fire            version u8 | slot uv | count uv | count × (2 × offset + deliverable) uv
//	                                                                      (+ a message per deliverable)
//	0x0902 close slot      version u8 | slot uv
//	0x0a01 put settings    version u8 | count uv | count × (key str | reset bool | value str unless reset)
//
// A run of commit items of one group and topic names them once: an item whose
// group is the empty string repeats group and topic of the item before it and
// has no topic field.
//
// Stored keys and values (store.KV). A key is the table's number followed by
// names; names cannot hold a zero byte, so a zero byte joins two of them.
//
//	01 name                topic value   version u8 | readQueues uv | writeQueues uv | perm uv |
//	                                     filterType str | sysFlag uv | order bool |
//	                                     count uv | count × (key str | value str), keys ascending
//	01                     data version  version u8 | timestamp u64 | counter u64
//	02 name                group value   version u8 | flags u8 | retryQueues sv | retryMaxTimes sv |
//	                                     brokerId sv | whichBrokerWhenConsumeSlowly sv
//	02                     data version
//	03 group 00 topic      offsets       version u8 | count uv | count × (queue uv | offset uv), queues ascending
//	04 group               locks         version u8 | count uv | count × (topic str | queue uv | owner str | since u64)
//	04                     last sweep    version u8 | time u64
//	05 level u32           progress      version u8 | offset u64
//	06 id                  member        version u8 | addr str | term u64
//	06                     secret        version u8 | secret str
//	07 offset u64          transaction   version u8 | 1 | phy u64 | storeTime u64 | lastCheck u64 | checks uv |
//	                                     immunity sv | group str                        while it is pending
//	                                     version u8 | state u8 | seq u64                when it has ended
//	07                     next seq      version u8 | seq u64
//	08 seq u64             bucket        version u8 | start u64 | count uv | count × host str
//	08 seq u64 page u32    sends         version u8 | count uv | count × (key 16 | after u32 | phy u64 | offset u64 |
//	                                     queue u32 | host uv | count uv | count × behind uv), 1024 to a page
//	08                     next seq      version u8 | seq u64
//	09 slot u64            timers        version u8 | n × u64, bit i of number k: message 64 k + i is done with
//	0a key                 setting       version u8 | value str
//
// Group flags, from the lowest bit: consumeEnable, consumeFromMinEnable,
// consumeBroadcastEnable, notifyConsumerIdsChangedEnable.
const formatVersion = 1

// Table numbers: high byte of ops, first byte of keys. Never reuse one.
const (
	tableTopics   = 0x01
	tableGroups   = 0x02
	tableOffsets  = 0x03
	tableLocks    = 0x04
	tableDelay    = 0x05
	tableMembers  = 0x06
	tableHalf     = 0x07 // half messages of transactions: half.go
	tableOnce     = 0x08 // sends that are stored once: once.go
	tableTimers   = 0x09 // timed messages: timers.go
	tableSettings = 0x0a // settings of the whole group: settings.go
)

// Command ops as they stand in command records.
const (
	OpPutTopic      uint16 = tableTopics<<8 | 1
	OpDeleteTopic   uint16 = tableTopics<<8 | 2
	OpCleanTopic    uint16 = tableTopics<<8 | 3
	OpPutGroup      uint16 = tableGroups<<8 | 1
	OpDeleteGroup   uint16 = tableGroups<<8 | 2
	OpCommitOffsets uint16 = tableOffsets<<8 | 1
	OpLockQueues    uint16 = tableLocks<<8 | 1
	OpUnlockQueues  uint16 = tableLocks<<8 | 2
	OpMature        uint16 = tableDelay<<8 | 1
	OpAnnounce      uint16 = tableMembers<<8 | 1
	OpSecret        uint16 = tableMembers<<8 | 2
	OpPrepare       uint16 = tableHalf<<8 | 1
	OpEnd           uint16 = tableHalf<<8 | 2
	OpCheck         uint16 = tableHalf<<8 | 3
	OpResume        uint16 = tableHalf<<8 | 4
	OpOnce          uint16 = tableOnce<<8 | 1
	OpForgetOnce    uint16 = tableOnce<<8 | 2
	OpFire          uint16 = tableTimers<<8 | 1
	OpCloseSlot     uint16 = tableTimers<<8 | 2
	OpPutSettings   uint16 = tableSettings<<8 | 1
)

// ErrFormat says that bytes of a command or of a stored value do not follow
// the layouts of format.go.
var ErrFormat = errors.New("metadata: malformed bytes")

// reader walks a payload. The first failure sticks, so that a decoder reads
// all its fields and asks once at the end.
type reader struct {
	b   []byte
	err error
}

func newReader(b []byte) *reader {
	r := &reader{b: b}
	if v := r.u8(); r.err == nil && v != formatVersion {
		r.fail(fmt.Sprintf("version %d, this program knows %d: upgrade it", v, formatVersion))
	}
	return r
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrFormat, what)
	}
	r.b = nil
}

func (r *reader) u8() byte {
	if len(r.b) < 1 {
		r.fail("byte missing")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) bool() bool {
	v := r.u8()
	if v > 1 {
		r.fail(fmt.Sprintf("boolean of value %d", v))
	}
	return v == 1
}

func (r *reader) u32() uint32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// take aliases the next n bytes of the payload; nil when there are fewer.
func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail(fmt.Sprintf("%d bytes missing", n-len(r.b)))
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u64() uint64 {
	if len(r.b) < 8 {
		r.fail("64-bit number missing")
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) i64() int64 { return int64(r.u64()) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("varint missing or too long")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the number of items that follow, each at least itemMin bytes
// long, so that a wrong count cannot make a decoder allocate for it.
func (r *reader) count(itemMin int) int {
	v := r.uvarint()
	if v > uint64(len(r.b)/itemMin) {
		r.fail(fmt.Sprintf("%d items announced, room for %d", v, len(r.b)/itemMin))
		return 0
	}
	return int(v)
}

// i32 reads a uvarint that must be a non-negative int32.
func (r *reader) i32() int32 {
	v := r.uvarint()
	if v > 1<<31-1 {
		r.fail(fmt.Sprintf("%d does not fit in 32 bits", v))
		return 0
	}
	return int32(v)
}

// varint reads a signed number.
func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("varint missing or too long")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// varint32 reads a signed number of 32 bits.
func (r *reader) varint32() int32 {
	v := r.varint()
	if v != int64(int32(v)) {
		r.fail(fmt.Sprintf("%d does not fit in 32 bits", v))
		return 0
	}
	return int32(v)
}

// offset reads a queue offset, which is never negative.
func (r *reader) offset() int64 {
	v := r.uvarint()
	if v > 1<<63-1 {
		r.fail(fmt.Sprintf("offset %d does not fit in 63 bits", v))
		return 0
	}
	return int64(v)
}

// bytes aliases the payload.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail(fmt.Sprintf("text of %d bytes announced, %d left", n, len(r.b)))
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

// done reports the first failure, or bytes nobody read.
func (r *reader) done() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(fmt.Sprintf("%d bytes too many", len(r.b)))
	}
	return r.err
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// appendI32 writes a number that cannot sensibly be negative; a negative one
// is written as zero.
func appendI32(dst []byte, v int32) []byte {
	return binary.AppendUvarint(dst, uint64(max(v, 0)))
}
