package logging

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// File is a log file that moves aside when it is full. The files before it lie
// where RocketMQ puts them: otherdays/broker.1.log beside broker.log, the newest
// with the lowest number.
type File struct {
	path    string
	sizeMax int64
	keep    int
	instead io.Writer // takes the lines that the disk does not

	mu   sync.Mutex
	f    *os.File
	size int64
}

// OpenFile opens or creates a log file and its directory. It must not be open in
// another process: both would move it.
func OpenFile(path string, sizeMax int64, keep int, instead io.Writer) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	l := &File{path: path, sizeMax: sizeMax, keep: keep, instead: instead}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *File) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the log file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("log file %s is in use by another process; give each its own logDir, or set isolateLogEnable=true", l.path)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open the log file: %w", err)
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write writes one line. It never fails: a log that cannot be written is no
// reason to stop.
func (l *File) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil && l.size > 0 && l.size+int64(len(line)) > l.sizeMax {
		l.rotate()
	}
	if l.f != nil {
		n, err := l.f.Write(line)
		l.size += int64(n)
		if err == nil {
			return n, nil
		}
	}
	_, _ = l.instead.Write(line)
	return len(line), nil
}

// rotate moves the file aside and begins a new one, or goes on with the old.
func (l *File) rotate() {
	err := os.MkdirAll(filepath.Dir(l.old(1)), 0o755)
	for n := l.keep; n > 1 && err == nil; n-- {
		if err = os.Rename(l.old(n-1), l.old(n)); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(l.path, l.old(1))
	}
	if err == nil {
		full := l.f
		if err = l.open(); err == nil {
			full.Close()
			return
		}
	}
	l.size = 0 // try again when as much was written once more
	_, _ = fmt.Fprintf(l.instead, "cannot rotate %s: %v\n", l.path, err)
}

func (l *File) old(n int) string {
	dir, base := filepath.Split(l.path)
	ext := filepath.Ext(base)
	return filepath.Join(dir, "otherdays", fmt.Sprintf("%s.%d%s", strings.TrimSuffix(base, ext), n, ext))
}

// Close closes the file; later lines go to where unwritable ones do.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.f
	l.f = nil
	if f == nil {
		return nil
	}
	return f.Close()
}
