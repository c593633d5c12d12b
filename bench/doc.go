// Command bench measures a replica group on this machine: it starts a local
// cluster, keeps a fixed number of sends under way, and prints throughput,
// latency and what the brokers used for it. It does so once for each flush mode.
//
//	go run ./bench -bin bin
//
// The figure to watch is processor seconds per million acknowledged messages,
// summed over the brokers: it says what the work costs, while throughput on a
// machine that also runs the load says who got the processors.
//
// A result belongs in bench/results only with its date, commit, machine and
// command line; -o json prints all of them.
package main
