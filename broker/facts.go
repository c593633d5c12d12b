package broker

import (
	"time"

	"github.com/cometmq/cometmq/internal/vfs"
)

// Facts are what an operator wants to know of a broker that has just started.
type Facts struct {
	// Member is the member's id in its group, Raft where its Raft port is.
	Member, Raft string
	// Port serves clients; VIP is the second port for them, 0 when there is none.
	Port, VIP int
	// Disk is the store's volume; Total is 0 when it cannot be told.
	Disk vfs.Usage
	// The commit log's offsets and entries.
	LogMin, LogMax        int64
	FirstIndex, LastIndex uint64
	// Opened is how long opening the store took, recovery included.
	Opened time.Duration
	// Behind is how many entries are not applied yet.
	Behind uint64
	// Configured is dLegerPeers, Members the list that the group holds.
	Configured, Members []string
}

// Facts gathers them; it is called after Start.
func (b *Broker) Facts() Facts {
	cfg, log, st := b.cfg(), b.store.Log(), b.node.Status()
	f := Facts{
		Member: b.selfID, Raft: raftListen(cfg), Port: int(b.addr.Port()),
		LogMin: log.MinOffset(), LogMax: log.MaxOffset(), FirstIndex: log.FirstIndex(), LastIndex: log.LastIndex(), Opened: b.opened,
	}
	if b.vip != nil {
		f.VIP = f.Port - 2
	}
	f.Disk, _ = b.fs.Usage(cfg.StoreRoot) // the watch over the disk tells of failures
	if applied := b.store.AppliedIndex(); st.CommitIndex > applied {
		f.Behind = st.CommitIndex - applied
	}
	for _, p := range b.peers {
		f.Configured = append(f.Configured, p.ID)
	}
	for _, p := range st.Peers {
		f.Members = append(f.Members, p.ID)
	}
	return f
}
