// Package explain is the catalogue of what goes wrong for people: each mistake
// with its one text, which says what happened, why we think so and what to type,
// a stable code (CMQ-1007), the exit code of the program that ends with it, and
// the longer explanation that docs/errors.md is made of.
//
// Servers use it for what they print and for the remarks of their answers,
// mqadmin for what it prints. A text is made by a function of its own, so that
// whoever has the mistake at hand must also have the facts:
//
//	return explain.PortInUse("0.0.0.0:10911", "listenPort", err)
//
// What is not a mistake of somebody's, or has only one place and no remedy,
// stays an ordinary error where it happens.
//
// Invariants:
//
//   - A code keeps its meaning for ever; one that is not used any more is not
//     given out again.
//   - A text ends with its code in parentheses, so that a line of a log, a remark
//     in a Java client's exception, and a photograph of a screen can be looked up.
//   - docs/errors.md is made of this package by its test (-update).
package explain
