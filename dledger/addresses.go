package dledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// keyOutdated keeps, by member, the address in Peers that a change of the
// members has overruled.
const keyOutdated = "cometmq.outdatedAddresses"

// addresses is raft.ServerAddressProvider. A member may change its address in two
// ways: the configuration files of all are edited and the members restarted, and
// then what Peers says wins over the log; or the group is told while it runs, and
// then the log wins, also over files that nobody has edited since. The second is
// remembered by noting which address in the file it overruled.
type addresses struct {
	mu       sync.RWMutex
	listed   map[raft.ServerID]raft.ServerAddress // what Peers says and nothing has overruled
	peers    map[raft.ServerID]raft.ServerAddress // all that Peers says
	outdated map[raft.ServerID]raft.ServerAddress
	logged   map[raft.ServerID]raft.ServerAddress // what the log said last
	stable   *stableStore
}

func openAddresses(peers []Peer, stable *stableStore) (*addresses, error) {
	a := &addresses{
		listed: map[raft.ServerID]raft.ServerAddress{}, peers: map[raft.ServerID]raft.ServerAddress{},
		outdated: map[raft.ServerID]raft.ServerAddress{}, logged: map[raft.ServerID]raft.ServerAddress{}, stable: stable,
	}
	raw, err := stable.Get([]byte(keyOutdated))
	if err == nil {
		err = json.Unmarshal(raw, &a.outdated)
	} else if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("dledger: read %s from %s: %w", keyOutdated, stable.path, err)
	}
	for _, p := range peers {
		id, addr := raft.ServerID(p.ID), raft.ServerAddress(p.Addr)
		a.peers[id] = addr
		if a.outdated[id] != addr {
			a.listed[id] = addr
		}
	}
	return a, nil
}

// errNotListed makes raft fall back to the address in its configuration.
var errNotListed = errors.New("the member is not in Peers")

// ServerAddr returns the address of a member in Peers, if it counts.
func (a *addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if addr, ok := a.listed[id]; ok {
		return addr, nil
	}
	return "", errNotListed
}

// logs is told of each configuration in the log, in order. Where one gives a
// member another address than an earlier one, that counts.
func (a *addresses) logs(conf raft.Configuration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	dirty := false
	for _, s := range conf.Servers {
		old, known := a.logged[s.ID]
		a.logged[s.ID] = s.Address
		if filed, ok := a.peers[s.ID]; known && old != s.Address && ok && filed != s.Address {
			a.outdated[s.ID] = filed
			delete(a.listed, s.ID)
			dirty = true
		}
	}
	if dirty {
		_ = saveJSON(a.stable, keyOutdated, a.outdated) // an error ends the process
	}
}
