package broker

import (
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/histogram"
	"github.com/cometmq/cometmq/internal/metrics"
)

// Our own names: the Raft group, the log's disk, and this server.
var (
	famReadyNow      = families.Add(metrics.Gauge, "rmq_ready", "1 when /readyz says ok.")
	famStart         = families.Add(metrics.Gauge, "rmq_start_time_seconds", "When this broker started, unix time.")
	famIsLeader      = families.Add(metrics.Gauge, "rmq_raft_is_leader", "1 on the member that leads.")
	famHasLeader     = families.Add(metrics.Gauge, "rmq_raft_has_leader", "1 when this member knows a leader.")
	famTerm          = families.Add(metrics.Gauge, "rmq_raft_term", "The Raft term; it rises with each election.")
	famLastIndex     = families.Add(metrics.Gauge, "rmq_raft_last_index", "Index of the last entry of this member's log.")
	famCommitIndex   = families.Add(metrics.Gauge, "rmq_raft_commit_index", "Index of the last entry that this member knows a majority has.")
	famAppliedIndex  = families.Add(metrics.Gauge, "rmq_raft_applied_index", "Index of the last entry that this member's state has.")
	famLastContact   = families.Add(metrics.Gauge, "rmq_raft_last_contact_seconds", "Time since a follower heard from its leader; 0 on the leader.")
	famVoters        = families.Add(metrics.Gauge, "rmq_raft_voters", "Members that vote, as this member knows.")
	famPeerBehind    = families.AddLeader(metrics.Gauge, "rmq_raft_peer_behind_entries", "Entries that another member's log lacks.", "peer")
	famPeerBytes     = families.AddLeader(metrics.Gauge, "rmq_raft_peer_behind_bytes", "Their bytes.", "peer")
	famPeerContact   = families.AddLeader(metrics.Gauge, "rmq_raft_peer_last_contact_seconds", "Time since the leader heard from another member.", "peer")
	famCatchUp       = families.Add(metrics.Gauge, "rmq_raft_catch_up_bytes", "Bytes of the log sent to, or received from, another member to bring a member up.", "peer", "direction")
	famCatchUpTotal  = families.Add(metrics.Gauge, "rmq_raft_catch_up_size_bytes", "Bytes that have to be sent or received in all.", "peer", "direction")
	famElections     = families.Add(metrics.Counter, "rmq_raft_elections_total", "Times this member became the leader.")
	famEarly         = families.Add(metrics.Counter, "rmq_raft_early_elections_total", "Times it stood for election because the leader's process was gone.")
	famLeaderless    = families.Add(metrics.Histogram, "rmq_raft_leaderless_seconds", "For how long this member knew of no leader.")
	famStrangers     = families.Add(metrics.Counter, "rmq_raft_refused_connections_total", "Connections to the Raft port refused by the greeting.")
	famProposals     = families.Add(metrics.Counter, "rmq_raft_proposals_total", "Proposals by what became of them: applied, refused before the log, or unknown.", "result")
	famEntries       = families.Add(metrics.Counter, "rmq_raft_entries_total", "Entries that this member proposed as leader.")
	famEntryBytes    = families.Add(metrics.Counter, "rmq_raft_entry_bytes_total", "Their bytes.")
	famEntrySize     = families.Add(metrics.Histogram, "rmq_raft_entry_proposals", "Proposals that shared an entry.")
	famInFlight      = families.Add(metrics.Gauge, "rmq_raft_proposals_waiting", "Proposals that wait or are on their way to a majority.")
	famInFlightBytes = families.Add(metrics.Gauge, "rmq_raft_proposals_waiting_bytes", "Their bytes.")
	famCommitTime    = families.Add(metrics.Histogram, "rmq_raft_commit_seconds", "Time of an entry on the leader from its proposal until it is applied.")
	famAppendTime    = families.Add(metrics.Histogram, "rmq_raft_append_seconds", "Time of one write of entries to the log, its sync included.")
	famFsync         = families.Add(metrics.Histogram, "rmq_raft_fsync_seconds", "Time of one sync of the log.")
	famApplyTime     = families.Add(metrics.Histogram, "rmq_raft_apply_seconds", "Time of one entry in the state machine.")
	famCheckpoints   = families.Add(metrics.Histogram, "rmq_raft_checkpoint_seconds", "Time of one checkpoint, Raft's snapshot.")

	famDiskTotal  = families.Add(metrics.Gauge, "rmq_disk_size_bytes", "Size of the store's volume.")
	famDiskFree   = families.Add(metrics.Gauge, "rmq_disk_free_bytes", "Bytes of it that this process may still use.")
	famDiskUsed   = families.Add(metrics.Gauge, "rmq_disk_used_ratio", "Used share of it, 0 to 1.")
	famWatermarks = families.Add(metrics.Gauge, "rmq_disk_watermark_ratio", "Used share from which old files go at any hour (clean), whatever their age (forced), or sends are refused (refuse).", "level")
	famDiskState  = families.Add(metrics.Gauge, "rmq_disk_refusing_sends", "1 while sends are refused for want of room.")
	famRemoved    = families.Add(metrics.Counter, "rmq_store_removed_files_total", "Files of the commit log removed by retention.")
	famRemovedLen = families.Add(metrics.Counter, "rmq_store_removed_bytes_total", "Their bytes.")
	famDoubt      = families.Add(metrics.Gauge, "rmq_store_in_doubt", "1 when the log was found damaged.")
	famSuspect    = families.Add(metrics.Gauge, "rmq_store_suspect_queues", "Consume queues that the next start rebuilds.")
	famScrubs     = families.Add(metrics.Counter, "rmq_store_scrub_passes_total", "Complete readings of the log by the scrubber.")
	famScrubBytes = families.Add(metrics.Counter, "rmq_store_scrub_bytes_total", "Bytes it has read.")

	famConns      = families.Add(metrics.Gauge, "rmq_connections", "Open connections to a port: main, vip.", "port")
	famHeld       = families.Add(metrics.Gauge, "rmq_held_pulls", "Pulls that wait for a message.")
	famForwarded  = families.Add(metrics.Counter, "rmq_forwarded_requests_total", "Requests sent on to the leader.")
	famRegistered = families.Add(metrics.Gauge, "rmq_namesrv_registered", "1 when the last registration at a name server was good.", "namesrv")
	famItems      = families.Add(metrics.Gauge, "rmq_stats_items", "Topics, groups and queues that statistics are kept of.")
	famItemsLost  = families.Add(metrics.Counter, "rmq_stats_items_refused_total", "Times statistics of one more were wanted and there was no room.")
)

