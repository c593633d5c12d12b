// Command mqnamesrv is the name server: brokers register with it, clients ask
// it for routes.
//
//	mqnamesrv [-c FILE] [-p] [-m] [--set KEY=VALUE]
//
// Invariants:
//
//   - The last start-up line on standard output is RocketMQ's, word for word,
//     because scripts and container checks wait for it. It is printed when the
//     port accepts connections, not before.
//   - Settings are merged in the order defaults, file, environment, options.
//   - Exit codes: 0 stopped by a signal or printed what was asked, 1 failed,
//     2 bad option or setting, 3 port in use. Each failure is one sentence.
//
// Operators and mqadmin local call it. All work is in package namesrv.
package main
