// Command dist packs what is released, out of one tree and with nothing but the
// Go toolchain:
//
//	go run ./internal/dist zip     dist/cometmq-VERSION-linux-ARCH.zip and SHA256SUMS
//	go run ./internal/dist rootfs  bin/rootfs.tar, the file system of the container image
//
// The archive has RocketMQ's shape (bin/, conf/); `sh bin/mqbroker` and
// `./mqbroker` both work, because bin/ holds small scripts and libexec/ the
// programs. The image has no shell, so its bin/ holds the programs themselves,
// and /bin/sh is cmd/mqsh.
//
// Invariants:
//
//   - The same commit packed by the same Go release gives the same bytes: paths
//     are trimmed, files are sorted, owned by fixed ids and dated as the commit.
//   - Nothing is read but tracked kinds of files of this tree and the programs
//     built from it.
//
// Callers: make dist, make image, and both Dockerfiles through them.
package main
