package dledger

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Members also speak to each other beside Raft, on the same port: a connection
// that greets with callMagic (hello.go) carries calls of ours. Both sides send
// frames, integers big-endian:
//
//	u32 length of the body | u8 kind | body
//
// A call is a frame of kind frameCall, whose body is the JSON of a call, and is
// answered by one of kind frameAnswer or frameRefusal, whose body is a sentence.
// Unknown fields are ignored and missing ones are zero, so that members of
// neighbouring versions understand each other.
const (
	frameCall byte = iota + 1
	frameAnswer
	frameRefusal
)

const (
	// frameMax bounds a body before memory is taken for it.
	frameMax = 1 << 20
	// callsMax bounds calls that are being answered.
	callsMax = 64
	// callTimeout bounds a call that says nothing else.
	callTimeout = 3 * time.Second
)

// call is what a member asks another.
type call struct {
	Op   string          `json:"op"`
	Body json.RawMessage `json:"body,omitempty"`
}

// The calls.
const (
	opState  = "state"  // answered with a memberState
	opRejoin = "rejoin" // of a blank member, with a wish, answered with an admitted
)

// memberState is what a member says of itself.
type memberState struct {
	ID        string `json:"id"`
	Role      Role   `json:"role"`
	Term      uint64 `json:"term"`
	Leader    string `json:"leader"`
	LastIndex uint64 `json:"lastIndex"`
	LastTerm  uint64 `json:"lastTerm"`

	// Addr is where it says that others reach it.
	Addr string `json:"addr"`
	// Blank is its incarnation while it is blank, else 0; Proposal the fingerprint
	// of the group that it would found then, Founders those it founded one with.
	Blank    uint64   `json:"blank,omitempty"`
	Proposal uint32   `json:"proposal,omitempty"`
	Founders founders `json:"founders,omitempty"`
	// Members are those of the last committed configuration, which is at index
	// Configuration.
	Members       []string `json:"members,omitempty"`
	Configuration uint64   `json:"configuration,omitempty"`
	// Doubt: it does not vote. Deaf: nor does it know its term.
	Doubt bool `json:"doubt,omitempty"`
	Deaf  bool `json:"deaf,omitempty"`
	// Voters is how many the group has as far as it knows, 0 when it does not.
	Voters int `json:"voters,omitempty"`
}

// refusal is a call that was understood and not done.
type refusal string

func (r refusal) Error() string { return string(r) }

func writeFrame(w io.Writer, kind byte, body []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 5+len(body)), uint32(len(body)))
	_, err := w.Write(append(append(b, kind), body...))
	return err
}

// readFrame reads a frame whose body is at most most bytes long.
func readFrame(r io.Reader, most int) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if int64(n) > int64(most) {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes, allowed are %d", errStranger, n, most)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, fmt.Errorf("a frame of %d bytes: %w", n, err)
	}
	return head[4], body, nil
}

func writeJSON(w io.Writer, kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFrame(w, kind, body)
}

// readAnswer reads the answer to a call.
func readAnswer(r io.Reader, answer any) error {
	kind, body, err := readFrame(r, frameMax)
	switch {
	case err != nil:
		return err
	case kind == frameRefusal:
		return refusal(body)
	case kind != frameAnswer:
		return fmt.Errorf("%w: a frame of kind %d in place of an answer", errStranger, kind)
	}
	return json.Unmarshal(body, answer)
}

// call asks the member at addr and waits for its answer.
func (s *streams) call(addr raft.ServerAddress, timeout time.Duration, c call, answer any) error {
	end := time.Now().Add(timeout)
	conn, err := s.dial(addr, timeout, callMagic)
	if err != nil {
		return err
	}
	defer conn.Close()
	var watching sync.WaitGroup
	defer watching.Wait()
	answered := make(chan struct{})
	defer close(answered)
	watching.Go(func() {
		select {
		case <-s.hurry: // nobody waits for an answer any more
			conn.Close()
		case <-answered:
		}
	})
	if err := conn.SetDeadline(end); err != nil {
		return err
	}
	if err := writeJSON(conn, frameCall, c); err != nil {
		return err
	}
	return readAnswer(conn, answer)
}

