package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cometmq/cometmq/message"
)

// CommandMagic is the second word of a command record, where a message record
// has message.Magic.
const CommandMagic uint32 = 0xC0E7C0DE

// commandHeader is what comes before a command's payload: size, magic,
// operation, flags, payload length.
const commandHeader = CommandHeaderSize

// CommandHeaderSize is where the payload of a command record begins.
const CommandHeaderSize = 4 + 4 + 2 + 2 + 4

// recordHeader is what every record begins with: size and magic.
const recordHeader = 8

// ErrMalformed says that bytes are no sequence of records.
var ErrMalformed = errors.New("malformed records")

// Record is one record of an entry: a message or a command. Its bytes are the
// entry's.
type Record struct {
	// Pos is where the record begins in the entry's data.
	Pos   int
	Bytes []byte
}

// IsCommand tells a command record from a message record.
func (r Record) IsCommand() bool { return binary.BigEndian.Uint32(r.Bytes[4:]) == CommandMagic }

// Message returns the message of a message record.
func (r Record) Message() message.Stored { return message.Stored(r.Bytes) }

// Op returns a command's operation.
func (r Record) Op() uint16 { return binary.BigEndian.Uint16(r.Bytes[8:]) }

// Payload returns a command's payload.
func (r Record) Payload() []byte {
	end := commandHeader + int(binary.BigEndian.Uint32(r.Bytes[12:]))
	return r.Bytes[commandHeader:end:end]
}

// nestedPos is where the messages inside a command begin.
func (r Record) nestedPos() int { return commandHeader + int(binary.BigEndian.Uint32(r.Bytes[12:])) }

// EachNested calls fn for each message inside a command, in order, with its
// position in the entry's data, and stops at the first error.
func (r Record) EachNested(fn func(pos int, m message.Stored) error) error {
	for pos := r.nestedPos(); pos < len(r.Bytes); {
		m, err := message.ViewStored(r.Bytes[pos:])
		if err != nil {
			return fmt.Errorf("%w: message inside the command at %d: %w", ErrMalformed, r.Pos+pos, err)
		}
		if err := fn(r.Pos+pos, m); err != nil {
			return err
		}
		pos += len(m)
	}
	return nil
}

// EachRecord calls fn for each record of an entry's data in order and stops at
// fn's first error, which it returns as it is. Every length inside a record is
// checked before fn sees it; a bad one gives an error that wraps ErrMalformed.
// Bodies are not checksummed: the commit log covers whole entries.
func EachRecord(data []byte, fn func(r Record) error) error {
	for pos := 0; pos < len(data); {
		r, err := recordAt(data, pos)
		if err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
		pos += len(r.Bytes)
	}
	return nil
}

// recordAt checks and returns the record that begins at pos.
func recordAt(data []byte, pos int) (Record, error) {
	b := data[pos:]
	if len(b) < recordHeader {
		return Record{}, fmt.Errorf("%w: %d bytes are left at %d", ErrMalformed, len(b), pos)
	}
	switch magic := binary.BigEndian.Uint32(b[4:]); magic {
	case message.Magic:
		m, err := message.ViewStored(b)
		if err != nil {
			return Record{}, fmt.Errorf("%w: record at %d: %w", ErrMalformed, pos, err)
		}
		return Record{Pos: pos, Bytes: m}, nil
	case CommandMagic:
		size := int64(binary.BigEndian.Uint32(b))
		if size < commandHeader || size > int64(len(b)) {
			return Record{}, fmt.Errorf("%w: command at %d has size %d with %d bytes left", ErrMalformed, pos, size, len(b))
		}
		if payload := int64(binary.BigEndian.Uint32(b[12:])); commandHeader+payload > size {
			return Record{}, fmt.Errorf("%w: payload of the command at %d has %d bytes", ErrMalformed, pos, payload)
		}
		r := Record{Pos: pos, Bytes: b[:size:size]}
		err := r.EachNested(func(int, message.Stored) error { return nil })
		return r, err
	default:
		return Record{}, fmt.Errorf("%w: record at %d has magic %08x", ErrMalformed, pos, magic)
	}
}

// AppendCommand appends a command record to dst: the operation, its payload and
// the stored messages it may publish when it is applied. Each element of nested
// is exactly one stored message. A command beyond 2 GiB cannot be encoded; dst
// comes back unchanged then, and an empty proposal is refused by its consumer.
func AppendCommand(dst []byte, op uint16, payload []byte, nested ...[]byte) []byte {
	size := commandHeader + len(payload)
	for _, n := range nested {
		size += len(n)
	}
	if size > math.MaxInt32 {
		return dst
	}
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(size))
	dst = be.AppendUint32(dst, CommandMagic)
	dst = be.AppendUint16(dst, op)
	dst = be.AppendUint16(dst, 0) // flags, none yet
	dst = be.AppendUint32(dst, uint32(len(payload)))
	dst = append(dst, payload...)
	for _, n := range nested {
		dst = append(dst, n...)
	}
	return dst
}

// EndCommand corrects the size of the command record that begins at start and
// reaches to the end of b, after messages were encoded behind it in place.
func EndCommand(b []byte, start int) { binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start)) }

// AppendStamps appends the positions of the store timestamps of all messages in
// data, nested ones included: what a proposal hands to the collector.
func AppendStamps(dst []int32, data []byte) ([]int32, error) {
	err := EachRecord(data, func(r Record) error {
		if !r.IsCommand() {
			dst = append(dst, int32(r.Pos+message.StoreTimestampPos(r.Bytes)))
			return nil
		}
		return r.EachNested(func(pos int, m message.Stored) error {
			dst = append(dst, int32(pos+message.StoreTimestampPos(m)))
			return nil
		})
	})
	return dst, err
}
