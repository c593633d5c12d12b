// Package fault makes a running server suffer on demand, for drills and tests:
// its disk becomes slow, hangs or fails, its clock is wrong.
//
// A server that is started with COMETMQ_FAULT_FILE=FILE reads FILE again and
// again and does what it says, and says in FILE.seen what it has taken up. The
// file is one fault a line, "name=value"; a missing or empty one means none.
// Without the variable nothing of this is in the way: the real disk and clock
// are used directly.
//
//	sync-delay=500ms    each fsync takes so much longer
//	sync-hang=true      an fsync does not return until the line is gone
//	sync-error=EIO      each fsync fails
//	write-error=ENOSPC  each write fails
//	kill-after=7        at the 7th change of the disk from now on the process
//	                    kills itself, before the change is made
//	clock=-1h           the wall clock is wrong by so much
//
// It is in the binary that is shipped, because a drill must break the program
// that people run, and because other means do not reach it: a Go program takes
// no preloaded library, and tracing slows down what is measured.
package fault
