package explain

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Reason shortens a network error to what people call it.
func Reason(err error) string {
	var timeout net.Error
	var dns *net.DNSError
	switch {
	case err == nil:
		return "no answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to host"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return "the connection was closed"
	case errors.As(err, &dns):
		return "the name " + dns.Name + " cannot be resolved"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	}
	return err.Error()
}

// portOwner finds the process that listens on a port, by Linux's tables: which
// socket has the port, and which process holds the socket. Where that cannot be
// known it is another process.
func portOwner(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	number, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil {
		return "another process"
	}
	if pid := listenerPID(uint16(number)); pid > 0 {
		return describeProcess(pid)
	}
	return "another process"
}

// describeProcess is "pid 4711 (mqbroker, started 09:12)", with what is known.
func describeProcess(pid int) string {
	text := "pid " + strconv.Itoa(pid)
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return text
	}
	text += " (" + strings.TrimSpace(string(name))
	if at, ok := startTime(pid); ok {
		layout := "15:04"
		if time.Since(at) > 20*time.Hour {
			layout = time.DateOnly + " 15:04"
		}
		text += ", started " + at.Format(layout)
	}
	return text + ")"
}

// startTime is when a process began: its directory in /proc is as old as itself.
func startTime(pid int) (time.Time, bool) {
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	if err != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}

// tablesMax bounds how many processes are looked at: the answer is a courtesy.
const tablesMax = 1 << 16

// listenerPID returns the process that listens on a TCP port, 0 when unknown.
func listenerPID(port uint16) int {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(text), "\n") {
			// sl local_address rem_address st … inode at the tenth place; state 0A listens.
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" {
				continue
			}
			if _, hex, ok := strings.Cut(f[1], ":"); ok && strings.EqualFold(hex, hex4(port)) {
				sockets["socket:["+f[9]+"]"] = true
			}
		}
	}
	if len(sockets) == 0 {
		return 0
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/fd")
	for _, dir := range dirs[:min(len(dirs), tablesMax)] {
		files, _ := os.ReadDir(dir) // of other users: not allowed, and passed over
		for _, f := range files {
			if link, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && sockets[link] {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
				return pid
			}
		}
	}
	return 0
}

func hex4(port uint16) string {
	s := strconv.FormatUint(uint64(port), 16)
	return strings.Repeat("0", 4-len(s)) + s
}
