// Package wall reads the wall clock for the servers, and lets a drill move it.
//
// A Go process reads the clock through the vDSO: neither an injected system call
// nor a preloaded library nor a time namespace (which has no CLOCK_REALTIME)
// can move it for one process alone. So the few places that need a time of day
// read it here, and a house rule keeps all others from taking a unix time of
// time.Now. Everything that measures how long something took uses time.Now and
// time.Since, which follow the monotonic clock and do not see a step; Shift does
// what a step of the machine's clock would do, no more and no less.
//
// Invariant: nobody but a fault file (internal/fault) shifts the clock.
package wall
