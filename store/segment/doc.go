// Package segment keeps a byte sequence that grows at the end in numbered
// files of one size, as RocketMQ's MappedFileQueue does, though nothing here
// is mapped.
//
//	position   0            S             2S            3S
//	           |------------|-------------|-------------|
//	file       0…000        0…0S          0…2S             (20 decimal digits)
//
// A File speaks of positions in the whole sequence, never of positions within
// itself. A Set knows the files of one directory.
//
// Invariants:
//
//   - The base of each file is the base of the one before plus the size;
//     Open refuses a directory in which one is missing between two others.
//   - A name is durable (directory synced) before Create returns, and its
//     removal before Remove returns. So the names on disk after a crash are
//     those of some moment between two calls.
//   - Files and their order are read without locks; only the one goroutine
//     that owns the Set may create and remove.
//
// Used by store/commitlog. It knows nothing of what the bytes mean.
package segment
