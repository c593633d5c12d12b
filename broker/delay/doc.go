// Package delay delivers delayed messages when their time has come.
//
// A message with property DELAY = level was stored in topic
// SCHEDULE_TOPIC_XXXX, queue level-1, with its real topic and queue kept in
// the properties REAL_TOPIC and REAL_QID. All messages of a level have the
// same delay, so each of these queues is ordered by delivery time, and the
// scheduler needs to look at nothing but its head (RocketMQ's
// ScheduleMessageService).
//
// Invariants:
//
//   - The scheduler runs on the leader only. It keeps nothing that matters:
//     the progress of each level is replicated, and one command both publishes
//     a batch of messages and moves the progress from the batch's first offset
//     to its end. The command does nothing if the progress is not that first
//     offset. A proposal whose fate is unknown is therefore simply made again,
//     here or on the next leader, and each message is delivered once.
//   - A message is never delivered before its time on the group's clock.
//   - One proposal is in flight per level; levels do not wait for each other.
//   - A level waits by a timer for its head, or without one for the first
//     arrival. Nothing polls.
//
// Caller: broker, which implements Log over store and dledger, and starts and
// stops the scheduler with its role.
package delay
