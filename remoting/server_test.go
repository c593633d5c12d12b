package remoting

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestAnswersBothSerializeForms(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := startClient(t, ClientConfig{})
	for _, form := range []protocol.Serialize{protocol.SerializeJSON, protocol.SerializeROCKETMQ} {
		for _, size := range []int{0, 1, outInlineMax, outInlineMax + 1, 300_000, 5 << 20} {
			body := bytes.Repeat([]byte{'x'}, size)
			req := protocol.NewRequest(34).SetField("topic", "T\x01").SetBody(body)
			req.Serialize = form
			resp := invoke(t, c, s.Addr().String(), req)
			require.Equal(t, form, resp.Serialize, "answered in kind")
			require.True(t, resp.IsResponse())
			require.Equal(t, protocol.Version, resp.Version)
			require.Equal(t, "T\x01", resp.Str("topic"))
			require.True(t, bytes.Equal(body, resp.Body), "body of %d bytes", size)
			resp.Release()
		}
	}
}

func TestPipelinedAnswersOutOfOrder(t *testing.T) {
	const n = 200
	var mu sync.Mutex
	var held []Call
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		mu.Lock()
		held = append(held, call)
		if len(held) < n {
			mu.Unlock()
			return
		}
		calls := held
		mu.Unlock()
		rand.Shuffle(n, func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
		for _, call := range calls {
			call.Reply(&protocol.Response{Body: fmt.Append(nil, call.Opaque())})
		}
	}})
	p := dialRaw(t, s)
	var all []byte
	for i := range int32(n) {
		all = append(all, frameOf(t, i-100, 0, "")...) // negative opaques too
	}
	p.write(all)
	seen := map[int32]bool{}
	for range n {
		resp := p.read()
		require.Equal(t, fmt.Sprint(resp.Opaque), string(resp.Body))
		seen[resp.Opaque] = true
	}
	require.Len(t, seen, n)
}

func TestOnewayIsNeverAnswered(t *testing.T) {
	var released atomic.Int32
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		if call.Oneway() && string(req.Body) == "panic" {
			panic("on purpose")
		}
		call.Reply(&protocol.Response{Body: req.Body, Release: func() { released.Add(1) }})
	}})
	p := dialRaw(t, s)
	p.request(1, protocol.FlagOneway, "a")
	p.request(2, protocol.FlagOneway, "panic")
	p.request(3, protocol.FlagOneway, "b")
	p.request(4, 0, "c")
	require.Equal(t, int32(4), p.read().Opaque)
	require.Eventually(t, func() bool { return released.Load() == 3 }, 5*time.Second, time.Millisecond)
}

func TestOutcomesAreTold(t *testing.T) {
	told := make(chan Outcome, 10)
	s := startServer(t, ServerConfig{
		Answered: func(o Outcome) { told <- o },
		Handler: func(call Call, req *protocol.Command) {
			if req.Code == 11 {
				call = call.Held()
			}
			call.Reply(&protocol.Response{Code: req.Code % 10})
		},
	})
	c := startClient(t, ClientConfig{})
	invoke(t, c, s.Addr().String(), protocol.NewRequest(310)).Release()
	resp, err := c.Invoke(context.Background(), s.Addr().String(), protocol.NewRequest(11))
	require.NoError(t, err)
	resp.Release()
	require.NoError(t, c.Oneway(context.Background(), s.Addr().String(), protocol.NewRequest(15)))
	for _, want := range []Outcome{{Code: 310}, {Code: 11, Status: 1, Held: true}, {Code: 15, Status: 5, Oneway: true}} {
		got := <-told
		require.Positive(t, got.Took)
		got.Took = 0
		require.Equal(t, want, got)
	}
}

func TestUnknownResponseIsDropped(t *testing.T) {
	s := startServer(t, ServerConfig{})
	p := dialRaw(t, s)
	p.request(1, protocol.FlagResponse, "nobody asked")
	p.request(2, 0, "alive")
	require.Equal(t, "alive", string(p.read().Body))
}

