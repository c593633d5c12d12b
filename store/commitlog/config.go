package commitlog

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/vfs"
)

// Defaults of Config.
const (
	DefaultSegmentSize   = 1 << 30
	DefaultFlushInterval = 500 * time.Millisecond
	DefaultCacheEntries  = 64
)

const (
	// syncGroup is the largest number of entries between two syncs in Sync
	// mode. Recovery tells damage from a torn write by it (see doc.go).
	syncGroup = 64
	// markDistance is how many bytes may be appended before a new durable
	// mark is due; it bounds what recovery has to scan.
	markDistance = 64 << 20
	// sidecarDistance is how many bytes of the newest segment may lie between
	// the end of its sidecar and the mark. A sidecar of a full segment has
	// about a megabyte, too much to rewrite at each checkpoint.
	sidecarDistance = 16 << 20
	// cacheBytesMax bounds the data held by the entry cache.
	cacheBytesMax = 16 << 20
	// slowSync is the duration from which a sync is worth a warning.
	slowSync = 500 * time.Millisecond
	// slowEvery is the shortest time between two such warnings.
	slowEvery = 10 * time.Second
)

// Config of a Log. Zero fields take defaults where one is given.
type Config struct {
	// FS is the disk; nil means vfs.OS.
	FS vfs.FS
	// Dir is the directory of the log, made if missing. Nothing else may be
	// in it.
	Dir string
	// SegmentSize is the capacity of a file in bytes, default 1 GiB. It must
	// be the same on all members of a group and can not change later, since
	// offsets follow from it. An entry can not be larger than this.
	SegmentSize int64
	// Sync makes Append return only when the entries are durable. Otherwise
	// they are made durable within FlushInterval.
	Sync bool
	// FlushInterval is the longest time between syncs when Sync is false,
	// default 500 ms.
	FlushInterval time.Duration
	// Logger receives warnings and life events; nil for none.
	Logger hclog.Logger
	// CacheEntries is how many of the newest entries are kept in memory for
	// followers and for applying, default 64, bounded also by 16 MiB.
	CacheEntries int
	// OnFailure is told once when the log failed for good. The process should
	// then end. It runs on a goroutine of the log or of a caller, so it must
	// not call Close itself or wait for somebody who does.
	OnFailure func(error)
	// OnCorrupt is told whenever a read finds committed bytes that are not what
	// was written, or cannot be read: the log must not be trusted any more. It is
	// called without locks, perhaps often and from several goroutines, before the
	// read returns the same error.
	OnCorrupt func(*CorruptError)
	// Reserve is how many bytes are kept allocated beside the log for a disk that
	// is full: when there is no room for the next segment they are given up for a
	// short one, so that what little the group itself must write can still be
	// written. 0: none.
	Reserve int64
	// Base and FirstIndex say where a log begins whose directory is empty:
	// the physical offset of its first segment, and the index of its first
	// entry (0 = whatever is appended first). They are ignored for a log that
	// exists. An installer that streams segments into a fresh directory needs
	// neither: without a mark everything is verified and the base is taken
	// from the file names.
	Base       int64
	FirstIndex uint64

	// Of tests only: do the background work inside Append, so that the order
	// of file operations is the same in each run; and smaller distances.
	inline          bool
	markDistance    int64
	sidecarDistance int64
}

func (c Config) withDefaults() (Config, error) {
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = DefaultSegmentSize
	}
	if c.FlushInterval == 0 {
		c.FlushInterval = DefaultFlushInterval
	}
	if c.CacheEntries == 0 {
		c.CacheEntries = DefaultCacheEntries
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.markDistance == 0 {
		c.markDistance = markDistance
	}
	if c.sidecarDistance == 0 {
		c.sidecarDistance = sidecarDistance
	}
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no Dir given"))
	}
	if c.SegmentSize < headerSize {
		errs = append(errs, fmt.Errorf("a SegmentSize of %d is less than the %d bytes of an entry header", c.SegmentSize, headerSize))
	}
	if c.FlushInterval < 0 {
		errs = append(errs, fmt.Errorf("a FlushInterval of %v must not be negative", c.FlushInterval))
	}
	if c.CacheEntries < 0 {
		errs = append(errs, fmt.Errorf("a CacheEntries of %d must not be negative", c.CacheEntries))
	}
	if c.Reserve < 0 {
		errs = append(errs, fmt.Errorf("a Reserve of %d must not be negative", c.Reserve))
	}
	if c.Base < 0 {
		errs = append(errs, fmt.Errorf("a Base of %d must not be negative", c.Base))
	}
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("commit log config: %w", err)
	}
	return c, nil
}
