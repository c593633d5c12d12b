// Package testcluster runs a name server and the members of a broker group in
// one process, on free loopback ports, with stores in a test's directory. It is
// for tests: real sockets, real files, small segments, asynchronous flush.
//
// A member is stopped as SIGTERM would stop it. What kill -9 does to a member is
// tested on memory disks by store and dledger, and on processes by test/e2e.
package testcluster
