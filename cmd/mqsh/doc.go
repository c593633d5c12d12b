// Command mqsh stands in for sh in our container image, which has no shell.
//
// Ten years of RocketMQ tutorials, compose files and charts start servers with
// `sh mqbroker -n …` or `sh -c "…"`. The image is built FROM scratch, so this
// program is installed there as /bin/sh and understands exactly that: our own
// commands, a handful of words such as cd and sleep, variables, quotes, and the
// operators ; && ||. Of anything else it says plainly that it is not a shell and
// what it knows, and exits with 127. Linked as mqproxy it explains that there is
// no proxy to start.
//
// Invariants:
//
//   - The last command of a line replaces this process, so that the server is
//     process 1 of its container and gets the signals.
//   - It runs nothing but our commands, found in ROCKETMQ_HOME/bin or on PATH.
package main
