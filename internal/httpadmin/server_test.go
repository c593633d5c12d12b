package httpadmin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// start serves on any port until the test ends.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Addr, cfg.Name = "127.0.0.1:0", "mqtest"
	s, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.Addr().String() + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestProbes(t *testing.T) {
	t.Parallel()
	var reason atomic.Pointer[error]
	s := start(t, Config{Ready: func() error {
		if p := reason.Load(); p != nil {
			return *p
		}
		return nil
	}})
	code, body := get(t, s, "/readyz")
	require.Equal(t, 200, code)
	require.Equal(t, "ok\n", body)
	why := errors.Join(errors.New("no leader"), errors.New("not registered"))
	reason.Store(&why)
	code, body = get(t, s, "/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, "no leader\nnot registered\n", body)
	code, body = get(t, s, "/livez")
	require.Equal(t, 200, code, "alive all the same")
	require.Equal(t, "ok\n", body)
	code, _ = get(t, s, "/")
	require.Equal(t, 200, code)
	for _, path := range []string{"/metrics", "/nothing"} {
		code, _ = get(t, s, path)
		require.Equal(t, 404, code, path)
	}
}

func TestProfilesOnlyWhenAllowed(t *testing.T) {
	t.Parallel()
	var on atomic.Bool
	s := start(t, Config{Pprof: on.Load})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1"} {
		code, body := get(t, s, path)
		require.Equal(t, 403, code, path)
		require.Contains(t, body, "pprofEnable")
	}
	on.Store(true)
	code, body := get(t, s, "/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, code)
	require.Contains(t, body, "goroutine profile")
}

func TestOnlyReads(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	resp, err := http.Post("http://"+s.Addr().String()+"/livez", "text/plain", nil)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	_, err := Start(Config{Addr: s.Addr().String(), PortKey: "metricsPromExporterPort"})
	require.ErrorIs(t, err, ErrPortInUse)
	require.ErrorContains(t, err, "metricsPromExporterPort")
	require.ErrorContains(t, err, s.Addr().String())
}

// endless is a listener to which somebody connects whenever it is asked.
type endless struct{ net.Listener }

func (endless) Accept() (net.Conn, error) {
	a, b := net.Pipe()
	b.Close()
	return a, nil
}

func (endless) Close() error { return nil }

func TestVisitorsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limit(endless{}, 2)
		accepted := make(chan net.Conn, 10)
		go func() {
			defer close(accepted)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted <- c
			}
		}()
		synctest.Wait()
		require.Len(t, accepted, 2, "the third waits")
		first := <-accepted
		require.NoError(t, first.Close())
		_ = first.Close()
		synctest.Wait()
		require.Len(t, accepted, 2, "closing twice frees one place only")
		require.NoError(t, l.Close())
		synctest.Wait()
		<-accepted
		<-accepted
		_, open := <-accepted
		require.False(t, open)
	})
}