// answer serves the calls of a connection until it ends.
func (n *Node) answer(conn net.Conn, from string) error {
	for {
		if err := conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
			return err
		}
		kind, body, err := readFrame(conn, frameMax)
		if err != nil || kind != frameCall {
			return err
		}
		var c call
		if err := json.Unmarshal(body, &c); err != nil {
			return fmt.Errorf("%w: %w", errStranger, err)
		}
		switch c.Op {
		case opInstall:
			return n.takeLog(conn, c.Body) // a conversation of its own
		case opState:
			err = n.answerTo(conn, n.state(), nil)
		case opClock:
			err = n.answerTo(conn, clockReading{At: n.clock.wall()}, nil)
		case opRejoin:
			if err = conn.SetDeadline(time.Now().Add(stepTimeout + callTimeout)); err != nil {
				return err
			}
			answer, refused := n.admit(c.Body)
			err = n.answerTo(conn, answer, refused)
		case opDigest:
			digest, derr := n.digestFor(c.Body)
			err = n.answerTo(conn, digest, derr)
		case opForgot:
			err = n.answerTo(conn, struct{}{}, n.lacks(c.Body, from))
		case opCondemn:
			done, derr := n.condemned(c.Body, from)
			err = n.answerTo(conn, done, derr)
		default:
			err = n.answerTo(conn, nil, refusal(fmt.Sprintf("member %q of this version does not know the call %q", n.cfg.SelfID, c.Op)))
		}
		if err != nil {
			return err
		}
	}
}

// answerTo answers a call, with a refusal if err is one.
func (n *Node) answerTo(conn net.Conn, answer any, err error) error {
	var r refusal
	switch {
	case errors.As(err, &r):
		return writeFrame(conn, frameRefusal, []byte(r))
	case err != nil:
		return err
	default:
		return writeJSON(conn, frameAnswer, answer)
	}
}

// state is what this member says of itself.
func (n *Node) state() memberState {
	s := memberState{ID: n.cfg.SelfID, Addr: n.cfg.self().Addr, LastIndex: n.cfg.Store.Log().LastIndex(), Founders: n.knownFounders()}
	if b := n.blank.Load(); b != nil {
		s.Blank, s.Proposal = b.Incarnation, fingerprint(raft.EncodeConfiguration(genesisOf(n.cfg.Peers)))
	}
	known := n.fsm.configuration()
	s.Configuration = known.index
	for _, m := range known.conf.Servers {
		s.Members = append(s.Members, string(m.ID))
	}
	if e, _, err := n.cfg.Store.Log().Read(s.LastIndex); err == nil {
		s.LastTerm = e.Term
	}
	if r := n.running.Load(); r != nil {
		_, leader := r.LeaderWithID()
		s.Role, s.Term, s.Leader = roleOf(r.State()), r.CurrentTerm(), string(leader)
		for _, server := range r.GetConfiguration().Configuration().Servers {
			if server.Suffrage == raft.Voter {
				s.Voters++
			}
		}
	}
	if d := n.doubt(); d != nil {
		s.Doubt, s.Deaf = true, d.deaf()
	}
	return s
}

// survey asks the given members for their state, all at once. Those that do not
// answer in time are missing from the result.
func (n *Node) survey(servers []raft.Server, timeout time.Duration) []memberState {
	var mu sync.Mutex
	var states []memberState
	var asking sync.WaitGroup
	for _, server := range servers {
		asking.Go(func() {
			var s memberState
			if err := n.streams.call(n.transport.address(server.ID, server.Address), timeout, call{Op: opState}, &s); err != nil {
				n.logger.Debug("a member does not tell its state", "peer", server.ID, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		})
	}
	asking.Wait()
	return states
}
