package broker

import (
	"context"
	"sync"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// peerRates remembers how far the members' logs reached some seconds ago, to say
// how fast they grow.
type peerRates struct {
	mu   sync.Mutex
	at   time.Time
	then map[string]int64
}

func (p *peerRates) sample(now map[string]int64, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.then, p.at = now, at
}

// rate is the bytes a second since the last sample.
func (p *peerRates) rate(id string, now int64, at time.Time) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	then, ok := p.then[id]
	if !ok || now < then {
		return 0
	}
	return int64(float64(now-then) / max(at.Sub(p.at).Seconds(), 1))
}

// peerPositions returns the physical offset at which each member's log ends, as
// far as this member knows.
func (b *Broker) peerPositions() map[string]int64 {
	out := map[string]int64{}
	st := b.node.Status()
	for _, p := range st.Peers {
		if p.LastIndex > 0 {
			out[p.ID] = b.endOf(p.LastIndex)
		}
	}
	return out
}

// endOf is the physical offset behind an entry.
func (b *Broker) endOf(index uint64) int64 {
	log := b.store.Log()
	if index >= log.LastIndex() {
		return log.MaxOffset()
	}
	// The data of the next entry begins a header later than this one ends.
	at, err := log.Locate(index + 1)
	if err != nil {
		return log.MinOffset()
	}
	return at
}

// handleHAStatus serves GET_BROKER_HA_STATUS (5.x): on the leader, how far each
// follower's copy of the log reaches; on a follower, how far its own does.
func (b *Broker) handleHAStatus(context.Context, request) (*protocol.Response, error) {
	st, now := b.node.Status(), time.Now()
	info := protocol.HARuntimeInfo{Master: st.Role == dledger.Leader, MasterMaxOffset: b.store.Log().MaxOffset()}
	if !info.Master {
		info.Client = protocol.HAClientInfo{
			MaxOffset: b.store.Log().MaxOffset(), FlushOffset: b.store.Log().DurableOffset(),
			BytesPerSecond: b.peerRates.rate(b.selfID, b.store.Log().MaxOffset(), now),
		}
		if m, ok := b.meta.Member(st.LeaderID); ok {
			info.Client.MasterAddr = m.Addr
		}
		for _, p := range st.Peers {
			if p.ID == st.LeaderID && !p.Contact.IsZero() {
				info.Client.Activated = true
				info.Client.LastRead, info.Client.LastWrite = p.Contact.UnixMilli(), p.Contact.UnixMilli()
			}
		}
		return withBody(protocol.Encode(&info), nil)
	}
	for _, p := range st.Peers {
		if p.ID == b.selfID {
			continue
		}
		c := protocol.HAConnectionInfo{Addr: p.Addr}
		if p.LastIndex > 0 {
			c.AckOffset = b.endOf(p.LastIndex)
			c.BytesPerSecond = b.peerRates.rate(p.ID, c.AckOffset, now)
			c.TransferFrom = c.AckOffset
		}
		c.Diff = max(info.MasterMaxOffset-c.AckOffset, 0)
		// In sync is who has everything that is committed and was heard of within
		// an election's time.
		c.InSync = p.LastIndex >= st.CommitIndex && now.Sub(p.Contact) < 2*b.cfg().RaftElectionTimeout
		if c.InSync {
			info.InSync++
		}
		info.Connections = append(info.Connections, c)
	}
	return withBody(protocol.Encode(&info), nil)
}
