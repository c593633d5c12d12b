package namesrv

import "fmt"

// StaleTermError refuses a registration as id 0 by a broker whose Raft term is
// older than one that was already seen for its broker name.
type StaleTermError struct {
	Broker string // broker name
	Addr   string // address that wanted to be id 0
	Term   int64  // its term
	Known  int64  // newest term seen for the name
}

// Error names both terms, so that the broker's log tells the whole story.
func (e *StaleTermError) Error() string {
	return fmt.Sprintf("broker %s at %s claims id 0 with term %d, but term %d is already known: an older leader is not put back",
		e.Broker, e.Addr, e.Term, e.Known)
}

// terms remembers the newest term of each broker name. It outlives the
// registration: a leader that was cut off for ten minutes must not find its
// place free because its successor happens to be restarting.
//
// Only registrations as id 0 raise a term. A follower may know a newer term of
// an election that nobody won, and the leader of the older one is then still
// the leader.
type terms struct {
	known map[string]termMark
	max   int // names remembered
	clock int64
}

type termMark struct {
	term int64
	used int64 // value of clock when last raised or checked
}

func newTerms(limit int) *terms {
	return &terms{known: map[string]termMark{}, max: limit}
}

// admit decides about a registration as id 0 and remembers its term. Term 0
// means the broker does not tell one (Java brokers) and is not fenced. live
// says whether a name has a registration now; such names are never forgotten
// to make room.
func (t *terms) admit(broker, addr string, term int64, live func(string) bool) error {
	if term <= 0 {
		return nil
	}
	mark, ok := t.known[broker]
	if ok && term < mark.term {
		return &StaleTermError{Broker: broker, Addr: addr, Term: term, Known: mark.term}
	}
	if !ok && len(t.known) >= t.max {
		t.evict(live)
	}
	t.clock++
	t.known[broker] = termMark{term: term, used: t.clock}
	return nil
}

// evict forgets the name that was used longest ago and is not registered. The
// limit is well above the number of registered addresses, so there is one.
func (t *terms) evict(live func(string) bool) {
	oldest, at := "", int64(0)
	for name, mark := range t.known {
		if (oldest == "" || mark.used < at) && !live(name) {
			oldest, at = name, mark.used
		}
	}
	delete(t.known, oldest)
}
