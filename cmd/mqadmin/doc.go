// Command mqadmin looks after brokers: topics, clusters, sending and reading by
// hand, clusters on this machine, and drills that break them and prove that
// nothing was lost. Commands of RocketMQ's mqadmin keep their names, flags and
// columns; the others read as noun and verb.
//
// The name servers come from -n, else NAMESRV_ADDR, else the local cluster in
// ./rmq-local, else 127.0.0.1:9876.
//
// Exit codes: 0 done; 1 failed, or the command line is wrong; 2 no name server
// could be reached; 3 a drill found a broken promise, or a store damage.
package main
