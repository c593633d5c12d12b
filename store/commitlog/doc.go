// Package commitlog is the log of a broker group on one member: every entry
// that the group agreed on, in order, exactly once on disk. It is at the same
// time RocketMQ's CommitLog (consumers read message bytes at physical offsets)
// and the log of the consensus module (entries with index and term), but it
// knows neither: an entry is a few numbers and bytes.
//
// # On disk
//
//	<dir>/00000000000000000000       segment: entries back to back, then zeros
//	<dir>/00000000001073741824       next segment, base + segment size
//	<dir>/00000000000000000000.idx   waypoints of a segment, derived (sidecar.go)
//	<dir>/mark                       how much is known to be durable (mark.go)
//	<dir>/00000000000000812345.torn  what was cut off the end there (evidence.go)
//
//	segment    |entry|entry|  entry  |entry|000000000000|
//	           base                        end          base + size
//
// An entry never crosses a segment. Where it does not fit any more the rest of
// the segment stays zero and the entry starts the next segment. That depends
// on the offset and on the size of the entry alone, never on how appends were
// grouped, so all members of the group have identical bytes at identical
// offsets. The layout of an entry is drawn in format.go.
//
// # Invariants
//
//  1. Indexes follow each other without a gap; terms never step back.
//  2. Bytes below MaxOffset do not change, except that TruncateSuffix removes
//     an end of the log, and TrimPrefix whole segments of its head (trim.go).
//  3. Nothing that was ever removed or failed to be written can be found
//     behind the end after a crash: removed bytes are cut off the file and the
//     cut is durable before anything new is written there.
//  4. With Config.Sync an Append that returned nil is durable.
//  5. The mark never claims more than is durable. Damage below it is never
//     repaired here, only reported as a *CorruptError, because other members
//     still have the bytes and trimming would silently forget acknowledged
//     messages.
//
// # Recovery, step by step (recover.go)
//
//  1. Read the mark. Everything from its base to its offset must be there and
//     intact; the last entry below it is checked, the rest is checked when
//     read. Segments before the base are left of a trim and are removed.
//  2. After a clean close stop here.
//  3. Check the entries after the mark one by one, in chunks of 1 MiB.
//  4. The first bytes that are no valid next entry are the end. They may be a
//     torn write, or damage. Appends sync at least every syncGroup entries, so
//     if an entry syncGroup or more behind is intact, the bytes here were once
//     durable: that is damage, and Open refuses.
//  5. Otherwise keep a copy of what is there, cut everything from there on,
//     durably, and write a new mark.
//
// # What is assumed of disks
//
// A returned fdatasync means durable. A sector of 512 bytes is written whole
// or not at all, sectors in any order. Changing a file's length and renaming
// are atomic. After a failed fdatasync nothing is known about the file, so the
// log fails for good and the process should end.
//
// # Concurrency
//
// Append and TruncateSuffix exclude each other; readers wait for neither,
// except for the moment in which a truncation moves the end. One goroutine of
// the log prepares the next segment, writes sidecars and marks, and in
// asynchronous mode syncs. Called by dledger (as its log store) and by store.
package commitlog
