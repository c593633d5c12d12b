// Command lint checks the rules of this house that no general linter knows, and
// says what to do about each breach:
//
//   - imports go downwards only, as the table in rules.go says, and the raft
//     module is imported by dledger alone;
//   - every package has a doc.go;
//   - Go files are formatted;
//   - tests do not sleep, or say why beside the sleep; nothing is skipped and no
//     note to self is left behind;
//   - no tracked file holds a path of somebody's machine or a registry host;
//   - relative links in the documentation lead somewhere;
//   - docs/features.md has every capability, and names only tests that exist, as
//     does README.md.
//
// `make check` runs it over the module that holds the working directory. With
// -fuzz DURATION it runs every fuzz target of the module instead, one after the
// other, which `go test` cannot do by itself.
//
// It reads files and starts only git and go; it changes nothing. It exits with 1
// after printing all findings, one a line, as file:line: what; what to do.
package main
