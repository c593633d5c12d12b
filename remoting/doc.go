// Package remoting moves RocketMQ frames over TCP: a Server, a Client with one
// connection per address, and the Conn both are made of. Both ends of a Conn may
// send requests; each numbers its own. What a frame means is the business of the
// handler and of package protocol.
//
// Goroutines: per connection one reads, decodes and runs the handler, and one
// writes; per server one accepts; per server and client one looks after timeouts.
// There is none per request.
//
// Invariants:
//
//   - Frames of a connection are handled in order of arrival; answers may leave in
//     any order. Whatever is queued when the writer gets to run leaves in one writev.
//   - Nothing waits on a slow peer but its own connection: Reply never blocks, a
//     connection with too many bytes or requests outstanding is no longer read, and
//     at a hard bound it is closed.
//   - No memory is taken for a length that a peer has only announced.
//   - When a connection ends, every call waiting on it fails with ErrConnClosed.
//   - A panic of a handler is logged with its stack and answered with status 1; the
//     connection lives on.
package remoting
