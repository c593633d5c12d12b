// Package admin is a client for people and tools: routes, topics, offsets,
// cluster and broker information, and plain sending and reading with the
// patience that a failover needs. It talks to CometMQ and to Apache RocketMQ
// 4.9.4 alike.
//
// It is no replacement for the official clients: there are no consumer groups,
// no rebalancing and no offsets kept on its own.
//
// Invariants:
//
//   - A send that fails is retried with a fresh route until its context ends; a
//     retry can store the message twice, and the caller must expect that.
//   - Statuses come back as *StatusError, never as text to be parsed.
//   - All methods may be called by any goroutine; Close ends what waits.
//
// Callers: cmd/mqadmin, internal/local, internal/drill, bench.
package admin