func TestPanicIsAnsweredOnce(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		switch string(req.Body) {
		case "before":
			panic("on purpose")
		case "after":
			call.Reply(&protocol.Response{Remark: "answered"})
			panic("on purpose")
		}
		echo(call, req)
	}})
	p := dialRaw(t, s)
	p.request(1, 0, "before")
	p.request(2, 0, "after")
	p.request(3, 0, "fine")
	require.Equal(t, protocol.StatusSystemError, p.read().Code)
	require.Equal(t, "answered", p.read().Remark)
	require.Equal(t, "fine", string(p.read().Body), "no second answer to 2, and the connection lives")
}

func TestBadFramesCloseOnlyTheirConnection(t *testing.T) {
	s := startServer(t, ServerConfig{MaxFrame: 1 << 20})
	good := dialRaw(t, s)
	for name, frame := range map[string][]byte{
		"2 GiB length":            {0x00, 0xFF, 0xFF, 0xFF, 0, 0, 0, 2, '{', '}'},
		"huge length":             {0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 2, '{', '}'},
		"negative length":         {0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 2},
		"zero length":             {0, 0, 0, 0},
		"one above the limit":     binary.BigEndian.AppendUint32(nil, 1<<20-3),
		"header beyond the frame": {0, 0, 0, 6, 0, 0, 0, 9, '{', '}'},
		"unknown serialize type":  {0, 0, 0, 6, 7, 0, 0, 2, '{', '}'},
		"no JSON":                 {0, 0, 0, 6, 0, 0, 0, 2, '!', '}'},
		"short binary":            {0, 0, 0, 6, 1, 0, 0, 2, 0, 0},
		"TLS hello":               {0x16, 3, 1, 0, 5},
	} {
		t.Run(name, func(t *testing.T) {
			p := dialRaw(t, s)
			p.write(frame)
			p.requireClosed()
		})
	}
	good.request(9, 0, "still here")
	require.Equal(t, "still here", string(good.read().Body))
}

func TestLargestFrame(t *testing.T) {
	s := startServer(t, ServerConfig{MaxFrame: 1 << 20, Handler: func(call Call, req *protocol.Command) {
		call.Reply(&protocol.Response{Body: fmt.Append(nil, len(req.Body))})
	}})
	p := dialRaw(t, s)
	overhead := len(frameOf(t, 1, 0, ""))
	p.request(1, 0, strings.Repeat("x", 1<<20-overhead))
	require.Equal(t, fmt.Sprint(1<<20-overhead), string(p.read().Body))
}

func TestRandomBytesNeverStopTheServer(t *testing.T) {
	s := startServer(t, ServerConfig{})
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p := dialRaw(t, s)
		b := frameOf(t, 1, 0, "body")
		if seed%2 == 0 {
			for range 1 + rnd.IntN(5) { // a frame with a few bytes changed
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
		} else {
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
		}
		_, _ = p.nc.Write(b)
		p.nc.Close()
	}
	p := dialRaw(t, s)
	p.request(1, 0, "alive")
	require.Equal(t, "alive", string(p.read().Body))
	require.Eventually(t, func() bool { return s.Conns() == 1 }, 5*time.Second, time.Millisecond)
}

// A million fields in one header: answered with an error, and the connection goes on.
func TestAMillionFields(t *testing.T) {
	s := startServer(t, ServerConfig{})
	p := dialRaw(t, s)
	header := `{"code":1,"extFields":{"a":"b"` + strings.Repeat(`,"a":"b"`, 1_000_000) + `},"flag":0,"opaque":5}`
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	p.write(append(frame, header...))
	resp := p.read()
	require.Equal(t, int32(5), resp.Opaque)
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "too many header fields")
	p.request(6, 0, "alive")
	require.Equal(t, "alive", string(p.read().Body))
}

// Lengths that were only announced must not cost memory.
func TestAnnouncedLengthsCostNothing(t *testing.T) {
	s := startServer(t, ServerConfig{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 50 {
		dialRaw(t, s).write([]byte{0x00, 0xFF, 0xFF, 0x00, 0, 0, 0, 2, '{', '}'}) // almost 16 MiB
	}
	require.Eventually(t, func() bool { return s.Conns() == 50 }, 5*time.Second, time.Millisecond)
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.TotalAlloc-before.TotalAlloc), int64(50<<20), "50 × 16 MiB announced")
}

