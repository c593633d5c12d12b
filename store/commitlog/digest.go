package commitlog

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
)

// Digest is a fingerprint of a range of entries: equal on two members exactly if
// they have the same bytes at the same offsets.
type Digest struct {
	From     uint64 `json:"from"` // first and last index
	To       uint64 `json:"to"`
	Offset   int64  `json:"offset"` // of the first entry, and the one after the last
	End      int64  `json:"end"`
	Bytes    int64  `json:"bytes"` // of the entries, without what segments leave blank
	LastTerm uint64 `json:"lastTerm"`
	Sum      string `json:"sum"` // SHA-256 over offset and bytes of each entry
}

// Digest reads the entries from..to from disk, each with its checksum, and
// returns their fingerprint. pace is told of the bytes read after each entry and
// may wait, or end it with an error; nil for full speed. Compare committed
// entries only: others may differ between members for good reason. Errors as for
// Read.
func (l *Log) Digest(from, to uint64, pace func(bytes int) error) (Digest, error) {
	return l.digest(from, to, math.MaxInt64, pace)
}

// DigestUpTo is Digest of as many entries from from on as have most bytes together,
// one more if that is not exact, but none after to.
func (l *Log) DigestUpTo(from, to uint64, most int64) (Digest, error) {
	return l.digest(from, to, most, nil)
}

func (l *Log) digest(from, to uint64, most int64, pace func(bytes int) error) (Digest, error) {
	d := Digest{From: from, To: to}
	if from == 0 || from > to {
		return d, fmt.Errorf("entries %d to %d: %w", from, to, ErrNotFound)
	}
	sum := sha256.New()
	var head []byte
	for index := from; index <= to && d.Bytes < most; index++ {
		e, dataOff, err := l.read(index, false)
		if err != nil {
			return d, l.tell(err)
		}
		at := dataOff - headerSize - int64(len(e.Extensions))
		head = e.appendHeader(binary.BigEndian.AppendUint64(head[:0], uint64(at)))
		sum.Write(head)
		sum.Write(e.Data)
		if index == from {
			d.Offset = at
		}
		d.To, d.End, d.Bytes, d.LastTerm = index, at+e.size(), d.Bytes+e.size(), e.Term
		if pace != nil {
			if err := pace(int(e.size())); err != nil {
				return d, err
			}
		}
	}
	d.Sum = hex.EncodeToString(sum.Sum(nil))
	return d, nil
}
