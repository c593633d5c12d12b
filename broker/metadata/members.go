package metadata

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cometmq/cometmq/store"
)

// Member is a broker of the group as it announced itself when it last became
// leader.
type Member struct {
	// ID is dLegerSelfId.
	ID string
	// Addr is where clients and other members reach its remoting port.
	Addr string
	// Term is the Raft term it led.
	Term uint64
}

// memberTable remembers who led at which term and under which client address,
// so that a follower knows where to forward a request.
type memberTable struct {
	mu      sync.RWMutex
	members map[string]Member
	secret  string

	dirty dirty // applying goroutine only; keys are ids, "" is the secret's
}

func newMemberTable() *memberTable {
	t := &memberTable{dirty: dirty{}}
	t.reset()
	return t
}

func (t *memberTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members, t.secret = map[string]Member{}, ""
	clear(t.dirty)
}

func (t *memberTable) apply(_ *store.ApplyContext, verb byte, r *reader) (any, error) {
	switch uint16(tableMembers)<<8 | uint16(verb) {
	case OpAnnounce:
		return t.announce(r)
	case OpSecret:
		return t.agree(r)
	}
	return nil, unknownVerb("members", verb)
}

func (t *memberTable) announce(r *reader) (any, error) {
	m := Member{ID: r.string(), Addr: r.string(), Term: r.u64()}
	if err := r.done(); err != nil {
		return nil, err
	}
	if m.ID == "" || len(m.ID) > clientIDMax || len(m.Addr) > memberAddrMax {
		return nil, fmt.Errorf("%w: member %.100q at %.100q", ErrInvalid, m.ID, m.Addr)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.members[m.ID]
	if !known && len(t.members) >= MembersMax {
		return nil, fmt.Errorf("%w: %d members", ErrFull, MembersMax)
	}
	if known && old.Term > m.Term {
		return nil, fmt.Errorf("%w: member %q announced term %d after %d", ErrInvalid, m.ID, m.Term, old.Term)
	}
	t.members[m.ID] = m
	t.dirty.mark(m.ID)
	return m, nil
}

// agree takes a secret when there is none.
func (t *memberTable) agree(r *reader) (any, error) {
	secret := r.string()
	if err := r.done(); err != nil {
		return nil, err
	}
	if secret == "" || len(secret) > secretMax {
		return nil, fmt.Errorf("%w: secret of %d bytes", ErrInvalid, len(secret))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.secret == "" {
		t.secret = secret
		t.dirty.mark("")
	}
	return t.secret, nil
}

func (t *memberTable) changes(dst []store.KV) []store.KV {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty.drain(dst, tableMembers, func(id string) []byte {
		if id == "" {
			return appendString([]byte{formatVersion}, t.secret)
		}
		m, ok := t.members[id]
		if !ok {
			return nil
		}
		return binary.BigEndian.AppendUint64(appendString([]byte{formatVersion}, m.Addr), m.Term)
	})
}

func (t *memberTable) load(key, value []byte) error {
	r := newReader(value)
	if len(key) == 0 {
		secret := r.string()
		if err := r.done(); err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.secret = secret
		return nil
	}
	m := Member{ID: string(key), Addr: r.string(), Term: r.u64()}
	if err := r.done(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members[m.ID] = m
	return nil
}

// Member returns what a broker announced when it last became leader.
func (s *State) Member(id string) (Member, bool) {
	s.members.mu.RLock()
	defer s.members.mu.RUnlock()
	m, ok := s.members.members[id]
	return m, ok
}

// Secret is what the members of the group know each other by, "" before the
// first leader made one.
func (s *State) Secret() string {
	s.members.mu.RLock()
	defer s.members.mu.RUnlock()
	return s.members.secret
}

// Members returns all brokers that ever led, sorted by id.
func (s *State) Members() []Member {
	s.members.mu.RLock()
	defer s.members.mu.RUnlock()
	out := make([]Member, 0, len(s.members.members))
	for _, m := range s.members.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Leader returns the last announced leader: the member with the highest term,
// since a term has one leader at most. False before the first announcement.
func (s *State) Leader() (Member, bool) {
	s.members.mu.RLock()
	defer s.members.mu.RUnlock()
	var last Member
	for _, m := range s.members.members {
		if last.ID == "" || m.Term > last.Term {
			last = m
		}
	}
	return last, last.ID != ""
}
