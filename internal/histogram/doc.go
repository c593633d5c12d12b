// Package histogram counts durations and sizes in fixed ranges, for the metrics
// of whoever may not know the metrics library.
//
// Invariants:
//
//   - Observing costs a search in a few numbers and two atomic additions. It
//     takes no lock and allocates nothing.
//   - Ranges are fixed when a Histogram is made, and cumulative counts never go
//     down, so that a scraper can take differences.
//
// Callers: store/commitlog, dledger, broker, internal/metrics.
package histogram
