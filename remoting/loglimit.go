package remoting

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// limitedLog writes at most one line per second of its kind, because its lines
// are caused by peers, who are many or hostile.
type limitedLog struct {
	log hclog.Logger

	mu         sync.Mutex
	next       time.Time
	suppressed int
}

// warn logs like hclog's Warn, or counts the line as suppressed.
func (l *limitedLog) warn(msg string, args ...any) {
	if !l.log.IsWarn() {
		return
	}
	l.mu.Lock()
	now := time.Now()
	if now.Before(l.next) {
		l.suppressed++
		l.mu.Unlock()
		return
	}
	l.next = now.Add(time.Second)
	n := l.suppressed
	l.suppressed = 0
	l.mu.Unlock()
	if n > 0 {
		args = append(args, "suppressed", n)
	}
	l.log.Warn(msg, args...)
}
