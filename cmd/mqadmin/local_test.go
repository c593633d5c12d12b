package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/local"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// bin holds the three programs: those of make build, which names them by
// COMETMQ_BIN, or ones built here once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		if bin = os.Getenv("COMETMQ_BIN"); bin != "" {
			return m.Run()
		}
		var err error
		if bin, err = os.MkdirTemp("", "mqadmin-test-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		build := exec.Command("go", "build", "-o", bin+"/", "../mqnamesrv", "../mqbroker", ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// mqadmin runs the program in dir and returns its output and exit code.
func mqadmin(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "mqadmin"), args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append(os.Environ(), "NAMESRV_ADDR=")
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); !exited {
		require.NoError(t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// ok is mqadmin for commands that must succeed.
func ok(t *testing.T, dir string, args ...string) string {
	t.Helper()
	stdout, stderr, code := mqadmin(t, dir, args...)
	require.Zero(t, code, "mqadmin %v: %s%s", args, stdout, stderr)
	return stdout
}

// up starts a cluster in dir/rmq-local, the default place, and stops it when
// the test ends.
func up(t *testing.T, dir string, args ...string) {
	t.Helper()
	port, err := local.FreeBasePort(3)
	require.NoError(t, err)
	t.Cleanup(func() {
		if c, err := local.Open(filepath.Join(dir, local.DefaultDir)); err == nil {
			defer c.Close()
			require.NoError(t, c.Down(true))
		}
	})
	ok(t, dir, append([]string{"local", "up", "--base-port", strconv.Itoa(port)}, args...)...)
}

func status(t *testing.T, dir string) (st local.Status, raw string) {
	t.Helper()
	raw = ok(t, dir, "local", "status", "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(raw), &st))
	return st, raw
}

// The JSON of `local status` is read by scripts: its fields and their order are
// kept in a golden file, with what differs from run to run written as ?.
func TestLocalLife(t *testing.T) {
	dir := t.TempDir()
	up(t, dir)
	st, raw := status(t, dir)
	varies := regexp.MustCompile(`("(?:term|pid)": )\d+|("role": )"(?:leader|follower)"|(127\.0\.0\.1:)\d+`)
	golden(t, "status.json", varies.ReplaceAllString(raw, "$1$2$3?"))
	roles := map[string]int{}
	for _, b := range st.Brokers {
		roles[b.Role]++
	}
	require.Equal(t, map[string]int{"leader": 1, "follower": 2}, roles)

	_, stderr, code := mqadmin(t, dir, "local", "up")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "running here already")
	require.Contains(t, stderr, "mqadmin local down")

	// The cluster in ./rmq-local is the default of every other command.
	ok(t, dir, "topic", "create", "orders", "-q", "4")
	require.Equal(t, "orders\n", ok(t, dir, "topic", "ls"))
	require.Contains(t, ok(t, dir, "send", "orders", "hello", "world"), "offset 0")
	require.ElementsMatch(t, []string{"hello", "world"}, strings.Fields(ok(t, dir, "tail", "orders")))

	// A member that died is reported, and the rest goes on.
	victim := st.Brokers[0]
	require.NoError(t, syscall.Kill(victim.PID, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		now, _ := status(t, dir)
		leaders := 0
		for _, b := range now.Brokers[1:] {
			if b.Role == "leader" {
				leaders++
			}
		}
		return leaders == 1 && now.Brokers[0].Role == "down" && now.Brokers[0].PID == 0
	}, 20*time.Second, 50*time.Millisecond)

	require.Contains(t, ok(t, dir, "local", "down"), "stopped 3 processes")
	_, stderr, code = mqadmin(t, dir, "local", "status", "-o", "json")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "is down")
	require.Contains(t, ok(t, dir, "local", "down"), "nothing was running")

	// Started again it has what it had, on the same ports.
	ok(t, dir, "local", "up")
	again, _ := status(t, dir)
	require.Equal(t, st.Namesrv, again.Namesrv)
	require.ElementsMatch(t, []string{"hello", "world"}, strings.Fields(ok(t, dir, "tail", "orders")))

	require.Contains(t, ok(t, dir, "local", "down", "--purge"), "removed")
	require.NoDirExists(t, filepath.Join(dir, local.DefaultDir))
	_, stderr, code = mqadmin(t, dir, "local", "down")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "no local cluster here")
}

func TestForegroundEndsWithItsSignal(t *testing.T) {
	dir := t.TempDir()
	port, err := local.FreeBasePort(1)
	require.NoError(t, err)
	cmd := exec.Command(filepath.Join(bin, "mqadmin"), "local", "up", "--foreground", "--nodes", "1", "--base-port", strconv.Itoa(port))
	cmd.Dir = dir
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	// Before this line a signal interrupts the start, which is no success.
	for lines := bufio.NewScanner(stdout); ; {
		require.True(t, lines.Scan(), "it ended without saying that it runs")
		if strings.Contains(lines.Text(), "Ctrl-C stops it") {
			break
		}
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait(), "a signal is the usual end")
	c, err := local.Open(filepath.Join(dir, local.DefaultDir))
	require.NoError(t, err)
	defer c.Close()
	alive, all := c.Running()
	require.Zero(t, alive, "of %d", all)
}

func TestUpShowsTheLogOfTheCulprit(t *testing.T) {
	dir := t.TempDir()
	up(t, dir)
	ok(t, dir, "local", "down")
	conf := filepath.Join(dir, local.DefaultDir, "broker-n1.conf")
	text, err := os.ReadFile(conf)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(conf, append(text, "maxMessageSize=lots\n"...), 0o644))
	_, stderr, code := mqadmin(t, dir, "local", "up")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "n1 ended")
	require.Contains(t, stderr, "maxMessageSize")
	c, err := local.Open(filepath.Join(dir, local.DefaultDir))
	require.NoError(t, err)
	defer c.Close()
	alive, _ := c.Running()
	require.Zero(t, alive, "a failed start leaves nothing behind")
}

func TestUpNamesTheTakenPort(t *testing.T) {
	dir := t.TempDir()
	up(t, dir, "--nodes", "1")
	st, _ := status(t, dir)
	port := st.Namesrv[strings.LastIndex(st.Namesrv, ":")+1:]
	_, stderr, code := mqadmin(t, t.TempDir(), "local", "up", "--nodes", "1", "--base-port", port)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, st.Namesrv+" of namesrv is taken")
}

func TestPurgeTouchesNothingOfOthers(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "thesis.txt")
	require.NoError(t, os.WriteFile(precious, []byte("x"), 0o644))
	_, _, code := mqadmin(t, dir, "local", "down", "--purge", "--dir", ".")
	require.Equal(t, exitFailed, code)
	_, stderr, code := mqadmin(t, dir, "local", "up", "--dir", ".")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "not empty")
	require.FileExists(t, precious)
}

func TestNoNameServerHasItsOwnExitCode(t *testing.T) {
	_, stderr, code := mqadmin(t, t.TempDir(), "topicList", "-n", "127.0.0.1:1")
	require.Equal(t, exitNoNamesrv, code)
	require.Contains(t, stderr, "cannot reach any name server")
	_, stderr, code = mqadmin(t, t.TempDir(), "nonsense")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "nonsense")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}
