package logging

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// Formats.
const (
	Text = "text"
	JSON = "json"
)

// Options say how a server logs.
type Options struct {
	Format string // Text or JSON
	Levels string // see ParseLevels
	// Dir is the directory of the log file, "" for standard error.
	Dir string
	// Name is the log file's name, "broker.log".
	Name string
	// FileBytesMax and FilesMax bound the files: the one written and those before.
	FileBytesMax int64
	FilesMax     int
	// Stderr takes the log without a Dir, and what the file does not.
	Stderr io.Writer
}

// Log is a server's log.
type Log struct {
	levels levels
	file   *File
	logger hclog.Logger
}

// Open makes a log.
func Open(o Options) (*Log, error) {
	rules, err := ParseLevels(o.Levels)
	if err != nil {
		return nil, err
	}
	l := &Log{levels: levels{rules: rules, names: map[string]*atomic.Int32{}}}
	out := o.Stderr
	if o.Dir != "" {
		if l.file, err = OpenFile(filepath.Join(o.Dir, o.Name), o.FileBytesMax, o.FilesMax, o.Stderr); err != nil {
			return nil, err
		}
		out = l.file
	}
	l.logger = l.levels.wrap(hclog.New(&hclog.LoggerOptions{Output: out, Level: hclog.Trace, JSONFormat: o.Format == JSON}))
	return l, nil
}

// Logger is the root of the server's loggers.
func (l *Log) Logger() hclog.Logger { return l.logger }

// SetLevels changes the levels of all loggers.
func (l *Log) SetLevels(text string) error {
	rules, err := ParseLevels(text)
	if err != nil {
		return fmt.Errorf("logLevel: %w", err)
	}
	l.levels.set(rules)
	return nil
}

// Close closes the file, if there is one.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Early keeps lines until the settings say where they belong: a server reads its
// settings before it can log as they say. Only Info, Warn and Error are kept.
type Early struct {
	hclog.Logger
	mu    sync.Mutex
	lines []earlyLine
}

type earlyLine struct {
	level hclog.Level
	msg   string
	args  []any
}

// NewEarly returns an empty one.
func NewEarly() *Early { return &Early{Logger: hclog.NewNullLogger()} }

func (e *Early) keep(level hclog.Level, msg string, args []any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, earlyLine{level, msg, args})
}

// Info implements hclog.Logger.
func (e *Early) Info(msg string, args ...any) { e.keep(hclog.Info, msg, args) }

// Warn implements hclog.Logger.
func (e *Early) Warn(msg string, args ...any) { e.keep(hclog.Warn, msg, args) }

// Error implements hclog.Logger.
func (e *Early) Error(msg string, args ...any) { e.keep(hclog.Error, msg, args) }

// Replay writes what was kept to a log.
func (e *Early) Replay(to hclog.Logger) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, line := range e.lines {
		to.Log(line.level, line.msg, line.args...)
	}
	e.lines = nil
}

// Open opens the log that the settings ask for and writes to it what was kept.
func (e *Early) Open(o Options) (*Log, error) {
	l, err := Open(o)
	if err != nil {
		return nil, err
	}
	e.Replay(l.Logger())
	return l, nil
}
