package broker_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/namesrv"
)

// startNamesrv starts a name server that knows nothing, on a port of its own or
// on a given one.
func startNamesrv(t *testing.T, addr string) (*namesrv.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	cfg := namesrv.DefaultConfig()
	cfg.Listener, cfg.KVConfigPath, cfg.ConfigStorePath, cfg.FS = l, "", "", vfs.NewMem()
	srv, err := namesrv.New(cfg)
	require.NoError(t, err)
	require.NoError(t, srv.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv, l.Addr().String()
}

// TestRestartedNameServerIsToldSoon does not wait for registerNameServerPeriod,
// which is 30 s: a name server keeps nothing over a restart.
func TestRestartedNameServerIsToldSoon(t *testing.T) {
	first, addr := startNamesrv(t, "127.0.0.1:0")
	testcluster.Start(t, testcluster.Options{NoNamesrv: true, Settings: map[string]string{"namesrvAddr": addr}})
	known := func(srv *namesrv.Server) func() bool {
		return func() bool { _, addrs, _ := srv.Table().Counts(); return addrs == 1 }
	}
	require.Eventually(t, known(first), 10*time.Second, 5*time.Millisecond)
	require.NoError(t, first.Close())
	second, _ := startNamesrv(t, addr)
	require.Eventually(t, known(second), 15*time.Second, 5*time.Millisecond, "the broker did not come back")
}

// TestLateNameServerIsToldSoon starts the broker first.
func TestLateNameServerIsToldSoon(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	testcluster.Start(t, testcluster.Options{NoNamesrv: true, Settings: map[string]string{"namesrvAddr": addr}})
	srv, _ := startNamesrv(t, addr)
	require.Eventually(t, func() bool { _, addrs, _ := srv.Table().Counts(); return addrs == 1 }, 15*time.Second, 5*time.Millisecond)
}
