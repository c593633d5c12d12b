// Package local runs a name server and one or more replica groups as child
// processes on this machine, all data below one directory:
//
//	DIR/cluster.json       marker and state: who was started, with which pid
//	DIR/namesrv.conf       settings of the name server
//	DIR/broker-n0.conf …   settings of each member: an ordinary broker.conf
//	DIR/namesrv/, n0/ …    their data
//	DIR/logs/*.log         what they print
//	DIR/faults/            what each member suffers from, for drills (internal/fault)
//
// Ports follow from the base port P: name server P; member i listens for
// clients at P+1035+10·i and for Raft 5 above that. With P = 9876 that gives
// 9876, 10911, 10916, 10921, 10926, …. Members are numbered through all groups:
// with three in each, broker-a has n0 to n2 and broker-b n3 to n5.
//
// For drills there can be more name servers, at P+1 and so on, and each process
// can have an address and a network namespace of its own (Place), or a port for
// clients that stays open while it is dead (HoldPorts).
//
// Invariants:
//
//   - A process is signalled only after its start time has been compared with
//     the one in the state file, so a pid that was given to another process in
//     the meantime is never touched.
//   - A directory is removed only if it holds our state file.
//   - The number of a member and the name of a group are used once, even if it
//     was removed.
//   - The state file is written right after each child is started: whoever dies
//     in between leaves nothing that `down` cannot find.
//
// Callers: mqadmin local, internal/drill and bench.
package local
