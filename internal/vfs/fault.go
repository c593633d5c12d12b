package vfs

import (
	"sync/atomic"
)

// Kind names a file operation for a fault hook.
type Kind uint8

// The operations a hook sees.
const (
	OpOpen Kind = iota + 1
	OpRemove
	OpRemoveAll
	OpRename
	OpMkdirAll
	OpReadDir
	OpStat
	OpSyncDir
	OpLock
	OpUsage
	OpSyncFiles
	OpRead
	OpWrite
	OpTruncate
	OpPreallocate
	OpSync
	OpClose
	OpSize
)

// Op is one operation about to happen.
type Op struct {
	Kind Kind
	Path string
	Off  int64
	Len  int
	N    uint64
}

// ShortWrite asks a hooked write to store only the first N bytes and then
// return Err.
type ShortWrite struct {
	N   int
	Err error
}

var _ atomic.Uint64

// NewFault wraps base.
func NewFault(base FS, hook func(Op) error) FS { return base }
