// Command mqbroker is one member of a broker group: it takes messages, keeps
// them on a majority of the group's members, and gives them to consumers.
//
// Exit codes: 0 stopped or printed, 1 failed, 2 bad option or setting, 3 port
// in use, 4 store locked by another process, 5 this member is not in the peer
// list, 6 store of another cluster or group, 7 disk hung or failed, 8 log in
// doubt: committed bytes are damaged, 9 received a new log and could not start
// again by itself, which it otherwise does without changing its process id.
//
// Invariants: the historic boot line is the last line of a start and stands on
// standard output; everything else is log and goes to standard error. Whatever
// keeps the broker from starting is one sentence and an exit code of its own.
// With COMETMQ_FAULT_FILE it suffers what that file says (internal/fault).
// Called by operators, container images and mqadmin local.
package main
