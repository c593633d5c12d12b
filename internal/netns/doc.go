// Package netns makes a small network on this machine, for drills that break it:
// each host is a network namespace with a veth pair to a router, which is a
// namespace too, and one more pair leads from the router to ourselves.
//
//	ours ──198.18.X.0/30── router ──198.18.X.4/30── host 1
//	                         └─────198.18.X.8/30── host 2 …
//
// It is a router and no bridge, because a router can drop what one host sends to
// another in one direction only, by a blackhole rule of its routing policy: no
// packet filter has to be installed. Dropping is silent, as with a broken cable;
// nobody gets an ICMP message. The addresses are from the range for benchmarks
// (RFC 2544), which no real network uses.
//
// It needs root and the program ip (iproute2); Rate also needs tc. Everything
// made here is named cmq… after this process and goes with Close.
package netns
