package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/segment"
)

// A waypoint is an entry whose place is remembered; there is one about every
// waypointDistance bytes. To find an entry one starts at the waypoint before
// it and hops over headers, all of which lie in one small read, because the
// start of every entry is less than waypointDistance behind its waypoint.
type waypoint struct {
	index  uint64
	offset int64 // physical offset of the entry
}

const waypointDistance = 16 << 10

// addWaypoint appends (index, offset) if it is far enough from the last one.
func addWaypoint(ways []waypoint, index uint64, offset int64) []waypoint {
	if n := len(ways); n > 0 && offset-ways[n-1].offset < waypointDistance {
		return ways
	}
	return append(ways, waypoint{index, offset})
}

// wayByIndex is the last waypoint at or before index. ways is not empty and
// starts at or before it.
func wayByIndex(ways []waypoint, index uint64) waypoint {
	i := sort.Search(len(ways), func(i int) bool { return ways[i].index > index })
	return ways[max(i-1, 0)]
}

// wayByOffset is the last waypoint at or before offset.
func wayByOffset(ways []waypoint, offset int64) waypoint {
	i := sort.Search(len(ways), func(i int) bool { return ways[i].offset > offset })
	return ways[max(i-1, 0)]
}

// The sidecar file <segment>.idx holds the waypoints of a segment, big-endian:
//
//	 0       4     6   8      16      24     32     40      44      48
//	+-------+-----+---+------+-------+------+------+-------+-------+----------------+-------+
//	| magic | ver | 0 | base | first | last | end  | count | crc of| count x (index | crc of|
//	| u32   | u16 |u16| i64  | u64   | u64  | i64  | u32   | head  | u64, offset 64)| points|
//	+-------+-----+---+------+-------+------+------+-------+-------+----------------+-------+
//
// first..last are the entries it covers, end is the offset after last. It is
// derived: when it is missing, damaged or covers too little, the segment is
// scanned instead. A wrong one with right checksums would be worse than none,
// so it is removed, durably, before entries it covers are cut away.
const (
	sidecarExt     = ".idx"
	sidecarMagic   = 0x434D5449 // "CMTI"
	sidecarVersion = 1
	sidecarHead    = 48
)

type sidecar struct {
	base        int64
	first, last uint64
	end         int64
	count       int
	ways        []waypoint
}

func (s sidecar) encode() []byte {
	b := make([]byte, 0, sidecarHead+16*len(s.ways)+4)
	b = binary.BigEndian.AppendUint32(b, sidecarMagic)
	b = binary.BigEndian.AppendUint16(b, sidecarVersion)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(s.base))
	b = binary.BigEndian.AppendUint64(b, s.first)
	b = binary.BigEndian.AppendUint64(b, s.last)
	b = binary.BigEndian.AppendUint64(b, uint64(s.end))
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.ways)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	for _, w := range s.ways {
		b = binary.BigEndian.AppendUint64(b, w.index)
		b = binary.BigEndian.AppendUint64(b, uint64(w.offset))
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[sidecarHead:], castagnoli))
}

// decodeSidecarHead reads all but the waypoints.
func decodeSidecarHead(b []byte) (sidecar, error) {
	if len(b) < sidecarHead {
		return sidecar{}, fmt.Errorf("%d bytes are less than a head", len(b))
	}
	if sum := crc32.Checksum(b[:sidecarHead-4], castagnoli); sum != binary.BigEndian.Uint32(b[sidecarHead-4:]) {
		return sidecar{}, errors.New(reasonChecksum)
	}
	if magic := binary.BigEndian.Uint32(b); magic != sidecarMagic {
		return sidecar{}, fmt.Errorf("magic %#08x is not that of a sidecar", magic)
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != sidecarVersion {
		return sidecar{}, fmt.Errorf("sidecar version %d is not known to this release", v)
	}
	return sidecar{
		base:  int64(binary.BigEndian.Uint64(b[8:])),
		first: binary.BigEndian.Uint64(b[16:]),
		last:  binary.BigEndian.Uint64(b[24:]),
		end:   int64(binary.BigEndian.Uint64(b[32:])),
		count: int(binary.BigEndian.Uint32(b[40:])),
	}, nil
}

func decodeSidecar(b []byte) (sidecar, error) {
	s, err := decodeSidecarHead(b)
	if err != nil {
		return s, err
	}
	if len(b) != sidecarHead+16*s.count+4 {
		return s, fmt.Errorf("%d bytes do not hold %d waypoints", len(b), s.count)
	}
	points := b[sidecarHead : len(b)-4]
	if crc32.Checksum(points, castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return s, errors.New(reasonChecksum)
	}
	s.ways = make([]waypoint, s.count)
	for i := range s.ways {
		s.ways[i].index = binary.BigEndian.Uint64(points[16*i:])
		s.ways[i].offset = int64(binary.BigEndian.Uint64(points[16*i+8:]))
	}
	return s, s.check()
}

// check refuses what no writer of ours makes, whatever its checksum says.
func (s sidecar) check() error {
	if len(s.ways) == 0 || s.ways[0] != (waypoint{s.first, s.base}) {
		return errors.New("first waypoint is not the first entry")
	}
	for i, w := range s.ways[1:] {
		if w.index <= s.ways[i].index || w.offset < s.ways[i].offset+headerSize {
			return errors.New("waypoints are not in order")
		}
	}
	if w := s.ways[len(s.ways)-1]; w.index > s.last || w.offset+headerSize > s.end {
		return errors.New("waypoints are beyond the last entry")
	}
	return nil
}

func (l *Log) sidecarPath(base int64) string {
	return filepath.Join(l.cfg.Dir, segment.Name(base)+sidecarExt)
}

// readSidecarHead reads only the head, for Open, which needs the first index of
// each of perhaps hundreds of segments and no waypoints.
func (l *Log) readSidecarHead(base int64) (sidecar, bool) {
	f, err := l.cfg.FS.OpenFile(l.sidecarPath(base), os.O_RDONLY, 0)
	if err != nil {
		return sidecar{}, false
	}
	defer func() { _ = f.Close() }()
	var b [sidecarHead]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return sidecar{}, false
	}
	s, err := decodeSidecarHead(b[:])
	return s, err == nil && s.base == base
}

// readSidecar returns the sidecar of the segment at base, or false if there is
// no usable one.
func (l *Log) readSidecar(base int64) (sidecar, bool) {
	limit := sidecarHead + 16*(l.cfg.SegmentSize/waypointDistance+2) + 4
	b, err := vfs.ReadFile(l.cfg.FS, l.sidecarPath(base), limit)
	if errors.Is(err, fs.ErrNotExist) {
		return sidecar{}, false
	}
	var s sidecar
	if err == nil {
		s, err = decodeSidecar(b)
	}
	if err == nil && s.base != base {
		err = fmt.Errorf("it is of the segment at %d", s.base)
	}
	if err != nil {
		l.log.Warn("sidecar is not usable, scanning the segment instead", "file", l.sidecarPath(base), "error", err)
		return sidecar{}, false
	}
	return s, true
}

func (l *Log) storeSidecar(s sidecar) error {
	return vfs.WriteFileAtomic(l.cfg.FS, l.sidecarPath(s.base), s.encode())
}

// removeSidecar removes the sidecar of the segment at base, durably.
func (l *Log) removeSidecar(base int64) error {
	if err := l.cfg.FS.Remove(l.sidecarPath(base)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("remove sidecar: %w", err)
	}
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", l.cfg.Dir, err)
	}
	return nil
}
