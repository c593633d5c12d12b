package testcluster

import (
	"bytes"
	"net"
	"sync"
)

// link is a listener whose connections can be made to lose what is written to
// them, or what arrives, while they stay open: what becomes of a process that
// dies is seen from outside as the one or the other.
type link struct {
	net.Listener

	mu         sync.Mutex
	mute, deaf bool
	lost       []byte // what was lost, in either direction
}

func (l *link) reset(inner net.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Listener, l.mute, l.deaf, l.lost = inner, false, false, nil
}

// Accept wraps the next connection.
func (l *link) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &linkConn{Conn: c, link: l}, nil
}

type linkConn struct {
	net.Conn
	link *link
}

// Read returns nothing that arrives after the link became deaf.
func (c *linkConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.link.loses(&c.link.deaf, p[:n]) {
			return n, err
		}
	}
}

func (c *linkConn) Write(p []byte) (int, error) {
	if c.link.loses(&c.link.mute, p) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (l *link) loses(which *bool, p []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *which {
		l.lost = append(l.lost, p...)
	}
	return *which
}

func (l *link) set(which *bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*which = true
}

// Mute lets nothing that the member sends to clients and other members arrive any
// more; it does what they ask. It needs Options.Links, and lasts until Restart.
func (n *Node) Mute() { n.link.set(&n.link.mute) }

// Deafen lets nothing arrive at the member any more. The rest is as with Mute.
func (n *Node) Deafen() { n.link.set(&n.link.deaf) }

// Lost counts how often a text is in what was lost.
func (n *Node) Lost(text string) int {
	n.link.mu.Lock()
	defer n.link.mu.Unlock()
	return bytes.Count(n.link.lost, []byte(text))
}
