package commitlog

import (
	"errors"
	"fmt"
)

// Errors of the log; compare with errors.Is.
var (
	// ErrNotFound: the index or offset is outside the log. Wrapped with which.
	ErrNotFound = errors.New("not in the commit log")
	// ErrGap: the appended index is not the last one plus one.
	ErrGap = errors.New("index does not follow the last one")
	// ErrTerm: the appended term is smaller than that of the last entry.
	ErrTerm = errors.New("term steps back")
	// ErrTooLarge: the entry does not fit into a segment, or its extensions
	// not into their length field.
	ErrTooLarge = errors.New("entry is too large")
	// ErrTruncateAll: a truncation would remove every entry. There is no
	// honest caller for that on a log that was opened with entries in it, and
	// a mistaken one would delete all messages.
	ErrTruncateAll = errors.New("refusing to remove every entry of the commit log")
	// ErrFailed: an earlier sync or truncation failed and what is on disk is
	// unknown. Only a restart, which reads it again, helps.
	ErrFailed = errors.New("commit log failed, restart the broker")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("commit log is closed")
	// ErrSegmentSize: the log was made with another segment size.
	ErrSegmentSize = errors.New("segment size differs from the one the log was made with")
)

// CorruptError reports bytes that are not what was once written, or are gone.
type CorruptError struct {
	File   string // path
	Offset int64  // physical offset at which the damage was noticed
	Reason string
	Err    error // of the disk, if the bytes could not be read
}

// Unwrap returns what the disk said, if anything.
func (e *CorruptError) Unwrap() error { return e.Err }

// Error names the place and the way out.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at physical offset %d: %s (restore the file, or move this "+
		"member's data aside so that its group rebuilds it)", e.File, e.Offset, e.Reason)
}
