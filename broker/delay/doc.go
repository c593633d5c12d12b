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
// # Timers
//
// A message may also say when exactly it is due (TIMER_DELIVER_MS and so on). It
// waits in the topic of its minute, its slot (message.TimerTopic), and Timers
// delivers it: slots of this minute and the next are in memory, as pairs of time
// and offset, and all others on disk only, so that a million messages over a day
// cost what two minutes hold. Within a slot messages come due in another order
// than they came in, so the replicated state has a bit for each instead of a
// position. All else is as above: the leader proposes, the command publishes
// what has no bit yet and sets the bits, and a proposal whose fate is unknown is
// made again.
//
// Considered: RocketMQ's wheel, a file of slots that point into a log of its own.
// It is state beside the replicated one, which each member would have to bring in
// line after a failover; here the queues that exist anyway are the wheel.
//
// Caller: broker, which implements Log over store and dledger, and starts and
// stops the scheduler with its role.
package delay
