package dledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/store"
	"github.com/cometmq/cometmq/store/commitlog"
)

// A follower that needs entries which its leader no longer has is sent the whole
// log that is left and the checkpoint at its end. Raft would do that with its
// InstallSnapshot, which keeps the follower's main goroutine for the whole
// transfer (no votes meanwhile) and begins from zero when it is cut. So the
// leader's transport does it in our own way, by a call of calls.go, and tells
// Raft the result:
//
//	leader    call "install" with an offer
//	follower  answer: has it already, or goes on after entry n (of term t)
//	leader    frameEntries …   entries as they lie in the file, whole ones
//	leader    frameState …     the checkpoint, in pieces
//	leader    frameEnd
//	follower  answer, when everything is durable; then it starts again
//
// When the leader has another entry n it says frameAnew first, and the follower
// forgets what it received. See docs/adr/0008.
const (
	frameEntries byte = iota + 16
	frameState
	frameEnd
	frameAnew
)

const opInstall = "install"

const (
	// piece is how much is sent in one frame, unless one entry is bigger.
	piece = 256 << 10
	// pieceTimeout bounds the sending or awaiting of one frame.
	pieceTimeout = 10 * time.Second
	// durableTimeout bounds the follower's last step, which syncs.
	durableTimeout = time.Minute
	// batchEntries is how many received entries are appended at once at most.
	batchEntries = 64
)

// offer is what a leader has.
type offer struct {
	Leader      string `json:"leader"`
	LeaderTerm  uint64 `json:"leaderTerm"`
	Genesis     uint32 `json:"genesis"`
	SegmentSize int64  `json:"segmentSize"`

	FirstIndex uint64 `json:"firstIndex"`
	Base       int64  `json:"base"`
	Index      uint64 `json:"index"`
	Term       uint64 `json:"term"`
	End        int64  `json:"end"`
}

func (o *offer) export() *store.Export {
	return &store.Export{FirstIndex: o.FirstIndex, Base: o.Base, Index: o.Index, Term: o.Term, End: o.End}
}

// taken is the follower's first answer to an offer.
type taken struct {
	Has       bool   `json:"has"` // nothing is needed
	LastIndex uint64 `json:"lastIndex"`
	LastTerm  uint64 `json:"lastTerm"`
}

// InstallStatus is the progress of bringing a member up from the live log.
type InstallStatus struct {
	// Peer is the other side: the member that is brought up, or who sends to us.
	Peer string
	// Index is the last entry of what is sent.
	Index uint64
	// Bytes of Total have been sent or received, Resumed of them by an earlier
	// try.
	Bytes, Total, Resumed int64
	Since                 time.Time
}

// installs are the transfers that run on this node.
type installs struct {
	mu      sync.Mutex
	sending map[string]*installing
	taking  *installing
}

// installing is one of them.
type installing struct {
	status InstallStatus
	next   uint64   // the next entry to send: retention leaves it alone
	term   uint64   // of the leader that sends
	conn   net.Conn // of one that is received
	done   chan struct{}
}

// list returns the transfers for Status.
func (i *installs) list() (sending []InstallStatus, taking *InstallStatus) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range i.sending {
		sending = append(sending, s.status)
	}
	slices.SortFunc(sending, func(a, b InstallStatus) int { return strings.Compare(a.Peer, b.Peer) })
	if i.taking != nil {
		s := i.taking.status
		taking = &s
	}
	return sending, taking
}

// firstNeeded is the first entry that a running transfer still has to send.
func (i *installs) firstNeeded(peer string) (index uint64, running bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sending[peer]
	if s == nil {
		return 0, false
	}
	return s.next, true
}

