package vfs

// Mem is a disk in memory.
type Mem struct{ FS }

// CrashOptions says what a crash leaves.
type CrashOptions struct{}

// NewMem returns an empty disk.
func NewMem() *Mem { return &Mem{} }

// CrashClone returns the disk as a crash now would leave it.
func (m *Mem) CrashClone(c CrashOptions) *Mem { return nil }
