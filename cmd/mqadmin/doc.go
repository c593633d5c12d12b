// Command mqadmin looks after brokers: topics, consumer groups, clusters, sending
// and reading by hand, settings, clusters on this machine, and drills that break
// them and prove that nothing was lost. Commands of RocketMQ's mqadmin keep their
// names, flags and columns; the others read as noun and verb and have -o table,
// json or yaml with the same field names, and -o name for loops of a shell.
//
// The name servers come from -n, else --profile, NAMESRV_ADDR, the profile in use,
// the local cluster in ./rmq-local, else 127.0.0.1:9876.
//
// A command has one deadline, --timeout. It asks all brokers at once, prints what
// it has, and says who did not answer. Lists are shown again by --watch. Colours
// are for terminals without NO_COLOR.
//
// Exit codes: 0 done; 1 refused, failed, or the command line is wrong; 2 no server
// could be reached where one was said to be; 3 a drill found a broken promise, or a
// store damage; 4 some servers did not answer, and what was printed is not all; 10
// health or doctor found something that is not well.
//
// What people get wrong is worded in package internal/explain, once.
package main
