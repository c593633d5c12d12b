package local

import (
	"context"
	"fmt"
	"net"
	"os"
)

// hold opens the port for clients of every process and keeps it until Close, as
// systemd's socket units do: while the process behind it is dead, the kernel takes
// connections all the same, and the next process answers them. The other ports are
// not kept; that a dead member's Raft port refuses is how the others notice.
func (c *Cluster) hold(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = map[string]*os.File{}
	for _, n := range c.st.nodes() {
		if n.Netns != "" {
			return fmt.Errorf("the client port of %s cannot be held: it is in a network of its own (%s)", n.ID, n.Netns)
		}
		f, err := holdPort(ctx, n.Addr)
		if err != nil {
			return fmt.Errorf("hold the client port of %s: %w", n.ID, err)
		}
		c.held[n.ID] = f
	}
	return nil
}

// holdPort listens, and accepts nothing.
func holdPort(ctx context.Context, addr string) (*os.File, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer l.Close() // the file is a copy of the socket
	return l.(*net.TCPListener).File()
}

// release gives the ports up.
func (c *Cluster) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.held {
		_ = f.Close() // nothing was written to it
	}
	c.held = nil
}
