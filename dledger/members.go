package dledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// The members of a group change by entries of its log, one at a time. Each step
// here is one such entry, asked of the leader, and is refused beforehand when the
// voters after it could not commit it: a step that cannot commit would stop the
// group.
//
// A member comes in two steps: AddMember makes it one that only receives the log,
// PromoteMember a voter when it has the log. A voter that was added at once would
// count in every majority while it has nothing.

const (
	// membersMax bounds a group; what each costs the leader grows with it.
	membersMax = 16
	// stepTimeout bounds one step.
	stepTimeout = 5 * time.Second
	// reachWait is how long voters may take to reach the entry that was committed
	// last when they were asked for.
	reachWait = time.Second
)

// ErrStep refuses a change of the members, or says that it failed. The text says
// why and what to do.
var ErrStep = errors.New("membership unchanged")

func refuseStep(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStep, fmt.Sprintf(format, args...))
}

// AddMember lets a member receive the log. It does not vote. It must be running
// already, with an empty disk or a log of this group.
func (n *Node) AddMember(ctx context.Context, p Peer) error {
	return n.step(ctx, func(ctx context.Context) error {
		servers := n.servers()
		if err := checkPeer(p); err != nil {
			return err
		}
		for _, s := range servers {
			switch {
			case string(s.ID) == p.ID && string(s.Address) == p.Addr:
				return refuseStep("%s at %s is a member already", p.ID, p.Addr)
			case string(s.ID) == p.ID:
				return refuseStep("%s is a member already, at %s: remove it first, or replace it", p.ID, s.Address)
			case string(s.Address) == p.Addr:
				return refuseStep("member %s has the address %s", s.ID, p.Addr)
			}
		}
		if len(servers) >= membersMax {
			return refuseStep("the group has %d members, which is the most: remove one first", len(servers))
		}
		if err := n.answers(p); err != nil {
			return err
		}
		if err := n.quorum(ctx, servers, "adding "+p.ID); err != nil {
			return err
		}
		n.transport.forget(raft.ServerID(p.ID))
		return n.commit("add", p.ID, func() raft.IndexFuture {
			return n.raft.AddNonvoter(raft.ServerID(p.ID), raft.ServerAddress(p.Addr), 0, stepTimeout)
		})
	})
}

// PromoteMember makes a member that has the log a voter.
func (n *Node) PromoteMember(ctx context.Context, id string) error {
	return n.step(ctx, func(ctx context.Context) error { return n.promote(ctx, id) })
}

func (n *Node) promote(ctx context.Context, id string) error {
	servers := n.servers()
	s := serverOf(raft.Configuration{Servers: servers}, id)
	switch {
	case s == nil:
		return refuseStep("%s is not a member: add it first", id)
	case s.Suffrage == raft.Voter:
		return refuseStep("%s is a voter already", id)
	}
	for i := range servers {
		if servers[i].ID == s.ID {
			servers[i].Suffrage = raft.Voter
		}
	}
	target := n.raft.CommitIndex()
	if err := n.reached(ctx, []raft.Server{*s}, target); err != nil {
		return refuseStep("%s is not ready to vote: %v", id, err)
	}
	if err := n.quorum(ctx, servers, "promoting "+id); err != nil {
		return err
	}
	return n.commit("promote", id, func() raft.IndexFuture {
		return n.raft.AddVoter(s.ID, s.Address, 0, stepTimeout)
	})
}

// DemoteMember makes a voter, of whatever state, one that only receives the log,
// and lets it have another address: its disk may be gone. PromoteMember takes
// this back when it has the log again.
func (n *Node) DemoteMember(ctx context.Context, p Peer) error {
	return n.step(ctx, func(ctx context.Context) error {
		servers := n.servers()
		s := serverOf(raft.Configuration{Servers: servers}, p.ID)
		if s == nil {
			return refuseStep("%s is not a member: add it", p.ID)
		}
		if p.ID == n.cfg.SelfID {
			return refuseStep("%s leads the group, so its disk is not gone: transfer the leadership first", p.ID)
		}
		if p.Addr == "" {
			p.Addr = string(s.Address)
		}
		if err := checkPeer(p); err != nil {
			return err
		}
		for _, o := range servers {
			if o.ID != s.ID && string(o.Address) == p.Addr {
				return refuseStep("member %s has the address %s", o.ID, p.Addr)
			}
		}
		if p.Addr != string(s.Address) {
			if err := n.answers(p); err != nil {
				return err
			}
		}
		if s.Suffrage == raft.Voter {
			if err := n.demote(ctx, p.ID); err != nil {
				return err
			}
		}
		if p.Addr == string(s.Address) {
			return nil
		}
		return n.commit("move", p.ID, func() raft.IndexFuture {
			return n.raft.AddNonvoter(s.ID, raft.ServerAddress(p.Addr), 0, stepTimeout)
		})
	})
}

