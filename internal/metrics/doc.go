// Package metrics turns the counters of a server into what Prometheus scrapes.
//
// A server lists its Families, and a function that writes their samples to a
// Writer when somebody scrapes: nothing is computed in between, and who counts
// only adds to atomic numbers. Only this package and its tests know the metrics
// library.
//
// Invariants:
//
//   - A sample can only be written for a declared family, with as many label
//     values as it has labels; anything else is a mistake of the program and
//     panics in the first test that scrapes.
//   - What clients can multiply is bounded: a family has at most so many series
//     (Config.SeriesMax), a Table so many keys; what is beyond is left out and
//     counted.
//   - Label values are valid UTF-8, whatever a client called itself.
//
// Callers: broker, namesrv, cmd/mqbroker, cmd/mqnamesrv, deploy (names).
package metrics
