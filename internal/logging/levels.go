package logging

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// levels knows the level of each part of the program. Loggers hold a pointer to
// theirs, so that asking costs one atomic load.
type levels struct {
	mu    sync.Mutex
	rules map[string]hclog.Level // "" is everything else
	names map[string]*atomic.Int32
}

// ParseLevels reads "info" or "info,dledger=debug,broker.clients=warn". Without a
// level of its own everything else has "info".
func ParseLevels(text string) (map[string]hclog.Level, error) {
	rules := map[string]hclog.Level{"": hclog.Info}
	for part := range strings.SplitSeq(text, ",") {
		name, level, named := strings.Cut(strings.TrimSpace(part), "=")
		if !named {
			name, level = "", name
		}
		if level == "" && !named {
			continue
		}
		l := hclog.LevelFromString(level)
		if l == hclog.NoLevel {
			return nil, fmt.Errorf("level %q of %q is not one of trace, debug, info, warn, error, off", level, text)
		}
		rules[strings.TrimSpace(name)] = l
	}
	return rules, nil
}

func (l *levels) set(rules map[string]hclog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules = rules
	for name, level := range l.names {
		level.Store(int32(l.ruleLocked(name)))
	}
}

// of returns the level of a logger, which changes when the rules do. Names come
// from the program and not from clients, so that the table stays small.
func (l *levels) of(name string) *atomic.Int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	level := l.names[name]
	if level == nil {
		level = new(atomic.Int32)
		level.Store(int32(l.ruleLocked(name)))
		l.names[name] = level
	}
	return level
}

func (l *levels) ruleLocked(name string) hclog.Level {
	for {
		if level, ok := l.rules[name]; ok {
			return level
		}
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			return l.rules[""]
		}
		name = name[:i]
	}
}

// leveled is a logger that follows levels. What it embeds writes everything.
type leveled struct {
	hclog.Logger
	levels *levels
	level  *atomic.Int32
}

func (l *levels) wrap(inner hclog.Logger) hclog.Logger {
	return &leveled{Logger: inner, levels: l, level: l.of(inner.Name())}
}

func (l *leveled) on(level hclog.Level) bool { return hclog.Level(l.level.Load()) <= level }

// The methods of hclog.Logger that have to do with levels.

// Log implements hclog.Logger.
func (l *leveled) Log(level hclog.Level, msg string, args ...any) {
	if l.on(level) {
		l.Logger.Log(level, msg, args...)
	}
}

// Trace implements hclog.Logger.
func (l *leveled) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (l *leveled) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (l *leveled) Info(msg string, args ...any) { l.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (l *leveled) Warn(msg string, args ...any) { l.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (l *leveled) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

// IsTrace implements hclog.Logger.
func (l *leveled) IsTrace() bool { return l.on(hclog.Trace) }

// IsDebug implements hclog.Logger.
func (l *leveled) IsDebug() bool { return l.on(hclog.Debug) }

// IsInfo implements hclog.Logger.
func (l *leveled) IsInfo() bool { return l.on(hclog.Info) }

// IsWarn implements hclog.Logger.
func (l *leveled) IsWarn() bool { return l.on(hclog.Warn) }

// IsError implements hclog.Logger.
func (l *leveled) IsError() bool { return l.on(hclog.Error) }

// GetLevel implements hclog.Logger.
func (l *leveled) GetLevel() hclog.Level { return hclog.Level(l.level.Load()) }

// SetLevel implements hclog.Logger, for nobody: levels come from the rules.
func (l *leveled) SetLevel(hclog.Level) {}

// With implements hclog.Logger.
func (l *leveled) With(args ...any) hclog.Logger {
	return &leveled{Logger: l.Logger.With(args...), levels: l.levels, level: l.level}
}

// Named implements hclog.Logger.
func (l *leveled) Named(name string) hclog.Logger { return l.levels.wrap(l.Logger.Named(name)) }

// ResetNamed implements hclog.Logger.
func (l *leveled) ResetNamed(name string) hclog.Logger {
	return l.levels.wrap(l.Logger.ResetNamed(name))
}
