package testcluster

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/namesrv"
)

// Options say what to start. The zero value is a name server and a group of
// one.
type Options struct {
	// Nodes is the number of members; 0 is 1.
	Nodes int
	// Settings are keys of broker.conf for all members.
	Settings map[string]string
	// NoNamesrv leaves the name server out.
	NoNamesrv bool
	// Links lets members be cut off from their clients, see Node.Mute.
	Links bool
	// Verbose sends the log of all parts to the test's log.
	Verbose bool
}

// Cluster is a running name server and its broker group.
type Cluster struct {
	// Namesrv is the name server's address, "" without one.
	Namesrv string
	// Nodes are the members n0, n1 and so on.
	Nodes []*Node

	t       testing.TB
	opts    Options
	namesrv *namesrv.Server
}

// Node is one member of the group.
type Node struct {
	// ID is the member's name in the Raft group, Addr its address for clients,
	// which a restart keeps.
	ID, Addr string
	// Broker is nil while the member is stopped.
	Broker *broker.Broker

	c    *Cluster
	raft string
	dir  string
	link link
}

// startTimeout is generous because tests share their machine.
const startTimeout = 30 * time.Second

// Start runs a cluster until the test ends and waits for its leader.
func Start(t testing.TB, opts Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, opts: opts}
	root := t.TempDir() // before Cleanup, so that it is removed after the members are gone
	t.Cleanup(c.stop)
	if !opts.NoNamesrv {
		c.startNamesrv()
	}
	raftListeners := make([]net.Listener, max(opts.Nodes, 1))
	for i := range raftListeners {
		raftListeners[i] = listen(t, "127.0.0.1:0")
		c.Nodes = append(c.Nodes, &Node{
			ID: fmt.Sprintf("n%d", i), c: c, raft: raftListeners[i].Addr().String(), dir: filepath.Join(root, fmt.Sprintf("n%d", i)),
		})
	}
	for i, n := range c.Nodes {
		n.start(listen(t, "127.0.0.1:0"), raftListeners[i])
	}
	c.Leader()
	return c
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	return l
}

func (c *Cluster) logger(name string) hclog.Logger {
	if !c.opts.Verbose {
		return nil
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Debug, Output: logWriter{c.t}})
}

// logWriter writes log lines to a test's log.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

func (c *Cluster) startNamesrv() {
	cfg := namesrv.DefaultConfig()
	cfg.KVConfigPath, cfg.ConfigStorePath = "", ""
	cfg.Listener = listen(c.t, "127.0.0.1:0")
	cfg.Logger = c.logger("namesrv")
	c.Namesrv = cfg.Listener.Addr().String()
	srv, err := namesrv.New(cfg)
	require.NoError(c.t, err)
	require.NoError(c.t, srv.Start(context.Background()))
	c.namesrv = srv
}

// peers is the value of dLegerPeers.
func (c *Cluster) peers() string {
	parts := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		parts[i] = n.ID + "-" + n.raft
	}
	return strings.Join(parts, ";")
}

// start runs the member on the given listeners.
func (n *Node) start(main, raft net.Listener) {
	t := n.c.t
	t.Helper()
	set, err := broker.NewSettings()
	require.NoError(t, err)
	values := map[string]string{
		"brokerClusterName": "test-cluster", "brokerName": "broker-a", "brokerIP1": "127.0.0.1",
		"storePathRootDir": n.dir, "mappedFileSizeCommitLog": "16777216", "flushDiskType": "ASYNC_FLUSH",
		"enableDLegerCommitLog": "true", "dLegerGroup": "broker-a", "dLegerPeers": n.c.peers(), "dLegerSelfId": n.ID,
		"namesrvAddr": n.c.Namesrv, "shutdownDrainTime": "0",
	}
	maps.Copy(values, n.c.opts.Settings)
	warnings, err := set.Load(values, "test")
	require.NoError(t, err)
	require.Empty(t, warnings)
	n.Addr = main.Addr().String()
	if n.c.opts.Links {
		n.link.reset(main)
		main = &n.link
	}
	b, err := broker.New(broker.Options{
		Settings: set, Logger: n.c.logger(n.ID), Listener: main, RaftListener: raft,
		Exit: func(err error) { t.Errorf("member %s: %v", n.ID, err) },
	})
	require.NoError(t, err)
	require.NoError(t, b.Start(context.Background()))
	n.Broker = b
}

// Stop ends the member as SIGTERM would.
func (n *Node) Stop() {
	n.c.t.Helper()
	if n.Broker != nil {
		require.NoError(n.c.t, n.Broker.Close())
		n.Broker = nil
	}
}

// Restart starts a stopped member on its old addresses and store.
func (n *Node) Restart() {
	n.c.t.Helper()
	n.start(listen(n.c.t, n.Addr), listen(n.c.t, n.raft))
}

// Leader waits until a running member leads, is announced to all others and
// registered, and returns it.
func (c *Cluster) Leader() *Node {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var leader *Node
	require.Eventually(c.t, func() bool {
		leader = nil
		for _, n := range c.Nodes {
			if n.Broker != nil && n.Broker.Status().Ready {
				leader = n
			}
		}
		return leader != nil
	}, startTimeout, 5*time.Millisecond, "no leader")
	for _, n := range c.Nodes {
		if n.Broker != nil {
			require.NoError(c.t, n.Broker.WaitReady(ctx))
		}
	}
	return leader
}

// Follower returns a running member that does not lead.
func (c *Cluster) Follower() *Node {
	c.t.Helper()
	leader := c.Leader()
	for _, n := range c.Nodes {
		if n.Broker != nil && n != leader {
			return n
		}
	}
	require.Fail(c.t, "no follower is running")
	return nil
}

// stop ends everything, followers first so that nobody is elected meanwhile.
func (c *Cluster) stop() {
	for _, n := range c.Nodes {
		if n.Broker != nil && !n.Broker.Status().Ready {
			n.Stop()
		}
	}
	for _, n := range c.Nodes {
		n.Stop()
	}
	if c.namesrv != nil {
		require.NoError(c.t, c.namesrv.Close())
	}
}