// collectState writes what is known of a broker in any state.
func (b *Broker) collectState(w *metrics.Writer) {
	w.Bool(famReadyNow, b.Ready() == nil)
	w.Value(famStart, float64(b.stats.Start().UnixMilli())/1000)
}

// collectRaft writes this member's place in its group, and where its time goes.
func (b *Broker) collectRaft(w *metrics.Writer, st dledger.Status) {
	leads := b.leading.Load()
	w.Bool(famIsLeader, leads)
	w.Bool(famHasLeader, st.LeaderID != "")
	w.Value(famTerm, float64(st.Term))
	w.Value(famLastIndex, float64(st.LastIndex))
	w.Value(famCommitIndex, float64(st.CommitIndex))
	w.Value(famAppliedIndex, float64(b.store.AppliedIndex()))
	b.collectPeers(w, st, leads)
	for _, t := range st.Sending {
		w.Value(famCatchUp, float64(t.Bytes), t.Peer, "sent")
		w.Value(famCatchUpTotal, float64(t.Total), t.Peer, "sent")
	}
	if t := st.Taking; t != nil {
		w.Value(famCatchUp, float64(t.Bytes), t.Peer, "received")
		w.Value(famCatchUpTotal, float64(t.Total), t.Peer, "received")
	}
	c := st.Counters
	w.Value(famElections, float64(c.Elections))
	w.Value(famEarly, float64(c.Early))
	w.Value(famStrangers, float64(c.Strangers))
	w.Value(famProposals, float64(c.Applied), "applied")
	w.Value(famProposals, float64(c.Refused), "refused")
	w.Value(famProposals, float64(c.Unknown), "unknown")
	w.Value(famEntries, float64(c.Entries))
	w.Value(famEntryBytes, float64(c.EntryBytes))
	w.Value(famInFlight, float64(c.Waiting))
	w.Value(famInFlightBytes, float64(c.WaitingBytes))
	t := b.node.Timings()
	w.Histogram(famEntrySize, t.Proposals, 1)
	w.Histogram(famCommitTime, t.Commit, inSeconds)
	w.Histogram(famAppendTime, t.Append, inSeconds)
	w.Histogram(famApplyTime, t.Apply, inSeconds)
	w.Histogram(famCheckpoints, t.Checkpoint, inSeconds)
	w.Histogram(famLeaderless, t.Election, inSeconds)
	w.Histogram(famFsync, b.store.Log().SyncTimes(), inSeconds)
}

