// Package store is the storage engine as one thing: the commit log, whose
// entries are the group's Raft log, the consume queues derived from it, and a
// metadata file for checkpoints. It knows nothing of Raft or the network.
//
//	<dir>/commitlog/     every byte of every message, see store/commitlog
//	<dir>/consumequeue/  per queue, where its messages lie, see store/consumequeue
//	<dir>/index/         by key, where its messages lie, see store/index
//	<dir>/metadata.db    the last checkpoint (bbolt), see below
//	<dir>/incoming/      what is received from another member, see install.go
//	<dir>/damage.json    there when the log is in doubt, see health.go
//	<dir>/damaged/       segments that were damaged, and the reports about them
//	<dir>/identity       cluster, group, time of creation
//	<dir>/lock           held by the process that uses the store
//
// # Records
//
// The data of an entry is records back to back, all integers big-endian. Each
// begins with its whole size and a magic word:
//
//	message   u32 size | u32 0xDAA320A7 | …   drawn in package message
//	command   u32 size | u32 0xC0E7C0DE | u16 op | u16 flags (0) |
//	          u32 payload length | payload | messages …
//
// A command changes the replicated metadata. The messages inside it lie at real
// positions of the log, but they get a place in a queue only if the command says
// so when it is applied: a matured delay publishes its message and advances the
// progress in one step, or, the second time, does neither.
//
// # Invariants
//
//   - Queue offsets are given by Apply in log order and depend on the entries
//     alone, so that they are equal on all members, and equal again when the log
//     is applied again after a crash. None is given twice in a topic's life.
//   - Readers see applied messages only: an entry that is in the log but may yet
//     be replaced by another leader's is invisible.
//   - Bytes of the log never change. Offsets are patched into the copy that a
//     reader gets, after its checksum has been checked; what fails is never
//     delivered.
//   - A checkpoint is on disk as a whole or not at all, and never ahead of the
//     log and the queue files it speaks of.
//
// # Checkpoints
//
// Nothing but the log is written for a message. Every few seconds the applying
// goroutine takes a Capture: which queues changed and how far they reach, and
// which keys of the Machine changed. Persist, on another goroutine, writes the
// queues' tails, syncs log and queue files, and then writes one transaction:
//
//	meta     format, applied-index, -term, -time, rebuilding: u64 each
//	machine  the Machine's keys
//	queues   topic 0x00 u32 queue id  →  u64 first | u64 next | u32 generation
//	actions  u64 index | u32 position →  what an unusual command did, below
//	raft     the caller's keys, given back by RaftMeta
//	index    state of the key index
//
// Open reads it, cuts the queue files to what it says, and the caller applies
// the log from there. The order makes each crash harmless: before the
// transaction the old checkpoint stands, and files only hold more than it says.
//
// # Rebuilding (decision record)
//
// Context: queue files are derived and may be lost or cut short; Open notices by
// their sizes and makes those queues again from the log. Messages of their own
// records are simple. Of a message inside a command it must be known whether the
// command published it, and a deletion of a topic ends the numbering.
//
// Considered: running all commands again on a scratch Machine. It needs a second
// Machine and its state at the first entry the log still has, which nobody keeps
// once old segments have been removed.
//
// Decision: Apply keeps what commands did. Almost all publish all their messages
// in order, and a command without any does nothing; that is assumed and costs
// nothing. The others (a second maturing of the same delay, which publishes
// nothing; a deletion of a topic) are written with the next checkpoint into the
// bucket actions, as a list of publications and deletions in their order, and
// removed when their entry leaves the log.
//
// Consequences: a rebuild needs only log and metadata. It walks the log twice,
// because the offset of the first message that is left follows from how many are
// left. It is written as a checkpoint before the store opens; the mark
// "rebuilding" in meta makes a crash in between begin all over. The times of
// delivery of delayed messages are computed again, from the delay levels as they
// are configured then.
//
// # Light queues
//
// A message can be in more queues than its own (message.LightPrefix). Its record
// says so, and nothing else does: Apply, rebuild and Verify all ask eachPlace or
// the record itself. An entry of a light queue is one of a record with another
// topic; what finds messages by their own topic (the key index, MessageAt) does
// not know light queues.
//
// # Keys
//
// With Config.KeyIndex, Apply also adds each published message to the key index,
// whatever its topic: a delayed one is found under the topic where it waits and
// again where it was delivered. The index is derived as the queues are, but
// nobody waits for it: one that is missing or damaged is built again while the
// store serves, from the same walk over the log, and QueryKey refuses to answer
// until it is whole instead of finding too little. An index that was switched
// off is removed, so that it cannot come back with a gap.
//
// # Who calls
//
// dledger owns the store's goroutines: its FSM calls Apply and Capture, its
// snapshots Persist. broker reads, and gives the Machine. Callers above never
// see the log's entries, only messages and offsets.
package store
