// Package drill breaks a cluster under load and proves what became of
// every message: steady load, a fault, recovery, and then an audit that reads
// every queue from offset 0 and compares it with what was acknowledged.
//
// The parts, one file each: load.go sends and keeps the history, faults.go does
// the damage, audit.go reads back, check.go compares, report.go sums up.
//
// Invariants:
//
//   - An attempt ends acknowledged, refused or unknown. Only what was
//     acknowledged must be found; what is unknown may be found, once or more.
//   - The checker knows nothing of networks or brokers: it takes a history and
//     queue contents, so that its tests can hand it made-up ones and see that it
//     reports each kind of failure.
//
// Callers: mqadmin drill and internal/compose.
package drill
