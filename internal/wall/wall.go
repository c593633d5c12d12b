package wall

import (
	"sync/atomic"
	"time"
)

// shift is added to the machine's clock, in nanoseconds.
var shift atomic.Int64

// Now is the time of day. It carries no monotonic reading: measuring with it
// would be measuring with a clock that can be set.
func Now() time.Time { return time.Now().Round(0).Add(time.Duration(shift.Load())) }

// UnixMilli is the time of day in ms since 1970.
func UnixMilli() int64 { return Now().UnixMilli() }

// Shift sets by how much the clock of this process is wrong.
func Shift(d time.Duration) { shift.Store(int64(d)) }