func TestHTTPVisitorGetsAPage(t *testing.T) {
	s := startServer(t, ServerConfig{Name: "the broker n0"})
	for _, first := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /x HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		p := dialRaw(t, s)
		p.write([]byte(first))
		page, err := io.ReadAll(p.r)
		require.NoError(t, err)
		require.Contains(t, string(page), "HTTP/1.0 400")
		require.Contains(t, string(page), "the broker n0")
	}
}

func TestSlowLorisIsClosed(t *testing.T) {
	s := startServer(t, ServerConfig{FrameTimeout: 100 * time.Millisecond})
	p := dialRaw(t, s)
	frame := frameOf(t, 1, 0, "body")
	p.write(frame[:len(frame)-1])
	p.requireClosed()
	// One that never begins a frame is left alone by this timeout.
	quiet := dialRaw(t, s)
	dialRaw(t, s).requireClosedAfter(func(p *rawPeer) { p.write(frame[:2]) })
	quiet.request(1, 0, "alive")
	require.Equal(t, "alive", string(quiet.read().Body))
}

func (p *rawPeer) requireClosedAfter(do func(*rawPeer)) {
	p.t.Helper()
	do(p)
	p.requireClosed()
}

func TestIdleConnectionIsClosed(t *testing.T) {
	gone := make(chan *Conn, 2)
	s := startServer(t, ServerConfig{IdleTimeout: 500 * time.Millisecond, OnClose: func(c *Conn) { gone <- c }})
	idle, busy := dialRaw(t, s), dialRaw(t, s)
	var c *Conn
	for c == nil {
		busy.request(1, 0, "x")
		busy.read()
		select {
		case c = <-gone:
		default:
		}
	}
	require.ErrorIs(t, c.Err(), ErrConnClosed)
	require.ErrorIs(t, c.Err(), errIdle)
	require.Equal(t, idle.nc.LocalAddr().String(), c.RemoteAddr().String())
	idle.requireClosed()
	busy.requireClosed() // now that it is idle too
}

func TestPeerClosingMidRequest(t *testing.T) {
	calls := make(chan Call, 1)
	gone := make(chan *Conn, 1)
	s := startServer(t, ServerConfig{
		Handler: func(call Call, req *protocol.Command) { calls <- call },
		OnClose: func(c *Conn) { gone <- c },
	})
	p := dialRaw(t, s)
	p.request(1, 0, "x")
	call := <-calls
	p.nc.Close()
	require.Same(t, call.Conn(), <-gone)
	released := false
	call.Reply(&protocol.Response{Body: make([]byte, 1<<20), Release: func() { released = true }})
	require.True(t, released, "an answer to a gone peer is dropped and released")
	require.ErrorIs(t, call.Conn().Err(), io.EOF)
	<-call.Conn().Done()
}

// A peer that does not read stops only itself, then is closed at the bound.
func TestBackPressureAndOutBound(t *testing.T) {
	var handled, released atomic.Int64
	body := make([]byte, 64<<10)
	s := startServer(t, ServerConfig{OutBytesMax: 1 << 20, Handler: func(call Call, req *protocol.Command) {
		handled.Add(1)
		req.Release()
		call.Reply(&protocol.Response{Body: body, Release: func() { released.Add(1) }})
	}})
	p := dialRaw(t, s)
	const n = 2000
	go func() { // the server stops reading, so this blocks until the peer reads below
		var all []byte
		for i := range int32(n) {
			all = append(all, frameOf(t, i, 0, "")...)
		}
		_, _ = p.nc.Write(all)
	}()
	settled := func() bool {
		was := handled.Load()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
		}
		return was > 0 && handled.Load() == was
	}
	require.Eventually(t, settled, 10*time.Second, time.Millisecond)
	require.Less(t, handled.Load(), int64(n), "reading has stopped")

	other := dialRaw(t, s)
	other.request(1, 0, "")
	require.Len(t, other.read().Body, len(body), "others are served meanwhile")

	for range n {
		require.Len(t, p.read().Body, len(body))
	}
	require.Eventually(t, func() bool { return released.Load() == n+1 }, 5*time.Second, time.Millisecond)
}

