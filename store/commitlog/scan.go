package commitlog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/cometmq/cometmq/store/segment"
)

// scanChunk is the unit in which segments are read from end to end. Larger
// reads were measured to be slower, since they touch fresh memory.
const scanChunk = 1 << 20

// scanner reads one segment forward through a window of scanChunk bytes. Its
// memory does not depend on any length found in the file.
type scanner struct {
	file  *segment.File
	buf   []byte
	start int64 // physical offset of buf[0]
	n     int   // valid bytes in buf
}

func newScanner(f *segment.File) *scanner {
	return &scanner{file: f, buf: make([]byte, min(scanChunk, f.End()-f.Base())), start: f.Base()}
}

// bytes returns at least one and up to n bytes at off, which lies within the
// segment; at least headerSize of them if so many are left.
func (s *scanner) bytes(off, n int64) ([]byte, error) {
	need := min(n, headerSize, s.file.End()-off)
	if off < s.start || off+need > s.start+int64(s.n) {
		s.start, s.n = off, int(min(int64(len(s.buf)), s.file.End()-off))
		if err := s.file.ReadAt(s.buf[:s.n], off); err != nil {
			s.n = 0
			return nil, err
		}
	}
	return s.buf[off-s.start : min(int64(s.n), off-s.start+n)], nil
}

// entry checks the entry at off including its checksum. A non-empty reason
// says why there is none; err is a failure to read.
func (s *scanner) entry(off int64) (h header, reason string, err error) {
	room := s.file.End() - off
	if room < headerSize {
		return h, reasonBlank, nil
	}
	b, err := s.bytes(off, headerSize)
	if err != nil {
		return h, "", err
	}
	if h, reason = parseHeader(b, room); reason != "" {
		return h, reason, nil
	}
	sum := headerSum(b)
	for at, end := off+headerSize, off+h.length; at < end; {
		b, err := s.bytes(at, end-at)
		if err != nil {
			return h, "", err
		}
		sum = crc32.Update(sum, castagnoli, b)
		at += int64(len(b))
	}
	if sum != h.sum {
		return h, reasonChecksum, nil
	}
	return h, "", nil
}

// wanted describes the entry that find looks for: one written after the place
// at origin was durable.
type wanted struct {
	origin   int64  // where the log seems to end
	minIndex uint64 // and what an entry behind it has at least
	minTerm  uint64
	anyIndex bool // nothing is known about indexes
	// budget bounds the bytes of candidates that are checked, because the data
	// of entries comes from clients and may look like a thousand headers of
	// huge entries. When it is used up, nothing more is found.
	budget int64
}

// plausible excludes indexes further ahead than entries fit in between.
func (w *wanted) plausible(h header, off int64) bool {
	if w.anyIndex {
		return true
	}
	return h.index >= w.minIndex && h.term >= w.minTerm && h.index-w.minIndex <= uint64(off-w.origin)/headerSize
}

// find looks for an intact wanted entry at any byte from off up to limit.
func (s *scanner) find(off, limit int64, w *wanted) (int64, header, bool, error) {
	var magic [4]byte
	binary.BigEndian.PutUint32(magic[:], entryMagic)
	for off+headerSize <= limit && w.budget > 0 {
		b, err := s.bytes(off, min(limit-off, scanChunk))
		if err != nil {
			return 0, header{}, false, err
		}
		i := bytes.Index(b, magic[:])
		if i < 0 {
			// The magic may straddle the end of the chunk.
			off += max(int64(len(b)-len(magic)+1), 1)
			continue
		}
		off += int64(i)
		if off+headerSize > limit {
			break
		}
		if b, err = s.bytes(off, headerSize); err != nil {
			return 0, header{}, false, err
		}
		h, reason := parseHeader(b, s.file.End()-off)
		if reason == "" && w.plausible(h, off) {
			w.budget -= h.length
			if h, reason, err = s.entry(off); err != nil {
				return 0, header{}, false, err
			}
			if reason == "" {
				return off, h, true, nil
			}
		}
		off++
	}
	return 0, header{}, false, nil
}
