package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/cometmq/cometmq/internal/vfs"
)

// The mark file, replaced atomically, big-endian:
//
//	 0       4     6       8        16      24       32       40      48     56     60
//	+-------+-----+-------+--------+-------+--------+--------+-------+------+------+
//	| magic | ver | flags | segment| base  | first  | offset | index | term | crc  |
//	| u32   | u16 | u16   | size 64| i64   | u64    | i64    | u64   | u64  | 32c  |
//	+-------+-----+-------+--------+-------+--------+--------+-------+------+------+
//
// It says: every entry up to index (of term), which ends at offset, is
// durable. index 0 means that the log was empty; first is then the index it
// has to begin with, 0 for any.
const (
	markName    = "mark"
	markMagic   = 0x434D544D // "CMTM"
	markVersion = 1
	markSize    = 60

	// flagClean: the log was closed after this mark, so nothing lies behind
	// it. Open takes the flag back, durably, before anything is appended.
	flagClean = 1 << 0
	// flagSync: entries behind the mark were written in Sync mode. What a
	// crash may leave behind depends on the mode they were written in, not
	// on the one the log is opened with.
	flagSync = 1 << 1
)

// mark is a position known to be durable.
type mark struct {
	flags       uint16
	segmentSize int64
	base        int64
	first       uint64
	offset      int64
	index       uint64
	term        uint64
}

func (m mark) encode() []byte {
	b := make([]byte, 0, markSize)
	b = binary.BigEndian.AppendUint32(b, markMagic)
	b = binary.BigEndian.AppendUint16(b, markVersion)
	b = binary.BigEndian.AppendUint16(b, m.flags)
	b = binary.BigEndian.AppendUint64(b, uint64(m.segmentSize))
	b = binary.BigEndian.AppendUint64(b, uint64(m.base))
	b = binary.BigEndian.AppendUint64(b, m.first)
	b = binary.BigEndian.AppendUint64(b, uint64(m.offset))
	b = binary.BigEndian.AppendUint64(b, m.index)
	b = binary.BigEndian.AppendUint64(b, m.term)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeMark(b []byte) (mark, error) {
	if len(b) != markSize {
		return mark{}, fmt.Errorf("%d bytes, want %d", len(b), markSize)
	}
	if sum := crc32.Checksum(b[:markSize-4], castagnoli); sum != binary.BigEndian.Uint32(b[markSize-4:]) {
		return mark{}, errors.New(reasonChecksum)
	}
	if magic := binary.BigEndian.Uint32(b); magic != markMagic {
		return mark{}, fmt.Errorf("magic %#08x is not that of a mark", magic)
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != markVersion {
		return mark{}, fmt.Errorf("mark version %d is not known to this release", v)
	}
	return mark{
		flags:       binary.BigEndian.Uint16(b[6:]),
		segmentSize: int64(binary.BigEndian.Uint64(b[8:])),
		base:        int64(binary.BigEndian.Uint64(b[16:])),
		first:       binary.BigEndian.Uint64(b[24:]),
		offset:      int64(binary.BigEndian.Uint64(b[32:])),
		index:       binary.BigEndian.Uint64(b[40:]),
		term:        binary.BigEndian.Uint64(b[48:]),
	}, nil
}

// readMark returns nil without an error when there is no mark to go by, which
// a warning explains if it is damaged: then everything is scanned.
func (l *Log) readMark() (*mark, error) {
	path := filepath.Join(l.cfg.Dir, markName)
	b, err := vfs.ReadFile(l.cfg.FS, path, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the durable mark: %w", err)
	}
	m, err := decodeMark(b)
	if err != nil {
		l.log.Warn("durable mark is damaged, checking the whole commit log instead", "file", path, "error", err)
		return nil, nil
	}
	return &m, nil
}

// VouchedFor is the index of the last entry that the mark of a closed log says is
// durable; 0 without a usable mark.
func VouchedFor(cfg Config) uint64 {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return 0
	}
	m, err := (&Log{cfg: cfg, log: cfg.Logger}).readMark()
	if err != nil || m == nil {
		return 0
	}
	return m.index
}

// storeMarkLocked makes m the mark on disk. Caller holds l.upkeep.
func (l *Log) storeMarkLocked(m mark) error {
	if err := vfs.WriteFileAtomic(l.cfg.FS, filepath.Join(l.cfg.Dir, markName), m.encode()); err != nil {
		return fmt.Errorf("write the durable mark: %w", err)
	}
	l.mark = m
	return nil
}
