package consumequeue

import (
	"encoding/binary"
	"errors"

	"github.com/cometmq/cometmq/message"
)

// EntrySize is the size of one entry in bytes.
const EntrySize = 32

// EntriesPerFile is the number of entries in a full file.
const EntriesPerFile = 300_000

const fileSize = EntriesPerFile * EntrySize

var (
	// ErrName says that a topic or queue id cannot name a directory.
	ErrName = errors.New("consume queue: illegal topic or queue id")
	// ErrDeleted says that the topic was deleted while it was read.
	ErrDeleted = errors.New("consume queue: topic was deleted")
	// ErrRange says that entries outside the queue were asked for.
	ErrRange = errors.New("consume queue: offset outside the queue")
)

// Entry is one message of a queue.
type Entry struct {
	Phy       message.PhyOffset
	Size      uint32
	CRC       uint32
	TagsCode  int64
	StoreTime int64
}

func (e Entry) put(b []byte) {
	_ = b[EntrySize-1]
	be := binary.BigEndian
	be.PutUint64(b[0:], uint64(e.Phy))
	be.PutUint32(b[8:], e.Size)
	be.PutUint32(b[12:], e.CRC)
	be.PutUint64(b[16:], uint64(e.TagsCode))
	be.PutUint64(b[24:], uint64(e.StoreTime))
}

func decode(b []byte) Entry {
	_ = b[EntrySize-1]
	be := binary.BigEndian
	return Entry{
		Phy:       message.PhyOffset(be.Uint64(b[0:])),
		Size:      be.Uint32(b[8:]),
		CRC:       be.Uint32(b[12:]),
		TagsCode:  int64(be.Uint64(b[16:])),
		StoreTime: int64(be.Uint64(b[24:])),
	}
}

func appendDecoded(dst []Entry, b []byte) []Entry {
	for len(b) >= EntrySize {
		dst = append(dst, decode(b))
		b = b[EntrySize:]
	}
	return dst
}
