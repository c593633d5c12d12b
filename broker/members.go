package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// memberPatience is how long a step of a change of the members may take.
const memberPatience = 8 * time.Second

// membersHere lets the member that is asked answer while nobody leads, which is
// when the answer matters most, and while it is not one of the group itself.
func membersHere(b *Broker, _ request) bool { return b.node.LeaderID() == "" || !b.belongs() }

// handleGroupMembers serves CodeGroupMembers.
func (b *Broker) handleGroupMembers(context.Context, request) (*protocol.Response, error) {
	st, now := b.node.Status(), time.Now()
	out := protocol.GroupMembers{
		BrokerName: b.brokerName, Group: b.cfg().group(), Leader: st.LeaderID, Term: st.Term, From: b.selfID, Standing: string(st.Standing),
		CommitIndex: st.CommitIndex, MembersIndex: st.Members, Members: []protocol.GroupMember{},
		Note: noQuorum(&st, b.selfID, now, b.cfg().silence(), b.forward.unledFrom()),
	}
	if out.Note == "" {
		out.Note = standingNote(st.Standing)
	}
	progress := map[string]dledger.Progress{}
	for _, p := range b.node.Progress() {
		progress[p.Peer] = p
	}
	for _, p := range st.Peers {
		m := protocol.GroupMember{ID: p.ID, RaftAddr: p.Addr, Voter: p.Voter, Role: dledger.Follower.String(), ContactMs: -1, EtaMs: -1}
		if p.ID == st.LeaderID {
			m.Role = dledger.Leader.String()
		}
		if known, ok := b.meta.Member(p.ID); ok {
			m.Addr = known.Addr
		}
		if !p.Contact.IsZero() {
			m.ContactMs = now.Sub(p.Contact).Milliseconds()
		}
		b.describe(&m, &st, progress, now.Sub(p.Contact) < b.cfg().silence())
		out.Members = append(out.Members, m)
	}
	return withBody(protocol.Encode(&out), nil)
}

// describe fills in how a member is doing, as far as this one knows.
func (b *Broker) describe(m *protocol.GroupMember, st *dledger.Status, progress map[string]dledger.Progress, answers bool) {
	p, known := progress[m.ID]
	switch {
	case m.ID == b.selfID:
		m.Role, m.State, m.ContactMs, m.LastIndex, m.EtaMs, m.Addr = st.Role.String(), protocol.MemberOK, 0, st.LastIndex, 0, b.Addr().String()
		m.TotalBytes = b.store.Log().MaxOffset() - b.store.Log().MinOffset()
		m.Bytes = m.TotalBytes
		return
	case known:
		m.LastIndex, m.Bytes, m.TotalBytes, m.Rate = p.Index, p.Bytes, p.Total, p.Rate
		if p.Remaining >= 0 {
			m.EtaMs = p.Remaining.Milliseconds()
		}
		if p.Index < p.LastIndex {
			m.Behind = p.LastIndex - p.Index
		}
	case m.ID == st.LeaderID && answers:
		m.State = protocol.MemberOK
		return
	}
	switch {
	case !known && !answers && st.LeaderID == "":
		m.State = protocol.MemberUnreachable
	case !known:
		m.State = protocol.MemberUnknown
	case !answers:
		m.State, m.Rate, m.EtaMs = protocol.MemberUnreachable, 0, -1
	case p.Installing:
		m.State = protocol.MemberReceiving
	case p.Index < st.CommitIndex:
		m.State = protocol.MemberBehind
	default:
		m.State = protocol.MemberOK
	}
}

// handleChangeMembers serves CodeChangeMembers on the leader.
func (b *Broker) handleChangeMembers(ctx context.Context, r request) (*protocol.Response, error) {
	f := r.cmd.Required()
	step, id, addr := f.Str("step"), r.cmd.Str("memberId"), r.cmd.Str("raftAddr")
	if err := f.Err(); err != nil {
		return nil, err
	}
	began := time.Now()
	text, err := b.changeMembers(ctx, step, id, addr)
	switch {
	case errors.Is(err, dledger.ErrUnknown):
		return nil, refuse(protocol.StatusSystemError, "%v", err)
	case err != nil:
		return nil, err
	}
	took := time.Since(began)
	out := protocol.MemberStep{Step: step, ID: id, TookMs: took.Milliseconds()}
	if step == protocol.StepTransfer {
		b.awaitLeader(time.Second)
	}
	st := b.node.Status()
	out.Leader, out.Term = st.LeaderID, st.Term
	if step == protocol.StepTransfer {
		text = fmt.Sprintf("%s leads, it was %s", st.LeaderID, b.selfID)
		if st.LeaderID == "" {
			text = fmt.Sprintf("%s leads no more; who does is not known yet", b.selfID)
		}
	}
	out.Text = fmt.Sprintf("%s (term %d, took %s)", text, st.Term, took.Round(time.Millisecond))
	b.log.Info("members changed on request", "step", step, "member", id, "address", addr, "took", took)
	return withBody(protocol.Encode(&out), nil)
}

func (b *Broker) changeMembers(ctx context.Context, step, id, addr string) (text string, err error) {
	if id == "" && step != protocol.StepTransfer {
		return "", refuse(protocol.StatusSystemError, "memberId is missing: name the member")
	}
	switch step {
	case protocol.StepAdd:
		return fmt.Sprintf("%s at %s receives the log and does not vote yet", id, addr), b.node.AddMember(ctx, dledger.Peer{ID: id, Addr: addr})
	case protocol.StepPromote:
		return id + " votes", b.node.PromoteMember(ctx, id)
	case protocol.StepDemote:
		return id + " receives the log and does not vote", b.node.DemoteMember(ctx, dledger.Peer{ID: id, Addr: addr})
	case protocol.StepRemove:
		return id + " is no member any more", b.node.RemoveMember(ctx, id)
	case protocol.StepTransfer:
		b.flushOffsets(ctx)
		return "", b.node.TransferLeadershipTo(ctx, id)
	default:
		return "", refuse(protocol.StatusSystemError, "step %q is not known: add, promote, demote, remove or transfer", step)
	}
}

// belongs says whether this member should be known to clients: those that they
// reach must know whom to send requests on to.
func (b *Broker) belongs() bool {
	if b.leading.Load() {
		return true
	}
	s := b.node.Standing()
	return s == dledger.Voting || s == dledger.Receiving
}

// membersChanged is called by the node when the members of the group changed, or
// what this one is to them.
func (b *Broker) membersChanged() { b.register.kick() }

// standingNote is a sentence for a member that does not serve as others do.
func standingNote(s dledger.Standing) string {
	switch s {
	case dledger.Founding:
		return "this member's disk is empty and it knows of no group yet: it waits for the others of dLegerPeers"
	case dledger.Joining:
		return "this member is not in the group yet, or has not yet got its log"
	case dledger.Removed:
		return "this member was removed from the group"
	}
	return ""
}