func (n *Node) demote(ctx context.Context, id string) error {
	servers := slices.DeleteFunc(n.servers(), func(s raft.Server) bool { return string(s.ID) == id })
	if err := n.quorum(ctx, servers, "taking "+id+" off the voters"); err != nil {
		return err
	}
	return n.commit("demote", id, func() raft.IndexFuture {
		return n.raft.DemoteVoter(raft.ServerID(id), 0, stepTimeout)
	})
}

// RemoveMember takes a member out of the group. A leader that is asked to remove
// itself makes another member leader and returns ErrNotLeader: ask that one.
func (n *Node) RemoveMember(ctx context.Context, id string) error {
	return n.step(ctx, func(ctx context.Context) error {
		s := serverOf(raft.Configuration{Servers: n.servers()}, id)
		if s == nil {
			return refuseStep("%s is not a member", id)
		}
		rest := slices.DeleteFunc(n.servers(), func(s raft.Server) bool { return string(s.ID) == id })
		if !slices.ContainsFunc(rest, func(s raft.Server) bool { return s.Suffrage == raft.Voter }) {
			return refuseStep("%s is the only voter", id)
		}
		if err := n.quorum(ctx, rest, "removing "+id); err != nil {
			return err
		}
		if id == n.cfg.SelfID {
			n.logger.Info("asked to remove itself: another member shall lead first")
			if err := n.transferTo(ctx, ""); err != nil {
				return err
			}
			return ErrNotLeader
		}
		err := n.commit("remove", id, func() raft.IndexFuture {
			return n.raft.RemoveServer(raft.ServerID(id), 0, stepTimeout)
		})
		if err == nil {
			n.transport.forget(raft.ServerID(id))
		}
		return err
	})
}

// demoteBlank and promoteBlank are what the leader does for a blank member.
func (n *Node) demoteBlank(id string) error {
	return n.step(context.Background(), func(ctx context.Context) error {
		n.logger.Warn("a voter comes back with an empty disk: it votes again when it has everything", "peer", id)
		return n.demote(ctx, id)
	})
}

func (n *Node) promoteBlank(id string) error {
	return n.step(context.Background(), func(ctx context.Context) error { return n.promote(ctx, id) })
}

// step runs one change on this leader, alone, and beside the caller: Raft must
// answer it even if the caller goes away.
func (n *Node) step(ctx context.Context, change func(context.Context) error) error {
	if !n.started.Load() || n.failed.Load() || n.closed.Load() {
		return ErrClosed
	}
	if !n.ready.Load() {
		return ErrNotLeader
	}
	result := make(chan error, 1)
	if !n.operations.start(func() {
		alone := false
		n.await(ctx, func() bool { alone = n.changing.TryLock(); return alone })
		if !alone {
			result <- refuseStep("another change of the members is under way: wait for it")
			return
		}
		defer n.changing.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
		defer cancel()
		result <- change(ctx)
	}) {
		return ErrClosed
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: the change may still happen, look at the members: %w", ErrUnknown, ctx.Err())
	}
}

// commit hands a change to Raft and waits until it is committed.
func (n *Node) commit(verb, id string, change func() raft.IndexFuture) error {
	future := change()
	err := future.Error()
	switch {
	case err == nil:
		n.logger.Info("the members changed", "step", verb, "member", id, "index", future.Index(), "members", serversText(n.servers()))
		n.newsOfMembers()
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: the leadership was lost while the change was under way, look at the members", ErrUnknown)
	default:
		return refuseStep("%s %s: %v", verb, id, err)
	}
}

