// Package dledger replicates the store: it runs one member of a Raft group whose log is the commit log.
package dledger
