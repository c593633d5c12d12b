package dledger

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	text := hex.Dump(got)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

func TestHelloGolden(t *testing.T) {
	h := hello{cluster: "DefaultCluster", group: "RaftNode00", id: "n0", genesis: 0xCAFEBABE}
	golden(t, "hello.hex", h.encode())
	got, err := readHello(bytes.NewReader(h.encode()))
	require.NoError(t, err)
	require.Equal(t, h, got)
}

func TestSnapshotMetaGolden(t *testing.T) {
	m := newSnapshotMeta(1, 77, 5, genesisOf([]Peer{{"n0", "h:1"}, {"n1", "h:2"}}), 3)
	b := encodeSnapshotMeta(m)
	golden(t, "snapshot-meta.hex", b)
	got, err := decodeSnapshotMeta(b)
	require.NoError(t, err)
	require.Equal(t, m, got)
	for i := range b { // any flipped bit is found before raft's decoder sees it
		b[i] ^= 1
		_, err := decodeSnapshotMeta(b)
		require.Error(t, err)
		b[i] ^= 1
	}
}

func FuzzReadHello(f *testing.F) {
	f.Add(hello{cluster: "c", group: "g", id: "n0", genesis: 7}.encode())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, h.encode()) {
			t.Fatalf("%x read as %+v", b, h)
		}
	})
}

func FuzzDecodeSnapshotMeta(f *testing.F) {
	f.Add(encodeSnapshotMeta(newSnapshotMeta(1, 77, 5, genesisOf([]Peer{{"n0", "h:1"}}), 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeSnapshotMeta(b) // must not panic
	})
}

// logSink collects log lines.
type logSink struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *logSink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *logSink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func testStreams(t *testing.T, h hello) (*streams, *logSink) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	out := &logSink{}
	s := newStreams(l, l.Addr().String(), h, nil, nil, hclog.New(&hclog.LoggerOptions{Output: out, Level: hclog.Info}))
	t.Cleanup(func() { s.Close() })
	return s, out
}

func TestStreamsConnectMembersOfOneGroup(t *testing.T) {
	a, _ := testStreams(t, hello{cluster: "c", group: "g", id: "n0", genesis: 7})
	for _, genesis := range []uint32{7, 0} {
		b, _ := testStreams(t, hello{cluster: "c", group: "g", id: "n1", genesis: genesis})
		for range 2 { // a second connection is fine
			out, err := b.Dial(raft.ServerAddress(a.Addr().String()), time.Second)
			require.NoError(t, err)
			in, err := a.Accept()
			require.NoError(t, err)
			_, err = out.Write([]byte("hi"))
			require.NoError(t, err)
			got := make([]byte, 2)
			_, err = io.ReadFull(in, got)
			require.NoError(t, err)
			require.Equal(t, "hi", string(got))
		}
	}
	require.NoError(t, a.Close())
	_, err := a.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = a.Dial("127.0.0.1:1", time.Second)
	require.Error(t, err)
}

func TestStreamsRefuseMembersOfOtherGroups(t *testing.T) {
	for _, tt := range []struct {
		name  string
		other hello
		want  string
	}{
		{"cluster", hello{cluster: "x", group: "g", id: "n1"}, `it belongs to cluster "x", this member to "c"`},
		{"group", hello{cluster: "c", group: "x", id: "n1"}, `it belongs to group "x", this member to "g"`},
		{"genesis", hello{cluster: "c", group: "g", id: "n1", genesis: 8}, "it began with other peers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, out := testStreams(t, hello{cluster: "c", group: "g", id: "n0", genesis: 7})
			b, _ := testStreams(t, tt.other)
			_, err := b.Dial(raft.ServerAddress(a.Addr().String()), time.Second)
			require.ErrorContains(t, err, "refused this member")
			line := strings.ReplaceAll(out.String(), `\"`, `"`)
			require.Eventually(t, func() bool {
				line = strings.ReplaceAll(out.String(), `\"`, `"`)
				return strings.Contains(line, tt.want)
			}, 5*time.Second, time.Millisecond, "%s", line)
			require.Equal(t, 1, strings.Count(line, "\n"), "one sentence: %s", line)
		})
	}
}

func TestStreamsRefuseStrangers(t *testing.T) {
	noise := make([]byte, 4096)
	_, err := rand.Read(noise)
	require.NoError(t, err)
	noise[0] = 0 // certainly no greeting
	version := hello{cluster: "c", group: "g", id: "n1"}.encode()
	version[4] = 9
	long := hello{cluster: "c", group: "g", id: "n1"}.encode()
	long[9] = 200
	for _, tt := range []struct {
		name string
		send []byte
		want string
	}{
		{"http", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "it began with"},
		{"noise", noise, "it does not speak"},
		{"empty", nil, "the greeting ends early"},
		{"newer", version, "version 9"},
		{"long name", long, "200 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, out := testStreams(t, hello{cluster: "c", group: "g", id: "n0"})
			c, err := net.Dial("tcp", a.Addr().String())
			require.NoError(t, err)
			defer c.Close()
			_, _ = c.Write(tt.send) // may be cut off in the middle
			_ = c.(*net.TCPConn).CloseWrite()
			require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
			_, err = io.Copy(io.Discard, c)
			require.False(t, isTimeout(err), "the connection stays open")
			require.Eventually(t, func() bool { return strings.Contains(out.String(), tt.want) },
				5*time.Second, time.Millisecond, "%s", out.String())
			require.EqualValues(t, 1, a.strangers.Load())
			require.Equal(t, 1, strings.Count(out.String(), "\n"))
		})
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestStreamsBoundSilentStrangers(t *testing.T) {
	a, out := testStreams(t, hello{cluster: "c", group: "g", id: "n0"})
	var silent []net.Conn
	for range greetingsMax {
		c, err := net.Dial("tcp", a.Addr().String())
		require.NoError(t, err)
		silent = append(silent, c)
		defer c.Close()
	}
	require.Eventually(t, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.greeting == greetingsMax
	}, 5*time.Second, time.Millisecond)
	c, err := net.Dial("tcp", a.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.False(t, isTimeout(err))
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "have not greeted") }, 5*time.Second, time.Millisecond)
	require.NoError(t, a.Close()) // cuts the silent ones as well
	for _, c := range silent {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, err := c.Read(make([]byte, 1))
		require.False(t, isTimeout(err))
	}
}
