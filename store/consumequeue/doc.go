// Package consumequeue keeps, for each queue of each topic, the list of its
// messages in order: small fixed-size entries that point into the commit log.
// Everything here is derived from the log and can be built again from it.
//
// An entry, big-endian:
//
//	 0  i64 physical offset of the record in the commit log
//	 8  u32 size of the record in bytes
//	12  u32 CRC-32C of the record as it lies in the log
//	16  i64 tags code; for delayed messages the time of delivery, ms
//	24  i64 store time, ms
//	32
//
// Entry n of a queue lies at byte 32n of the queue. The bytes are cut into files
// of 300 000 entries, all in one directory, each named by topic, queue id and the
// position of its first byte in the queue:
//
//	consumequeue/TopicA.0.00000000000000000000
//	consumequeue/TopicA.0.00000000000009600000
//	consumequeue/TopicA.1.00000000000000000000
//	consumequeue/TopicB.0.00000000000000000000.1
//
// The last is of a topic that was deleted and made again before a checkpoint
// forgot the first one; "." is not in the alphabet of topics. RocketMQ has a
// directory per topic and queue. Here that would cost two directories and five
// syncs per queue, 38 s for the first checkpoint of ten thousand topics instead
// of less than one.
//
// Files grow as they are written; nothing is allocated ahead, so that ten
// thousand idle topics cost nothing but their bytes. The checksum is kept here
// and not in the log because readers fetch single records, and the log's own
// checksums cover whole entries.
//
// Invariants:
//
//   - One goroutine (the applier) calls Append, DeleteTopic and Capture. Readers
//     on any goroutine never wait for more than one write of one queue.
//   - An entry once readable never changes, and an offset is given once in the
//     life of a topic.
//   - Files hold at least what the last checkpoint says; what they hold beyond
//     it is cut off at open, because the log will be applied again from there.
//   - A deleted topic's files go only after the checkpoint that knows of the
//     deletion is durable, and after the last reader left.
//   - Files that point below the log's beginning go as a whole (trim.go), after
//     the checkpoint that knows of the queue's new beginning is durable.
//
// New entries live in a short tail in memory per queue, which is written when it
// is full, when all tails together are too large (oldest first), and at a
// checkpoint.
//
// Called by package store only.
package consumequeue
