package remoting

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// frameFirstRead is how much memory an announced length gets before any of its
// bytes arrived. Longer frames grow as they come, so that a thousand connections
// that each announce 16 MiB and fall silent cost 64 MiB and not 16 GiB.
const frameFirstRead = 64 << 10

// readLength reads and checks the length word of a frame.
func readLength(r *bufio.Reader, frameMax int) (int, error) {
	word, err := r.Peek(4)
	if err != nil {
		return 0, noPartialEOF(err, len(word))
	}
	n := int(int32(binary.BigEndian.Uint32(word)))
	if n < 4 || n > frameMax-4 {
		return 0, fmt.Errorf("%w: %d, at most %d allowed", ErrFrameLength, n, frameMax-4)
	}
	_, err = r.Discard(4)
	return n, err
}

// checkHeaderWord refuses a frame of n bytes whose header cannot fit into it as
// soon as its second word is there: who sends such a word may never send the rest.
func checkHeaderWord(r *bufio.Reader, n int) error {
	word, err := r.Peek(4)
	if err != nil {
		return noPartialEOF(err, len(word)+1)
	}
	if header := int(binary.BigEndian.Uint32(word) & 0xFFFFFF); header > n-4 {
		return fmt.Errorf("%w: header of %d bytes in a frame with %d bytes left", protocol.ErrFrame, header, n-4)
	}
	return nil
}

// readFrame reads the n bytes after a length word into a pooled buffer.
func readFrame(r io.Reader, n int) (*protocol.Buffer, error) {
	b := protocol.GetBuffer(min(n, frameFirstRead))
	for {
		have := len(b.B)
		step := min(n, cap(b.B))
		b.B = b.B[:step]
		if got, err := io.ReadFull(r, b.B[have:]); err != nil {
			b.Release()
			return nil, noPartialEOF(err, have+got+1)
		}
		if step == n {
			return b, nil
		}
		bigger := protocol.GetBuffer(min(n, 4*step))
		bigger.B = append(bigger.B, b.B...)
		b.Release()
		b = bigger
	}
}

// noPartialEOF tells an end between frames from one within a frame.
func noPartialEOF(err error, got int) error {
	if err == io.EOF && got > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
