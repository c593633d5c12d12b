package dledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/segment"
)

// Checksums tell a member that its own bytes changed. They do not tell that two
// members hold different entries, each with a sound checksum: a bug, a disk that
// lost a write and kept the one before, a file that was put back by hand. So the
// leader compares: it takes the digest of a range of applied entries of its log
// and asks each follower for that of the same range. What more than half of the
// voters have is right; a member with anything else is told so, and has itself
// repaired (repair.go). Without such a majority there is only the alarm.
//
// A pass goes from the first entry to the last applied one, and on with what is
// new. It reads at most Config.CompareRate bytes a second on each member.
const (
	opDigest  = "digest"  // answered with a commitlog.Digest
	opCondemn = "condemn" // answered with nothing
)

const (
	// compareBytes is how much one range has at least, if there is so much.
	compareBytes = 4 << 20
	// comparePause is the time until new entries are looked for.
	comparePause = 5 * time.Second
	// compareAgain is the pause before a member that did not answer is asked again.
	compareAgain = 200 * time.Millisecond
	// compareEvery is the time between the beginnings of two passes.
	compareEvery = 24 * time.Hour
	// demandedRate is that of a pass that somebody waits for.
	demandedRate = 64 << 20
	// differencesKept bounds those that are remembered.
	differencesKept = 16
)

// digestAsk is what a leader asks a follower for.
type digestAsk struct {
	From        uint64 `json:"from"`
	To          uint64 `json:"to"`
	SegmentSize int64  `json:"segmentSize"`
}

// Difference is a range of entries that one member has in another way than most.
type Difference struct {
	Member string    `json:"member"`
	From   uint64    `json:"from"` // first and last index
	To     uint64    `json:"to"`
	Offset int64     `json:"offset"` // of the range in the log
	End    int64     `json:"end"`
	File   string    `json:"file"` // in which it begins
	Found  time.Time `json:"found"`
	// Repaired: the member was told to have itself repaired.
	Repaired bool `json:"repaired"`
}

// CompareStatus is what the comparison of the members' logs has come to. The
// numbers count since this process began, and grow on the leader only.
type CompareStatus struct {
	Ranges      uint64 `json:"ranges"` // compared with all followers that could answer
	Bytes       int64  `json:"bytes"`
	Skipped     uint64 `json:"skipped"` // answers that did not come
	Differences uint64 `json:"differences"`
	Passes      uint64 `json:"passes"` // complete ones

	// The pass that runs, or the last one: it has compared up to At of the
	// entries From to To. It is complete when it got as far as the log was when it
	// began; what is new is compared after that. Number counts passes that began.
	Number   uint64            `json:"number"`
	From     uint64            `json:"from"`
	To       uint64            `json:"to"`
	At       uint64            `json:"at"`
	Complete bool              `json:"complete"`
	LastPass time.Time         `json:"lastPass"` // the end of the last complete one
	Compared map[string]uint64 `json:"compared"` // by member: the ranges of this pass
	Missing  map[string]string `json:"missing"`  // by member: why it did not answer for some range
	// Found are the newest differences, oldest first.
	Found []Difference `json:"found"`
}

// comparing is a node's side of it.
type comparing struct {
	mu     sync.Mutex
	status CompareStatus
	demand chan struct{} // capacity 1: somebody wants a pass now
}

// Compare begins a comparison from the first entry on, at a higher rate than
// usual. It is complete when Status says so of a pass of the returned number or a
// later one.
func (n *Node) Compare() (uint64, error) {
	if !n.started.Load() || n.closed.Load() {
		return 0, ErrClosed
	}
	if !n.ready.Load() {
		return 0, ErrNotLeader
	}
	n.comparing.mu.Lock()
	defer n.comparing.mu.Unlock()
	select {
	case n.comparing.demand <- struct{}{}:
	default: // one that has not begun yet does as well
	}
	return n.comparing.status.Number + 1, nil
}

// compared returns a copy of the status.
func (n *Node) compared() CompareStatus {
	n.comparing.mu.Lock()
	defer n.comparing.mu.Unlock()
	s := n.comparing.status
	s.Compared, s.Missing, s.Found = maps.Clone(s.Compared), maps.Clone(s.Missing), slices.Clone(s.Found)
	return s
}

