//go:build dist

package e2e

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// TestArchiveAsDownloaded unpacks a release archive and does what RocketMQ's quick start does, with nothing edited: a name
// server and the three members of conf/dledger from within bin/, the official client, mqadmin, mqshutdown. `make dist-check`
// runs it.
func TestArchiveAsDownloaded(t *testing.T) {
	if inOwnNet(t) {
		return
	}
	out := t.TempDir()
	pack := exec.Command("go", "run", "./internal/dist", "zip", "-arch", runtime.GOARCH, "-version", "1.2.3", "-out", out)
	pack.Dir = filepath.Join("..", "..")
	text, err := pack.CombinedOutput()
	require.NoError(t, err, string(text))
	to := t.TempDir()
	extract(t, filepath.Join(out, "cometmq-1.2.3-linux-"+runtime.GOARCH+".zip"), to)
	bin := filepath.Join(to, "cometmq-1.2.3", "bin")
	for _, file := range []string{"broker.conf", "namesrv.conf", "plain_acl.yml", "dledger/broker-n0.conf", "dledger/broker-n1.conf", "dledger/broker-n2.conf"} {
		require.FileExists(t, filepath.Join(bin, "..", "conf", file))
	}
	sums := exec.Command("sha256sum", "-c", "--quiet", "SHA256SUMS")
	sums.Dir = filepath.Dir(bin)
	text, err = sums.CombinedOutput()
	require.NoError(t, err, string(text))

	requireFree(t, 9876, 30911, 30921, 30931, 40911, 40912, 40913)
	home := t.TempDir()
	sh := func(args ...string) *exec.Cmd {
		cmd := exec.Command("sh", args...)
		cmd.Dir = bin
		cmd.Env = append(os.Environ(), "HOME="+home, "NAMESRV_ADDR=", "ROCKETMQ_HOME=")
		return cmd
	}
	began := time.Now()
	run(t, sh("mqnamesrv")).waitLine(t, "The Name Server boot success. serializeType=JSON", 10*time.Second)
	var members []*process
	for n := range 3 {
		members = append(members, run(t, sh("mqbroker", "-c", fmt.Sprintf("../conf/dledger/broker-n%d.conf", n))))
	}
	for _, m := range members {
		m.waitLine(t, "boot success. serializeType=JSON and name server is 127.0.0.1:9876", 20*time.Second)
	}
	t.Logf("from nothing to three members that serve: %v", time.Since(began).Round(time.Millisecond))

	topic := uniqueName("TopicTest")
	p := newProducer(t, "127.0.0.1:9876")
	want := map[string]bool{}
	for i := range 50 {
		body := fmt.Sprintf("Hello RocketMQ %d", i)
		want[body] = true
		sendSync(t, p, primitive.NewMessage(topic, []byte(body)))
	}
	newConsumer(t, "127.0.0.1:9876", uniqueName("g"), topic, consumer.MessageSelector{}, nil).waitFor(t, want, time.Minute)

	text, err = sh("mqadmin", "clusterList", "-n", "127.0.0.1:9876").CombinedOutput()
	require.NoError(t, err, string(text))
	require.Equal(t, 3, strings.Count(string(text), "RaftNode00"), string(text))
	// Only this one: mqshutdown without -c stops every broker of the machine.
	text, err = sh("mqshutdown", "-c", filepath.Join(bin, "../conf/dledger/broker-n0.conf"), "broker").CombinedOutput()
	require.NoError(t, err, string(text))
	select {
	case <-members[0].done:
	case <-time.After(10 * time.Second):
		require.Fail(t, "mqshutdown left it running")
	}
	require.Zero(t, members[0].cmd.ProcessState.ExitCode())
}

// extract unpacks an archive with its modes.
func extract(t *testing.T, archive, to string) {
	t.Helper()
	z, err := zip.OpenReader(archive)
	require.NoError(t, err)
	defer func() { require.NoError(t, z.Close()) }()
	for _, f := range z.File {
		path := filepath.Join(to, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		r, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, data, f.Mode().Perm()))
	}
}
