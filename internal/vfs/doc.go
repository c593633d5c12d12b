// Package vfs is the file interface everything durable goes through.
//
// There are three implementations. OS is the machine's disk. Mem is a disk in
// memory that remembers what was synced, so that a test can ask what a power
// failure would have left (CrashClone). NewFault wraps either and lets a test
// fail, cut short or hold back the n-th operation.
//
// Invariants the callers rely on:
//
//   - Bytes are durable after File.Sync, names after SyncDir of the directory
//     that holds them. Neither implies the other.
//   - Rename within one directory is atomic: after a crash the new name shows
//     the old file or the new one, never a mixture.
//   - Nothing is memory-mapped: a full or broken disk is an error value and
//     never a signal that kills the process.
//
// Directories made by MkdirAll are durable at once in all implementations, so
// callers sync a directory only for the files in it.
//
// Used by store/segment, store/commitlog, store/consumequeue, store and
// dledger. It imports nothing of ours.
package vfs
