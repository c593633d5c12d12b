package protocol

import "errors"

var (
	// ErrFrame marks a frame whose lengths contradict each other or the bounds.
	ErrFrame = errors.New("malformed frame")
	// ErrHeader marks a command header that cannot be read.
	ErrHeader = errors.New("malformed command header")
	// ErrTooManyFields marks a header with more custom fields than Limits.FieldsMax.
	ErrTooManyFields = errors.New("too many header fields")
	// ErrField marks a custom field that is missing or not of its declared type.
	ErrField = errors.New("bad header field")
	// ErrBody marks a body that cannot be read.
	ErrBody = errors.New("malformed body")
	// ErrTooLarge marks input that is beyond a size or nesting bound.
	ErrTooLarge = errors.New("input beyond bound")
)

// Limits bounds what a peer can make a decoder do. A zero field means its default.
type Limits struct {
	// FrameMax is the largest frame in bytes, including the four length bytes.
	// RocketMQ's own limit, which its clients share, is 16 MiB.
	FrameMax int
	// FieldsMax is the largest number of custom header fields (extFields).
	FieldsMax int
}

// DefaultLimits returns RocketMQ's frame limit and 1,024 fields.
func DefaultLimits() Limits { return Limits{FrameMax: 16 << 20, FieldsMax: 1024} }

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.FrameMax <= 0 {
		l.FrameMax = d.FrameMax
	}
	if l.FieldsMax <= 0 {
		l.FieldsMax = d.FieldsMax
	}
	return l
}