// sendLog is the leader's side. It runs on Raft's replication goroutine of that
// member; heartbeats go on beside it.
func (n *Node) sendLog(id raft.ServerID, to raft.ServerAddress, leaderTerm uint64) error {
	x, err := n.cfg.Store.Export()
	if err != nil {
		return err
	}
	began := time.Now()
	s := &installing{next: x.FirstIndex, status: InstallStatus{Peer: string(id), Index: x.Index, Total: x.End - x.Base, Since: began}}
	n.installs.mu.Lock()
	n.installs.sending[string(id)] = s
	n.installs.mu.Unlock()
	defer func() {
		n.installs.mu.Lock()
		delete(n.installs.sending, string(id))
		n.installs.mu.Unlock()
	}()

	conn, err := n.streams.dial(n.transport.address(id, to), callTimeout, callMagic)
	if err != nil {
		return err
	}
	defer conn.Close()
	o := offer{
		Leader: n.cfg.SelfID, LeaderTerm: leaderTerm, Genesis: n.streams.hello().genesis, SegmentSize: n.cfg.Store.SegmentSize(),
		FirstIndex: x.FirstIndex, Base: x.Base, Index: x.Index, Term: x.Term, End: x.End,
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(pieceTimeout)); err != nil {
		return err
	}
	if err := writeJSON(conn, frameCall, call{Op: opInstall, Body: body}); err != nil {
		return err
	}
	var t taken
	if err := readAnswer(conn, &t); err != nil {
		return err
	}
	if t.Has {
		return nil
	}
	if err := n.sendPieces(conn, x, s, t, leaderTerm); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(durableTimeout)); err != nil {
		return err
	}
	if err := readAnswer(conn, &t); err != nil {
		return err
	}
	n.logger.Info("a member took over this log", "peer", id, "index", x.Index, "bytes", s.status.Total,
		"resumed", s.status.Resumed, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// errDeposed ends a transfer of a leader that is one no more.
var errDeposed = errors.New("this member no longer leads")

// sendPieces sends everything after the follower's last entry.
func (n *Node) sendPieces(conn net.Conn, x *store.Export, s *installing, t taken, leaderTerm uint64) error {
	log := n.cfg.Store.Log()
	pace := pacer{rate: n.cfg.InstallRate, began: time.Now()}
	send := func(kind byte, body []byte) error {
		if n.raft.State() != raft.Leader || n.raft.CurrentTerm() != leaderTerm {
			return errDeposed
		}
		if wait := pace.after(len(body)); wait > 0 && !n.sleep(wait) {
			return ErrClosed
		}
		if err := conn.SetDeadline(time.Now().Add(pieceTimeout)); err != nil {
			return err
		}
		return writeFrame(conn, kind, body)
	}
	next := x.FirstIndex
	if t.LastIndex > 0 {
		e, at, err := log.Read(t.LastIndex)
		if err == nil && e.Term == t.LastTerm {
			next = t.LastIndex + 1
			n.progress(s, next, at+int64(len(e.Data))-x.Base, true)
		} else if err := send(frameAnew, nil); err != nil {
			return err
		}
	}
	buf := make([]byte, 0, 2*piece)
	for ; next <= x.Index; next++ {
		e, at, err := log.Read(next)
		if err != nil {
			return fmt.Errorf("entry %d: %w", next, err)
		}
		buf = e.AppendTo(buf)
		if len(buf) < piece && next < x.Index {
			continue
		}
		if err := send(frameEntries, buf); err != nil {
			return err
		}
		buf = buf[:0]
		n.progress(s, next+1, at+int64(len(e.Data))-x.Base, false)
	}
	for part := range slices.Chunk(x.State, piece) {
		if err := send(frameState, part); err != nil {
			return err
		}
	}
	return send(frameEnd, nil)
}

func (n *Node) progress(s *installing, next uint64, bytes int64, resumed bool) {
	n.installs.mu.Lock()
	defer n.installs.mu.Unlock()
	s.next, s.status.Bytes = next, bytes
	if resumed {
		s.status.Resumed = bytes
	}
}

// pacer holds a transfer to a rate in bytes a second.
type pacer struct {
	rate  int64
	began time.Time
	sent  int64
}

// after is how long to wait before the next n bytes.
func (p *pacer) after(n int) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	wait := time.Duration(float64(p.sent)/float64(p.rate)*float64(time.Second)) - time.Since(p.began)
	p.sent += int64(n)
	return wait
}

// ErrReplaced ends a process whose log and state were replaced by its leader's.
// Everything is durable; the process must start again to read it.
var ErrReplaced = errors.New("dledger: this member was too far behind and has received the log of its leader: the process must start again to read it")

// errReplaced refuses entries for a log that is about to be replaced.
var errReplaced = errors.New("the log is being replaced by that of the leader")

