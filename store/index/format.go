package index

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/cometmq/cometmq/internal/vfs"
)

const (
	magic      = 0xC0E71DE1
	version    = 1
	entrySize  = 24
	headerSize = 56
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Entry says that the message at physical offset Phy, stored at Time (unix ms), has a key with this hash.
type Entry struct {
	Hash uint64
	Phy  int64
	Time int64
}

// Hash is the 64-bit hash of a key under its topic, uniform in its high bits, by which runs are searched. It is written
// to disk, so it must stay what it is. It takes eight bytes at a time, since the applying goroutine computes it for each
// key of each message.
func Hash(topic, key []byte) uint64 {
	h := absorb(absorb(0x9e3779b97f4a7c15, topic), key)
	h ^= h >> 32
	return fold(h, 0xd6e8feb86659fd93)
}

func absorb(h uint64, b []byte) uint64 {
	h ^= uint64(len(b)) // so that neither zeros at the end nor where the topic ends can be exchanged
	for ; len(b) >= 8; b = b[8:] {
		h = fold(h^binary.BigEndian.Uint64(b), 0xa0761d6478bd642f)
	}
	var rest uint64
	for _, c := range b {
		rest = rest<<8 | uint64(c)
	}
	return fold(h^rest, 0xe7037ed1a0b428db)
}

// fold multiplies to 128 bits and joins the halves.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func compareEntries(a, b Entry) int {
	if c := cmp.Compare(a.Hash, b.Hash); c != 0 {
		return c
	}
	return cmp.Compare(a.Phy, b.Phy)
}

func appendEntry(dst []byte, e Entry) []byte {
	dst = binary.BigEndian.AppendUint64(dst, e.Hash)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Phy))
	return binary.BigEndian.AppendUint64(dst, uint64(e.Time))
}

func decodeEntry(b []byte) Entry {
	return Entry{
		Hash: binary.BigEndian.Uint64(b),
		Phy:  int64(binary.BigEndian.Uint64(b[8:])),
		Time: int64(binary.BigEndian.Uint64(b[16:])),
	}
}

// header describes a run.
type header struct {
	count            uint64
	minPhy, maxPhy   int64
	minTime, maxTime int64
	crc              uint32
}

func (h header) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, magic)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint64(b, h.count)
	for _, v := range []int64{h.minPhy, h.maxPhy, h.minTime, h.maxTime} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	b = binary.BigEndian.AppendUint32(b, h.crc)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHeader(b []byte, fileSize int64) (header, error) {
	var h header
	if len(b) < headerSize {
		return h, fmt.Errorf("%d bytes are no header", len(b))
	}
	if m := binary.BigEndian.Uint32(b); m != magic {
		return h, fmt.Errorf("magic %#x is not %#x", m, uint32(magic))
	}
	if v := binary.BigEndian.Uint32(b[4:]); v != version {
		return h, fmt.Errorf("version %d is unknown; this build reads %d", v, version)
	}
	if binary.BigEndian.Uint32(b[52:]) != crc32.Checksum(b[:52], castagnoli) {
		return h, fmt.Errorf("header checksum does not match")
	}
	h.count = binary.BigEndian.Uint64(b[8:])
	for i, p := range []*int64{&h.minPhy, &h.maxPhy, &h.minTime, &h.maxTime} {
		*p = int64(binary.BigEndian.Uint64(b[16+8*i:]))
	}
	h.crc = binary.BigEndian.Uint32(b[48:])
	if h.count > uint64(fileSize) || fileSize != headerSize+int64(h.count)*entrySize {
		return h, fmt.Errorf("%d entries do not fill %d bytes", h.count, fileSize)
	}
	return h, nil
}

// encodeRun writes sorted entries as a run.
func encodeRun(f vfs.File, entries []Entry) error {
	h := header{count: uint64(len(entries))}
	for i, e := range entries {
		if i == 0 {
			h.minPhy, h.maxPhy, h.minTime, h.maxTime = e.Phy, e.Phy, e.Time, e.Time
		}
		h.minPhy, h.maxPhy = min(h.minPhy, e.Phy), max(h.maxPhy, e.Phy)
		h.minTime, h.maxTime = min(h.minTime, e.Time), max(h.maxTime, e.Time)
	}
	if err := writeEntries(f, headerSize, entries, func(b []byte) { h.crc = crc32.Update(h.crc, castagnoli, b) }); err != nil {
		return err
	}
	_, err := f.WriteAt(h.encode(), 0)
	return err
}
