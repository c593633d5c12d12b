// Package e2e holds the black-box checks: the built binaries, started as real processes, used by the official RocketMQ
// clients unmodified. It is a module of its own so that the clients' dependencies never reach the product's go.mod.
//
// The binaries are found in the repository root, where `make build` puts them; COMETMQ_BIN names another folder.
package e2e