// collectPeers writes about the other members: on the leader how far each is
// behind, on a follower when it last heard of the leader.
func (b *Broker) collectPeers(w *metrics.Writer, st dledger.Status, leads bool) {
	now, voters, contact := time.Now(), 0, time.Duration(0)
	for _, p := range st.Peers {
		if p.Voter {
			voters++
		}
		if !leads && p.ID == st.LeaderID && !p.Contact.IsZero() {
			contact = max(now.Sub(p.Contact), 0)
		}
		if !leads || p.ID == b.selfID {
			continue
		}
		if p.LastIndex > 0 {
			w.Value(famPeerBehind, float64(st.LastIndex-min(p.LastIndex, st.LastIndex)), p.ID)
			w.Value(famPeerBytes, float64(max(b.store.Log().MaxOffset()-b.endOf(p.LastIndex), 0)), p.ID)
		}
		if !p.Contact.IsZero() {
			w.Value(famPeerContact, max(now.Sub(p.Contact), 0).Seconds(), p.ID)
		}
	}
	w.Value(famVoters, float64(voters))
	if leads || st.LeaderID != "" {
		w.Value(famLastContact, contact.Seconds())
	} else if at := b.forward.unledFrom(); !at.IsZero() {
		w.Value(famLastContact, now.Sub(at).Seconds())
	}
}

// collectServer writes about this process and its disk.
func (b *Broker) collectServer(w *metrics.Writer, st dledger.Status) {
	cfg := b.cfg()
	if u, err := b.fs.Usage(cfg.StoreRoot); err == nil && u.Total > 0 {
		w.Value(famDiskTotal, float64(u.Total))
		w.Value(famDiskFree, float64(u.Free))
		w.Value(famDiskUsed, usedPercent(u)/100)
	}
	w.Value(famWatermarks, float64(cfg.MaxUsedRatio)/100, "clean")
	if cfg.CleanForcibly {
		w.Value(famWatermarks, float64(cfg.CleanForciblyRatio)/100, "forced")
	}
	w.Value(famWatermarks, float64(cfg.DiskLimit)/100, "refuse")
	w.Bool(famDiskState, b.diskRefusal() != nil)
	w.Value(famRemoved, float64(b.counters.removed.Load()))
	w.Value(famRemovedLen, float64(b.counters.removedLen.Load()))
	health := b.store.Health()
	w.Bool(famDoubt, health.InDoubt)
	w.Value(famSuspect, float64(len(health.Queues)))
	w.Value(famScrubs, float64(health.Scrub.Passes))
	w.Value(famScrubBytes, float64(health.Scrub.Bytes))

	w.Value(famConns, float64(b.server.Conns()), "main")
	if b.vip != nil {
		w.Value(famConns, float64(b.vip.Conns()), "vip")
	}
	w.Value(famHeld, float64(b.held.count.Load()))
	w.Value(famForwarded, float64(b.counters.forwarded.Load()))
	for addr, good := range b.register.states() {
		w.Bool(famRegistered, good, addr)
	}
	items, lost := b.stats.Items()
	w.Value(famItems, float64(items))
	w.Value(famItemsLost, float64(lost+b.counters.refused()))
}

// snapshots and counts copy a table out, because writing samples takes long.
func snapshots[K comparable](t *metrics.Table[K, histogram.Histogram]) map[K]histogram.Snapshot {
	out := map[K]histogram.Snapshot{}
	t.Each(func(k K, h *histogram.Histogram) { out[k] = h.Snapshot() })
	return out
}

func counts[K comparable](t *metrics.Table[K, atomic.Int64]) map[K]float64 {
	out := map[K]float64{}
	t.Each(func(k K, n *atomic.Int64) { out[k] = float64(n.Load()) })
	return out
}
