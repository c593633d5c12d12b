package remoting

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestClientSharesOneConnection(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := startClient(t, ClientConfig{})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			body := fmt.Sprint(i)
			resp, err := c.Invoke(t.Context(), s.Addr().String(), protocol.NewRequest(1).SetBody([]byte(body)))
			if err != nil || string(resp.Body) != body {
				t.Errorf("invoke %d: %v %v", i, resp, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, s.Conns())
}

func TestClientAsync(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := startClient(t, ClientConfig{})
	got := make(chan string, 100)
	for i := range 100 { // the first ones wait for the connection
		c.InvokeAsync(s.Addr().String(), protocol.NewRequest(1).SetBody(fmt.Append(nil, i)), func(cmd *protocol.Command, err error) {
			if err != nil {
				got <- err.Error()
				return
			}
			got <- string(cmd.Body)
		})
	}
	seen := map[string]bool{}
	for range 100 {
		seen[<-got] = true
	}
	require.Len(t, seen, 100)
	require.True(t, seen["0"] && seen["99"], "%v", seen)
}

func TestClientDialFailure(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	ln.Close()
	c := startClient(t, ClientConfig{})
	_, err = c.Invoke(t.Context(), addr, protocol.NewRequest(1))
	require.ErrorIs(t, err, ErrDial)
	require.ErrorContains(t, err, addr)
	require.ErrorIs(t, c.Oneway(t.Context(), addr, protocol.NewRequest(1)), ErrDial)
	async := make(chan error, 1)
	c.InvokeAsync(addr, protocol.NewRequest(1), func(_ *protocol.Command, err error) { async <- err })
	require.ErrorIs(t, <-async, ErrDial)
}

// A lost connection fails all that waits on it, and the next call dials again.
func TestClientLossAndRedial(t *testing.T) {
	calls := make(chan Call, 10)
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		if string(req.Body) == "hold" {
			calls <- call
			return
		}
		echo(call, req)
	}})
	lost := make(chan string, 10)
	c := startClient(t, ClientConfig{OnClose: func(addr string, conn *Conn) { lost <- addr }})
	addr := s.Addr().String()
	errs := make(chan error, 5)
	for range 5 {
		c.InvokeAsync(addr, protocol.NewRequest(1).SetBody([]byte("hold")), func(_ *protocol.Command, err error) { errs <- err })
	}
	var conn *Conn
	for range 5 {
		conn = (<-calls).Conn()
	}
	conn.Close()
	for range 5 {
		require.ErrorIs(t, <-errs, ErrConnClosed)
	}
	require.Equal(t, addr, <-lost)
	require.Equal(t, "x", string(invoke(t, c, addr, protocol.NewRequest(1).SetBody([]byte("x"))).Body))
}

// A port that somebody holds takes connections, and nobody answers.
func TestClientDisconnectsFromASilentPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c := startClient(t, ClientConfig{})
	errs := make(chan error, 1)
	c.InvokeAsync(ln.Addr().String(), protocol.NewRequest(1), func(_ *protocol.Command, err error) { errs <- err })
	require.Eventually(t, func() bool { return c.established(ln.Addr().String()) != nil }, 10*time.Second, time.Millisecond)
	c.DisconnectSilent(ln.Addr().String())
	require.ErrorIs(t, <-errs, ErrConnClosed)

	calls := make(chan Call, 1)
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		if string(req.Body) == "hold" {
			calls <- call
			return
		}
		echo(call, req)
	}})
	addr := s.Addr().String()
	invoke(t, c, addr, protocol.NewRequest(1))
	c.InvokeAsync(addr, protocol.NewRequest(1).SetBody([]byte("hold")), func(_ *protocol.Command, err error) { errs <- err })
	call := <-calls
	c.DisconnectSilent(addr)
	call.Reply(&protocol.Response{})
	require.NoError(t, <-errs, "one that has answered before may answer yet")
}

func TestClientTimeouts(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: func(Call, *protocol.Command) {}})
	c := startClient(t, ClientConfig{InvokeTimeout: 500 * time.Millisecond})
	_, err := c.Invoke(t.Context(), s.Addr().String(), protocol.NewRequest(1))
	require.ErrorIs(t, err, ErrTimeout, "a default deadline")
	async := make(chan error, 1)
	c.InvokeAsync(s.Addr().String(), protocol.NewRequest(1), func(_ *protocol.Command, err error) { async <- err })
	require.ErrorIs(t, <-async, ErrTimeout)
	require.Equal(t, 1, s.Conns(), "a timeout costs no connection")
}

func TestClientServesServerRequests(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		call.Conn().InvokeAsync(protocol.NewRequest(req.Code).SetBody([]byte("from server")), 5*time.Second, func(cmd *protocol.Command, err error) {
			if err != nil {
				call.Fail(protocol.StatusSystemError, "%v", err)
				return
			}
			call.Reply(&protocol.Response{Code: cmd.Code, Remark: cmd.Remark, Body: cmd.Body})
		})
	}})
	plain := startClient(t, ClientConfig{})
	resp := invoke(t, plain, s.Addr().String(), protocol.NewRequest(40))
	require.Equal(t, protocol.StatusRequestCodeNotSupported, resp.Code)
	require.Equal(t, " request type 40 not supported", resp.Remark)
	serving := startClient(t, ClientConfig{Handler: echo})
	require.Equal(t, "from server", string(invoke(t, serving, s.Addr().String(), protocol.NewRequest(40)).Body))
}

