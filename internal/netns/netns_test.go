//go:build chaos

package netns

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// This test makes namespaces, which needs root, and so it belongs to make chaos.

// TestMain is also the echo server that runs inside of a host.
func TestMain(m *testing.M) {
	if addr := os.Getenv("NETNS_ECHO"); addr != "" {
		echo(addr)
		return
	}
	os.Exit(m.Run())
}

func echo(addr string) {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		panic(err)
	}
	for b := make([]byte, 100); ; {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(b[:n], from)
	}
}

func TestChaosNetwork(t *testing.T) {
	n, err := New("a", "b")
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close()) }()
	for _, id := range []string{"a", "b"} {
		cmd := exec.Command("ip", "netns", "exec", n.Netns(id), os.Args[0])
		cmd.Env = append(os.Environ(), "NETNS_ECHO="+n.Addr(id)+":7")
		require.NoError(t, cmd.Start())
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	}
	reaches := func(id string) bool {
		conn, err := net.Dial("udp", n.Addr(id)+":7")
		require.NoError(t, err)
		defer conn.Close()
		_, _ = conn.Write([]byte("ping"))
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
		_, err = conn.Read(make([]byte, 10))
		return err == nil
	}
	eventually := func(id string) {
		t.Helper()
		require.Eventually(t, func() bool { return reaches(id) }, 10*time.Second, time.Millisecond, "%s is not reached", id)
	}
	eventually("a")
	eventually("b")

	require.NoError(t, n.Block(Client, "a")) // there
	require.False(t, reaches("a"))
	eventually("b")
	require.NoError(t, n.Unblock(Client, "a"))
	eventually("a")
	require.NoError(t, n.Block("a", Client)) // and back
	require.False(t, reaches("a"))
	require.NoError(t, n.Block("a", "b"))
	require.NoError(t, n.Cut("b"))
	require.False(t, reaches("b"))
	require.NoError(t, n.Heal())
	eventually("a")
	eventually("b")
	require.NoError(t, n.Rate("a", 1_000_000))
	eventually("a")
	require.NoError(t, n.Rate("a", 0))

	line, err := n.Impair("a", Impairment{Delay: 60 * time.Millisecond, Jitter: 5 * time.Millisecond})
	require.NoError(t, err)
	began := time.Now()
	eventually("a")
	require.Greater(t, time.Since(began), 100*time.Millisecond, "there and back")
	require.NoError(t, line.End())
	line, err = n.Impair("a", Impairment{Loss: 1})
	require.NoError(t, err)
	require.False(t, reaches("a"))
	eventually("b")
	require.Positive(t, line.Dropped.Load())
	require.NoError(t, line.End())
	eventually("a")
}
