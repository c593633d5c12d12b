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
