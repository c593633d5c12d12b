package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process names one child process so that it cannot be mistaken for a later
// one with the same pid.
type Process struct {
	PID int `json:"pid"`
	// Started identifies the process among all that ever had this pid: boot id
	// and start time in clock ticks, or the start time that ps prints.
	Started string `json:"started"`
}

// Alive reports whether the process still runs. A zombie does not.
func (p Process) Alive() bool {
	return p.PID > 0 && p.Started != "" && startedAt(p.PID) == p.Started
}

// signal sends sig if the pid still is this process; a process that is gone is
// no error.
func (p Process) signal(sig syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", sig, p.PID, err)
	}
	return nil
}

// waitGone waits until the process has ended, at most for the given time.
func (p Process) waitGone(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); p.Alive(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// startedAt returns what Process.Started holds, or "" when no such process runs.
func startedAt(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		if _, err := os.Stat("/proc/self/stat"); err == nil {
			return "" // there is a /proc, and the process is not in it
		}
		out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	fields := statFields(stat)
	// A zombie is gone once its other threads are: until then they may hold its
	// ports and locks.
	if len(fields) < 20 || fields[0] == "Z" && fields[17] == "1" || fields[0] == "X" {
		return ""
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(boot)) + "/" + fields[19]
}

// statFields splits /proc/PID/stat after the command name, which may itself
// hold spaces and parentheses. Index 0 is the state; utime, stime, the
// number of threads and starttime are 11, 12, 17 and 19.
func statFields(stat []byte) []string {
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}

// Usage is what a process has consumed so far.
type Usage struct {
	CPU time.Duration // user and system time
	RSS int64         // resident bytes now
}

// Usage reads the consumption of the process; it needs /proc.
func (p Process) Usage() (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return Usage{}, fmt.Errorf("read the usage of process %d: %w", p.PID, err)
	}
	fields := statFields(stat)
	if len(fields) < 22 {
		return Usage{}, fmt.Errorf("read the usage of process %d: %d fields in its stat file", p.PID, len(fields))
	}
	var n [3]int64
	for i, f := range []string{fields[11], fields[12], fields[21]} {
		if n[i], err = strconv.ParseInt(f, 10, 64); err != nil {
			return Usage{}, fmt.Errorf("read the usage of process %d: %w", p.PID, err)
		}
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	return Usage{CPU: time.Duration(n[0]+n[1]) * tick, RSS: n[2] * int64(os.Getpagesize())}, nil
}

// child starts a program whose output goes to a log file, in a session of its
// own so that a Ctrl-C in the terminal does not reach it.
// With a network namespace "ip netns exec" goes first, which becomes the program
// without changing its process id. A port that is held is passed on as a service
// manager does, whose variables say the process id; only a shell between knows it
// in time, which becomes the program too.
func child(logFile, netns string, held *os.File, env []string, program string, args ...string) (Process, error) {
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return Process{}, fmt.Errorf("open the log of %s: %w", filepath.Base(program), err)
	}
	defer out.Close()
	argv := append([]string{program}, args...)
	if netns != "" {
		argv = append([]string{"ip", "netns", "exec", netns}, argv...)
	}
	if held != nil {
		argv = append([]string{"sh", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`}, argv...)
		env = append(env, "LISTEN_FDS=1", "LISTEN_FDNAMES=remoting")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if held != nil {
		cmd.ExtraFiles = []*os.File{held} // descriptor 3
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Process{}, fmt.Errorf("start %s: %w", program, err)
	}
	p := Process{PID: cmd.Process.Pid, Started: startedAt(cmd.Process.Pid)}
	// Reap it when it ends, or it would stay a zombie for as long as we live.
	go func() { _ = cmd.Wait() }()
	return p, nil
}

// logTail returns the last lines of a log file, indented, for an error text.
func logTail(file string, lines int) string {
	b, err := os.ReadFile(file)
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return "    (it printed nothing)"
	}
	all := strings.Split(strings.TrimRight(string(b[max(0, len(b)-16<<10):]), "\n"), "\n")
	return "    " + strings.Join(all[max(0, len(all)-lines):], "\n    ")
}
