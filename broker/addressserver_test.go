package broker_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/namesrv"
)

// addressServer serves a list that a test changes.
type addressServer struct {
	list atomic.Value
	host string
}

func newAddressServer(t *testing.T, list string) *addressServer {
	s := &addressServer{}
	s.list.Store(list)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/rocketmq/nsaddr" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(s.list.Load().(string)))
	}))
	t.Cleanup(srv.Close)
	s.host = strings.TrimPrefix(srv.URL, "http://")
	return s
}

func knows(srv *namesrv.Server) func() bool {
	return func() bool { _, addrs, _ := srv.Table().Counts(); return addrs == 1 }
}

// TestNameServersFromAnAddressServer starts a broker that is told no name server, and
// changes the list while it runs.
func TestNameServersFromAnAddressServer(t *testing.T) {
	t.Parallel()
	first, addr := startNamesrv(t, "127.0.0.1:0")
	second, more := startNamesrv(t, "127.0.0.1:0")
	web := newAddressServer(t, addr+"\nthe rest is not read\n")
	c := testcluster.Start(t, testcluster.Options{NoNamesrv: true, Settings: map[string]string{
		"fetchNamesrvAddrByAddressServer": "true", "rmqAddressServerDomain": web.host}})
	require.Eventually(t, knows(first), 10*time.Second, 5*time.Millisecond)
	require.False(t, knows(second)())

	b := c.Nodes[0].Broker
	for _, useless := range []string{"", "<html>please log in</html>"} {
		web.list.Store(useless)
		b.AskForNameServers()
	}
	web.list.Store(addr + ";" + more)
	b.AskForNameServers()
	require.Eventually(t, knows(second), 10*time.Second, 5*time.Millisecond, "the changed list was not taken")
	require.True(t, knows(first)())
}

// TestAConfiguredNameServerIsKept: who is told a list does not look for one.
func TestAConfiguredNameServerIsKept(t *testing.T) {
	t.Parallel()
	first, addr := startNamesrv(t, "127.0.0.1:0")
	var asked atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	t.Cleanup(srv.Close)
	testcluster.Start(t, testcluster.Options{NoNamesrv: true, Settings: map[string]string{
		"fetchNamesrvAddrByAddressServer": "true", "rmqAddressServerDomain": strings.TrimPrefix(srv.URL, "http://"), "namesrvAddr": addr}})
	require.Eventually(t, knows(first), 10*time.Second, 5*time.Millisecond)
	require.False(t, asked.Load())
}

func TestAddressServerNeedsAHost(t *testing.T) {
	t.Parallel()
	cfg := broker.DefaultConfig()
	cfg.FetchNamesrv = true
	require.ErrorContains(t, cfg.Validate(), "rmqAddressServerDomain")
	cfg.AddressServer = "http://x/"
	require.ErrorContains(t, cfg.Validate(), "HOST or HOST:PORT")
	cfg.AddressServer = "addresses.example.org"
	require.NoError(t, cfg.Validate())
}
