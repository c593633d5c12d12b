package dledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// A member whose disk is empty is either new, or it had a disk and lost it. The
// second kind is dangerous: it acknowledged entries and gave votes that it has
// forgotten. With members A, B and C, an entry on A and B, an empty B and a dead
// A, the votes of B and C would make a leader without that entry.
//
// So a member begins blank: it neither votes nor stands, whatever its log comes
// to hold, until one of two things is certain.
//
// Founding. All members of its list are blank, too: nobody has anything to
// forget, and they write the first entry of the group's log. If one of them
// does not answer for a while, a majority is enough. Each remembers whom it met
// (founders), so that one that asks a moment later learns that it was counted.
//
// Readmission. The group exists. Its leader takes this member off the voters,
// brings it up, and makes it a voter again. Both are entries of the log, so a
// vote that was forgotten counts for no candidate who could still win: whoever
// lacks the first of the two entries lacks a majority, as it is on a majority of
// the other voters, and whoever has it does not count this member.
//
// Until a blank member has asked the others once it answers no leader, and then
// none of an older term than they told: its old disk may have helped to elect the
// successor of a leader that sleeps and does not know it yet, and acknowledgements
// for that one could commit what the successor's majority replaces.
//
// The leader keeps nothing about it. A blank member asks for what it needs, and
// finds in its own log when it is a voter again.

const (
	keyBlank    = "cometmq.blank"
	keyFounders = "cometmq.founders"

	// foundEvery and rejoinEvery are how often a blank member asks the others.
	foundEvery  = 10 * time.Millisecond
	rejoinEvery = 100 * time.Millisecond
	// foundingWait is how long a majority waits for the others before it founds the
	// group without them. Those are readmitted later, which costs two entries, so
	// it is longer than members need that are started together on a busy machine.
	foundingWait = 2 * time.Second
	// blankLogEvery is how often a member that waits says so.
	blankLogEvery = 30 * time.Second
)

// blankness is what a blank member knows of itself, kept in stable.db as JSON.
type blankness struct {
	// Incarnation tells this disk from the one before.
	Incarnation uint64 `json:"incarnation"`
	// Floor is where the leader's log ended when it first answered: entries
	// beyond it were written when this member was blank already. 0: not yet known.
	Floor uint64 `json:"floor"`
	// Voter: the leader's configuration had this member as a voter then, so it
	// becomes one again without being told to.
	Voter bool `json:"voter"`
}

// founders are the members that founded the group together, each with its
// incarnation, as this one saw them.
type founders map[string]uint64

// loadBlank reads both from stable.db. A nil blankness says that this member is
// not blank.
func loadBlank(s *stableStore) (*blankness, founders, error) {
	var b *blankness
	var f founders
	for key, v := range map[string]any{keyBlank: &b, keyFounders: &f} {
		raw, err := s.Get([]byte(key))
		if errors.Is(err, raftboltdb.ErrKeyNotFound) || err == nil && len(raw) == 0 {
			continue
		}
		if err == nil {
			err = json.Unmarshal(raw, v)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("dledger: read %s from %s: %w", key, s.path, err)
		}
	}
	return b, f, nil
}

func saveJSON(s *stableStore, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.Set([]byte(key), raw)
}

// terms are what the others told a blank member of theirs.
type terms struct {
	asked atomic.Bool
	floor atomic.Uint64
}

// note takes the answers of one round of questions.
func (t *terms) note(states []memberState) {
	for _, s := range states {
		if s.Term > t.floor.Load() {
			t.floor.Store(s.Term)
		}
	}
	t.asked.Store(true)
}

// deafTo says whether a blank member must not answer a leader of a term yet.
func (n *Node) deafTo(term uint64) bool {
	return n.isBlank() && (!n.terms.asked.Load() || term < n.terms.floor.Load())
}

// begin prepares a member for Raft: a group of one writes its first entry, a
// member of several with an empty disk becomes blank, and of any other one term,
// vote and log must belong together. It returns the fingerprint of the group's
// first configuration, 0 if it is not known yet.
func (n *Node) begin() (genesis uint32, err error) {
	var b *blankness
	if b, n.founders, err = loadBlank(n.stable); err != nil {
		return 0, err
	}
	last, err := n.logs.LastIndex()
	if err != nil {
		return 0, err
	}
	term, err := n.stable.number(keyTerm)
	if err != nil {
		return 0, err
	}
	empty := last == 0 && n.snaps.latest() == nil
	if !empty || b == nil && term > 1 {
		n.blank.Store(b)
		return n.knownGenesis(last, term)
	}
	if len(n.cfg.Peers) == 1 && !n.cfg.Join {
		return bootstrap(n.cfg.Peers, n.logs, n.stable)
	}
	if b == nil {
		b = &blankness{Incarnation: rand.Uint64()>>1 + 1}
		if err := saveJSON(n.stable, keyBlank, b); err != nil {
			return 0, err
		}
	}
	if term == 1 {
		// It died between the term and the entry of the founding; with a term Raft
		// would not let the group be founded.
		if err := n.stable.SetUint64([]byte(keyTerm), 0); err != nil {
			return 0, err
		}
	}
	n.blank.Store(b)
	return 0, nil
}