// servers are the members of the latest configuration; the caller owns the list.
func (n *Node) servers() []raft.Server {
	conf := n.raft.GetConfiguration()
	if conf.Error() != nil {
		return nil
	}
	return slices.Clone(conf.Configuration().Servers)
}

func checkPeer(p Peer) error {
	if p.ID == "" || len(p.ID) > nameBytesMax || strings.ContainsAny(p.ID, "-; \t\n") {
		return refuseStep("%q is no id: allowed is a name of 1 to %d bytes without dash, semicolon or space", p.ID, nameBytesMax)
	}
	host, port, err := net.SplitHostPort(p.Addr)
	number, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || host == "" || number == 0 {
		return refuseStep("%q is no address of a Raft port: allowed is host:port", p.Addr)
	}
	return nil
}

// answers asks at the address of a member to be whether it is there.
func (n *Node) answers(p Peer) error {
	var s memberState
	if err := n.streams.call(raft.ServerAddress(p.Addr), callTimeout, call{Op: opState}, &s); err != nil {
		return refuseStep("nobody at %s belongs to this group: %v; start the broker of %s first, with raftJoin=true and an empty store", p.Addr, err, p.ID)
	}
	if s.ID != p.ID {
		return refuseStep("at %s is member %s and not %s", p.Addr, s.ID, p.ID)
	}
	return nil
}

// quorum says in an error which voters a step would need and does not have.
func (n *Node) quorum(ctx context.Context, after []raft.Server, step string) error {
	voters := slices.DeleteFunc(slices.Clone(after), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
	need := len(voters)/2 + 1
	missing := map[raft.ServerID]string{}
	target := n.raft.CommitIndex()
	n.await(ctx, func() bool {
		clear(missing)
		for _, s := range voters {
			if why := n.missing(s, target); why != "" {
				missing[s.ID] = why
			}
		}
		return len(voters)-len(missing) >= need
	})
	if len(voters)-len(missing) >= need {
		return nil
	}
	var names, reasons []string
	for _, s := range voters {
		names = append(names, string(s.ID))
		if why, ok := missing[s.ID]; ok {
			reasons = append(reasons, fmt.Sprintf("%s %s", s.ID, why))
		}
	}
	return refuseStep("%s would leave the group without a quorum: of the voters %s, %d must answer and be up to date, and %d do: %s; bring these back first",
		step, strings.Join(names, ", "), need, len(voters)-len(missing), strings.Join(reasons, ", "))
}

// reached waits for members to have an entry.
func (n *Node) reached(ctx context.Context, servers []raft.Server, target uint64) error {
	var reasons []string
	n.await(ctx, func() bool {
		reasons = nil
		for _, s := range servers {
			if why := n.missing(s, target); why != "" {
				reasons = append(reasons, fmt.Sprintf("%s %s", s.ID, why))
			}
		}
		return len(reasons) == 0
	})
	if len(reasons) == 0 {
		return nil
	}
	return errors.New(strings.Join(reasons, ", "))
}

// await looks until something is true, for reachWait at most.
func (n *Node) await(ctx context.Context, done func() bool) {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			return
		case <-n.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// missing says what keeps a member from counting as one that has an entry, or "".
func (n *Node) missing(s raft.Server, target uint64) string {
	if string(s.ID) == n.cfg.SelfID {
		return ""
	}
	c := n.transport.contact(s.ID)
	switch {
	case c.at.IsZero():
		return "has not answered this leader"
	case time.Since(c.at) > 2*n.cfg.HeartbeatTimeout:
		return "has not answered since " + c.at.Format(time.DateTime)
	case c.term != n.raft.CurrentTerm():
		return "has not yet taken an entry of this leader"
	case c.matched < target:
		return fmt.Sprintf("is %d entries behind", target-c.matched)
	}
	return ""
}

// others are the members of the list in the configuration and of the log, this
// one excepted.
func (n *Node) others() []raft.Server {
	list := n.servers()
	for _, p := range n.cfg.Peers {
		if serverOf(raft.Configuration{Servers: list}, p.ID) == nil {
			list = append(list, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Addr)})
		}
	}
	list = slices.DeleteFunc(list, func(s raft.Server) bool { return string(s.ID) == n.cfg.SelfID })
	slices.SortFunc(list, func(a, b raft.Server) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
