package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// programs are the only ones that may be started.
var programs = []string{"mqadmin", "mqbroker", "mqnamesrv", "mqproxy", "mqshutdown"}

// builtins are carried out here.
var builtins = []string{"cd", "echo", "exec", "exit", "export", "false", "nohup", "pwd", "sh", "sleep", "true"}

const (
	exitUsage    = 2
	exitNotFound = 127
)

const about = `This is no shell. The image is built FROM scratch; this stand-in starts CometMQ's
programs the way RocketMQ's images are used:
  sh mqnamesrv                    sh mqbroker -n HOST:9876 -c FILE
  sh mqadmin clusterList -n HOST:9876
  sh -c "sleep 5 && mqbroker -n $NAMESRV_ADDR"
It knows the programs ` + "%s\nand the words %s.\n"

const aboutProxy = `There is no proxy to start: RocketMQ remoting clients connect to CometMQ's brokers
directly, on port 10911. This command does nothing, so that compose files made for
RocketMQ 5 keep working; remove the service when you find the time.
`

func main() {
	s := &shell{
		env: os.Getenv, setenv: os.Setenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		replace: func(path string, args []string) error { return syscall.Exec(path, args, os.Environ()) },
	}
	os.Exit(s.main(filepath.Base(os.Args[0]), os.Args[1:]))
}

// shell is one run of the stand-in, with the process around it as fields.
type shell struct {
	env            func(string) string
	setenv         func(key, value string) error
	stdin          io.Reader
	stdout, stderr io.Writer
	replace        func(path string, args []string) error // does not return on success
	line           string                                 // said before errors
}

// main returns the exit code. name is what the program was called as.
func (s *shell) main(name string, args []string) int {
	s.line = name
	if name == "mqproxy" {
		s.say(s.stdout, aboutProxy)
		return 0
	}
	for len(args) > 0 && (args[0] == "-e" || args[0] == "-x" || args[0] == "-i" || args[0] == "-l" || args[0] == "--login") {
		args = args[1:]
	}
	switch {
	case len(args) == 0:
		return s.interactive()
	case args[0] == "-c" || args[0] == "-ec" || args[0] == "-lc":
		if len(args) < 2 {
			return s.fail(exitUsage, errors.New("-c needs a command"))
		}
		return s.text(args[1], true)
	case strings.HasPrefix(args[0], "-"):
		s.say(s.stdout, about, strings.Join(programs, " "), strings.Join(builtins, " "))
		if args[0] == "--help" || args[0] == "--version" {
			return 0
		}
		return exitUsage
	default:
		return s.run(args, true)
	}
}

