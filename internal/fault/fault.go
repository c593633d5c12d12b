package fault

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/internal/wall"
)

// EnvFile names the environment variable with the fault file's path.
const EnvFile = "COMETMQ_FAULT_FILE"

// SeenSuffix is appended to the file's name for what has been taken up.
const SeenSuffix = ".seen"

// poll is how often the file is looked at.
const poll = 10 * time.Millisecond

// Set is what a server suffers from. The zero value is a healthy one.
type Set struct {
	SyncDelay  time.Duration
	SyncHang   bool
	SyncError  error
	WriteError error
	KillAfter  int64 // 0: never
	Clock      time.Duration
}

// errnos are the errors that a fault file may name.
var errnos = map[string]error{"EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC}

// Parse reads the text of a fault file.
func Parse(text string) (Set, error) {
	var s Set
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		var err error
		switch name {
		case "sync-delay":
			s.SyncDelay, err = time.ParseDuration(value)
		case "clock":
			s.Clock, err = time.ParseDuration(value)
		case "kill-after":
			s.KillAfter, err = strconv.ParseInt(value, 10, 64)
		case "sync-hang":
			s.SyncHang = value == "true"
		case "sync-error":
			s.SyncError, err = errno(value)
		case "write-error":
			s.WriteError, err = errno(value)
		default:
			err = fmt.Errorf("there is no such fault")
		}
		if err != nil {
			return Set{}, fmt.Errorf("fault %q: %w", line, err)
		}
	}
	return s, nil
}

func errno(name string) (error, error) {
	if err, ok := errnos[name]; ok {
		return err, nil
	}
	return nil, fmt.Errorf("error %s is not known: EIO or ENOSPC", name)
}

// File is a fault file that a server follows.
type File struct {
	path string
	fs   vfs.FS

	mu      sync.Mutex // guards set and changed
	set     Set
	changed chan struct{} // closed when set changes

	changes atomic.Int64 // of the disk, since set changed
	kill    func()

	stop chan struct{}
	done chan struct{}
}

// Follow reads the file now, and again and again until Close. What it cannot
// read is reported and changes nothing.
func Follow(path string, base vfs.FS, report func(what string)) *File {
	f := &File{path: path, changed: make(chan struct{}), kill: killSelf, stop: make(chan struct{}), done: make(chan struct{})}
	f.fs = vfs.NewFault(base, f.before)
	seen := "\x00" // so that even an empty file is confirmed
	take := func() {
		b, err := os.ReadFile(path)
		text := string(b)
		if err != nil {
			text = ""
		}
		if text == seen {
			return
		}
		seen = text
		s, err := Parse(text)
		if err != nil {
			report(err.Error())
			return
		}
		f.take(s)
		report(strings.Join(strings.Fields(text), " "))
		// The file's name tells that this is no program's data; a torn one is
		// written again at the next change.
		if err := os.WriteFile(path+SeenSuffix, b, 0o644); err != nil {
			report(err.Error())
		}
	}
	take()
	go func() {
		defer close(f.done)
		tick := time.NewTicker(poll)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
				take()
			}
		}
	}()
	return f
}

// FS is the disk with the file's faults.
func (f *File) FS() vfs.FS { return f.fs }

// Close ends the following; the faults go.
func (f *File) Close() {
	close(f.stop)
	<-f.done
	f.take(Set{})
}

func (f *File) take(s Set) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = s
	f.changes.Store(0)
	wall.Shift(s.Clock)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *File) now() (Set, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set, f.changed
}

// before is called before each operation of the disk.
func (f *File) before(op vfs.Op) error {
	if op.Kind.Mutates() {
		if s, _ := f.now(); s.KillAfter > 0 && f.changes.Add(1) >= s.KillAfter {
			f.kill()
		}
	}
	switch op.Kind {
	case vfs.OpWrite:
		s, _ := f.now()
		return s.WriteError
	case vfs.OpSync, vfs.OpSyncFiles, vfs.OpSyncDir:
		return f.beforeSync()
	}
	return nil
}

// killSelf does not return: nothing of the process may run on.
func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (f *File) beforeSync() error {
	s, changed := f.now()
	for s.SyncHang {
		<-changed
		s, changed = f.now()
	}
	if s.SyncDelay > 0 {
		time.Sleep(s.SyncDelay)
	}
	return s.SyncError
}
