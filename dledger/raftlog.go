package dledger

import "github.com/hashicorp/go-hclog"

// raftLogger is Raft's logger with its two lines per snapshot at debug level.
// Raft takes a snapshot for a rare event; our checkpoints come every few
// seconds.
type raftLogger struct{ hclog.Logger }

// Info logs one line.
func (l raftLogger) Info(msg string, args ...any) {
	switch msg {
	case "starting snapshot up to", "snapshot complete up to":
		l.Logger.Debug(msg, args...)
	default:
		l.Logger.Info(msg, args...)
	}
}

// netLogger is the transport's logger. When we close its connections ourselves,
// what it says about them is not an error.
type netLogger struct {
	hclog.Logger
	streams *streams
}

// Error logs one line.
func (l netLogger) Error(msg string, args ...any) {
	select {
	case <-l.streams.stop:
		l.Logger.Debug(msg, args...)
	default:
		l.Logger.Error(msg, args...)
	}
}
