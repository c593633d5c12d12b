package logging

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Limited writes one warning per interval and counts the others. A nil one
// writes nothing.
type Limited struct {
	log   hclog.Logger
	every time.Duration

	mu     sync.Mutex
	next   time.Time
	hidden int
}

// NewLimited returns a Limited that warns at most once in the given time.
func NewLimited(log hclog.Logger, every time.Duration) *Limited {
	return &Limited{log: log, every: every}
}

// Warn writes the line, with the number of those it stands for, or counts it.
func (l *Limited) Warn(msg string, args ...any) {
	if l == nil {
		return
	}
	now := time.Now()
	l.mu.Lock()
	if now.Before(l.next) {
		l.hidden++
		l.mu.Unlock()
		return
	}
	hidden := l.hidden
	l.next, l.hidden = now.Add(l.every), 0
	l.mu.Unlock()
	if hidden > 0 {
		args = append(args, "hidden-since-last", hidden)
	}
	l.log.Warn(msg, args...)
}
