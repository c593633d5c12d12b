package commitlog

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// AppendTo appends the entry as it lies in the file, checksum included, so that
// another member can check what this one read from its disk.
func (e *Entry) AppendTo(b []byte) []byte { return append(e.appendHeader(b), e.Data...) }

// DecodeEntry is the inverse of AppendTo: the checked entry at the start of b and
// how many bytes it takes. The entry shares its slices with b.
func DecodeEntry(b []byte) (e Entry, n int, err error) {
	if len(b) < headerSize {
		return e, 0, fmt.Errorf("entry of %d bytes: less than a header", len(b))
	}
	h, reason := parseHeader(b, int64(len(b)))
	if reason != "" {
		return e, 0, errors.New(reason)
	}
	rest := b[headerSize:h.length]
	if crc32.Update(headerSum(b), castagnoli, rest) != h.sum {
		return e, 0, fmt.Errorf("entry %d: %s", h.index, reasonChecksum)
	}
	return Entry{
		Index: h.index, Term: h.term, Kind: h.kind, AppendedAt: h.appendedAt,
		Extensions: rest[:h.extLen:h.extLen], Data: rest[h.extLen:],
	}, int(h.length), nil
}
