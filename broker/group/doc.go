// Package group knows the live clients of this broker and collects the
// offsets they commit.
//
// Clients is RocketMQ's ConsumerManager and ProducerManager: which
// connections belong to which consumer and producer groups, and what each
// consumer group subscribes. It is filled by heartbeats, lives in memory only,
// and is bound to connections: what a connection registered goes when the
// connection does. Members of a group are told about every change, because
// clients divide the queues among themselves from the list they are given.
//
// Offsets stands between the many small offset commits of consumers and the
// replicated table of package metadata: it holds the newest commit of each
// queue and proposes all of them as one command, at most every 100 ms.
//
// Invariants:
//
//   - A connection is known here by the small interface Conn; nothing here
//     writes to one. Notifications are handed to a callback, never while a
//     lock is held.
//   - Tag codes are computed from the tags. Those in a heartbeat are ignored:
//     the Go client hashes bytes where Java hashes UTF-16.
//   - What a client can make grow is bounded by the configs' Max fields.
//   - A commit that was accepted is visible to Offsets.Pending until the
//     replicated table has it, or until leadership is lost.
//
// Caller: broker, from any goroutine.
package group