func TestOutQueueHardBound(t *testing.T) {
	calls := make(chan Call, 1000)
	var released atomic.Int64
	s := startServer(t, ServerConfig{OutBytesMax: 1 << 20, Handler: func(call Call, req *protocol.Command) { calls <- call }})
	p := dialRaw(t, s)
	const n = 300
	for i := range int32(n) {
		p.request(i, 0, "")
	}
	var held []Call // all accepted before the first answer, as held pulls are
	for range n {
		held = append(held, <-calls)
	}
	conn := held[0].Conn()
	body := make([]byte, 256<<10)
	for _, call := range held { // 75 MiB
		call.Reply(&protocol.Response{Body: body, Release: func() { released.Add(1) }})
	}
	<-conn.Done()
	require.ErrorIs(t, conn.Err(), errOutBytes)
	require.Eventually(t, func() bool { return released.Load() == n }, 5*time.Second, time.Millisecond, "nothing is leaked")
}

func TestInFlightBound(t *testing.T) {
	calls := make(chan Call, 100)
	var open, most atomic.Int32
	s := startServer(t, ServerConfig{MaxInFlight: 10, Handler: func(call Call, req *protocol.Command) {
		most.Store(max(most.Load(), open.Add(1)))
		calls <- call
	}})
	p := dialRaw(t, s)
	for i := range int32(30) {
		p.request(i, 0, "")
	}
	require.Eventually(t, func() bool { return len(calls) == 10 }, 5*time.Second, time.Millisecond)
	for range 30 {
		call := <-calls
		open.Add(-1)
		call.Fail(protocol.StatusSystemBusy, "busy")
	}
	for range 30 {
		require.Equal(t, protocol.StatusSystemBusy, p.read().Code)
	}
	require.Equal(t, int32(10), most.Load())
}

func TestTooLargeAnswerIsReplaced(t *testing.T) {
	s := startServer(t, ServerConfig{MaxFrame: 1 << 20, Handler: func(call Call, req *protocol.Command) {
		call.Reply(&protocol.Response{Body: make([]byte, 1<<20)})
	}})
	p := dialRaw(t, s)
	p.request(1, 0, "")
	resp := p.read()
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "frame limit")
}

func TestConnectionLimit(t *testing.T) {
	s := startServer(t, ServerConfig{MaxConns: 2})
	a, b := dialRaw(t, s), dialRaw(t, s)
	a.request(1, 0, "a")
	a.read()
	b.request(1, 0, "b")
	b.read()
	dialRaw(t, s).requireClosed()
	a.nc.Close()
	require.Eventually(t, func() bool { return s.Conns() == 1 }, 5*time.Second, time.Millisecond)
	c := dialRaw(t, s)
	c.request(1, 0, "c")
	require.Equal(t, "c", string(c.read().Body))
}

