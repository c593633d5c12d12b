// Package transaction asks producers about transactions that nobody ended.
//
// A half message (property TRAN_MSG) is stored in RMQ_SYS_TRANS_HALF_TOPIC
// and stands in the replicated table of pending transactions until an end
// command publishes its final message or drops it. The Checker looks at that
// table while its broker leads: a half message that is older than
// transactionTimeOut, or than its own CHECK_IMMUNITY_TIME_IN_SECONDS, is sent to
// one live producer of its group (CHECK_TRANSACTION_STATE), and again every
// transactionCheckInterval. After transactionCheckMax check-backs it is given up:
// one command moves it to TRANS_CHECK_MAX_TIME_TOPIC.
//
// RocketMQ's TransactionalMessageServiceImpl reads half and op queues side by
// side and appends a renewed half message for each check. Here there are no op
// messages and no copies: whether a transaction is pending is in the table, and
// nothing that reads the op topic exists among RocketMQ's tools.
//
// Invariants:
//
//   - The Checker runs on the leader only and keeps nothing that matters. The
//     count of checks and the time of the last one are replicated, many in one
//     command, before the producers are asked: neither begins anew with another
//     leader. A count says which count it follows, so that a command whose fate
//     is unknown is simply proposed again.
//   - All ages are differences of the group's clock.
//   - What one round reads and sends is bounded. A later round goes on where it
//     stopped, so that no half message waits for ever behind others.
//   - A check that finds no live producer counts, as in RocketMQ, and is made
//     up for as soon as a producer of the group appears.
//
// The package also makes the records that leave the half topic (Final,
// GivenUp, Resumed, CheckBody), because it alone knows what a half message looks
// like.
//
// Caller: broker, which implements Log and Producers over metadata, store,
// dledger and the table of clients.
package transaction
