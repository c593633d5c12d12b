package namesrv

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer runs a name server on a free port of the loopback.
func startServer(t *testing.T, change ...func(*Config)) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := newServer(t, append([]func(*Config){func(c *Config) { c.Listener, c.Now = l, nil }}, change...)...)
	require.NoError(t, s.Start(t.Context()))
	return s, l.Addr().String()
}

// peer is a client that speaks frames by hand.
type peer struct {
	t    *testing.T
	conn net.Conn
}

func dial(t *testing.T, addr string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{t: t, conn: conn}
}

// raw sends a frame with the given JSON header and body.
func (p *peer) raw(header string, body []byte) {
	p.t.Helper()
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	_, err := p.conn.Write(append(append(frame, header...), body...))
	require.NoError(p.t, err)
}

// read returns the next frame's JSON header and body.
func (p *peer) read() (header, body string) {
	p.t.Helper()
	var head [8]byte
	_, err := io.ReadFull(p.conn, head[:])
	require.NoError(p.t, err)
	length, headerLen := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	require.Less(p.t, length, uint32(1<<24))
	rest := make([]byte, length-4)
	_, err = io.ReadFull(p.conn, rest)
	require.NoError(p.t, err)
	return string(rest[:headerLen]), string(rest[headerLen:])
}

// register sends REGISTER_BROKER as Java 4.9.4 does and returns the answer.
func (p *peer) register(n, id int, term int64, body []byte, extra string) (header, answer string) {
	p.t.Helper()
	if body == nil {
		body = protocol.Encode(tableBody(v1(1, term), t1(4)))
	}
	p.raw(fmt.Sprintf(`{"code":103,"extFields":{"brokerId":"%d","bodyCrc32":"%d","clusterName":"c1","brokerAddr":"10.0.0.%d:10911",`+
		`"haServerAddr":"10.0.0.%d:10912","brokerName":"broker-a"%s},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":401}`,
		id, protocol.BodyCRC32(body), n, n, extra), body)
	return p.read()
}

func (p *peer) route(version int) (header, body string) {
	p.t.Helper()
	p.raw(fmt.Sprintf(`{"code":105,"extFields":{"topic":"T1"},"flag":0,"language":"JAVA","opaque":3,"version":%d}`, version), nil)
	return p.read()
}

const routeOfOne = `{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.%d:10911"},"brokerName":"broker-a","cluster":"c1"}],"filterServerTable":{},` +
	`"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}`

func TestEndToEnd(t *testing.T) {
	s, addr := startServer(t)
	broker, client := dial(t, addr), dial(t, addr)

	header, _ := client.route(401)
	require.Contains(t, header, `"code":17`)
	require.Contains(t, header, `"opaque":3`)

	header, body := broker.register(1, 0, 5, nil, "")
	require.Contains(t, header, `"code":0`)
	require.Contains(t, header, `"opaque":7`)
	require.Contains(t, header, `"flag":1`)
	require.Empty(t, body)
	_, body = client.route(401)
	require.Equal(t, fmt.Sprintf(routeOfOne, 1), body)
	_, body = client.route(317)
	require.Equal(t, strings.Replace(fmt.Sprintf(routeOfOne, 1), `"0"`, `0`, 1), body)

	// The next leader takes over; the old one is refused, with both terms.
	next := dial(t, addr)
	header, _ = next.register(2, 0, 6, nil, "")
	require.Contains(t, header, `"code":0`)
	header, _ = broker.register(1, 0, 5, nil, "")
	require.Contains(t, header, `"code":1`)
	require.Contains(t, header, "term 5")
	require.Contains(t, header, "term 6")
	_, body = client.route(401)
	require.Equal(t, fmt.Sprintf(routeOfOne, 2), body)

	// A follower registers compressed and learns its master.
	compressed, err := tableBody(v1(1, 6), t1(4)).AppendCompressed(nil)
	require.NoError(t, err)
	header, _ = broker.register(1, 1, 6, compressed, `,"compressed":"true"`)
	require.Contains(t, header, `"masterAddr":"10.0.0.2:10911"`)
	require.Contains(t, header, `"haServerAddr":"10.0.0.2:10912"`)
	_, body = client.route(401)
	require.Contains(t, body, `{"0":"10.0.0.2:10911","1":"10.0.0.1:10911"}`)

	// A closed connection takes its broker off the route at once.
	require.NoError(t, next.conn.Close())
	require.Eventually(t, func() bool { return shows(s.Table(), "T1") == "broker-a r4 w4 p6 s0; broker-a@c1{1=10.0.0.1}" },
		5*time.Second, 5*time.Millisecond)
	require.NoError(t, broker.conn.Close())
	require.Eventually(t, func() bool { return shows(s.Table(), "T1") == "" }, 5*time.Second, 5*time.Millisecond)

	// It is empty now, but the term is not forgotten.
	header, _ = dial(t, addr).register(3, 0, 5, nil, "")
	require.Contains(t, header, "term 6")
}

