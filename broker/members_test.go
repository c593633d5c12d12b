package broker_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func (c *client) members() *protocol.GroupMembers {
	c.t.Helper()
	resp := c.call(fields(protocol.CodeGroupMembers))
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
	var g protocol.GroupMembers
	require.NoError(c.t, g.Decode(resp.Body))
	return &g
}

func (c *client) step(h protocol.ChangeMembersHeader) (*protocol.MemberStep, *protocol.Command) {
	c.t.Helper()
	resp := c.call(protocol.NewRequest(protocol.CodeChangeMembers).SetHeader(&h))
	var s protocol.MemberStep
	if resp.Code == protocol.StatusSuccess {
		require.NoError(c.t, s.Decode(resp.Body))
	}
	return &s, resp
}

// Members are listed, led and removed by whoever is asked; a removed one leaves
// the name server and still serves its clients.
func TestMembersOverTheWire(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	first, asked := cluster.Leader(), cluster.Follower()
	c := newClient(t, asked.Addr)
	g := c.members()
	require.Equal(t, first.ID, g.Leader)
	require.Equal(t, first.ID, g.From, "the leader answers")
	require.Equal(t, "voter", g.Standing)
	require.Len(t, g.Members, 3)
	require.Eventually(t, func() bool {
		for _, m := range c.members().Members {
			if m.State != protocol.MemberOK || !m.Voter || m.Bytes != m.TotalBytes || m.Behind != 0 {
				return false
			}
		}
		return true
	}, waitFor, tick)

	for _, bad := range []struct {
		h    protocol.ChangeMembersHeader
		text string
	}{
		{protocol.ChangeMembersHeader{Step: "dance", ID: "n1"}, `step "dance" is not known`},
		{protocol.ChangeMembersHeader{Step: protocol.StepRemove}, "memberId is missing"},
		{protocol.ChangeMembersHeader{Step: protocol.StepRemove, ID: "n9"}, "n9 is not a member"},
		{protocol.ChangeMembersHeader{Step: protocol.StepAdd, ID: "n9", Addr: "nowhere"}, "host:port"},
		{protocol.ChangeMembersHeader{Step: protocol.StepPromote, ID: asked.ID}, "is a voter already"},
		{protocol.ChangeMembersHeader{Step: protocol.StepTransfer, ID: first.ID}, "leads already"},
	} {
		_, resp := c.step(bad.h)
		require.Equal(t, protocol.StatusSystemError, resp.Code)
		require.Contains(t, resp.Remark, bad.text)
	}

	s, resp := c.step(protocol.ChangeMembersHeader{Step: protocol.StepTransfer, ID: asked.ID})
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, asked.ID, s.Leader)
	require.Contains(t, s.Text, asked.ID+" leads, it was "+first.ID)

	// It leads now, and is asked to remove itself.
	c.createTopic("orders", 1, 6)
	s, resp = c.step(protocol.ChangeMembersHeader{Step: protocol.StepRemove, ID: asked.ID})
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Contains(t, s.Text, "is no member any more")
	require.Eventually(t, func() bool { return c.members().Standing == "removed" }, waitFor, tick)
	require.Contains(t, c.members().Note, "was removed")
	sent := c.send("orders", 0, "by one that was removed")
	require.Zero(t, sent.QueueOffset)
	ns := newClient(t, cluster.Namesrv)
	require.Eventually(t, func() bool {
		var info protocol.ClusterInfo
		require.NoError(t, info.Decode(ns.call(protocol.NewRequest(protocol.CodeGetBrokerCluster)).Body))
		addrs := slices.Collect(maps.Values(info.BrokerAddrTable["broker-a"].BrokerAddrs))
		return len(addrs) == 2 && !slices.Contains(addrs, asked.Addr)
	}, waitFor, tick, "it is still registered")

	// Two voters are left; without the one, the other cannot be removed.
	var rest []string
	other := newClient(t, first.Addr)
	for _, m := range other.members().Members {
		rest = append(rest, m.ID)
	}
	require.Len(t, rest, 2)
	require.NotContains(t, rest, asked.ID)
}