// compareLogs runs until n.stop is closed.
func (n *Node) compareLogs() {
	var began time.Time
	var next, end uint64 // the entry to go on with, 0: nothing was compared yet; the last one of the pass
	demanded := false
	for {
		pause := comparePause
		if n.ready.Load() && len(n.cfg.Peers) > 1 && (demanded || n.cfg.CompareRate > 0) {
			if next == 0 || demanded && began.IsZero() || time.Since(began) > compareEvery {
				began, next = time.Now(), max(n.cfg.Store.Log().FirstIndex(), 1)
				end = n.cfg.Store.AppliedIndex()
				n.beginPass(next, end)
			}
			rate := n.cfg.CompareRate
			if demanded {
				rate = max(rate, demandedRate)
			}
			after, bytes := n.compareFrom(next)
			if after != next {
				next, pause = after, time.Duration(float64(bytes)/float64(rate)*float64(time.Second))
			}
			if next > end { // under load there is always more, which is for later
				n.endPass()
				if demanded {
					demanded, pause = false, comparePause
				}
			}
		} else {
			next, demanded = 0, false
		}
		timer := time.NewTimer(pause)
		select {
		case <-n.stop:
			timer.Stop()
			return
		case <-n.comparing.demand:
			demanded, began = true, time.Time{}
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (n *Node) beginPass(from, to uint64) {
	n.comparing.mu.Lock()
	defer n.comparing.mu.Unlock()
	s := &n.comparing.status
	s.Number++
	s.From, s.To, s.At, s.Complete = from, to, from-1, false
	s.Compared, s.Missing = map[string]uint64{}, map[string]string{}
}

func (n *Node) endPass() {
	n.comparing.mu.Lock()
	defer n.comparing.mu.Unlock()
	if s := &n.comparing.status; !s.Complete {
		s.Complete, s.LastPass = true, time.Now()
		s.Passes++
	}
}

// digestOf is one member's digest of a range.
type digestOf struct {
	id     string
	addr   raft.ServerAddress
	voter  bool
	digest commitlog.Digest
	err    error
}

// compareFrom compares one range that begins with an entry, and returns the entry
// after it; the same one when nothing more is applied.
func (n *Node) compareFrom(from uint64) (next uint64, bytes int64) {
	log, applied := n.cfg.Store.Log(), n.cfg.Store.AppliedIndex()
	if first := log.FirstIndex(); from < first {
		return first, 0 // retention went over it
	}
	if from > applied {
		return from, 0
	}
	own, err := log.DigestUpTo(from, applied, compareBytes)
	if err != nil {
		if !errors.Is(err, commitlog.ErrNotFound) && !errors.Is(err, commitlog.ErrClosed) {
			n.logger.Error("cannot read the log to compare it", "from-index", from, "error", err)
		}
		return from, 0
	}
	conf := n.raft.GetConfiguration().Configuration()
	answers := make([]digestOf, len(conf.Servers))
	var asking sync.WaitGroup
	for i, s := range conf.Servers {
		d := &answers[i]
		*d = digestOf{id: string(s.ID), addr: n.transport.address(s.ID, s.Address), voter: s.Suffrage == raft.Voter, digest: own}
		if d.id != n.cfg.SelfID {
			asking.Go(func() {
				ask := digestAsk{From: own.From, To: own.To, SegmentSize: n.cfg.Store.SegmentSize()}
				if d.err = n.ask(d.addr, opDigest, ask, &d.digest); d.err != nil && n.sleep(compareAgain) {
					d.err = n.ask(d.addr, opDigest, ask, &d.digest) // it may not have applied as much as we
				}
			})
		}
	}
	asking.Wait()
	n.note(own, answers)
	n.judge(own, answers)
	return own.To + 1, own.Bytes
}

// ask is a call with a body.
func (n *Node) ask(addr raft.ServerAddress, op string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return n.streams.call(addr, callTimeout, call{Op: op, Body: b}, answer)
}

// note counts a range that was compared.
func (n *Node) note(own commitlog.Digest, answers []digestOf) {
	n.comparing.mu.Lock()
	defer n.comparing.mu.Unlock()
	s := &n.comparing.status
	s.Ranges++
	s.Bytes += own.Bytes
	s.At, s.To = own.To, max(s.To, own.To)
	for _, a := range answers {
		switch {
		case a.id == n.cfg.SelfID:
		case a.err != nil:
			s.Skipped++
			s.Missing[a.id] = a.err.Error()
		default:
			s.Compared[a.id]++
		}
	}
}

// judge finds those who differ from most.
func (n *Node) judge(own commitlog.Digest, answers []digestOf) {
	voters, with := 0, map[string]int{}
	for _, a := range answers {
		if !a.voter {
			continue
		}
		voters++
		if a.err == nil {
			with[a.digest.Sum]++
		}
	}
	right := ""
	for sum, count := range with {
		if count > voters/2 {
			right = sum
		}
	}
	for _, a := range answers {
		wrong := a.digest.Sum != right
		if right == "" {
			wrong = a.digest.Sum != own.Sum // nobody knows which of them
		}
		if a.err != nil || !wrong {
			continue
		}
		d := Difference{
			Member: a.id, From: own.From, To: own.To, Offset: own.Offset, End: own.End,
			File: n.fileAt(own.Offset), Found: time.Now().UTC(),
		}
		n.logger.Error("THE LOGS OF THE MEMBERS DIFFER", "member", a.id, "from-index", d.From, "to-index", d.To,
			"offset", d.Offset, "end", d.End, "file", d.File, "majority-knows", right != "")
		var err error
		switch {
		case right == "":
			n.logger.Error("no majority of the voters agrees on these entries, so nobody is repaired; compare the members with mqadmin store verify", "member", a.id)
		case a.id == n.cfg.SelfID:
			n.condemn(d)
			d.Repaired = true
		default:
			if err = n.ask(a.addr, opCondemn, d, new(struct{})); err != nil {
				n.logger.Error("a member whose log differs could not be told so", "member", a.id, "error", err)
			}
			d.Repaired = err == nil
		}
		n.comparing.mu.Lock()
		s := &n.comparing.status
		s.Differences++
		s.Found = append(s.Found, d)
		s.Found = s.Found[max(0, len(s.Found)-differencesKept):]
		n.comparing.mu.Unlock()
	}
}

// fileAt names the segment that an offset lies in.
func (n *Node) fileAt(off int64) string {
	base := int64(0)
	for _, s := range n.cfg.Store.Log().Segments() {
		if s.Base <= off {
			base = s.Base
		}
	}
	return filepath.Join("commitlog", segment.Name(base))
}

// condemn has this member's log repaired, because most others have another one.
func (n *Node) condemn(d Difference) {
	n.cfg.Store.Condemn(&commitlog.CorruptError{
		File: filepath.Join(n.cfg.Store.Dir(), n.fileAt(d.Offset)), Offset: d.Offset,
		Reason: fmt.Sprintf("entries %d to %d are not what the majority of the group has", d.From, d.To),
	}, "compare")
}

// digestFor answers a leader.
func (n *Node) digestFor(body []byte) (any, error) {
	var ask digestAsk
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, fmt.Errorf("%w: %w", errStranger, err)
	}
	applied := n.cfg.Store.AppliedIndex()
	switch size := n.cfg.Store.SegmentSize(); {
	case ask.SegmentSize != size:
		return nil, refusal(fmt.Sprintf("member %q has segments of %d bytes, the leader of %d", n.cfg.SelfID, size, ask.SegmentSize))
	case ask.To > applied:
		return nil, refusal(fmt.Sprintf("member %q has applied entries up to %d only", n.cfg.SelfID, applied))
	}
	// An entry may be larger than a range; a caller may ask for more than a leader
	// of ours does.
	d, err := n.cfg.Store.Log().DigestUpTo(ask.From, ask.To, compareBytes)
	if err == nil && d.To != ask.To {
		err = fmt.Errorf("more than %d bytes", compareBytes)
	}
	if err != nil {
		return nil, refusal(fmt.Sprintf("member %q: %v", n.cfg.SelfID, err))
	}
	return d, nil
}

// condemned is told by the leader that this member differs from most.
func (n *Node) condemned(body []byte, from string) (any, error) {
	var d Difference
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, fmt.Errorf("%w: %w", errStranger, err)
	}
	log := n.cfg.Store.Log()
	if d.Member != n.cfg.SelfID || from != n.leaderIfRunning() || d.Offset < log.MinOffset() || d.Offset >= log.MaxOffset() {
		return nil, refusal(fmt.Sprintf("member %q takes that from its leader only, and of its own log", n.cfg.SelfID))
	}
	n.condemn(d)
	return struct{}{}, nil
}

func (n *Node) leaderIfRunning() string {
	r := n.running.Load()
	if r == nil {
		return ""
	}
	_, id := r.LeaderWithID()
	return string(id)
}
