package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeProc makes a /proc in which nobody real can be hurt.
type fakeProc struct {
	t    *testing.T
	dir  string
	sent []string
	dies bool // whether SIGTERM ends a process
}

func newProc(t *testing.T) *fakeProc {
	p := &fakeProc{t: t, dir: t.TempDir(), dies: true}
	p.link("self", "ns/pid", "pid:[1]")
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "uptime"), nil, 0o600))
	return p
}

func (p *fakeProc) link(pid, name, to string) {
	path := filepath.Join(p.dir, pid, name)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(p.t, os.Symlink(to, path))
}

func (p *fakeProc) process(pid, exe, ns string, args ...string) {
	p.link(pid, "exe", exe)
	p.link(pid, "ns/pid", ns)
	p.link(pid, "cwd", "/srv/mq")
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, pid, "cmdline"), []byte(strings.Join(args, "\x00")+"\x00"), 0o600))
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, pid, "stat"), []byte(pid+" (mq) S 1"), 0o600))
}

func (p *fakeProc) kill(pid int, sig syscall.Signal) error {
	p.sent = append(p.sent, fmt.Sprintf("%d %v", pid, sig))
	if p.dies {
		return os.RemoveAll(filepath.Join(p.dir, strconv.Itoa(pid)))
	}
	return nil
}

func (p *fakeProc) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, host{proc: p.dir, kill: p.kill}, &out, &errs)
	return code, out.String(), errs.String()
}

func TestStopsAllOfOneRole(t *testing.T) {
	p := newProc(t)
	p.process("21", "/opt/mq/libexec/mqbroker", "pid:[1]", "mqbroker")
	p.process("9", "/opt/mq/libexec/mqbroker (deleted)", "pid:[1]", "mqbroker")
	p.process("7", "/opt/mq/libexec/mqnamesrv", "pid:[1]", "mqnamesrv")
	p.process("8", "/home/rocketmq/rocketmq-4.9.4/bin/mqbroker", "pid:[77]", "mqbroker") // in a container
	p.process("6", "/usr/bin/vi", "pid:[1]", "vi", "mqbroker")
	code, out, _ := p.run("broker")
	require.Zero(t, code)
	require.Equal(t, "The mqbroker(9 21) is running...\nSend shutdown request to mqbroker(9 21) OK\n", out)
	require.Equal(t, []string{"9 terminated", "21 terminated"}, p.sent)
	code, out, _ = p.run("broker")
	require.Equal(t, 255, code)
	require.Equal(t, "No mqbroker running.\n", out)
	code, out, _ = p.run("namesrv")
	require.Zero(t, code)
	require.Equal(t, "The mqnamesrv(7) is running...\nSend shutdown request to mqnamesrv(7) OK\n", out)
}

func TestOnlyThoseWithAConfigFile(t *testing.T) {
	p := newProc(t)
	p.process("11", "/opt/mqbroker", "pid:[1]", "mqbroker", "-c", "/srv/mq/a.conf")
	p.process("12", "/opt/mqbroker", "pid:[1]", "mqbroker", "--configFile=b.conf", "-n", "x:1")
	p.process("13", "/opt/mqbroker", "pid:[1]", "mqbroker")
	code, _, _ := p.run("-c", "/srv/mq/b.conf", "broker")
	require.Zero(t, code)
	require.Equal(t, []string{"12 terminated"}, p.sent)
	code, out, _ := p.run("-c", "/srv/mq/b.conf", "broker")
	require.Equal(t, 255, code, out)
}

func TestSaysWhoDoesNotEnd(t *testing.T) {
	p := newProc(t)
	p.dies = false
	p.process("11", "/opt/mqbroker", "pid:[1]", "mqbroker")
	code, _, errs := p.run("-wait", "50ms", "broker")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "still running after 50ms: 11")
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "11", "stat"), []byte("11 (mq) Z 1"), 0o600))
	code, _, _ = p.run("-wait", "50ms", "broker")
	require.Zero(t, code, "a zombie has ended")
	code, _, _ = p.run("-wait", "0", "broker")
	require.Zero(t, code, "nobody waits")
}

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{{}, {"proxy"}, {"broker", "namesrv"}, {"-x", "broker"}} {
		code, _, errs := newProc(t).run(args...)
		require.Equal(t, 2, code)
		require.Contains(t, errs, "usage: mqshutdown")
	}
	code, out, _ := newProc(t).run("-h")
	require.Zero(t, code)
	require.Contains(t, out, "usage: mqshutdown")
}