func TestClientClose(t *testing.T) {
	held := make(chan struct{}, 1)
	s := startServer(t, ServerConfig{Handler: func(Call, *protocol.Command) { held <- struct{}{} }})
	c := NewClient(ClientConfig{})
	errs := make(chan error, 1)
	c.InvokeAsync(s.Addr().String(), protocol.NewRequest(1), func(_ *protocol.Command, err error) { errs <- err })
	<-held
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-errs, ErrConnClosed)
	_, err := c.Invoke(t.Context(), s.Addr().String(), protocol.NewRequest(1))
	require.ErrorIs(t, err, ErrClientClosed)
	require.NoError(t, c.Close())
	require.NoError(t, NewClient(ClientConfig{}).Close(), "never used")
}

// A server that reads nothing makes requests fail, not pile up.
func TestClientOutQueueBound(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c := startClient(t, ClientConfig{OutBytesMax: 1 << 20})
	req := protocol.NewRequest(1).SetBody(make([]byte, 256<<10))
	var full error
	for range 200 {
		if full = c.Oneway(t.Context(), ln.Addr().String(), req); full != nil {
			break
		}
	}
	require.ErrorIs(t, full, ErrOutQueueFull)
}

func TestClientCanceledDial(t *testing.T) {
	c := startClient(t, ClientConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Invoke(ctx, "127.0.0.1:1", protocol.NewRequest(1))
	require.ErrorIs(t, err, ErrDial)
}

// The server's path of a small request (decode, handler, answer) allocates nothing.
func TestServerAllocatesNothing(t *testing.T) {
	if raceEnabled {
		return // the race detector's pools drop items on purpose
	}
	h := &protocol.SendResponseHeader{Stored: true, MsgID: []byte("7F000001000051AF0000000000000000")}
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		var send protocol.SendHeader
		if err := send.Decode(req); err != nil {
			call.Fail(protocol.StatusSystemError, "%v", err)
			return
		}
		req.Release()
		call.Reply(&protocol.Response{Header: h})
	}})
	p := dialRaw(t, s)
	frame, err := protocol.NewRequest(protocol.CodeSendMessageV2).SetHeader(&protocol.SendHeader{
		Topic: []byte("T"), Properties: []byte("KEYS\x01k\x02")}).SetBody(make([]byte, 128)).AppendFrame(nil)
	require.NoError(t, err)
	p.write(frame)
	require.Equal(t, protocol.StatusSuccess, p.read().Code)
	p.write(frame)
	answer, err := p.r.Peek(4)
	require.NoError(t, err)
	buf := make([]byte, 4+binary.BigEndian.Uint32(answer))
	_, err = io.ReadFull(p.r, buf)
	require.NoError(t, err)
	n := testing.AllocsPerRun(2000, func() {
		if _, err := p.nc.Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p.r, buf); err != nil {
			t.Fatal(err)
		}
	})
	require.Less(t, n, 0.5)
}

// 512 requests outstanding over 8 connections.
func BenchmarkEcho(b *testing.B) {
	h := &protocol.SendResponseHeader{Stored: true, MsgID: []byte("7F000001000051AF0000000000000000")}
	s := startServer(b, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		req.Release()
		call.Reply(&protocol.Response{Header: h})
	}})
	send := &protocol.SendHeader{ProducerGroup: []byte("group"), Topic: []byte("TopicTest"), DefaultTopic: []byte("TBW102"),
		DefaultTopicQueueNums: 4, BornTimestamp: 1700000000000, MaxReconsumeTimes: -1,
		Properties: []byte("KEYS\x01order-12345\x02UNIQ_KEY\x017F0000010F2C18B4AAC2123456780000\x02WAIT\x01true")}
	req := protocol.NewRequest(protocol.CodeSendMessageV2).SetHeader(send).SetBody(make([]byte, 128))
	const conns, outstanding = 8, 512
	clients := make([]*Client, conns)
	for i := range clients {
		clients[i] = startClient(b, ClientConfig{})
		resp, err := clients[i].Invoke(b.Context(), s.Addr().String(), req)
		require.NoError(b, err)
		resp.Release()
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for i := range outstanding {
		c := clients[i%conns].established(s.Addr().String())
		wg.Add(1)
		var next func(cmd *protocol.Command, err error)
		next = func(cmd *protocol.Command, err error) {
			if err != nil {
				b.Error(err)
			}
			cmd.Release()
			if left.Add(-1) < 0 {
				wg.Done()
				return
			}
			c.InvokeAsync(req, 10*time.Second, next)
		}
		next(nil, nil)
	}
	wg.Wait()
}
