package remoting

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/cometmq/cometmq/internal/explain"
)

// tlsHandshake is the first byte of a TLS connection. A plain frame begins with
// the high byte of a length that is at most 16 MiB, which is 0 or 1.
const tlsHandshake = 0x16

// sniff looks at the first byte of a new connection, as long as that takes: an
// honest client may connect now and talk later. It consumes nothing of a plain
// connection. Here is where TLS will be taken up.
func (c *Conn) sniff(r *bufio.Reader) error {
	first, err := r.Peek(1)
	if err != nil {
		return err
	}
	switch ch := first[0]; {
	case ch == tlsHandshake:
		return errPeerTLS
	case ch >= 'A' && ch <= 'Z':
		c.answerHTTP(r)
		return errPeerHTTP
	}
	return nil
}

// answerHTTP tells a browser or a probe where it has landed. The writer is idle,
// since no frame was read yet, so writing here does not mix with it.
func (c *Conn) answerHTTP(r *bufio.Reader) {
	body := explain.Visitor(c.ep.name) + "\n"
	// Errors do not matter: the connection is closed right after.
	_ = c.nc.SetDeadline(time.Now().Add(time.Second))
	_, _ = fmt.Fprintf(c.nc, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		// Closing with unread bytes would reset the connection and lose the page.
		_ = half.CloseWrite()
		_, _ = io.CopyN(io.Discard, r, 64<<10)
	}
}
