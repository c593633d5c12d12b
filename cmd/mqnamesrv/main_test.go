package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bootLine = "The Name Server boot success. serializeType=JSON\n"

// output is a writer that a test may read while the server writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// env is an environment with a home of the test's own.
func env(extra ...string) func(string) (string, bool) {
	return func(key string) (string, bool) {
		for _, kv := range extra {
			if k, v, _ := strings.Cut(kv, "="); k == key {
				return v, true
			}
		}
		return "", false
	}
}

func tryRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	var out, errs output
	code = run(t.Context(), args, env(), &out, &errs)
	return code, out.String(), errs.String()
}

func freePort(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return l, port
}

func TestServesUntilStopped(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	l, port := freePort(t)
	require.NoError(t, l.Close())
	file := filepath.Join(home, "namesrv.conf")
	require.NoError(t, os.WriteFile(file, []byte("listenPort="+port+"\nbindAddress=127.0.0.1\nserverWorkerThreads=8\nlistenPrt=1\n"), 0o600))

	ctx, stop := context.WithCancel(t.Context())
	var out, errs output
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"-c", file, "-n", "x:1"}, env("JAVA_OPT_EXT=-Xmx1g", "ROCKETMQ_HOME=/opt/rocketmq"), &out, &errs)
	}()
	require.Eventually(t, func() bool { return strings.HasSuffix(out.String(), bootLine) }, 10*time.Second, 5*time.Millisecond, errs.String())
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	require.NoError(t, err)
	stop()
	require.Zero(t, <-done, errs.String())
	_, err = io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	require.Equal(t, "load config properties file OK, "+file+"\n"+bootLine, out.String())
	require.Contains(t, errs.String(), "unknown key listenPrt (did you mean listenPort?)")
	require.Contains(t, errs.String(), "serverWorkerThreads has no effect here")
	require.Equal(t, 1, strings.Count(errs.String(), "JAVA_OPT_EXT"))
	_, err = os.Stat(filepath.Join(home, "namesrv"))
	require.ErrorIs(t, err, os.ErrNotExist, "nothing is written before there is something to keep")
}

func TestPortInUse(t *testing.T) {
	l, port := freePort(t)
	defer func() { _ = l.Close() }()
	code, stdout, stderr := tryRun(t, "--set", "bindAddress=127.0.0.1", "--set", "listenPort="+port)
	require.Equal(t, 3, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, fmt.Sprintf("listen 127.0.0.1:%s (listenPort): already in use by pid ", port))
	require.Contains(t, stderr, "set listenPort to a free port")
}

func TestBadOptionsAndSettings(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.conf")
	require.NoError(t, os.WriteFile(bad, []byte("listenPort=99999\n"), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-x"}, "unknown option -x"},
		{[]string{"-c"}, "option -c needs a value"},
		{[]string{"-c", "no-such-file"}, "no-such-file"},
		{[]string{"-c", bad}, `listenPort="99999" is not allowed: listenPort expects a whole number 1..65535`},
		{[]string{"--set", "listenPrt=1"}, "did you mean listenPort?"},
		{[]string{"--set", "brokerExpiredTimeSeconds=1"}, "shorter than scanNotActiveBrokerInterval"},
	} {
		code, stdout, stderr := tryRun(t, c.args...)
		require.Equal(t, 2, code, c.args)
		require.NotContains(t, stdout, "boot success")
		require.Contains(t, stderr, c.want)
	}
}

func TestPrintsSettings(t *testing.T) {
	code, all, stderr := tryRun(t, "-p")
	require.Zero(t, code, stderr)
	require.Contains(t, all, "listenPort=9876\n")
	require.Contains(t, all, "serverChannelMaxIdleTimeSeconds=120\n")
	code, important, _ := tryRun(t, "-m")
	require.Zero(t, code)
	require.Contains(t, important, "listenPort=9876\n")
	require.NotContains(t, important, "serverChannelMaxIdleTimeSeconds")
	code, help, _ := tryRun(t, "-h")
	require.Zero(t, code)
	require.Contains(t, help, "--configFile")
}

func TestStoredSettingsAreReadBack(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	require.NoError(t, os.MkdirAll(filepath.Join(home, "namesrv"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "namesrv", "namesrv.properties"), []byte("orderMessageEnable=true\n"), 0o600))
	var out, errs output
	require.Zero(t, run(t.Context(), []string{"-p"}, env(), &out, &errs))
	require.Contains(t, out.String(), "orderMessageEnable=true\n")
}
