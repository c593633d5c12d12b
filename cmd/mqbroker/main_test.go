package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cometmq/cometmq/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noEnv(string) (string, bool) { return "", false }

// output collects what a run prints while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// freePort returns a port that nobody listens on, nor on the ones a broker
// derives from it.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := l.Addr().(*net.TCPAddr).Port
		require.NoError(t, l.Close())
		if port < 1100 || port > 35000 {
			port = 11000 + port%20000
		}
		free := true
		for _, p := range []int{port, port - 2, port + 1} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err != nil {
				free = false
				break
			}
			require.NoError(t, l.Close())
		}
		if free {
			return port
		}
	}
}

// start runs a broker until the returned function is called, which returns
// its exit code.
func start(t *testing.T, args ...string) (*output, *output, func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var stdout, stderr output
	code := make(chan int, 1)
	go func() { code <- run(ctx, args, noEnv, &stdout, &stderr) }()
	var once sync.Once
	exit := -1
	stop := func() int {
		once.Do(func() {
			cancel()
			exit = <-code
		})
		return exit
	}
	t.Cleanup(func() { stop() })
	return &stdout, &stderr, stop
}

func TestBrokerWithHardlyAnyConfiguration(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	port := freePort(t)
	args := []string{"--set", "storePathRootDir=" + dir, "--set", fmt.Sprintf("listenPort=%d", port), "--set", "brokerIP1=localhost",
		"--set", "brokerName=broker-a", "--set", "bindAddress=127.0.0.1", "--set", "mappedFileSizeCommitLog=1048576"}
	stdout, stderr, stop := start(t, args...)
	line := fmt.Sprintf("The broker[broker-a, 127.0.0.1:%d] boot success. serializeType=JSON\n", port)
	require.Eventually(t, func() bool { return stdout.String() == line }, 20*time.Second, 5*time.Millisecond, stderr)

	other := filepath.Join(t.TempDir(), "store")
	again := func(set ...string) (int, string) {
		var out output
		code := run(t.Context(), append(append([]string{}, args...), set...), noEnv, io.Discard, &out)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		return code, lines[len(lines)-1]
	}
	code, text := again("--set", "storePathRootDir="+other)
	require.Equal(t, exitPortInUse, code)
	require.Contains(t, text, fmt.Sprintf(":%d (listenPort): already in use by pid %d (", port, os.Getpid()))
	code, text = again("--set", fmt.Sprintf("listenPort=%d", freePort(t)))
	require.Equal(t, exitStoreLocked, code)
	require.Contains(t, text, fmt.Sprintf("is locked by pid %d (", os.Getpid()))

	require.Zero(t, stop(), stderr)
	code, text = again("--set", "brokerClusterName=another")
	require.Equal(t, exitOtherStore, code)
	require.Contains(t, text, `holds the store of cluster "DefaultCluster", not of "another"`)
}

// Without a configuration file the store keeps what was changed at run time; options win over it.
func TestSettingsChangedAtRunTimeAreReadAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	file := broker.SettingsFile(dir)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("maxMessageSize=777\ntraceOn=false\nregionId=kept\n"), 0o600))
	var all, stderr output
	require.Zero(t, run(t.Context(), []string{"-p", "--set", "storePathRootDir=" + dir, "--set", "regionId=option"}, noEnv, &all, &stderr), stderr.String())
	for _, line := range []string{"maxMessageSize=777\n", "traceOn=false\n", "regionId=option\n"} {
		require.Contains(t, all.String(), line)
	}
	require.Contains(t, stderr.String(), "using settings changed at run time")
	// A configuration file is changed itself, so that there is nothing else to read.
	conf := filepath.Join(t.TempDir(), "broker.conf")
	require.NoError(t, os.WriteFile(conf, []byte("storePathRootDir="+dir+"\n"), 0o600))
	var own output
	require.Zero(t, run(t.Context(), []string{"-p", "-c", conf}, noEnv, &own, &stderr))
	require.Contains(t, own.String(), "maxMessageSize=4194304\n")
	require.NoError(t, os.WriteFile(file, []byte("maxMessageSize=much\n"), 0o600))
	require.Equal(t, exitBadConfig, run(t.Context(), []string{"-p", "--set", "storePathRootDir=" + dir}, noEnv, io.Discard, &stderr))
	require.Contains(t, stderr.String(), file)
}

func TestConfigurationErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.conf")
	write := func(text string) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	for name, test := range map[string]struct {
		file string
		args []string
		code int
		want string
	}{
		"bad value":      {"flushDiskType=NEVER", nil, exitBadConfig, `flushDiskType="NEVER" is not allowed: flushDiskType expects one of ASYNC_FLUSH, SYNC_FLUSH`},
		"unknown self":   {"enableDLegerCommitLog=true\ndLegerGroup=g\ndLegerPeers=n0-127.0.0.1:1\ndLegerSelfId=n3", nil, exitUnknownSelf, "dLegerSelfId=n3 is not in dLegerPeers (n0)"},
		"unknown option": {"", []string{"-x"}, exitBadConfig, "unknown option -x"},
		"unknown set":    {"", []string{"--set", "flushDisktype=SYNC_FLUSH"}, exitBadConfig, "did you mean flushDiskType?"},
	} {
		t.Run(name, func(t *testing.T) {
			write(test.file)
			var stderr output
			code := run(t.Context(), append([]string{"-c", file}, test.args...), noEnv, io.Discard, &stderr)
			require.Equal(t, test.code, code, stderr.String())
			require.Contains(t, stderr.String(), test.want)
		})
	}
	var stderr output
	require.Equal(t, exitBadConfig, run(t.Context(), []string{"-c", file + ".missing"}, noEnv, io.Discard, &stderr))
	require.Contains(t, stderr.String(), "broker.conf.missing")
}

func TestPrintedSettings(t *testing.T) {
	env := func(key string) (string, bool) {
		if key == "NAMESRV_ADDR" {
			return "10.0.0.1:9876", true
		}
		return "", false
	}
	var all, important, stderr output
	require.Zero(t, run(t.Context(), []string{"-p"}, env, &all, &stderr))
	require.Zero(t, run(t.Context(), []string{"-m", "-n", "10.0.0.2:9876"}, env, &important, &stderr))
	require.Contains(t, all.String(), "namesrvAddr=10.0.0.1:9876\n")
	require.Contains(t, important.String(), "namesrvAddr=10.0.0.2:9876\n", "the option wins over the environment")
	require.Contains(t, all.String(), "maxMessageSize=4194304\n")
	require.NotContains(t, important.String(), "maxMessageSize")
	for _, line := range strings.Split(strings.TrimSpace(all.String()), "\n") {
		require.Regexp(t, regexp.MustCompile(`^[a-zA-Z0-9]+=`), line)
	}
	// What the group says is shown above what this member was told.
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "config"), 0o755))
	require.NoError(t, os.WriteFile(broker.GroupSettingsFile(dir), []byte("# noted\nmaxMessageSize=1000\ntraceOn=maybe\n"), 0o600))
	var group, told output
	require.Zero(t, run(t.Context(), []string{"-p", "--set", "storePathRootDir=" + dir, "--set", "maxMessageSize=500"}, env, &group, &told))
	require.Contains(t, group.String(), "\n# from the group; without, 500 from option --set\nmaxMessageSize=1000\n")
	require.Contains(t, group.String(), "\ntraceOn=true\n")
	require.Contains(t, told.String(), `a setting of the group cannot be used: traceOn="maybe" is not allowed: traceOn expects true or false`)
	var help output
	require.Zero(t, run(t.Context(), []string{"-h"}, env, &help, &stderr))
	require.Contains(t, help.String(), "--configFile")
}

func TestUnreachableNameServerIsNoReasonToStop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dead := l.Addr().String()
	require.NoError(t, l.Close())
	stdout, stderr, stop := start(t, "-n", dead, "--set", "storePathRootDir="+filepath.Join(t.TempDir(), "store"),
		"--set", fmt.Sprintf("listenPort=%d", freePort(t)), "--set", "brokerIP1=127.0.0.1", "--set", "mappedFileSizeCommitLog=1048576")
	require.Eventually(t, func() bool {
		return strings.HasSuffix(stdout.String(), "boot success. serializeType=JSON and name server is "+dead+"\n")
	}, 20*time.Second, 5*time.Millisecond)
	require.Contains(t, stderr.String(), "cannot reach name server")
	require.Zero(t, stop())
}

