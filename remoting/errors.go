package remoting

import "errors"

var (
	// ErrConnClosed is what every waiting call of a connection fails with when the
	// connection ends; the error returned wraps the cause too. A request that failed
	// so may or may not have been executed by the peer.
	ErrConnClosed = errors.New("connection closed")
	// ErrTimeout marks a call that got no answer in time. It may still be executed.
	ErrTimeout = errors.New("no answer in time")
	// ErrOutQueueFull marks a request that was not sent, because too many bytes
	// wait for the peer to read them.
	ErrOutQueueFull = errors.New("out queue full")
	// ErrDial marks a request that was not sent, because no connection could be made.
	ErrDial = errors.New("cannot connect")
	// ErrFrameLength says that a peer announced a frame longer than any: as a rule
	// it does not speak this protocol at all.
	ErrFrameLength = errors.New("frame length out of bounds")
	// ErrServerClosed is returned by Start after Close.
	ErrServerClosed = errors.New("remoting server closed")
	// ErrClientClosed is returned by every call of a closed client.
	ErrClientClosed = errors.New("remoting client closed")

	// Causes of a closed connection.
	errLocalClose   = errors.New("closed by this side")
	errIdle         = errors.New("idle for too long")
	errSlowFrame    = errors.New("frame not completed in time")
	errSlowReader   = errors.New("peer does not read its answers")
	errOutBytes     = errors.New("too many bytes of answers waiting for the peer")
	errPeerTLS      = errors.New("peer began a TLS handshake, which is not enabled here")
	errPeerHTTP     = errors.New("peer speaks HTTP")
	errTooManyConns = errors.New("connection limit reached")
)