func TestEndToEndBadInput(t *testing.T) {
	_, addr := startServer(t)
	p := dial(t, addr)
	header, _ := p.register(1, 0, 1, nil, `,"bodyCrc32":"5"`)
	require.Contains(t, header, `"code":1`)
	require.Contains(t, header, "crc32 not match")
	header, _ = p.register(1, -1, 1, nil, "")
	require.Contains(t, header, "brokerId")
	header, _ = p.register(1, 0, 1, []byte("garbage"), "")
	require.Contains(t, header, `"code":1`)
	p.raw(`{"code":103,"opaque":-9,"flag":0}`, nil)
	header, _ = p.read()
	require.Contains(t, header, "clusterName")
	require.Contains(t, header, `"opaque":-9`)
	p.raw(`{"code":4242,"opaque":1,"flag":0}`, nil)
	header, _ = p.read()
	require.Contains(t, header, `"code":3`)
	require.Contains(t, header, "request type 4242 not supported")

	// A oneway request is served and not answered: the next answer is the next's.
	p.raw(`{"code":4242,"opaque":2,"flag":2}`, nil)
	p.raw(`{"code":106,"opaque":3,"flag":0}`, nil)
	header, body := p.read()
	require.Contains(t, header, `"opaque":3`)
	require.Equal(t, `{"brokerAddrTable":{},"clusterAddrTable":{}}`, body)
}

func TestExpiryDropsTheBrokerAndItsConnection(t *testing.T) {
	clock := make(chan time.Time, 1)
	clock <- start
	s, addr := startServer(t, func(c *Config) {
		c.ScanInterval = time.Millisecond
		c.Now = func() time.Time { now := <-clock; clock <- now; return now }
	})
	p := dial(t, addr)
	p.register(1, 0, 1, nil, "")
	require.NotEmpty(t, shows(s.Table(), "T1"))
	<-clock
	clock <- at(121)
	_, err := p.conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Empty(t, shows(s.Table(), "T1"))
}

func TestPortInUse(t *testing.T) {
	s, addr := startServer(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	other := newServer(t, func(c *Config) {
		c.BindAddress = "127.0.0.1"
		_, err := fmt.Sscan(port, &c.ListenPort)
		require.NoError(t, err)
	})
	err = other.Start(t.Context())
	require.ErrorIs(t, err, ErrPortInUse)
	require.ErrorContains(t, err, port)
	require.ErrorContains(t, err, "listenPort")
	require.Error(t, s.Start(t.Context()), "a second start")
	require.NoError(t, other.Close())
	require.NoError(t, other.Close())
	require.Error(t, other.Start(t.Context()), "a start after close")
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	cfg := DefaultConfig()
	cfg.BrokerExpiry = time.Second
	_, err := New(cfg)
	require.ErrorContains(t, err, "brokerExpiredTimeSeconds")

	disk := vfs.NewMem()
	require.NoError(t, vfs.WriteFileAtomic(disk, "kv.json", []byte("no json")))
	cfg = DefaultConfig()
	cfg.FS, cfg.KVConfigPath = disk, "kv.json"
	_, err = New(cfg)
	require.ErrorContains(t, err, filepath.Join("kv.json"))
}
