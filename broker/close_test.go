package broker_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

var longDrain = map[string]string{"shutdownDrainTime": "120000"}

// stopWithin stops a member and fails if that takes long.
func stopWithin(t *testing.T, n *testcluster.Node, limit time.Duration) {
	t.Helper()
	began := time.Now()
	n.Stop()
	require.Less(t, time.Since(began), limit)
}

// Only clients are waited for.
func TestStopWaitsForNobodyWithoutNeed(t *testing.T) {
	t.Parallel()
	const soon = 10 * time.Second
	t.Run("group of one with a client", func(t *testing.T) {
		t.Parallel()
		cluster, c := one(t, longDrain)
		c.createTopic("orders", 1, 6)
		stopWithin(t, cluster.Leader(), soon)
	})
	t.Run("no client", func(t *testing.T) {
		t.Parallel()
		cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: longDrain})
		stopWithin(t, cluster.Leader(), soon)
	})
	t.Run("follower whose client only beats", func(t *testing.T) {
		t.Parallel()
		cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: longDrain})
		n := cluster.Follower()
		newClient(t, n.Addr).heartbeat("me", "g", "*", "orders")
		stopWithin(t, n, soon)
	})
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: longDrain})
		for _, n := range cluster.Nodes {
			newClient(t, n.Addr).createTopic("orders", 1, 6)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for _, n := range cluster.Nodes {
			wg.Go(func() { require.NoError(t, n.Broker.Close()) })
		}
		wg.Wait()
		require.Less(t, time.Since(began), 2*soon)
		for _, n := range cluster.Nodes {
			n.Broker = nil
		}
	})
}

// While clients may take it for the leader a member stays, off the name servers,
// and leaves with the last of them.
func TestDrainEndsWithTheLastClient(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: longDrain})
	for name, n := range map[string]*testcluster.Node{"leader": cluster.Leader(), "follower": cluster.Follower()} {
		c := newClient(t, n.Addr)
		c.createTopic("orders", 1, 6)
		ns := newClient(t, cluster.Namesrv)
		stopped := make(chan error, 1)
		go func() { stopped <- n.Broker.Close() }()
		require.Eventually(t, func() bool {
			var info protocol.ClusterInfo
			require.NoError(t, info.Decode(ns.call(protocol.NewRequest(protocol.CodeGetBrokerCluster)).Body))
			for _, addr := range info.BrokerAddrTable["broker-a"].BrokerAddrs {
				if addr == n.Addr {
					return false
				}
			}
			return true
		}, waitFor, tick, name)
		for range 20 {
			c.send("orders", 0, "x")
		}
		require.Empty(t, stopped, name)
		require.NoError(t, c.rpc.Close())
		require.NoError(t, <-stopped, name)
		n.Broker = nil
		n.Restart()
		cluster.Leader()
	}
}

func TestHurryEndsTheDrain(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3, Settings: longDrain})
	leader := cluster.Leader()
	c := newClient(t, leader.Addr)
	c.createTopic("orders", 1, 6)
	stopped := make(chan error, 1)
	go func() { stopped <- leader.Broker.Close() }()
	require.Eventually(t, func() bool { return !leader.Broker.Status().Ready }, waitFor, tick)
	c.send("orders", 0, "still served")
	require.Empty(t, stopped)
	leader.Broker.Hurry()
	require.NoError(t, <-stopped)
	leader.Broker = nil
}
