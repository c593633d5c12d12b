// Package dledger replicates the store: it runs one member of a Raft group
// whose log is the commit log. RocketMQ calls this part DLedger. It is the only
// package that knows the Raft library (hashicorp/raft v1.8.0).
//
// The broker is its one caller:
//
//	node, err := dledger.New(cfg)     // checks, starts nothing
//	node.OnRole(func(c) { ... })      // before Start
//	err = node.Start(ctx)             // joins the group
//	node.Propose(&dledger.Proposal{}) // many goroutines, never blocks
//	err = node.Close()                // hands over, saves, stops
//
// # The way of a proposal
//
//	Propose -> queue -> [collect] one entry of many proposals, stamped
//	  -> raft main goroutine -> logStore -> commitlog (write, fsync)
//	  -> followers do the same -> committed
//	  -> [raft fsm goroutine] fsm.Apply -> store.Apply: offsets, queues
//	  -> [complete] results cut back per proposal -> Done
//
// # Invariants
//
// Done of a proposal is called exactly once, whatever happens; proposals that
// were applied are answered in log order.
//
// Leader=true is reported, and proposals are accepted, only after a barrier
// proved that everything an earlier leader committed is applied here.
//
// The bytes of the commit log are the same on every member, physical offsets
// included. Nothing here depends on how entries were grouped into writes, on
// local time or on local addresses.
//
// Raft's deletions never remove a message: the head of the log is not Raft's,
// and the end is cut only where a new leader disagrees about entries that were
// never committed.
//
// A member whose disk was empty neither votes nor stands before the group has
// readmitted it (blank.go).
//
// A disk that fails or hangs ends the process (Config.Exit). A full disk does
// not.
//
// # Goroutines
//
//	collect, complete   collector.go; end in collector.close
//	watchRole           role.go; ends with Node.stop
//	barrier, transfer   role.go, transfer.go; at most one each, Raft answers them
//	reporter            role.go; calls OnRole callbacks
//	checkpointer        checkpoint.go; ends with Node.stop
//	watchPeers          early.go; ends with Node.stop
//	watchMembers        standing.go; ends with Node.stop
//	steps               members.go; one change of the members at a time
//	watchdog            watchdog.go; ends last
//	listen, receive, relay  transport.go; end in streams.Close
//	Raft's own          main, FSM, snapshots, two per follower, one per connection
//
// # Bytes
//
// This package owns three encodings: the greeting on a new Raft connection
// (hello.go), Raft's part of a checkpoint (snapshot.go), and the Extensions of
// a message entry, which are the group time as 8 bytes, big-endian, unix
// milliseconds. The entries themselves belong to store/commitlog.
package dledger
