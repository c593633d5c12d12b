package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// hold opens a port and accepts nothing, as the service manager does.
func hold(t *testing.T, port int) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	f, err := l.(*net.TCPListener).File()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// startWith starts a server with sockets passed to it; the shell between gives it its own process id.
func startWith(t *testing.T, home string, sockets []*os.File, names, name string, args ...string) *process {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `export LISTEN_PID=$$; exec "$0" "$@"`, bin(name)}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+home, "NAMESRV_ADDR=", fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = sockets
	return run(t, cmd)
}

// askWhileDead connects and writes a request at once, which must not be refused. The answer comes by the channel.
func askWhileDead(t *testing.T, addr string, req frame) <-chan frame {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	_, err = c.Write(req.encode())
	require.NoError(t, err)
	answer := make(chan frame, 1)
	go func() {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		r, err := readFrame(c)
		if err != nil {
			r = frame{Code: -1, Remark: err.Error()}
		}
		answer <- r
	}()
	return answer
}

// TestHeldPortOutlivesItsProcess: who keeps a copy of the listening socket keeps clients from being refused while the
// process is dead; the next one answers what was asked meanwhile.
func TestHeldPortOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	base, err := freeBasePort()
	require.NoError(t, err)
	nsAddr, addr := fmt.Sprintf("127.0.0.1:%d", base), fmt.Sprintf("127.0.0.1:%d", base+1035)
	nsPort, port := hold(t, base), hold(t, base+1035)
	nsFile := writeConf(t, fmt.Sprint("listenPort=", base), "metricsExporterType=DISABLE")
	file := writeConf(t, fmt.Sprint("listenPort=", base+1035), "brokerIP1=127.0.0.1", "namesrvAddr="+nsAddr, "metricsExporterType=DISABLE",
		"storePathRootDir="+home+"/store", "mappedFileSizeCommitLog=16777216")
	startNS := func() *process {
		return startWith(t, home, []*os.File{nsPort}, "remoting", "mqnamesrv", "-c", nsFile)
	}
	start := func() *process { return startWith(t, home, []*os.File{port}, "a.socket", "mqbroker", "-c", file) }
	ns, broker := startNS(), start()
	broker.waitLine(t, "boot success", 20*time.Second)
	vip, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", base+1033))
	require.NoError(t, err, "the VIP port is the broker's own and still there")
	require.NoError(t, vip.Close())
	topic := uniqueName("held")
	// One attempt: whatever is refused is a failed send.
	p := newProducer(t, nsAddr, producer.WithRetry(0))
	sendSync(t, p, primitive.NewMessage(topic, []byte("before")))

	broker.stop(syscall.SIGKILL)
	asked := askWhileDead(t, addr, frame{Code: 10, Lang: "OTHER", Ver: 401, Opaque: 7, Ext: sendFields(topic, 0), Body: []byte("to a dead broker")})
	sent := make(chan error, 1)
	go func() {
		_, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte("by a stock client")))
		sent <- err
	}()
	broker = start()
	r := <-asked
	require.Zero(t, r.Code, r.Remark)
	require.NoError(t, <-sent)

	ns.stop(syscall.SIGKILL)
	asked = askWhileDead(t, nsAddr, frame{Code: 106, Lang: "OTHER", Ver: 401, Opaque: 8})
	ns = startNS()
	r = <-asked
	require.Zero(t, r.Code, r.Remark)

	// An orderly end keeps the port open, too.
	broker.stop(syscall.SIGTERM)
	require.Zero(t, broker.cmd.ProcessState.ExitCode(), broker.output())
	ns.stop(syscall.SIGTERM)
	for _, a := range []string{nsAddr, addr} {
		c, err := net.Dial("tcp", a)
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
}

// TestSocketsThatMayNotBeHeld: what is passed and cannot be used would let clients hang, and a Raft port that stays open
// would hide a death from the other members.
func TestSocketsThatMayNotBeHeld(t *testing.T) {
	t.Parallel()
	base, err := freeBasePort()
	require.NoError(t, err)
	port := base + 1035
	wrong, raft := hold(t, base+1045), hold(t, base+1040)
	file := writeConf(t, fmt.Sprint("listenPort=", port), "metricsExporterType=DISABLE", "storePathRootDir="+t.TempDir()+"/store",
		"enableDLegerCommitLog=true", "dLegerGroup=g", "dLegerSelfId=n0", fmt.Sprintf("dLegerPeers=n0-127.0.0.1:%d", base+1040))
	for name, c := range map[string]struct {
		program string
		socket  *os.File
		names   string
		says    []string
	}{
		"another port": {"mqbroker", wrong, "a.socket", []string{"mqbroker: the socket passed as descriptor 3 (a.socket) listens on",
			fmt.Sprintf("listenPort is %d", port), "FileDescriptorName=remoting"}},
		"the Raft port":                 {"mqbroker", raft, "raft", []string{"the Raft port", "this process is dead: take it out"}},
		"the Raft port by another name": {"mqbroker", raft, "remoting", []string{"the Raft port"}},
		"another port of a name server": {"mqnamesrv", wrong, "b.socket", []string{"mqnamesrv: the socket passed as descriptor 3 (b.socket) listens on"}},
	} {
		conf := file
		if c.program == "mqnamesrv" {
			conf = writeConf(t, fmt.Sprint("listenPort=", base), "metricsExporterType=DISABLE")
		}
		p := startWith(t, t.TempDir(), []*os.File{c.socket}, c.names, c.program, "-c", conf)
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			require.Fail(t, "it runs", "%s:\n%s", name, p.output())
		}
		require.Equal(t, 2, p.cmd.ProcessState.ExitCode(), name)
		require.Eventually(t, func() bool {
			for _, text := range c.says {
				if !strings.Contains(p.output(), text) {
					return false
				}
			}
			return true
		}, 5*time.Second, 5*time.Millisecond, "%s: %v", name, c.says)
	}
}
