package remoting

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// echo answers with the request's code as remark, its fields and its body.
func echo(call Call, req *protocol.Command) {
	call.Reply(&protocol.Response{Header: req, Body: req.Body, Release: req.Release})
}

// startServer runs a server on loopback for the length of the test.
func startServer(t testing.TB, cfg ServerConfig) *Server {
	t.Helper()
	if cfg.Handler == nil {
		cfg.Handler = echo
	}
	cfg.Addr = "127.0.0.1:0"
	s, err := NewServer(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func startClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	c := NewClient(cfg)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// rawPeer is a bare socket, to send what no client of ours would.
type rawPeer struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dialRaw(t testing.TB, s *Server) *rawPeer {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(10*time.Second)))
	return &rawPeer{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (p *rawPeer) write(b []byte) {
	p.t.Helper()
	_, err := p.nc.Write(b)
	require.NoError(p.t, err)
}

// request sends a request with the given opaque and flags.
func (p *rawPeer) request(opaque, flag int32, body string) {
	p.t.Helper()
	p.write(frameOf(p.t, opaque, flag, body))
}

func frameOf(t testing.TB, opaque, flag int32, body string) []byte {
	t.Helper()
	b, err := protocol.NewRequest(1).SetBody([]byte(body)).AppendFrameAs(nil, opaque, flag)
	require.NoError(t, err)
	return b
}

// read reads one frame.
func (p *rawPeer) read() *protocol.Command {
	p.t.Helper()
	cmd, err := p.tryRead()
	require.NoError(p.t, err)
	return cmd
}

func (p *rawPeer) tryRead() (*protocol.Command, error) {
	var word [4]byte
	if _, err := io.ReadFull(p.r, word[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(word[:]))
	if _, err := io.ReadFull(p.r, frame); err != nil {
		return nil, err
	}
	cmd := new(protocol.Command)
	return cmd, cmd.Decode(frame, protocol.Limits{})
}

// requireClosed waits for the server to close the connection without another frame.
func (p *rawPeer) requireClosed() {
	p.t.Helper()
	_, err := p.tryRead()
	require.Error(p.t, err)
	var netErr net.Error
	if ok := errors.As(err, &netErr); ok {
		require.False(p.t, netErr.Timeout(), "still open")
	}
}

func invoke(t testing.TB, c *Client, addr string, req *protocol.Command) *protocol.Command {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := c.Invoke(ctx, addr, req)
	require.NoError(t, err)
	return resp
}