// takeLog is the follower's side. It answers the call by itself.
func (n *Node) takeLog(conn net.Conn, body []byte) error {
	var o offer
	if err := json.Unmarshal(body, &o); err != nil {
		return fmt.Errorf("%w: %w", errStranger, err)
	}
	t, err := n.beginTaking(conn, &o)
	if err != nil {
		return n.answerTo(conn, nil, err)
	}
	answer, replaced, err := n.take(conn, &o, t)
	if replaced {
		defer n.endTaking(t)
	} else {
		n.endTaking(t) // before the answer, after which the caller may call again
	}
	err = n.answerTo(conn, answer, err)
	if replaced {
		n.fail(ErrReplaced)
	}
	return err
}

// take receives what is offered unless this member has it, and returns the last
// answer to the call and whether the log was replaced.
func (n *Node) take(conn net.Conn, o *offer, t *installing) (answer taken, replaced bool, err error) {
	has, err := n.has(o)
	if has || err != nil {
		return taken{Has: true}, false, err
	}
	in, err := n.cfg.Store.OpenIntake(o.export())
	if err != nil {
		return taken{}, false, refusal(fmt.Sprintf("member %q cannot receive a log: %v", n.cfg.SelfID, err))
	}
	defer func() {
		if err := in.Close(); err != nil {
			n.logger.Warn("what was received of the leader's log may begin anew", "error", err)
		}
	}()
	answer.LastIndex, answer.LastTerm = in.LastIndex()
	n.logger.Info("receiving the log of the leader", "leader", o.Leader, "from-index", o.FirstIndex, "to-index", o.Index,
		"bytes", o.End-o.Base, "has-index", answer.LastIndex)
	n.progress(t, 0, max(in.MaxOffset()-o.Base, 0), true)
	if err := writeJSON(conn, frameAnswer, answer); err != nil {
		return taken{}, false, err
	}
	state, err := n.takePieces(conn, o, &in, t)
	if err != nil {
		n.logger.Warn("receiving the leader's log ended early; it goes on from there", "leader", o.Leader, "error", err)
		return taken{}, false, err
	}
	replaced, err = n.replace(in, o, state)
	if err != nil {
		n.logger.Error("cannot take over the log of the leader", "leader", o.Leader, "error", err)
	}
	return taken{Has: true}, replaced, err
}

// beginTaking admits one transfer at a time; one of a newer term ends the other.
func (n *Node) beginTaking(conn net.Conn, o *offer) (*installing, error) {
	r := n.running.Load()
	if r == nil {
		return nil, refusal(fmt.Sprintf("member %q is just starting", n.cfg.SelfID))
	}
	if size := n.cfg.Store.SegmentSize(); o.SegmentSize != size {
		return nil, refusal(fmt.Sprintf("member %q has segments of %d bytes, the leader of %d: set mapedFileSizeCommitLog to the same on all members",
			n.cfg.SelfID, size, o.SegmentSize))
	}
	if term := r.CurrentTerm(); term != o.LeaderTerm || r.State() == raft.Leader {
		return nil, refusal(fmt.Sprintf("member %q is at term %d, the offer is of term %d", n.cfg.SelfID, term, o.LeaderTerm))
	}
	t := &installing{
		term: o.LeaderTerm, conn: conn, done: make(chan struct{}),
		status: InstallStatus{Peer: o.Leader, Index: o.Index, Total: o.End - o.Base, Since: time.Now()},
	}
	for {
		n.installs.mu.Lock()
		other := n.installs.taking
		if other == nil {
			n.installs.taking = t
			n.installs.mu.Unlock()
			return t, nil
		}
		n.installs.mu.Unlock()
		if other.term >= t.term {
			return nil, refusal(fmt.Sprintf("member %q is already receiving a log", n.cfg.SelfID))
		}
		other.conn.Close()
		select {
		case <-other.done:
		case <-n.stop:
			return nil, ErrClosed
		}
	}
}

func (n *Node) endTaking(t *installing) {
	n.installs.mu.Lock()
	n.installs.taking = nil
	n.installs.mu.Unlock()
	close(t.done)
}

