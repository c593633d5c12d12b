// Package metadata holds the replicated tables of a broker group: topics,
// subscription groups, consumer offsets, queue locks, delay progress, members,
// pending transactions, and recent sends of topics with de-duplication. It is
// the metadata half of the state machine (store.Machine); the other half, the
// message queues, is built by package store from the same log.
//
// RocketMQ keeps these tables on the master (TopicConfigManager,
// SubscriptionGroupManager, ConsumerOffsetManager, RebalanceLockManager,
// ScheduleMessageService's offsets) and copies them to its slaves every ten
// seconds. Here every change is a command record in the commit log, so that a
// new leader knows exactly what the old one acknowledged.
//
// Invariants:
//
//   - Apply is deterministic. It looks at the command, at the state and at the
//     group time of the entry (ApplyContext.Time), never at a clock, at the
//     configuration of this node (but for the names of cluster and broker,
//     which are the group's identity) or at map order.
//   - A command that cannot be carried out (unknown, damaged, over a bound,
//     against a system name) is ignored, logged, and answered with an error as
//     its result value. It never panics and never changes part of the state.
//   - System topics and groups are not stored. New makes them from the
//     configuration, and no command can replace or delete them.
//   - What readers get (configs, versions) is immutable; a change replaces it.
//
// Callers: broker builds command records with the Append functions, proposes
// them through dledger and reads the tables from its handlers, from any
// goroutine. Store calls Apply, Changes and Load from the goroutine that
// applies entries.
//
// Each table is one file, one number and one type with the three methods of
// the interface table. The number is the high byte of the table's command ops
// and the first byte of its stored keys; see format.go for all bytes. A new
// table takes the next
// number and touches nothing but the list in newTables.
package metadata
