package dledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// transferStuckAfter is how long Raft may refuse entries for a transfer that
// nobody asked for before this is worth a line in the log.
const transferStuckAfter = 2 * time.Second

// TransferLeadership makes another member leader and returns when this one no
// longer is. Proposals wait meanwhile; then they are refused with ErrNotLeader,
// or go on when no member could take over. Without an error nobody sees an
// unknown outcome because of it.
func (n *Node) TransferLeadership(ctx context.Context) error {
	return n.TransferLeadershipTo(ctx, "")
}

// TransferLeadershipTo makes the named member leader, which must be a voter that
// has everything; "" is any.
func (n *Node) TransferLeadershipTo(ctx context.Context, id string) error {
	if !n.started.Load() || n.failed.Load() || n.closed.Load() {
		return ErrClosed
	}
	if !n.ready.Load() {
		return ErrNotLeader
	}
	result := make(chan error, 1)
	if !n.operations.start(func() { result <- n.transferTo(ctx, id) }) {
		return ErrClosed
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("dledger: transfer leadership: %w", ctx.Err())
	}
}

// transferTo tries the members, most promising first. Entries in flight end
// before it begins: those would lose their leader and end unknown.
func (n *Node) transferTo(ctx context.Context, to string) error {
	n.transfer.Lock()
	defer n.transfer.Unlock()
	if err := n.canTake(ctx, to); err != nil {
		return err
	}
	if err := n.collector.pause(ctx); err != nil {
		return err
	}
	defer n.collector.resume()
	n.transfers.Add(1)
	defer n.transfers.Add(-1)

	candidates := n.successors()
	if to != "" {
		candidates = slices.DeleteFunc(candidates, func(s raft.Server) bool { return string(s.ID) != to })
	}
	if len(candidates) == 0 {
		return errors.New("dledger: transfer leadership: no other voter has answered lately")
	}
	select {
	case <-n.lost: // of an earlier loss
	default:
	}
	var errs []error
	for _, s := range candidates {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		n.logger.Info("transferring leadership", "to", s.ID)
		err := n.raft.LeadershipTransferToServer(s.ID, s.Address).Error()
		if err == nil || n.raft.State() != raft.Leader {
			// What waits must be refused before the collector goes on.
			select {
			case <-n.lost:
				return nil
			case <-n.stop:
				return nil
			case <-ctx.Done():
				return fmt.Errorf("dledger: transfer leadership: %w", ctx.Err())
			}
		}
		errs = append(errs, fmt.Errorf("to member %q: %w", s.ID, err))
	}
	return fmt.Errorf("dledger: transfer leadership: %w", errors.Join(errs...))
}

// canTake says why a member cannot be made leader. Raft would try, refuse every
// proposal meanwhile, and give up.
func (n *Node) canTake(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	s := serverOf(raft.Configuration{Servers: n.servers()}, id)
	switch {
	case s == nil:
		return refuseStep("%s is not a member", id)
	case s.Suffrage != raft.Voter:
		return refuseStep("%s does not vote: promote it first", id)
	case id == n.cfg.SelfID:
		return refuseStep("%s leads already", id)
	}
	if err := n.reached(ctx, []raft.Server{*s}, n.raft.CommitIndex()); err != nil {
		return refuseStep("%v, so it cannot lead", err)
	}
	return nil
}

// successors lists the voters that answered lately, longest log first. Raft's
// own choice looks at what it sent, which may be a member that died since.
func (n *Node) successors() []raft.Server {
	conf := n.raft.GetConfiguration()
	if conf.Error() != nil {
		return nil
	}
	var list []raft.Server
	for _, s := range conf.Configuration().Servers {
		alive := time.Since(n.transport.contact(s.ID).at) < n.cfg.HeartbeatTimeout
		if s.Suffrage == raft.Voter && string(s.ID) != n.cfg.SelfID && alive {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b raft.Server) int {
		la, lb := n.transport.contact(a.ID).lastIndex, n.transport.contact(b.ID).lastIndex
		switch {
		case la > lb:
			return -1
		case la < lb:
			return 1
		default:
			return 0
		}
	})
	return list
}

// refusing is since when Raft refuses entries for a transfer of nobody's. It
// belongs to the collector's goroutine.
type refusing struct {
	since  time.Time
	warned bool
}

// transferRefused watches a known weakness of Raft's: a transfer that is cut
// off can leave a leader that refuses every entry because it believes that the
// transfer still runs (hashicorp/raft issue 696). It normally ends with the
// call that hangs, after rpcTimeout. A leader that stays so is of no use to
// anybody and must make room.
func (n *Node) transferRefused(refused bool) {
	r := &n.refusing
	switch {
	case !refused || n.transfers.Load() > 0:
		*r = refusing{}
	case r.since.IsZero():
		r.since = time.Now()
	case time.Since(r.since) > 2*rpcTimeout:
		n.fail(fmt.Errorf("dledger: raft has refused every entry for %s because of a leadership transfer that nobody runs: "+
			"this process must start again", time.Since(r.since).Round(time.Second)))
	case !r.warned && time.Since(r.since) > transferStuckAfter:
		r.warned = true
		n.logger.Warn("raft refuses entries because of a leadership transfer that nobody runs", "for", time.Since(r.since).Round(time.Millisecond))
	}
}
