// Package index finds messages by key: the unique client id and every word of KEYS, under the topic. It is derived data.
// Entries are facts about the commit log that its owner re-checks (the hash may collide, the bytes may have expired), so a
// stale or repeated entry costs one read and a lost file costs a rebuild, never a message.
//
// # Shape
//
// Entries arrive in log order and are kept in a table in memory. A full table becomes a sorted, immutable run file; the
// table before that is also appended to a tail file, so that a restart need not read the log again:
//
//	index/<gen>.tail   entries of one table in arrival order, no header
//	index/<gen>.run    the same entries sorted by (hash, offset), behind a header
//
// gen is 20 digits and grows. A tail is written at checkpoints only (see Capture) and removed when its run is durable.
// RocketMQ's index files keep hash slots and are written at random places; sorted runs are written once, in order, and
// found again by interpolation, since the hashes are uniform: two or three reads a run.
//
// # Layout (big-endian)
//
//	entry   u64 hash | i64 physical offset | i64 store time ms                                    24 bytes
//	header  u32 magic 0xC0E71DE1 | u32 version 1 | u64 count | i64 min offset | i64 max offset |
//	        i64 min time | i64 max time | u32 crc32c of the entries | u32 crc32c of the 52 bytes before   56 bytes
//
// # Crash safety
//
// The checkpoint of the store keeps what Flush returns: the runs, how many entries of each table that is
// no run yet were in its tail, and whether the index is complete. A run appears by rename after its bytes are durable. After a crash Open
// reads the runs, the tails up to the recorded counts, and ignores the rest; the replay of the log after the checkpoint adds
// it again. Entries that a run had already are then there twice, and Query gives each offset once.
//
// A rebuild (Reset, then AddOld for the log and Add for what comes meanwhile, then Completed) may be cut short at any
// point: until a checkpoint knows that it was completed, Open reports ErrIncomplete.
//
// Only the applying goroutine calls Add and Capture. Query, Flush and Drop may be called from any.
package index
