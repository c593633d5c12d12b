// Package inherit takes over listening sockets from whoever started this process,
// by the protocol of systemd's socket units (LISTEN_PID, LISTEN_FDS,
// LISTEN_FDNAMES, file descriptors from 3 on).
//
// Whoever keeps a copy of a listening socket keeps the port open while the process
// behind it is dead: clients are not refused, their connections and first requests
// wait in the kernel until the next process takes them.
//
// Invariants:
//
//   - The variables are gone after Take, so that no child takes them for its own.
//   - What was passed is either used or refused with a sentence; a socket that
//     nobody serves would let clients hang.
//   - The descriptors stay where they are until the process ends, so that it can
//     be replaced (exec) with them.
package inherit