// interactive runs line after line: `docker exec -it NAME sh`.
func (s *shell) interactive() int {
	terminal := false
	if f, ok := s.stdin.(*os.File); ok {
		info, err := f.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if terminal {
		s.say(s.stdout, about, strings.Join(programs, " "), strings.Join(builtins, " "))
	}
	code := 0
	lines := bufio.NewScanner(s.stdin)
	for {
		if terminal {
			s.say(s.stdout, "$ ")
		}
		if !lines.Scan() {
			return code
		}
		line := strings.TrimSpace(lines.Text())
		if n, ok := exitLine(line, code); ok {
			return n
		}
		code = s.text(line, false)
	}
}

// exitLine reads "exit" and "exit N".
func exitLine(line string, last int) (int, bool) {
	word, arg, _ := strings.Cut(line, " ")
	if word != "exit" {
		return 0, false
	}
	if n, err := strconv.Atoi(strings.TrimSpace(arg)); err == nil {
		return n, true
	}
	return last, true
}

// text runs the commands of a text. With last set, the last one may replace
// this process.
func (s *shell) text(text string, last bool) int {
	// Variables are expanded when their command is reached, so that export works;
	// the first parse only finds the commands and the mistakes.
	commands, err := parse(text, s.env)
	if err != nil {
		return s.fail(exitUsage, err)
	}
	code := 0
	for i := range commands {
		again, err := parse(text, s.env)
		if err != nil {
			return s.fail(exitUsage, err)
		}
		c := again[min(i, len(again)-1)]
		if c.after == "&&" && code != 0 || c.after == "||" && code == 0 {
			continue
		}
		if c.words[0] == "exit" {
			n, _ := exitLine(strings.Join(c.words, " "), code)
			return n
		}
		code = s.run(c.words, last && i == len(commands)-1)
	}
	return code
}

// run carries out one command.
func (s *shell) run(words []string, last bool) int {
	for len(words) > 0 {
		key, value, ok := strings.Cut(words[0], "=")
		if !ok || key == "" || nameLen(key) != len(key) {
			break
		}
		if err := s.setenv(key, value); err != nil {
			return s.fail(1, err)
		}
		words = words[1:]
	}
	if len(words) == 0 {
		return 0
	}
	name, args := filepath.Base(words[0]), words[1:]
	switch name {
	case "exec", "nohup":
		return s.run(args, last)
	case "sh", "bash":
		inner := *s
		if len(args) == 0 {
			return 0
		}
		return inner.main(name, args)
	case "cd", "echo", "export", "false", "pwd", "sleep", "true", "exit":
		return s.builtin(name, args)
	}
	if !slices.Contains(programs, name) {
		s.say(s.stderr, "%s: %s: not found. ", s.line, words[0])
		s.say(s.stderr, about, strings.Join(programs, " "), strings.Join(builtins, " "))
		return exitNotFound
	}
	path, err := s.find(name)
	if err != nil {
		return s.fail(exitNotFound, err)
	}
	if last {
		return s.fail(exitNotFound, s.replace(path, append([]string{path}, args...)))
	}
	return s.child(path, args)
}

// find looks for a program in ROCKETMQ_HOME/bin and then on PATH.
func (s *shell) find(name string) (string, error) {
	if home := s.env("ROCKETMQ_HOME"); home != "" {
		path := filepath.Join(home, "bin", name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// child runs a program that something follows, and passes the signals on that a
// container's process 1 gets.
func (s *shell) child(path string, args []string) int {
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, s.stdout, s.stderr
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return s.fail(exitNotFound, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			_ = cmd.Process.Signal(sig) // it may be gone already; then done says so
		case err := <-done:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return max(exit.ExitCode(), 1)
			}
			if err != nil {
				return s.fail(1, err)
			}
			return 0
		}
	}
}

func (s *shell) builtin(name string, args []string) int {
	switch name {
	case "true":
		return 0
	case "false":
		return 1
	case "exit":
		n, _ := exitLine("exit "+strings.Join(args, " "), 0)
		return n
	case "echo":
		s.say(s.stdout, "%s\n", strings.Join(args, " "))
		return 0
	case "pwd":
		dir, err := os.Getwd()
		if err != nil {
			return s.fail(1, err)
		}
		s.say(s.stdout, "%s\n", dir)
		return 0
	case "export":
		return s.run(args, false)
	case "cd":
		to := s.env("HOME")
		if len(args) > 0 {
			to = args[0]
		}
		if err := os.Chdir(to); err != nil {
			return s.fail(1, err)
		}
		return 0
	default: // sleep
		return s.sleep(args)
	}
}

// sleep takes seconds, or a number with s, m or h. A signal ends it.
func (s *shell) sleep(args []string) int {
	if len(args) != 1 {
		return s.fail(exitUsage, errors.New("sleep needs one number"))
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		d, err = time.ParseDuration(args[0] + "s")
	}
	if err != nil {
		return s.fail(exitUsage, fmt.Errorf("sleep %s: no number of seconds", args[0]))
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	select {
	case <-time.After(d):
		return 0
	case sig := <-signals:
		return 128 + int(sig.(syscall.Signal))
	}
}

func (s *shell) fail(code int, err error) int {
	s.say(s.stderr, "%s: %v\n", s.line, err)
	return code
}

// say prints to the user; a closed output is no reason to stop.
func (s *shell) say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
