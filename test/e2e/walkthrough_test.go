package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// process is a server that a test started and ends.
type process struct {
	cmd   *exec.Cmd
	mu    sync.Mutex
	lines []string
	done  chan struct{}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// startProcess runs a binary with its own home directory and gathers what it prints. attr may be nil.
func startProcess(t *testing.T, home string, name string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(bin(name), args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "NAMESRV_ADDR=")
	return run(t, cmd)
}

func run(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	p := &process{cmd: cmd, done: make(chan struct{})}
	require.NoError(t, cmd.Start())
	go func() {
		sc := bufio.NewScanner(r)
		for sc.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, sc.Text())
			p.mu.Unlock()
		}
	}()
	go func() {
		_ = cmd.Wait()
		_ = w.Close()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), p.output())
		}
	})
	return p
}

// stop signals the process and waits for its end; after 15 s it is killed.
func (p *process) stop(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// waitLine waits until the last line printed so far contains text: the boot lines come last.
func (p *process) waitLine(t *testing.T, text string, within time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, l := range p.lines {
			if strings.Contains(l, text) {
				return true
			}
		}
		return false
	}, within, 10*time.Millisecond, "no line with %q", text)
}

func requireFree(t *testing.T, ports ...int) {
	t.Helper()
	for _, p := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", p))
		require.NoError(t, err, "this test needs the default port")
		require.NoError(t, l.Close())
	}
}

// walkThrough is the first page of every RocketMQ tutorial: two commands, no configuration, default ports.
func walkThrough(t *testing.T, start func(home, name string, args ...string) *process) {
	requireFree(t, 9876, 10911)
	home := t.TempDir()
	ns := start(home, "mqnamesrv")
	ns.waitLine(t, "The Name Server boot success. serializeType=JSON", 5*time.Second)
	broker := start(home, "mqbroker", "-n", "localhost:9876")
	broker.waitLine(t, "boot success. serializeType=JSON and name server is localhost:9876", 10*time.Second)

	// What a producer looks up for a topic that does not exist yet is there from the boot line on.
	route, err := command("mqadmin", "topicRoute", "-n", "127.0.0.1:9876", "-t", "TBW102")
	require.NoError(t, err)
	require.Contains(t, route, ":10911")

	topic := uniqueName("TopicTest")
	p := newProducer(t, "127.0.0.1:9876")
	want := map[string]bool{}
	for i := range 100 {
		body := fmt.Sprintf("Hello RocketMQ %d", i)
		want[body] = true
		sendSync(t, p, primitive.NewMessage(topic, []byte(body)))
	}
	box := newConsumer(t, "127.0.0.1:9876", uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, want, time.Minute)

	// A restart serves again in under a second and has forgotten nothing.
	broker.stop(syscall.SIGTERM)
	begin := time.Now()
	again := start(home, "mqbroker", "-n", "localhost:9876")
	again.waitLine(t, "boot success", 10*time.Second)
	t.Logf("restart to serving: %v", time.Since(begin))
	var sum int64
	for q := range 4 {
		sum += maxOffset(t, "127.0.0.1:10911", topic, q)
	}
	require.Equal(t, int64(100), sum)
	r, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte("after the restart")))
	require.NoError(t, err)
	require.Equal(t, primitive.SendOK, r.Status)
}

func TestClassicWalkThrough(t *testing.T) {
	if inOwnNet(t) {
		return
	}
	walkThrough(t, func(home, name string, args ...string) *process { return startProcess(t, home, name, args...) })
}

// The same with both servers in a memory cgroup of 2 GiB, where the stock JVM broker is killed after seconds. Where this
// user may not make cgroups the kernel's limit is replaced by an address-space one of the same kind on the heap
// (GOMEMLIMIT says nothing), so the test says so and checks the resident size instead.
func TestWalkThroughInTwoGiB(t *testing.T) {
	if inOwnNet(t) {
		return
	}
	group := filepath.Join("/sys/fs/cgroup/memory", uniqueName("cometmq"))
	limit, procs := "memory.limit_in_bytes", "cgroup.procs"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		group, limit = filepath.Join("/sys/fs/cgroup", uniqueName("cometmq")), "memory.max"
	}
	limited := os.Mkdir(group, 0o755) == nil
	if limited {
		t.Cleanup(func() { _ = os.Remove(group) })
		limited = os.WriteFile(filepath.Join(group, limit), []byte(strconv.Itoa(2<<30)), 0o600) == nil
	}
	if !limited {
		t.Log("no memory cgroup can be made here: resident sizes are checked instead of a limit")
	}
	walkThrough(t, func(home, name string, args ...string) *process {
		p := startProcess(t, home, name, args...)
		if limited {
			require.NoError(t, os.WriteFile(filepath.Join(group, procs), []byte(strconv.Itoa(p.cmd.Process.Pid)), 0o600))
		}
		require.Less(t, resident(t, p.cmd.Process.Pid), int64(200<<20))
		return p
	})
}

// resident is the resident size of a process in bytes, from its status file.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for _, l := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			require.NoError(t, err)
			return kb << 10
		}
	}
	require.Fail(t, "no VmRSS")
	return 0
}