// has says whether this member's own log already holds the last entry of an
// offer, so that entries can follow it in the ordinary way. A log that ends
// before it, or has another entry there, which can then not be committed, may be
// replaced: everything offered is committed.
func (n *Node) has(o *offer) (bool, error) {
	log := n.cfg.Store.Log()
	if log.LastIndex() < o.Index {
		return false, nil
	}
	e, _, err := log.Read(o.Index)
	switch {
	case errors.Is(err, commitlog.ErrNotFound):
		return false, refusal(fmt.Sprintf("member %q has entries %d to %d and is not behind index %d", n.cfg.SelfID, log.FirstIndex(), log.LastIndex(), o.Index))
	case err != nil:
		return false, err
	case e.Term == o.Term:
		return true, nil
	case n.cfg.Store.AppliedIndex() >= o.Index:
		return false, refusal(fmt.Sprintf("member %q has applied entry %d of term %d, the leader has one of term %d: the logs contradict each other, compare them",
			n.cfg.SelfID, o.Index, e.Term, o.Term))
	}
	return false, nil
}

// takePieces receives entries and state.
func (n *Node) takePieces(conn net.Conn, o *offer, in **store.Intake, t *installing) ([]byte, error) {
	// An entry is at most as big as the biggest proposal, which is configured
	// alike on all members, plus its header.
	most := 2*piece + n.cfg.ProposalSizeMax + n.cfg.EntryBytesMax
	var state []byte
	for {
		if err := conn.SetDeadline(time.Now().Add(pieceTimeout)); err != nil {
			return nil, err
		}
		kind, body, err := readFrame(conn, most)
		if err != nil {
			return nil, err
		}
		switch kind {
		case frameEntries:
			if err := appendEntries(*in, body); err != nil {
				return nil, refusal(fmt.Sprintf("member %q cannot keep what it receives: %v", n.cfg.SelfID, err))
			}
			n.progress(t, 0, (*in).MaxOffset()-o.Base, false)
		case frameState:
			state = append(state, body...)
		case frameAnew:
			err := (*in).Discard()
			if err == nil {
				*in, err = n.cfg.Store.OpenIntake(o.export())
			}
			if err != nil {
				return nil, refusal(fmt.Sprintf("member %q cannot begin anew: %v", n.cfg.SelfID, err))
			}
		case frameEnd:
			if end := (*in).MaxOffset(); end != o.End {
				err := (*in).Discard()
				return nil, refusal(fmt.Sprintf("member %q: the received log ends at %d, the leader's at %d (%v)", n.cfg.SelfID, end, o.End, err))
			}
			return state, nil
		default:
			return nil, fmt.Errorf("%w: a frame of kind %d", errStranger, kind)
		}
	}
}

func appendEntries(in *store.Intake, body []byte) error {
	var batch []commitlog.Entry
	for len(body) > 0 {
		e, size, err := commitlog.DecodeEntry(body)
		if err != nil {
			return err
		}
		body = body[size:]
		if batch = append(batch, e); len(batch) == batchEntries || len(body) == 0 {
			if err := in.Append(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

// replace makes what was received this member's log. From here on the old log
// takes no entry: one that it acknowledged now would be forgotten. It returns
// false when the old log has caught up meanwhile and stays.
func (n *Node) replace(in *store.Intake, o *offer, state []byte) (bool, error) {
	n.logStore.freeze(true)
	has, err := n.has(o)
	if has || err != nil {
		n.logStore.freeze(false)
		return false, errors.Join(err, in.Discard())
	}
	if o.Genesis != 0 {
		err = n.stable.SetUint64([]byte(keyGenesis), uint64(o.Genesis))
	}
	if err == nil {
		err = in.Complete(state)
	}
	if err != nil {
		n.logStore.freeze(false)
		return false, refusal(fmt.Sprintf("member %q cannot take over the received log: %v", n.cfg.SelfID, err))
	}
	n.logger.Info("received the log of the leader; starting again with it", "leader", o.Leader, "index", o.Index, "term", o.Term)
	return true, nil
}

// noBytes is the snapshot that Raft is given to send. What is sent is read by
// sendLog.
type noBytes struct{}

func (noBytes) Read([]byte) (int, error) { return 0, io.EOF }
func (noBytes) Close() error             { return nil }
