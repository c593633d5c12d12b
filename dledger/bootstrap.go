package dledger

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// genesisOf is the first configuration of the group. Every member writes it as
// entry 1 of its own log, so the list is sorted and the bytes are the same
// everywhere.
func genesisOf(peers []Peer) raft.Configuration {
	sorted := slices.Clone(peers)
	slices.SortFunc(sorted, func(a, b Peer) int { return strings.Compare(a.ID, b.ID) })
	var conf raft.Configuration
	for _, p := range sorted {
		conf.Servers = append(conf.Servers, raft.Server{
			Suffrage: raft.Voter,
			ID:       raft.ServerID(p.ID),
			Address:  raft.ServerAddress(p.Addr),
		})
	}
	return conf
}

// fingerprint is the checksum members compare when they meet; 0 means unknown.
func fingerprint(configuration []byte) uint32 {
	return max(crc32.Checksum(configuration, castagnoli), 1)
}

// bootstrap begins the log of a group of one and returns the fingerprint of the
// first configuration. A group of several is founded by its members together, see
// blank.go.
//
// It does what raft.BootstrapCluster does, with one difference: it can be
// repeated. A process that dies between the term and the entry would otherwise
// come back with a term, no peers and no way to get any.
func bootstrap(peers []Peer, logs raft.LogStore, stable *stableStore) (uint32, error) {
	data := raft.EncodeConfiguration(genesisOf(peers))
	mark := fingerprint(data)
	if err := stable.SetUint64([]byte(keyGenesis), uint64(mark)); err != nil {
		return 0, err
	}
	if err := stable.SetUint64([]byte(keyTerm), 1); err != nil {
		return 0, err
	}
	entry := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: data}
	if err := logs.StoreLog(entry); err != nil {
		return 0, fmt.Errorf("dledger: begin the log: %w", err)
	}
	return mark, nil
}

// knownGenesis checks that term, vote and log of an old member belong together
// and finds its fingerprint. What does not belong together is a reason for doubt:
// what is missing comes back from the others.
func (n *Node) knownGenesis(last, term uint64) (uint32, error) {
	logs, stable := n.logs, n.stable
	if last == 0 {
		if err := n.enterDoubt(fmt.Sprintf("the files of its log are missing, while %s is at term %d", stable.path, term), false); err != nil {
			return 0, err
		}
		mark, err := stable.number(keyGenesis)
		return uint32(mark), err
	}
	var l raft.Log
	if err := logs.GetLog(last, &l); err != nil {
		return 0, fmt.Errorf("dledger: the last entry of the log: %w", err)
	}
	if l.Term > term {
		why := fmt.Sprintf("its log ends in term %d, but %s knows only term %d: it forgot its vote and could vote twice", l.Term, stable.path, term)
		if err := n.enterDoubt(why, true); err != nil {
			return 0, err
		}
		if n.blank.Load() == nil {
			b := &blankness{Incarnation: rand.Uint64()>>1 + 1}
			if err := saveJSON(stable, keyBlank, b); err != nil {
				return 0, err
			}
			n.blank.Store(b)
		}
		// The term last: this is done again as long as it is missing.
		if err := stable.SetUint64([]byte(keyTerm), l.Term); err != nil {
			return 0, err
		}
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return 0, err
	}
	if first == 1 {
		if err := logs.GetLog(1, &l); err != nil {
			return 0, fmt.Errorf("dledger: the first entry of the log: %w", err)
		}
		if l.Type == raft.LogConfiguration {
			return fingerprint(l.Data), nil
		}
	}
	mark, err := stable.number(keyGenesis)
	return uint32(mark), err
}

// compareConfiguration returns a sentence when the configuration in the log and
// the configured peers differ in members or addresses, else "".
func compareConfiguration(conf raft.Configuration, peers []Peer) string {
	want := genesisOf(peers)
	have := slices.Clone(conf.Servers)
	slices.SortFunc(have, func(a, b raft.Server) int { return strings.Compare(string(a.ID), string(b.ID)) })
	same := slices.EqualFunc(have, want.Servers, func(a, b raft.Server) bool {
		return a.ID == b.ID && a.Address == b.Address
	})
	if same {
		return ""
	}
	return fmt.Sprintf("the log says the members are %s, the configuration says %s", serversText(have), serversText(want.Servers))
}

func serversText(servers []raft.Server) string {
	peers := make([]Peer, len(servers))
	for i, s := range servers {
		peers[i] = Peer{ID: string(s.ID), Addr: string(s.Address)}
	}
	return peersText(peers)
}