func TestMemoryLimitFile(t *testing.T) {
	for text, want := range map[string]int64{"max\n": 0, "2147483648\n": 2 << 30, "9223372036854771712": 0, "": 0, "-1": 0} {
		require.Equal(t, want, parseLimit(text), text)
	}
}

// What RocketMQ's scripts and images hand to the virtual machine.
func TestJavaPropertiesAreSettings(t *testing.T) {
	var out, stderr bytes.Buffer
	env := func(k string) (string, bool) {
		return "-Xmx8g -Drocketmq.broker.diskSpaceCleanForciblyRatio=0.8", k == "JAVA_OPT_EXT"
	}
	args := []string{"-p", "-Drocketmq.broker.diskSpaceWarningLevelRatio=0.95", "-Duser.home=/root"}
	require.Zero(t, run(t.Context(), args, env, &out, &stderr), stderr.String())
	require.Contains(t, out.String(), "diskSpaceWarningLevelRatio=95\n")
	require.Contains(t, out.String(), "diskSpaceCleanForciblyRatio=80\n")
	out.Reset()
	require.Zero(t, run(t.Context(), append(args, "--set", "diskSpaceWarningLevelRatio=88"), env, &out, &stderr), stderr.String())
	require.Contains(t, out.String(), "diskSpaceWarningLevelRatio=88\n")
	require.Equal(t, exitBadConfig, run(t.Context(), []string{"-Drocketmq.broker.diskSpaceWarningLevelRatio=95"}, env, &out, &stderr))
}

// A store that was found damaged stays out of service over a restart.
func TestLogInDoubtIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	report := `{"version":1,"findings":[{"file":"commitlog/00000000000000000000","offset":77,"reason":"checksum does not match"}]}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "damage.json"), []byte(report), 0o644))
	var out, stderr bytes.Buffer
	args := []string{"--set", "storePathRootDir=" + dir, "--set", fmt.Sprintf("listenPort=%d", freePort(t)), "--set", "brokerIP1=127.0.0.1"}
	require.Equal(t, exitLogInDoubt, run(t.Context(), args, noEnv, &out, &stderr))
	require.Contains(t, stderr.String(), "is in doubt: commitlog/00000000000000000000 at physical offset 77: checksum does not match; this member neither serves nor votes")
}

// TestVariablesOfTheOperator are used where nothing else is said.
func TestVariablesOfTheOperator(t *testing.T) {
	vars := map[string]string{"BROKER_CLUSTER_NAME": "blue", "BROKER_NAME": "broker-7", "BROKER_ID": "1", "POD_IP": "10.1.2.3",
		"controllerAddr": "x:9878", "JAVA_OPT_EXT": "-Xmx8g", "MAX_POSSIBLE_HEAP": "100000000"}
	env := func(key string) (string, bool) {
		v, ok := vars[key]
		return v, ok
	}
	printed := func(args ...string) (string, string) {
		var out, errs output
		require.Zero(t, run(t.Context(), append([]string{"-p"}, args...), env, &out, &errs), errs.String())
		return out.String(), errs.String()
	}
	out, errs := printed()
	require.Contains(t, out, "brokerClusterName=blue\n")
	require.Contains(t, out, "brokerName=broker-7\n")
	require.Contains(t, out, "brokerIP1=10.1.2.3\n")
	require.Contains(t, errs, "names=\"BROKER_ID controllerAddr\"")
	require.Equal(t, 1, strings.Count(errs, "JAVA_OPT_EXT"), "one line: %s", errs)
	require.Contains(t, errs, "names=\"JAVA_OPT_EXT MAX_POSSIBLE_HEAP\"")

	conf := filepath.Join(t.TempDir(), "broker.conf")
	require.NoError(t, os.WriteFile(conf, []byte("brokerName=broker-a\nadvertisedListeners=internal://a.example.org:10911\n"), 0o600))
	out, _ = printed("-c", conf, "--set", "brokerClusterName=red")
	require.Contains(t, out, "brokerName=broker-a\n")
	require.Contains(t, out, "brokerClusterName=red\n")
	require.Contains(t, out, "brokerIP1=\n")
}
