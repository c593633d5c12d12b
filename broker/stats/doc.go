// Package stats counts what passes through a broker, for the runtime table and
// for VIEW_BROKER_STATS_DATA (RocketMQ's BrokerStatsManager and
// StoreStatsService).
//
// Two kinds of numbers live here. Totals (totals.go, latency.go) are of the
// whole broker. Items (items.go) are of one topic, or of one group reading one
// topic, and remember enough of their past to say what the last minute, hour
// and day added.
//
// Invariants:
//
//   - Counting costs atomic additions and, for items, one lookup under a read
//     lock. It allocates nothing once an item exists.
//   - The number of items is bounded by Config.ItemsMax. What comes beyond is
//     counted in the totals only and Dropped says how much; items without
//     traffic for a day make room again.
//   - Nothing survives a restart, as in RocketMQ.
//
// There is no goroutine here: the caller calls Sample every Interval.
//
// Caller: broker, from any goroutine.
package stats
