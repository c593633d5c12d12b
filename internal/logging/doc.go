// Package logging makes the log of a server: text or JSON, to standard error or
// to a file that is rotated by size, with a level for each part of the program
// that can change while it runs.
//
// Invariants:
//
//   - A logger's name decides its level: of the rules in a level text
//     ("info,dledger=debug") the one with the longest name that the logger's
//     begins with, at a dot, counts.
//   - A line that cannot be written to its file goes to standard error, and the
//     server goes on.
//   - Whoever logs what clients or disks can repeat at will uses a Limited.
//
// Callers: cmd/mqbroker, cmd/mqnamesrv; store/commitlog and dledger for Limited.
package logging
