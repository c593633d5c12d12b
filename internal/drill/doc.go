// Package drill breaks a cluster under load and proves what became of
// every message: steady load, a fault, recovery, and then an audit that reads
// every queue from offset 0 and compares it with what was acknowledged.
//
// The parts, by file: catalog.go lists the drills, faults_*.go do the damage,
// recovery.go waits for the end of it, promises.go says what single drills
// promise; stage.go makes the cluster that a drill needs. The load is load.go
// (the eager client, with watch.go), stock.go (unmodified clients, as child
// processes), offsets.go and rewind.go (consumer offsets) and delayed.go.
// audit.go reads back, check.go compares, wiped.go asks one member alone;
// report.go, summary.go, timeline.go, html.go and table.go show what came out.
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