// flakyListener runs out of descriptors a few times.
type flakyListener struct {
	net.Listener
	failures atomic.Int32
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAcceptErrorsPass(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	flaky := &flakyListener{Listener: ln}
	flaky.failures.Store(3)
	s, err := NewServer(ServerConfig{Listener: flaky, Handler: echo})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	defer s.Close()
	p := dialRaw(t, s)
	p.request(1, 0, "x")
	require.Equal(t, "x", string(p.read().Body))
}

func TestCloseFlushesAnswers(t *testing.T) {
	s := startServer(t, ServerConfig{})
	p := dialRaw(t, s)
	p.request(1, 0, strings.Repeat("x", 100_000))
	require.Len(t, p.read().Body, 100_000)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice is once")
	p.requireClosed()
	require.ErrorIs(t, s.Start(), ErrServerClosed)
	_, err := net.Dial("tcp", s.Addr().String())
	require.Error(t, err)
}

func TestNewServerChecksItsConfig(t *testing.T) {
	_, err := NewServer(ServerConfig{Addr: "127.0.0.1:0"})
	require.Error(t, err)
	_, err = NewServer(ServerConfig{Handler: echo})
	require.Error(t, err)
	s, err := NewServer(ServerConfig{Handler: echo, Addr: "127.0.0.1:99999"})
	require.NoError(t, err)
	require.Error(t, s.Start())
	require.NoError(t, s.Close())
}

func TestComplaintsAreLimited(t *testing.T) {
	var out bytes.Buffer
	l := limitedLog{log: hclog.New(&hclog.LoggerOptions{Output: &out})}
	for range 100 {
		l.warn("bad peer")
	}
	require.Equal(t, 1, strings.Count(out.String(), "bad peer"))
}

func TestNewCall(t *testing.T) {
	var got *protocol.Response
	call := NewCall(nil, protocol.NewRequest(10), func(r *protocol.Response) { got = r })
	call.Fail(protocol.StatusSystemBusy, "n=%d", 1)
	require.Equal(t, "n=1", got.Remark)
	require.Equal(t, int32(10), call.Code())
}

// Requests that the server starts have their own opaques on the same connection.
func TestServerInitiatedRequests(t *testing.T) {
	type result struct {
		cmd *protocol.Command
		err error
	}
	done := make(chan result, 10)
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) {
		// Ask back before answering; the handler itself must not wait.
		call.Conn().InvokeAsync(protocol.NewRequest(309).SetBody([]byte("back")), 5*time.Second, func(cmd *protocol.Command, err error) {
			done <- result{cmd, err}
			call.Reply(&protocol.Response{Remark: "after"})
		})
	}})
	p := dialRaw(t, s)
	p.request(1, 0, "")
	back := p.read()
	require.Equal(t, int32(309), back.Code)
	require.Equal(t, int32(1), back.Opaque, "the same number, yet another space")
	require.False(t, back.IsResponse())
	p.request(back.Opaque, protocol.FlagResponse, "reply")
	r := <-done
	require.NoError(t, r.err)
	require.Equal(t, "reply", string(r.cmd.Body))
	require.Equal(t, "after", p.read().Remark)

	// Unanswered: fails at the end of the connection, not after its timeout.
	p.request(2, 0, "")
	p.read()
	p.nc.Close()
	require.ErrorIs(t, (<-done).err, ErrConnClosed)
}

func TestServerInitiatedTimeout(t *testing.T) {
	done := make(chan error, 1)
	s := startServer(t, ServerConfig{IdleTimeout: time.Second, Handler: func(call Call, req *protocol.Command) {
		call.Conn().InvokeAsync(protocol.NewRequest(307), 50*time.Millisecond, func(_ *protocol.Command, err error) { done <- err })
		require.NoError(t, call.Conn().Oneway(protocol.NewRequest(40)))
		call.Reply(&protocol.Response{})
	}})
	p := dialRaw(t, s)
	p.request(1, 0, "")
	require.Equal(t, int32(307), p.read().Code)
	notify := p.read()
	require.Equal(t, int32(40), notify.Code)
	require.True(t, notify.IsOneway())
	require.True(t, p.read().IsResponse(), "in the order they were queued")
	require.ErrorIs(t, <-done, ErrTimeout)
}

func TestConnInvokeContext(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := startServer(t, ServerConfig{Handler: func(call Call, req *protocol.Command) { conns <- call.Conn() }})
	p := dialRaw(t, s)
	p.request(1, 0, "")
	conn := <-conns
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := conn.Invoke(ctx, protocol.NewRequest(307))
	require.ErrorIs(t, err, ErrTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	canceled, stop := context.WithCancel(t.Context())
	stop()
	_, err = conn.Invoke(canceled, protocol.NewRequest(307))
	require.ErrorIs(t, err, context.Canceled)
	conn.Close()
	_, err = conn.Invoke(t.Context(), protocol.NewRequest(307))
	require.ErrorIs(t, err, ErrConnClosed)
	require.ErrorIs(t, conn.Oneway(protocol.NewRequest(40)), ErrConnClosed)
	answered := make(chan error, 1) // by whoever closes the connection, perhaps later
	conn.InvokeAsync(protocol.NewRequest(307), time.Second, func(_ *protocol.Command, err error) { answered <- err })
	require.ErrorIs(t, <-answered, ErrConnClosed)
}
