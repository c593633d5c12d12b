package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitStill  = 1
	exitUsage  = 2
	exitNobody = 255 // what RocketMQ's `exit -1` becomes
)

// roles maps the argument to the program's name. proxy and controller are
// RocketMQ 5's; here their work is done inside of the broker.
var roles = map[string]string{"broker": "mqbroker", "namesrv": "mqnamesrv"}

func main() {
	os.Exit(run(os.Args[1:], host{proc: "/proc", kill: syscall.Kill}, os.Stdout, os.Stderr))
}

// host is the machine, so that tests can bring their own.
type host struct {
	proc string
	kill func(pid int, sig syscall.Signal) error
}

const usage = `usage: mqshutdown [options] broker|namesrv
  -c FILE     only those that were started with this -c FILE
  -wait TIME  how long to wait for them to end (60s); 0 returns at once
`

// run is main without the process around it.
func run(args []string, h host, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("mqshutdown", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	conf := flags.String("c", "", "")
	wait := flags.Duration("wait", time.Minute, "")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		say(stdout, usage)
		return 0
	}
	program, ok := roles[flags.Arg(0)]
	if err != nil || flags.NArg() != 1 || !ok {
		say(stderr, usage)
		return exitUsage
	}
	pids, err := h.find(program, *conf)
	if err != nil {
		say(stderr, "mqshutdown: "+err.Error()+"\n")
		return exitStill
	}
	if len(pids) == 0 {
		say(stdout, "No "+program+" running.\n")
		return exitNobody
	}
	list := strings.Trim(fmt.Sprint(pids), "[]")
	say(stdout, fmt.Sprintf("The %s(%s) is running...\n", program, list))
	for _, pid := range pids {
		if err := h.kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			say(stderr, fmt.Sprintf("mqshutdown: ask process %d to end: %v\n", pid, err))
			return exitStill
		}
	}
	say(stdout, fmt.Sprintf("Send shutdown request to %s(%s) OK\n", program, list))
	if left := h.gone(pids, program, *wait); len(left) > 0 {
		say(stderr, fmt.Sprintf("mqshutdown: still running after %v: %s; its log says why\n", *wait, strings.Trim(fmt.Sprint(left), "[]")))
		return exitStill
	}
	return 0
}

// find returns the processes of a program in our PID namespace, in order.
func (h host) find(program, conf string) ([]int, error) {
	entries, err := os.ReadDir(h.proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	ours, err := os.Readlink(filepath.Join(h.proc, "self", "ns", "pid"))
	if err != nil {
		return nil, fmt.Errorf("find this process's namespace: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !h.is(pid, program) {
			continue
		}
		// On a Docker host root sees the containers' processes too.
		if ns, err := os.Readlink(filepath.Join(h.proc, e.Name(), "ns", "pid")); err != nil || ns != ours {
			continue
		}
		if conf == "" || h.startedWith(pid, conf) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// is reports whether a process runs a program. The link of a program file that
// was replaced, by an upgrade, ends in " (deleted)".
func (h host) is(pid int, program string) bool {
	exe, err := os.Readlink(filepath.Join(h.proc, strconv.Itoa(pid), "exe"))
	return err == nil && filepath.Base(strings.TrimSuffix(exe, " (deleted)")) == program
}

// startedWith reports whether a process was given the configuration file.
func (h host) startedWith(pid int, conf string) bool {
	dir := filepath.Join(h.proc, strconv.Itoa(pid))
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return false
	}
	want, err := filepath.Abs(conf)
	if err != nil {
		return false
	}
	cwd, _ := os.Readlink(filepath.Join(dir, "cwd")) // unreadable: only absolute paths match
	args := strings.Split(string(line), "\x00")
	for i, a := range args {
		name, value, inline := strings.Cut(a, "=")
		if name != "-c" && name != "--configFile" && name != "-configFile" {
			continue
		}
		if !inline && i+1 < len(args) {
			value = args[i+1]
		}
		if !filepath.IsAbs(value) {
			value = filepath.Join(cwd, value)
		}
		return filepath.Clean(value) == want
	}
	return false
}

// gonePoll is the pause between two looks at ending processes.
const gonePoll = 20 * time.Millisecond

// gone waits for processes to end and returns those that did not. A number that
// belongs to another program now is not waited for.
func (h host) gone(pids []int, program string, wait time.Duration) []int {
	for deadline := time.Now().Add(wait); ; time.Sleep(gonePoll) {
		pids = slices.DeleteFunc(pids, func(pid int) bool { return !h.is(pid, program) || h.zombie(pid) })
		if len(pids) == 0 || wait <= 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return pids
		}
	}
}

// zombie reports a process that ended and whose parent has not asked for it.
func (h host) zombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join(h.proc, strconv.Itoa(pid), "stat"))
	_, rest, ok := strings.Cut(string(stat), ") ")
	return err == nil && ok && strings.HasPrefix(rest, "Z")
}

// say prints to the operator. A closed output is no reason to stop.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }
