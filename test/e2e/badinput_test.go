package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Strangers' bytes on either port: the connection ends or is answered, and the server goes on serving others.
func TestBadBytesOnBothPorts(t *testing.T) {
	c := ownCluster(t, "--nodes", "1")
	broker := c.leader(t)
	huge := binary.BigEndian.AppendUint32(nil, 2<<30-1)
	negative := binary.BigEndian.AppendUint32(nil, 0xffffff00)
	var manyFields bytes.Buffer
	manyFields.WriteString(`{"code":105,"language":"OTHER","version":401,"opaque":1,"flag":0,"extFields":{"f0":"x"`)
	for i := 1; i < 1_000_000; i++ {
		fmt.Fprintf(&manyFields, `,"f%d":"x"`, i)
	}
	manyFields.WriteString(`}}`)
	h := manyFields.Bytes()
	million := binary.BigEndian.AppendUint32(nil, uint32(4+len(h)))
	million = append(binary.BigEndian.AppendUint32(million, uint32(len(h))), h...)
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 1<<16)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	longHeader := append(binary.BigEndian.AppendUint32(nil, 100), 0, 0xff, 0xff, 0xff)
	for _, addr := range []string{c.namesrv, broker.Addr} {
		for name, data := range map[string][]byte{
			"2 GiB length": huge, "negative length": negative, "a million fields": million, "random": random,
			"header longer than the frame": longHeader, "http": []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		} {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, _ = conn.Write(data) // The server may close while we still write.
			// Either an answer comes or the connection ends; what must not happen is silence.
			_, err = conn.Read(make([]byte, 1))
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%s on %s: neither an answer nor an end", name, addr)
			require.NoError(t, conn.Close())
		}
		r, err := invoke(addr, 31999, nil, nil)
		require.NoError(t, err)
		require.Equal(t, 3, r.Code)
		require.Contains(t, r.Remark, "request type 31999 not supported")
	}
	r, err := invoke(c.namesrv, 106, nil, nil)
	require.NoError(t, err)
	require.Zero(t, r.Code)
	require.Contains(t, string(r.Body), broker.Name)
	require.Equal(t, broker.PID, c.leader(t).PID)
}

// runBroker starts a broker that is expected to end by itself and returns its exit code and output.
func runBroker(t *testing.T, home string, args ...string) (int, string) {
	t.Helper()
	p := startProcess(t, home, "mqbroker", args...)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		require.Fail(t, "the broker did not end", "%s", p.output())
	}
	return p.cmd.ProcessState.ExitCode(), p.output()
}

func writeConf(t *testing.T, lines ...string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "broker.conf")
	require.NoError(t, os.WriteFile(f, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return f
}

func TestBadBrokerConfiguration(t *testing.T) {
	port := func() string {
		p, err := freeBasePort()
		require.NoError(t, err)
		return fmt.Sprint(p)
	}
	taken, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	defer taken.Close()
	_, takenPort, err := net.SplitHostPort(taken.Addr().String())
	require.NoError(t, err)

	t.Run("value out of range", func(t *testing.T) {
		code, out := runBroker(t, t.TempDir(), "-c", writeConf(t, "listenPort=99999999"))
		require.Equal(t, 2, code, out)
		require.Contains(t, out, "listenPort")
		require.Contains(t, out, "99999999")
	})
	t.Run("self id that is no peer", func(t *testing.T) {
		code, out := runBroker(t, t.TempDir(), "-c", writeConf(t, "listenPort="+port(), "enableDLegerCommitLog=true",
			"dLegerGroup=broker-a", "dLegerPeers=n0-127.0.0.1:"+port()+";n1-127.0.0.1:"+port(), "dLegerSelfId=n7"))
		require.Equal(t, 5, code, out)
		require.Contains(t, out, "n7")
		require.Contains(t, out, "dLegerPeers")
	})
	t.Run("port in use", func(t *testing.T) {
		code, out := runBroker(t, t.TempDir(), "-c", writeConf(t, "listenPort="+takenPort, "dLegerPeers=n0-127.0.0.1:"+port(), "dLegerSelfId=n0"))
		require.Equal(t, 3, code, out)
		require.Contains(t, out, takenPort)
		require.Contains(t, out, "in use")
	})
	t.Run("misspelt key warns and names the nearest", func(t *testing.T) {
		p := startProcess(t, t.TempDir(), "mqbroker", "-c", writeConf(t, "flushDisktype=ASYNC_FLUSH", "listenPort="+port(),
			"dLegerPeers=n0-127.0.0.1:"+port(), "dLegerSelfId=n0"))
		p.waitLine(t, "boot success", 10*time.Second)
		require.Contains(t, p.output(), "flushDisktype")
		require.Contains(t, p.output(), "flushDiskType")
	})
	t.Run("store of another cluster", func(t *testing.T) {
		home, raft := t.TempDir(), port()
		conf := func(cluster string) string {
			return writeConf(t, "brokerClusterName="+cluster, "brokerName=broker-a", "listenPort="+port(), "dLegerPeers=n0-127.0.0.1:"+raft, "dLegerSelfId=n0")
		}
		p := startProcess(t, home, "mqbroker", "-c", conf("One"))
		p.waitLine(t, "boot success", 10*time.Second)
		// A second broker on the same store is refused while the first holds it.
		code, out := runBroker(t, home, "-c", conf("One"))
		require.NotZero(t, code)
		require.Contains(t, out, "locked")
		p.stop(15)
		code, out = runBroker(t, home, "-c", conf("Two"))
		require.Equal(t, 6, code, out)
		require.Contains(t, out, "One")
		require.Contains(t, out, "Two")
	})
}
