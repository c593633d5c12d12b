package dledger

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/store/commitlog"
)

// Progress is how far a member of this leader has come with the log.
type Progress struct {
	// Peer is the member.
	Peer string
	// Installing: it is sent the whole log beside Raft, because entries that it
	// needs are gone or it has none (see install.go). Otherwise Raft sends entries.
	Installing bool
	// Index is its last entry, LastIndex ours; 0 when unknown.
	Index, LastIndex uint64
	// Bytes of Total are there; both count from the beginning of our log.
	Bytes, Total int64
	// Rate is bytes a second, lately.
	Rate int64
	// Remaining is how long it will take at that rate to reach the end of the log,
	// which moves; 0 when it is there, negative when it comes no nearer.
	Remaining time.Duration
}

// Behind says whether anything is missing.
func (p *Progress) Behind() bool { return p.Installing || p.Index < p.LastIndex }

// speedSamples is how many looks a rate is made of.
const speedSamples = 8

// speeds are the last looks at the others' logs, on a leader.
type speeds struct {
	mu   sync.Mutex
	seen map[raft.ServerID][]look
}

type look struct {
	at         time.Time
	bytes, gap int64
}

// measure takes a look at each member.
func (n *Node) measure(now time.Time) {
	n.speeds.mu.Lock()
	defer n.speeds.mu.Unlock()
	if !n.ready.Load() {
		n.speeds.seen = nil
		return
	}
	if n.speeds.seen == nil {
		n.speeds.seen = map[raft.ServerID][]look{}
	}
	present := map[raft.ServerID]bool{}
	for _, s := range n.servers() {
		if string(s.ID) == n.cfg.SelfID {
			continue
		}
		present[s.ID] = true
		p := n.position(s.ID)
		list := append(n.speeds.seen[s.ID], look{now, p.Bytes, p.Total - p.Bytes})
		if last := len(list) - 2; last >= 0 && list[last].bytes > p.Bytes {
			list = list[last+1:] // another disk, or another way
		}
		n.speeds.seen[s.ID] = list[max(0, len(list)-speedSamples):]
	}
	for id := range n.speeds.seen {
		if !present[id] {
			delete(n.speeds.seen, id)
		}
	}
}

// Progress lists the other members as this leader sees them; a member that does
// not lead knows nothing.
func (n *Node) Progress() []Progress {
	if !n.started.Load() || !n.ready.Load() {
		return nil
	}
	var out []Progress
	for _, s := range n.servers() {
		if string(s.ID) == n.cfg.SelfID {
			continue
		}
		p := n.position(s.ID)
		n.speeds.mu.Lock()
		p.Rate, p.Remaining = pace(n.speeds.seen[s.ID], p.Total-p.Bytes)
		n.speeds.mu.Unlock()
		if !p.Behind() {
			p.Remaining = 0
		}
		out = append(out, p)
	}
	return out
}

// pace is the rate of some looks, and how long a gap lasts at the rate at which
// gaps have closed.
func pace(looks []look, gap int64) (rate int64, remaining time.Duration) {
	if len(looks) < 2 {
		return 0, -1
	}
	first, last := looks[0], looks[len(looks)-1]
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 {
		return 0, -1
	}
	rate = int64(float64(last.bytes-first.bytes) / took)
	closing := float64(first.gap-last.gap) / took
	switch {
	case gap == 0:
		return rate, 0
	case closing <= 0:
		return rate, -1
	default:
		return rate, time.Duration(float64(gap) / closing * float64(time.Second)).Round(100 * time.Millisecond)
	}
}

// position is how far a member has come, without its speed.
func (n *Node) position(id raft.ServerID) Progress {
	log := n.cfg.Store.Log()
	c := n.transport.contact(id)
	p := Progress{Peer: string(id), LastIndex: log.LastIndex(), Total: log.MaxOffset() - log.MinOffset()}
	p.Index = c.matched
	if c.term != n.raft.CurrentTerm() {
		p.Index = 0
	}
	if at, err := log.Locate(p.Index + 1); err == nil && p.Index > 0 {
		// The data of the next entry begins a header behind the end of this one.
		p.Bytes = min(max(at-int64(commitlog.HeaderSize)-log.MinOffset(), 0), p.Total)
	} else if p.Index >= p.LastIndex {
		p.Bytes = p.Total
	}
	sending, _ := n.installs.list()
	for _, s := range sending {
		if s.Peer == p.Peer {
			p.Installing, p.Bytes, p.Total = true, s.Bytes, s.Total
		}
	}
	return p
}
