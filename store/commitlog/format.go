package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// An entry, all integers big-endian:
//
//	 0        4        8        12   13   14     16       24       32       40
//	+--------+--------+--------+----+----+------+--------+--------+--------+-----+------+
//	| magic  | length | crc32c |kind|ver | ext  | index  | term   |appended| ext | data |
//	| u32    | u32    | u32    | u8 | u8 |len 16| u64    | u64    |at i64  |     |      |
//	+--------+--------+--------+----+----+------+--------+--------+--------+-----+------+
//
//	magic     "CMTE"; zero where no entry was ever written
//	length    of the whole entry, header included
//	crc32c    Castagnoli, over the whole entry with this field as zero
//	ver       1; any other value is refused with a message that names it
//	appended  UnixNano, 0 = not given
//
// The physical offset of a message counts from the start of the log, so the
// first byte of data has the offset of the entry plus 40 plus ext len.
const (
	// HeaderSize is what comes before an entry's extensions and data.
	HeaderSize = 40

	headerSize    = HeaderSize
	entryMagic    = 0x434D5445
	entryVersion  = 1
	extensionsMax = math.MaxUint16
)

// castagnoli is read-only; crc32 uses the processor's instruction for it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var zeroCRC [4]byte

// Entry is one unit of the log.
//
// Extensions and Data are shared, not copied: what is given to Append belongs
// to the log from then on, and what Read returns belongs to all readers.
// Neither may be changed.
type Entry struct {
	Index, Term uint64
	Kind        uint8 // meaning is the caller's
	AppendedAt  int64 // UnixNano, 0 = none
	Extensions  []byte
	Data        []byte
}

// size is the number of bytes of the entry on disk.
func (e *Entry) size() int64 {
	return headerSize + int64(len(e.Extensions)) + int64(len(e.Data))
}

// appendHeader adds the header and the extensions to b. The checksum covers
// data, which the caller writes after it.
func (e *Entry) appendHeader(b []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, entryMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(e.size()))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, e.Kind, entryVersion)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Extensions)))
	b = binary.BigEndian.AppendUint64(b, e.Index)
	b = binary.BigEndian.AppendUint64(b, e.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(e.AppendedAt))
	b = append(b, e.Extensions...)
	sum := crc32.Update(crc32.Update(0, castagnoli, b[at:]), castagnoli, e.Data)
	binary.BigEndian.PutUint32(b[at+8:], sum)
	return b
}

// header is the fixed part of an entry.
type header struct {
	length     int64
	sum        uint32
	kind       uint8
	extLen     int
	index      uint64
	term       uint64
	appendedAt int64
}

// parseHeader reads the header in b[:headerSize]. room is how many bytes the
// entry may have at most. An empty reason means that the numbers are
// plausible; only the checksum makes them true.
func parseHeader(b []byte, room int64) (h header, reason string) {
	if magic := binary.BigEndian.Uint32(b); magic != entryMagic {
		if magic == 0 {
			return h, reasonBlank
		}
		return h, fmt.Sprintf("magic %#08x is not that of an entry", magic)
	}
	h = header{
		length:     int64(binary.BigEndian.Uint32(b[4:])),
		sum:        binary.BigEndian.Uint32(b[8:]),
		kind:       b[12],
		extLen:     int(binary.BigEndian.Uint16(b[14:])),
		index:      binary.BigEndian.Uint64(b[16:]),
		term:       binary.BigEndian.Uint64(b[24:]),
		appendedAt: int64(binary.BigEndian.Uint64(b[32:])),
	}
	switch {
	case b[13] != entryVersion:
		return h, fmt.Sprintf("entry version %d is not known to this release", b[13])
	case h.length < headerSize+int64(h.extLen):
		return h, fmt.Sprintf("entry length %d is too small", h.length)
	case h.index == 0 || h.index == math.MaxUint64:
		return h, fmt.Sprintf("entry index %d is out of range", h.index)
	case h.length > room:
		return h, fmt.Sprintf("entry length %d exceeds the %d bytes left", h.length, room)
	}
	return h, ""
}

const (
	reasonBlank    = "no entry is here"
	reasonChecksum = "checksum does not match"
)

// headerSum is the checksum over the header b[:headerSize] with the checksum
// field as zero, to be updated with the rest of the entry.
func headerSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:8])
	sum = crc32.Update(sum, castagnoli, zeroCRC[:])
	return crc32.Update(sum, castagnoli, b[12:headerSize])
}
