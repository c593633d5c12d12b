// Package store is the storage engine as one thing: a commit log whose entries
// are a Raft log, the consume queues derived from it, and a metadata file.
package store
