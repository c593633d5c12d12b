// Package protocol knows what is inside a RocketMQ remoting frame: the command
// header in its JSON and its binary form, the request and response codes, the
// custom header fields and the JSON bodies, including the dialect that Java's
// fastjson speaks. It moves no bytes itself; package remoting does.
//
// A frame, all integers big-endian:
//
//	0        4        8            8+headerLen
//	+--------+--------+------------+----------------+
//	| length | word   | header     | body           |
//	+--------+--------+------------+----------------+
//	length  number of bytes after this field
//	word    high 8 bits: serialize type (0 JSON, 1 ROCKETMQ); low 24: headerLen
//
// Invariants:
//
//   - A decoded Command aliases the frame it came from. Nothing of it may be used
//     after Release, and the frame's bytes are rewritten in place while escapes
//     are resolved.
//   - Decoding allocates nothing per field, and nothing in proportion to a length
//     that has not been checked against the bytes really present.
//   - Everything a peer can grow is bounded by Limits: frame, fields, nesting, nodes
//     of a body. Input never panics.
//
// It imports nothing of ours; broker, namesrv, admin and remoting call it.
package protocol