// setBlank changes what a blank member knows, durably; nil: it is blank no more.
// Only the goroutine of watchMembers and, to end it, Raft's state machine call it.
func (n *Node) setBlank(b *blankness) error {
	n.blankMu.Lock()
	defer n.blankMu.Unlock()
	if n.blank.Load() == nil {
		return nil
	}
	var err error
	if b == nil {
		err = n.stable.Set([]byte(keyBlank), nil)
	} else {
		err = saveJSON(n.stable, keyBlank, b)
	}
	if err == nil {
		n.blank.Store(b)
	}
	return err
}

// sawConfiguration is told of each configuration of the log when it is
// committed, in order, and of the one before it.
func (n *Node) sawConfiguration(index uint64, conf, before raft.Configuration) {
	n.transport.book.logs(conf)
	n.newsOfMembers()
	b := n.blank.Load()
	if b == nil || b.Floor == 0 || index <= b.Floor || !votes(conf, n.cfg.SelfID) || votes(before, n.cfg.SelfID) {
		return
	}
	if err := n.setBlank(nil); err != nil {
		return // it was said, and ends the process
	}
	n.logger.Info("this member votes: it has all that the group has", "index", index)
}

// votes says whether a member is a voter of a configuration.
func votes(conf raft.Configuration, id string) bool {
	s := serverOf(conf, id)
	return s != nil && s.Suffrage == raft.Voter
}

func serverOf(conf raft.Configuration, id string) *raft.Server {
	for i := range conf.Servers {
		if conf.Servers[i].ID == raft.ServerID(id) {
			return &conf.Servers[i]
		}
	}
	return nil
}

// founding is one round of a blank member's questions to those of its list.
type founding struct {
	since  time.Time
	logged time.Time
}

// settle asks the others once and does what follows from their answers. It
// returns how long to wait before the next time.
func (n *Node) settle(f *founding) time.Duration {
	b := n.blank.Load()
	if b == nil {
		return memberTick
	}
	states := n.survey(n.others(), callTimeout/3)
	n.terms.note(states)
	met := founders{n.cfg.SelfID: b.Incarnation}
	var leader *memberState
	exists, differs := "", ""
	ours := fingerprint(raft.EncodeConfiguration(genesisOf(n.cfg.Peers)))
	for i, s := range states {
		switch {
		case s.Blank == 0 && s.Founders[n.cfg.SelfID] == b.Incarnation:
			n.counted(s)
			return rejoinEvery
		case s.Blank == 0:
			exists = s.ID
		case s.Proposal != ours:
			differs = s.ID
		default:
			met[s.ID] = s.Blank
		}
		if s.Role == Leader && (leader == nil || s.Term > leader.Term) {
			leader = &states[i]
		}
	}
	quiet := time.Since(f.logged) < blankLogEvery
	switch {
	case leader != nil:
		note := n.rejoin(leader)
		if note != "" && !quiet {
			n.logger.Info("this member does not vote yet", "reason", note)
			f.logged = time.Now()
		}
		return rejoinEvery
	case exists != "":
		if !quiet {
			n.logger.Warn("this member's disk was empty and the group exists: it waits for a leader", "told-by", exists)
			f.logged = time.Now()
		}
		return rejoinEvery
	case n.cfg.Join || n.raft.LastIndex() > 0:
		if !quiet {
			n.logger.Info("this member waits for the group", "peers", peersText(n.cfg.Peers))
			f.logged = time.Now()
		}
		return rejoinEvery
	case differs != "" && !quiet:
		n.logger.Error("the members would begin a group with different lists: make dLegerPeers the same on all of them",
			"peer", differs, "ours", peersText(n.cfg.Peers))
		f.logged = time.Now()
	}
	majority := 2*len(met) > len(n.cfg.Peers)
	if !majority {
		f.since = time.Time{}
	} else if f.since.IsZero() {
		f.since = time.Now()
	}
	if len(met) == len(n.cfg.Peers) || majority && time.Since(f.since) > foundingWait {
		n.found(met)
		return rejoinEvery
	}
	if !majority && !quiet && !f.logged.IsZero() {
		n.logger.Info("this member waits for a majority of its list to found the group", "peers", peersText(n.cfg.Peers))
	}
	if f.logged.IsZero() || !quiet {
		f.logged = time.Now()
	}
	return foundEvery
}

// counted ends the blankness of a member that another one counted when they
// founded the group: it has had this disk since.
func (n *Node) counted(by memberState) {
	if err := saveJSON(n.stable, keyFounders, by.Founders); err != nil {
		return
	}
	n.rememberFounders(by.Founders)
	if n.bootstrapRaft() && n.setBlank(nil) == nil {
		n.logger.Debug("belongs to the founders of the group", "told-by", by.ID)
	}
}

