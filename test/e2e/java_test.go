//go:build java

package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// java runs the interop program of test/interop/java, which `mvn package` built, with the given JVM options.
func java(t *testing.T, jvm []string, args ...string) {
	t.Helper()
	startJava(t, jvm, args...)()
}

// startJava is java that does not wait: the function it returns does.
func startJava(t *testing.T, jvm []string, args ...string) (wait func()) {
	t.Helper()
	cmd := javaCommand(t, jvm, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	return func() {
		t.Helper()
		err := cmd.Wait()
		t.Logf("%s", out.String())
		require.NoError(t, err)
	}
}

func javaCommand(t *testing.T, jvm []string, args ...string) *exec.Cmd {
	t.Helper()
	target, err := filepath.Abs(filepath.Join("..", "interop", "java", "target"))
	require.NoError(t, err)
	lib := "lib"
	if len(jvm) > 0 && jvm[0] == client43[0] {
		lib = "lib43"
	}
	cp := filepath.Join(target, "interop.jar") + ":" + filepath.Join(target, lib, "*")
	argv := append([]string{"-Xmx512m", "-Drocketmq.client.logUseSlf4j=false", "-Duser.home=" + t.TempDir(), "-cp", cp}, jvm...)
	cmd := exec.Command("java", append(append(argv, "com.cometmq.interop.Main"), args...)...)
	cmd.Dir = t.TempDir() // some of RocketMQ's tools write files where they stand
	return cmd
}

func TestJavaRealFileSurvivesTheTrip(t *testing.T) {
	for _, serializer := range []string{"JSON", "ROCKETMQ"} {
		t.Run(serializer, func(t *testing.T) {
			c := sharedCluster(t)
			lines := realText(t)
			topic, group := uniqueName("jtext"), uniqueName("jreaders")
			c.setTopic(t, topic, textQueues, permWrite)
			file, out := filepath.Join(t.TempDir(), "text"), filepath.Join(t.TempDir(), "deliveries")
			var text []byte
			for _, l := range lines {
				text = append(text, l...)
			}
			require.NoError(t, os.WriteFile(file, text, 0o600))
			jvm := []string{"-Drocketmq.serialize.type=" + serializer}
			consumed := startJava(t, jvm, "consume", c.namesrv, topic, group, strconv.Itoa(len(lines)), out)
			c.awaitMembers(t, group, 2)
			c.setTopic(t, topic, textQueues, permRead|permWrite)
			java(t, jvm, "produce", c.namesrv, topic, file)
			consumed()
			checkText(t, c, topic, group, lines, readDeliveries(t, out))
		})
	}
}

// readDeliveries reads the "member queue offset base64" lines that the Java consumer wrote.
func readDeliveries(t *testing.T, file string) []delivery {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	var got []delivery
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		parts := strings.Split(sc.Text(), " ")
		require.Len(t, parts, 4)
		var d delivery
		_, err := fmt.Sscan(parts[0]+" "+parts[1]+" "+parts[2], &d.member, &d.queue, &d.offset)
		require.NoError(t, err)
		body, err := base64.StdEncoding.DecodeString(parts[3])
		require.NoError(t, err)
		d.body = string(body)
		got = append(got, d)
	}
	require.NoError(t, sc.Err())
	return got
}

// javaScenarios runs scenarios of the Java program side by side in one virtual machine, and shows each as a sub-test. No
// names means all.
func javaScenarios(t *testing.T, jvm []string, namesrv string, names ...string) {
	t.Helper()
	out, err := javaCommand(t, jvm, append([]string{"scenarios", namesrv}, names...)...).CombinedOutput()
	results := map[string]string{}
	for _, part := range strings.Split("\n"+string(out), "\nFAIL ")[1:] {
		name, _, _ := strings.Cut(part, ":")
		why, _, _ := strings.Cut(part, "\nPASS ")
		results[name] = why
	}
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "PASS" {
			results[f[1]] = ""
		}
	}
	for _, name := range names {
		require.Contains(t, results, name, "no result; the program printed\n%s", out)
	}
	for name, why := range results {
		t.Run(name, func(t *testing.T) { require.Empty(t, why) })
	}
	require.NoError(t, err, "%s", out)
	require.NotEmpty(t, results)
}

func TestJavaScenarios(t *testing.T) {
	javaScenarios(t, nil, checkedCluster(t).namesrv)
}

