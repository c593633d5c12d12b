//go:build java

package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
	target, err := filepath.Abs(filepath.Join("..", "interop", "java", "target"))
	require.NoError(t, err)
	cp := filepath.Join(target, "interop.jar") + ":" + filepath.Join(target, "lib", "*")
	argv := append([]string{"-Xmx512m", "-Drocketmq.client.logUseSlf4j=false", "-Duser.home=" + t.TempDir(), "-cp", cp}, jvm...)
	argv = append(append(argv, "com.cometmq.interop.Main"), args...)
	cmd := exec.Command("java", argv...)
	cmd.Dir = t.TempDir() // some of RocketMQ's tools write files where they stand
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

func TestJavaScenarios(t *testing.T) {
	java(t, nil, "scenarios", checkedCluster(t).namesrv)
}

func TestJavaScenariosBinaryHeaders(t *testing.T) {
	java(t, []string{"-Drocketmq.serialize.type=ROCKETMQ"}, "scenarios", sharedCluster(t).namesrv,
		"SyncAsyncOneway", "Properties", "Orderly", "Offsets")
}
