// Package banner prints what a server says of itself when it has started:
// aligned lines for a person at a terminal, otherwise the same facts as one line
// of the log each. The line of RocketMQ that scripts wait for is printed after
// it by the programs, since it has to be the last.
//
// Callers: cmd/mqbroker and cmd/mqnamesrv.
package banner