func TestJavaScenariosBinaryHeaders(t *testing.T) {
	javaScenarios(t, []string{"-Drocketmq.serialize.type=ROCKETMQ"}, sharedCluster(t).namesrv,
		"SyncAsyncOneway", "Properties", "Orderly", "Offsets", "PullConsumer", "LitePullAssign", "SqlFilter")
}

// One of two groups stands still without closing its connections. A producer with latency fault tolerance runs into it once
// and then leaves it alone.
// client43 are the options that run the scenarios with the Java client 4.3.0 in place of 4.9.4. It sends to the second port
// unless told otherwise, asks for the template by another name, and its old netty wants doors opened in a new Java.
var client43 = []string{"-Dclient=4.3.0", "-Dio.netty.noUnsafe=true", "--add-opens=java.base/java.nio=ALL-UNNAMED",
	"--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED"}

func TestJavaClient43(t *testing.T) {
	javaScenarios(t, client43, sharedCluster(t).namesrv,
		"SyncAsyncOneway", "Properties", "TagFilter", "RetryAndDeadLetter", "DelayLevel", "Offsets", "TransactionCommitAndRollback",
		"ChosenQueue", "QueryMessage", "UnitMode", "SqlFilter", "SubscriptionChange", "ImmediateDeadLetter")
}

func TestJavaLatencyFaultTolerance(t *testing.T) {
	c, second, topic := twoGroups(t)
	require.NoError(t, second.cmd.Process.Signal(syscall.SIGSTOP))
	defer func() { require.NoError(t, second.cmd.Process.Signal(syscall.SIGCONT)) }()
	java(t, nil, "latency", c.namesrv, topic)
}

// One of two groups dies while a producer sends; it retries at the other one.
func TestJavaRetryOnAnotherBroker(t *testing.T) {
	c, second, topic := twoGroups(t)
	wait := startJava(t, nil, "failover", c.namesrv, topic)
	require.Eventually(t, func() bool { return c.maxOffset(t, topic, 0) > "5" }, 30*time.Second, 10*time.Millisecond)
	second.stop(syscall.SIGKILL)
	wait()
}

// javaLoad sends with the Java producer until the returned function is called, which tells how each send ended.
func javaLoad(t *testing.T, namesrv, topic string) func() []attempt {
	t.Helper()
	dir := t.TempDir()
	out, stop := filepath.Join(dir, "out"), filepath.Join(dir, "stop")
	wait := startJava(t, nil, "steady", namesrv, topic, "8", "10", out, stop)
	return func() []attempt {
		require.NoError(t, os.WriteFile(stop, nil, 0o600))
		wait()
		b, err := os.ReadFile(out)
		require.NoError(t, err)
		var all []attempt
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			var begin, end int64
			var body, result string
			_, err := fmt.Sscan(line, &begin, &end, &body, &result)
			require.NoError(t, err)
			a := attempt{begin: time.UnixMilli(begin), end: time.UnixMilli(end), body: body}
			if result != "ok" {
				a.err = errors.New(result)
			}
			all = append(all, a)
		}
		return all
	}
}

// TestJavaStandIns: with a stand-in name no send of the stock Java producer fails that began after the leader was killed.
// Those that were on their way may: the client does not notice that the connection ended and waits out its 3 s.
func TestJavaStandIns(t *testing.T) {
	c := ownCluster(t, "--set", "standInBrokers=1")
	topic := uniqueName("jstandin")
	c.createTopic(t, topic, 4)
	end := javaLoad(t, c.namesrv, topic)
	require.Eventually(t, func() bool { return maxOffset(t, c.leader(t).Addr, topic, 0) > 50 }, 60*time.Second, 50*time.Millisecond)
	at := c.killLeader(t)
	time.Sleep(6 * time.Second) // well below the 30 s after which producers learn of the new leader
	var plain []attempt
	for _, a := range end() {
		// The senders with odd numbers choose their queue themselves, and are not tried elsewhere.
		if a.begin.After(at) && (a.body[0]-'0')%2 == 0 {
			plain = append(plain, a)
		}
	}
	failed, first, longest, firstErr := outcome(plain, at)
	t.Logf("%d sends, %d failed, first acknowledged after %v, the longest took %v", len(plain), failed, first, longest)
	require.Zero(t, failed, "%v", firstErr)
	require.Positive(t, first)
}
