package dledger

import (
	"context"

	"github.com/cometmq/cometmq/store"
)

// Node is one member of a replicated group.
type Node struct{ cfg Config }

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Node{cfg: cfg.withDefaults()}, nil
}

// Start opens the node and joins the group.
func (n *Node) Start(ctx context.Context) error { return nil }

// Close hands over and stops.
func (n *Node) Close() error { return nil }

// Propose hands a proposal to the group. It never blocks.
func (n *Node) Propose(p *Proposal) { p.finish(nil, ErrClosed) }

// Do proposes and waits.
func (n *Node) Do(ctx context.Context, data []byte, records int) ([]store.Result, error) {
	return nil, ErrClosed
}

// Status describes the node.
func (n *Node) Status() Status { return Status{} }

// OnRole registers a callback for role changes, before Start.
func (n *Node) OnRole(fn func(RoleChange)) {}

// Now is the group clock in unix milliseconds.
func (n *Node) Now() int64 { return 0 }

// TransferLeadership hands leadership to another member.
func (n *Node) TransferLeadership(ctx context.Context) error { return nil }
