package dledger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/store/commitlog"
)

// A member whose log or state turns out to be damaged leaves the group at once
// (Withdraw), ends its process, and begins again: Repair waits for a leader among
// the others, makes the doubt of doubt.go durable and lets the store be emptied;
// from there on this is a member that is brought up from the live log
// (install.go), and votes when it has everything again. See docs/adr/0011.

// Withdraw ends this member because its log must not be trusted: it hands the
// leadership over if it has it and somebody takes it at once, falls silent, and
// calls Exit with cause. It may be called more than once.
func (n *Node) Withdraw(cause error) {
	if n.withdrawing.Swap(true) {
		return
	}
	n.logger.Error("this member leaves the group until its log is repaired", "error", cause)
	if n.started.Load() && n.ready.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), withdrawTimeout)
		if err := n.TransferLeadership(ctx); err != nil {
			n.logger.Warn("leadership was not handed over; the others elect a leader when this one is gone", "error", err)
		}
		cancel()
	}
	n.fail(cause)
}

// withdrawTimeout bounds the hand-over: the log is known to be damaged, and an
// election takes the others no longer.
const withdrawTimeout = time.Second

// damaged is what Raft's reading of a damaged entry leads to. Raft would panic, or
// leave a follower behind for ever; it is given no answer instead, while this
// member withdraws. Only a start gets the error back: it has no group yet.
func (n *Node) damaged(cause error) {
	cause = n.knownDamage(cause)
	go n.Withdraw(cause)
	if n.running.Load() != nil {
		<-n.stop
	}
}

// knownDamage is cause as the store tells it, which whoever ends the process
// knows by its type.
func (n *Node) knownDamage(cause error) error {
	if doubt := n.cfg.Store.Doubt(); doubt != nil {
		return errors.Join(doubt, cause)
	}
	return cause
}

// repairPause is the time between two questions for a leader.
const repairPause = 200 * time.Millisecond

// Repair prepares a member whose store is in doubt for emptying it, and then has
// setAside do so. cfg needs no Store. It waits until one of the other members
// says that it leads: only then there is a log to get, and emptying this one can
// cost nothing. It returns when ctx ends. Every step can be repeated.
func Repair(ctx context.Context, cfg Config, reason string, setAside func() error) (err error) {
	cfg = cfg.withDefaults()
	logger := cfg.Logger.Named("dledger").With("group", cfg.Group, "member", cfg.SelfID)
	if len(cfg.Peers) < 2 {
		return fmt.Errorf("dledger: %s, and this group has no other member to get it from", reason)
	}
	leader, err := awaitLeader(ctx, cfg, func(missing error) {
		logger.Warn("this member's log is damaged, and no other member leads: waiting for one to be brought up from", "reason", reason, "answers", missing)
	})
	if err != nil {
		return err
	}
	logger.Warn("setting the damaged log aside; the leader sends it again", "reason", reason, "leader", leader)
	stable, forgot, err := openOrReplaceStable(cfg, &watch{limit: cfg.WatchdogTimeout}, func(error) {})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stable.Close()) }()
	// A member that never knew a term is one that forgot it.
	term, err := stable.number(keyTerm)
	if err != nil {
		return err
	}
	d, err := stable.doubt()
	if err != nil {
		return err
	}
	if d == nil || !d.Forgot {
		d = &Doubt{Reason: reason, Since: time.Now().UTC(), Forgot: forgot || term == 0}
		if err := stable.setDoubt(d); err != nil {
			return err
		}
	}
	return setAside()
}

// awaitLeader returns the first other member that says it leads. waiting is told
// now and then what the others answer instead.
func awaitLeader(ctx context.Context, cfg Config, waiting func(error)) (string, error) {
	h := hello{cluster: cfg.Cluster, group: cfg.Group, id: cfg.SelfID, calls: true}
	var said time.Time
	for {
		var errs []error
		for _, p := range cfg.Peers {
			if p.ID == cfg.SelfID {
				continue
			}
			s, err := askState(h, raft.ServerAddress(p.Addr), callTimeout)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("member %q: %w", p.ID, err))
			case s.Role == Leader && !s.Doubt:
				return s.ID, nil
			default:
				errs = append(errs, fmt.Errorf("member %q is a %s of term %d", p.ID, s.Role, s.Term))
			}
		}
		if time.Since(said) > stallAfter {
			said = time.Now()
			waiting(errors.Join(errs...))
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("dledger: wait for a leader that can bring this member up: %w", ctx.Err())
		case <-time.After(repairPause):
		}
	}
}

// askState asks a member for its state without being one that runs.
func askState(h hello, addr raft.ServerAddress, timeout time.Duration) (s memberState, err error) {
	raw, err := net.DialTimeout("tcp", string(addr), timeout)
	if err != nil {
		return s, err
	}
	defer raw.Close()
	if err := h.greet(raw, timeout); err != nil {
		return s, err
	}
	conn := &checked{Conn: raw}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return s, err
	}
	if err := writeJSON(conn, frameCall, call{Op: opState}); err != nil {
		return s, err
	}
	return s, readAnswer(conn, &s)
}

// damagedStableExt is the ending of a stable.db that was put aside.
const damagedStableExt = ".damaged"

// openOrReplaceStable opens stable.db. If it is damaged it is kept under another
// name and begun anew, and forgot says that term and vote are not known any more;
// a crash in between leaves none, which is found out as well.
func openOrReplaceStable(cfg Config, w *watch, fatal func(error)) (s *stableStore, forgot bool, err error) {
	s, err = openStable(cfg.Dir, w, fatal)
	var damage *stableDamage
	if !errors.As(err, &damage) {
		return s, false, err
	}
	if len(cfg.Peers) == 1 {
		return nil, false, fmt.Errorf("%w; this group has no other member that could help: restore the file and the store from one copy", err)
	}
	cfg.Logger.Error("term and vote are damaged; this member asks the others for them", "file", damage.path, "kept-as", damage.path+damagedStableExt, "error", damage.cause)
	if err := os.Rename(damage.path, damage.path+damagedStableExt); err != nil {
		return nil, false, fmt.Errorf("dledger: put the damaged file aside: %w", err)
	}
	s, err = openStable(cfg.Dir, w, fatal)
	return s, true, err
}

// corruptEntry says whether a read of the log failed because of damage.
func corruptEntry(err error) bool {
	var bad *commitlog.CorruptError
	return errors.As(err, &bad)
}
