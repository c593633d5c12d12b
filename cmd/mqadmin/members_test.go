package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestMembersAreShown(t *testing.T) {
	t.Parallel()
	list := &protocol.GroupMembers{
		BrokerName: "broker-a", Leader: "n0", Term: 7, From: "n0", CommitIndex: 90,
		Members: []protocol.GroupMember{
			{ID: "n0", Role: "leader", Voter: true, RaftAddr: "h:1", Addr: "h:2", State: protocol.MemberOK},
			{ID: "n1", Role: "follower", RaftAddr: "h:3", State: protocol.MemberReceiving, Bytes: 50 << 20, TotalBytes: 200 << 20, Rate: 64 << 20, EtaMs: 2340},
			{ID: "n2", Role: "follower", Voter: true, RaftAddr: "h:4", State: protocol.MemberBehind, Bytes: 100, TotalBytes: 400, Behind: 3, EtaMs: -1},
			{ID: "n3", Role: "follower", Voter: true, RaftAddr: "h:5", State: protocol.MemberUnreachable, ContactMs: 61_000},
		},
	}
	var out bytes.Buffer
	require.NoError(t, printMembers(&out, list))
	require.Equal(t, `broker-a: leader n0, term 7, 90 entries committed; told by n0
ID  ROLE      VOTES  RAFT ADDRESS  CLIENT ADDRESS  STATE
n0  leader    yes    h:1           h:2             has everything
n1  follower  no     h:3           -               receiving, 50.0 MiB of 200.0 MiB, 64.0 MiB/s, 2.3s left
n2  follower  yes    h:4           -               behind, 100 B of 400 B, 3 entries to go
n3  follower  yes    h:5           -               unreachable for 1m1s
`, out.String())
	list.Leader, list.Note, list.Members = "", "no quorum: n1, n2 unreachable", nil
	out.Reset()
	require.NoError(t, printMembers(&out, list))
	require.Contains(t, out.String(), "leader none")
	require.Contains(t, out.String(), list.Note)
}

// Nobody loses data by a command without its confirmation.
func TestRecoverGroupWantsAStore(t *testing.T) {
	t.Parallel()
	run := func(args ...string) error {
		root := newRoot()
		root.SetArgs(append([]string{"store", "recover-group", "--dir", t.TempDir()}, args...))
		root.SetOut(new(bytes.Buffer))
		return root.Execute()
	}
	require.ErrorContains(t, run("--id", "n0", "--yes"), "is no store")
	require.ErrorContains(t, run("--yes"), `"id" not set`)
}