// found begins the group's log.
func (n *Node) found(met founders) {
	if len(met) < len(n.cfg.Peers) {
		n.logger.Warn("founding the group without all of its members; those that are missing must be empty when they come",
			"peers", peersText(n.cfg.Peers), "present", len(met))
	}
	// The others must learn who was counted from the moment that we are not blank.
	if err := saveJSON(n.stable, keyFounders, met); err != nil {
		return
	}
	n.rememberFounders(met)
	if n.bootstrapRaft() {
		_ = n.setBlank(nil) // an error ends the process
	}
}

// bootstrapRaft writes the first entry into the running Raft's log, unless a
// leader was faster. It returns whether there is one.
func (n *Node) bootstrapRaft() bool {
	if n.raft.LastIndex() > 0 {
		return true
	}
	conf := genesisOf(n.cfg.Peers)
	mark := fingerprint(raft.EncodeConfiguration(conf))
	if err := n.stable.SetUint64([]byte(keyGenesis), uint64(mark)); err != nil {
		return false
	}
	err := n.raft.BootstrapCluster(conf).Error()
	switch {
	case errors.Is(err, raft.ErrCantBootstrap):
		return n.raft.LastIndex() > 0 // if not, a leader has called already and will send it
	case err != nil:
		n.logger.Error("cannot begin the group's log", "error", err)
		return false
	}
	n.streams.setGenesis(mark)
	return true
}

func (n *Node) rememberFounders(f founders) {
	n.blankMu.Lock()
	defer n.blankMu.Unlock()
	n.founders = f
}

func (n *Node) knownFounders() founders {
	n.blankMu.Lock()
	defer n.blankMu.Unlock()
	return n.founders
}

// wish is what a blank member tells its leader (call opRejoin), and admitted
// what it is told.
type wish struct {
	ID    string `json:"id"`
	Voter bool   `json:"voter"` // make it a voter again
	// Configuration is the index of the last configuration that it knows to be
	// committed.
	Configuration uint64 `json:"configuration"`
}

type admitted struct {
	Member bool   `json:"member"`
	Voter  bool   `json:"voter"`
	Floor  uint64 `json:"floor"`
	// Current: the asker knows the configuration that this is about.
	Current bool   `json:"current"`
	Note    string `json:"note"` // why nothing was done, if so
}

// rejoin asks the leader to make this member what it was. It returns why it
// waits.
func (n *Node) rejoin(leader *memberState) string {
	was := n.blank.Load()
	if was == nil {
		return ""
	}
	b := *was
	body, err := json.Marshal(wish{ID: n.cfg.SelfID, Voter: b.Voter, Configuration: n.fsm.configuration().index})
	if err != nil {
		return err.Error()
	}
	to := n.transport.address(raft.ServerID(leader.ID), raft.ServerAddress(leader.Addr))
	var a admitted
	if err := n.streams.call(to, stepTimeout+callTimeout, call{Op: opRejoin, Body: body}, &a); err != nil {
		return fmt.Sprintf("the leader %s answered: %v", leader.ID, err)
	}
	n.admitted.Store(&a)
	if b.Floor == 0 && a.Floor > 0 {
		b.Floor, b.Voter = a.Floor, a.Voter
		if err := n.setBlank(&b); err != nil {
			return err.Error()
		}
		if a.Voter {
			n.logger.Warn("this member's disk was empty: it is brought up, and votes when it has everything", "leader", leader.ID, "to-index", a.Floor)
		}
	}
	if a.Voter && a.Current && !b.Voter {
		// It was promoted before it had noted the floor, so it cannot tell whether
		// that was this disk: it has to be readmitted.
		b.Voter = true
		if err := n.setBlank(&b); err != nil {
			return err.Error()
		}
	}
	if a.Note == "" && !a.Member {
		return fmt.Sprintf("it waits to be added to the group: mqadmin group add %s %s", n.cfg.SelfID, n.cfg.self().Addr)
	}
	return a.Note
}

// admit serves opRejoin on the leader.
func (n *Node) admit(body []byte) (*admitted, error) {
	var w wish
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", errStranger, err)
	}
	if !n.started.Load() || !n.ready.Load() || n.raft.VerifyLeader().Error() != nil {
		return nil, refusal(fmt.Sprintf("member %q does not lead", n.cfg.SelfID))
	}
	// The floor is taken before anything is done about the wish.
	a := &admitted{Floor: n.raft.LastIndex()}
	known := n.fsm.configuration()
	s := serverOf(known.conf, w.ID)
	a.Member, a.Voter, a.Current = s != nil, s != nil && s.Suffrage == raft.Voter, w.Configuration >= known.index
	if s == nil || !w.Voter || !a.Current {
		return a, nil // in the last case it will see by itself, in a moment
	}
	var err error
	if a.Voter {
		err = n.demoteBlank(w.ID)
	} else {
		err = n.promoteBlank(w.ID)
	}
	if err != nil {
		a.Note = err.Error()
	}
	return a, nil
}
