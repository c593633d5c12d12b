package inherit

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The sockets of these tests are passed to a process of their own, which is this
// test binary: descriptors 3 and following mean something only there.
const childEnv = "COMETMQ_INHERIT_CHILD"

// said is what the child found.
type said struct {
	Addr, Err string
	Left      []string // LISTEN_ variables that are still there
	Greeting  string   // what a client wrote
}

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var want Want
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		panic(err)
	}
	s := Take()
	if os.Getenv(childEnv+"_AGAIN") != "" { // be replaced once, then do the same
		vars, err := s.HandOn()
		if err == nil {
			_ = os.Unsetenv(childEnv + "_AGAIN")
			err = syscall.Exec(os.Args[0], os.Args, append(os.Environ(), vars...))
		}
		panic(err)
	}
	var out said
	l, err := s.Listener(want)
	if err != nil {
		out.Err = err.Error()
	}
	if l != nil {
		out.Addr = l.Addr().String()
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		b := make([]byte, 5)
		n, _ := c.Read(b)
		out.Greeting = string(b[:n])
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LISTEN_") {
			out.Left = append(out.Left, v)
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(out)
}

// pass starts the child with the files as descriptors from 3 on. The shell gives
// it its own process id, as a supervisor does between fork and exec.
func pass(t *testing.T, want Want, names string, files []*os.File, more ...string) said {
	t.Helper()
	text, err := json.Marshal(want)
	require.NoError(t, err)
	cmd := exec.Command("sh", "-c", `export LISTEN_PID=$$; exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+names)
	cmd.Env = append(cmd.Env, more...)
	cmd.ExtraFiles, cmd.Stderr = files, os.Stderr
	b, err := cmd.Output()
	require.NoError(t, err)
	var out said
	require.NoError(t, json.Unmarshal(b, &out), string(b))
	return out
}

// held opens a listener and keeps only its file, as a supervisor does.
func held(t *testing.T, network, addr string) (*os.File, net.Addr) {
	t.Helper()
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	t.Cleanup(func() { _ = f.Close() })
	return f, l.Addr()
}

// greet connects before anybody accepts, and writes.
func greet(t *testing.T, addr net.Addr) {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
}

func portOf(a net.Addr) int { return a.(*net.TCPAddr).Port }

func TestPassedListenerIsUsed(t *testing.T) {
	t.Parallel()
	f, addr := held(t, "tcp", "127.0.0.1:0")
	for name, c := range map[string]struct {
		port  int
		names string
		more  []string
	}{
		"by its port":                 {portOf(addr), "mqbroker@n0.socket", nil},
		"by its name":                 {1, "remoting", nil},
		"by its port without names":   {portOf(addr), "", nil},
		"after the process is anew":   {portOf(addr), "x", []string{childEnv + "_AGAIN=1"}},
		"by its name after that, too": {1, "remoting", []string{childEnv + "_AGAIN=1"}},
	} {
		greet(t, addr) // while nobody is there
		got := pass(t, Want{Key: "listenPort", Port: c.port}, c.names, []*os.File{f}, c.more...)
		require.Equal(t, said{Addr: addr.String(), Greeting: "hello"}, got, name)
	}
}

func TestNothingIsTakenOfAnotherProcess(t *testing.T) {
	t.Parallel()
	f, addr := held(t, "tcp", "127.0.0.1:0")
	text, err := json.Marshal(Want{Port: portOf(addr)})
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), "LISTEN_FDS=1", fmt.Sprintf("LISTEN_PID=%d", os.Getpid()))
	cmd.ExtraFiles = []*os.File{f}
	b, err := cmd.Output()
	require.NoError(t, err)
	require.JSONEq(t, `{"Addr":"","Err":"","Left":null,"Greeting":""}`, string(b))
}

func TestPassedSocketsThatFitNothingAreRefused(t *testing.T) {
	t.Parallel()
	tcp, addr := held(t, "tcp", "127.0.0.1:0")
	other, otherAddr := held(t, "tcp", "127.0.0.1:0")
	unix, _ := held(t, "unix", t.TempDir()+"/s")
	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer pc.Close()
	udp, err := pc.(*net.UDPConn).File()
	require.NoError(t, err)
	defer udp.Close()
	conn, err := net.Dial("tcp", addr.String())
	require.NoError(t, err)
	defer conn.Close()
	connected, err := conn.(*net.TCPConn).File()
	require.NoError(t, err)
	defer connected.Close()

	want := Want{Key: "listenPort", Port: portOf(addr), Never: map[int]string{portOf(otherAddr): "the Raft port, which must refuse"}}
	for name, c := range map[string]struct {
		want  Want
		files []*os.File
		says  []string
	}{
		"another port": {Want{Key: "listenPort", Port: 1}, []*os.File{tcp}, []string{
			"descriptor 3 (a)", addr.String(), "listenPort is 1", fmt.Sprintf("listenPort=%d", portOf(addr)), "ListenStream=1", "FileDescriptorName=remoting"}},
		"one that nobody may keep":    {want, []*os.File{tcp, other}, []string{"descriptor 4 (b)", otherAddr.String(), "the Raft port, which must refuse", "take it out"}},
		"a port twice":                {want, []*os.File{tcp, tcp}, []string{"descriptor 4 (b)", "pass only one for listenPort"}},
		"a Unix socket":               {want, []*os.File{unix}, []string{"descriptor 3 (a) is not a listening TCP socket", "unix"}},
		"a datagram socket":           {want, []*os.File{udp}, []string{"descriptor 3 (a) is not a listening TCP socket"}},
		"a connection":                {want, []*os.File{connected}, []string{"descriptor 3 (a) is not a listening TCP socket (it does not listen)", fmt.Sprintf("ListenStream=%d", portOf(addr))}},
		"no socket":                   {want, []*os.File{dir}, []string{"descriptor 3 (a) is not a listening TCP socket"}},
		"one that fits and one wrong": {want, []*os.File{tcp, unix}, []string{"descriptor 4 (b) is not a listening TCP socket"}},
	} {
		got := pass(t, c.want, "a:b", c.files)
		require.Empty(t, got.Addr, name)
		for _, text := range c.says {
			require.Contains(t, got.Err, text, name)
		}
	}
}
