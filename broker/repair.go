package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/store"
	"github.com/cometmq/cometmq/store/commitlog"
)

// ErrDamaged, given to Options.Exit or returned by Start, says that this member's
// data is damaged and that it has to start again: the start sets the damage aside
// and has the group bring this member up. It is never given for a group of one.
var ErrDamaged = errors.New("this member's data is damaged: the process must start again, to have it repaired by the group")

// FailingError says that the store is damaged again and again.
type FailingError = store.FailingError

// openRepaired opens the store. One in doubt is set aside first, when another
// member leads: what it held comes back from there. A group of one has nobody.
func (b *Broker) openRepaired(ctx context.Context, sc store.Config, nc dledger.Config) (*store.Store, error) {
	s, err := store.Open(sc)
	var doubt *store.InDoubtError
	if !errors.As(err, &doubt) || len(b.peers) < 2 {
		return s, err
	}
	if failing := store.Failing(sc, time.Now()); failing != nil {
		return nil, fmt.Errorf("%w (%w)", failing, err)
	}
	b.log.Error("the store is damaged; the group brings this member up again", "damage", doubt)
	err = dledger.Repair(ctx, nc, doubt.Error(), func() error {
		_, err := store.SetAside(sc)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("repair the store: %w", err)
	}
	return store.Open(sc)
}

// damaged is told by the store that it is in doubt while this member runs.
func (b *Broker) damaged(err error) { b.node.Withdraw(err) }

// exit gives Options.Exit the reason for which this member ends.
func (b *Broker) exit(err error) {
	var doubt *store.InDoubtError
	if errors.As(err, &doubt) && len(b.peers) > 1 {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	b.opts.Exit(err)
}

// startFailed finds out whether damage kept the node from starting, which the next
// start can repair.
func (b *Broker) startFailed(err error) error {
	if errors.Is(err, dledger.ErrStateDamaged) {
		b.store.Condemn(&commitlog.CorruptError{File: b.store.MetadataFile(), Reason: err.Error()}, "open")
	}
	if doubt := b.store.Doubt(); doubt != nil {
		err = errors.Join(err, doubt)
		if len(b.peers) > 1 {
			err = errors.Join(ErrDamaged, err)
		}
	}
	return err
}
