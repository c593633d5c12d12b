package broker

import "time"

// began is where elapsed counts from.
var began = time.Now()

// elapsed is the time since this process began, in nanoseconds, by the monotonic
// clock. What measures a duration keeps such a time and never a unix time, which
// jumps when the machine's clock is set: requests that wait for a leader would
// all fail at once, or wait for an hour.
func elapsed() int64 { return int64(time.Since(began)) }
