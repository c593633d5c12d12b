package dledger

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// A blank member counts for no leader before it knows which terms are over, and
// then for none of those.
func TestBlankMemberIsDeafToOldTerms(t *testing.T) {
	n := &Node{cfg: Config{SelfID: "n2", Peers: []Peer{{ID: "n2", Addr: "127.0.0.1:1"}}}}
	hears := func(term uint64) bool {
		answer := make(chan raft.RPCResponse, 1)
		if !n.withhold(raft.RPC{Command: &raft.AppendEntriesRequest{Term: term}, RespChan: answer}) {
			return true
		}
		require.ErrorIs(t, (<-answer).Error, errDeaf, "another answer would count as contact")
		return false
	}
	require.True(t, hears(1), "it is not blank")
	n.blank.Store(&blankness{Incarnation: 1})
	require.False(t, hears(7), "it has asked nobody")
	n.terms.note([]memberState{{ID: "n0", Term: 1}, {ID: "n1", Term: 2}})
	require.False(t, hears(1), "n1 has seen another leader")
	require.True(t, hears(2))
	n.terms.note(nil)
	require.False(t, hears(1), "what was told stays told")
	n.blank.Store(nil)
	require.True(t, hears(1), "Raft knows its terms again")
}
