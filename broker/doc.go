// Package broker is the server that clients talk to: one member of a replica
// group that takes messages, keeps them through dledger and store, and gives
// them to consumers.
//
// The way of a request: handle (router.go) looks its code up in one table. A
// request that only the leader may serve is sent on to the leader by a member
// that is not (forward.go). Sends run on the goroutine that reads their
// connection and are answered by the node when a majority has them (send.go);
// pulls run on a fixed number of reading goroutines and may be parked until a
// message arrives (pull.go, hold.go); what waits for the group runs on a
// goroutine of its own, of which there is a bounded number.
//
// Invariants:
//
//   - A success is answered only after the group carried the request out, and
//     only a request that certainly was not carried out is answered with
//     SERVICE_NOT_AVAILABLE. Between them lies "outcome unknown".
//   - Replicated state (metadata) is changed by command records alone, and read
//     for decisions by the ready leader alone.
//   - Every request is answered once, one-way requests included (their answer is
//     dropped by remoting, which counts them).
//   - Everything a client can make grow has a bound, and the refusal names it.
//   - errors.go alone turns errors into response codes.
//
// Goroutines, all ended by Close: reading workers (workers.go), one per waiting
// request (router.go), role changes (role.go), registration (register.go),
// housekeeping (broker.go); timers of held pulls and of the forwarder.
//
// Caller: cmd/mqbroker, and internal/testcluster in tests.
package broker
