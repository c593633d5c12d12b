package remoting

import (
	"net"

	"github.com/cometmq/cometmq/remoting/protocol"
)

const (
	// outInlineMax is the largest body that is copied behind its header. Beyond it
	// copying costs more than one more element of the writev.
	outInlineMax  = 4 << 10
	outChunkFirst = 4 << 10  // most connections never have more waiting
	outChunkNext  = 32 << 10 // for those that do
)

// outQueue collects frames for one writev: small ones side by side in pooled
// chunks, large bodies by reference. It is guarded by its connection's lock until
// the writer takes it away.
type outQueue struct {
	chunks   []*protocol.Buffer
	sealed   int      // bytes of the last chunk that are in vec already
	vec      [][]byte // what to write, without the unsealed end of the last chunk
	releases []func() // to be called when written or dropped
	bytes    int
	scratch  net.Buffers // writev consumes the slice it is given; kept to not allocate one
}

func (q *outQueue) empty() bool { return q.bytes == 0 }

// add copies p to the end.
func (q *outQueue) add(p []byte) {
	q.bytes += len(p)
	if n := len(q.chunks); n > 0 {
		last := q.chunks[n-1]
		if cap(last.B)-len(last.B) >= len(p) {
			last.B = append(last.B, p...)
			return
		}
		q.seal()
	}
	size := outChunkFirst
	if len(q.chunks) > 0 {
		size = outChunkNext
	}
	chunk := protocol.GetBuffer(max(size, len(p)))
	chunk.B = append(chunk.B, p...)
	q.chunks, q.sealed = append(q.chunks, chunk), 0
}

// addRef appends p itself; release, if any, is called when it is no longer needed.
func (q *outQueue) addRef(p []byte, release func()) {
	q.seal()
	q.bytes += len(p)
	q.vec = append(q.vec, p)
	if release != nil {
		q.releases = append(q.releases, release)
	}
}

// seal moves the end of the last chunk into vec. A sealed range never moves:
// add only appends within the chunk's capacity.
func (q *outQueue) seal() {
	if n := len(q.chunks); n > 0 {
		if b := q.chunks[n-1].B; len(b) > q.sealed {
			q.vec = append(q.vec, b[q.sealed:])
			q.sealed = len(b)
		}
	}
}

// writeTo writes everything. A short write is an error.
func (q *outQueue) writeTo(c net.Conn) error {
	q.seal()
	if len(q.vec) == 1 {
		_, err := c.Write(q.vec[0])
		return err
	}
	q.scratch = net.Buffers(q.vec)
	_, err := q.scratch.WriteTo(c)
	return err
}

// reset gives all memory back and makes the queue empty.
func (q *outQueue) reset() {
	for i, release := range q.releases {
		release()
		q.releases[i] = nil
	}
	for i, chunk := range q.chunks {
		chunk.Release()
		q.chunks[i] = nil
	}
	clear(q.vec)
	q.chunks, q.vec, q.releases = q.chunks[:0], q.vec[:0], q.releases[:0]
	q.sealed, q.bytes, q.scratch = 0, 0, nil
}
