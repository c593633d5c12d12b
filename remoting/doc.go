// Package remoting moves RocketMQ frames over TCP: a Server, a pooled Client,
// and the Conn both are made of. What a frame means is the business of the
// handler and of package protocol.
package remoting
