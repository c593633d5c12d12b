// Package namesrv is the name server: brokers register with it, clients ask it
// which broker serves a topic.
//
// It keeps no state of its own except the key/value settings (kv.go). All else
// is what brokers told it during the last two minutes, so a name server may be
// started empty, and several run side by side without knowing each other;
// every broker registers with all of them.
//
//	broker ──REGISTER_BROKER──▶ handlers ──▶ RouteTable ──publish──▶ snapshot
//	client ──GET_ROUTEINFO───▶ handlers ◀── cached bytes ◀──────────────┘
//
// Invariants:
//
//   - The read path takes no lock. Each change builds a new immutable snapshot;
//     the encoded answer of a topic is kept until that topic, or the addresses
//     of one of its brokers, change.
//   - Id 0 of a broker name never goes back to an older Raft term, as long as
//     this process lives (terms.go). A client can then not be led from a new
//     leader back to one that was deposed.
//   - An address serves one broker name under one id.
//   - Everything a client can grow is bounded: addresses, topics, remembered
//     terms, settings.
//
// RouteTable is pure: it owns no goroutine, no socket and no clock. Server
// owns the listener and the goroutine that scans for expired brokers.
package namesrv
