// Command mqshutdown stops the name servers or brokers of this host, as
// RocketMQ's script of that name does: `mqshutdown broker`, `mqshutdown namesrv`.
//
// It sends SIGTERM to every process whose program file is called mqbroker or
// mqnamesrv and waits until they are gone. A broker uses the time to hand its
// leadership over. Processes of other users are not visible to it unless it runs
// as root, and those in other PID namespaces (containers) it leaves alone.
//
// Exit codes: 0 all gone, 1 some are still there, 2 bad arguments, 255 none was
// running.
package main
