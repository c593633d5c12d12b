package dledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
)

// Behind the greeting, what members send each other travels in pieces:
//
//	u32 length of the data | u32 CRC-32C of the length and the data | data
//
// Integers are big-endian. TCP's own checksum has 16 bits and does not reach
// beyond one hop of hardware; Raft has none at all and believes a term, an index
// or an entry whatever bits it arrives with. Without this a flipped bit in an
// entry became part of one member's log, was counted for the majority, and made
// its state differ from the others' for ever (`mqadmin drill flipped-bits`). A
// piece that does not fit its checksum ends the connection, and what was lost is
// asked for again.
const (
	pieceHead = 8
	// pieceMax bounds the memory for a piece; more is sent as several.
	pieceMax = 1 << 20
)

// errDamagedPiece ends a connection on which something arrived that was not sent.
var errDamagedPiece = errors.New("what a member sent arrived damaged")

// checked is a connection whose data is checked. It takes one reader and one
// writer at a time. After an error it is of no use.
type checked struct {
	net.Conn
	whole []byte // of the piece that is being read, checked
	left  []byte // what nobody has read of it yet
	err   error  // of a read, final
}

// Write sends p in pieces.
func (c *checked) Write(p []byte) (int, error) {
	sent := 0
	for {
		data := p[sent:min(sent+pieceMax, len(p))]
		var head [pieceHead]byte
		binary.BigEndian.PutUint32(head[:], uint32(len(data)))
		binary.BigEndian.PutUint32(head[4:], pieceSum(head[:4], data))
		// One system call for both, and no copy.
		if _, err := (&net.Buffers{head[:], data}).WriteTo(c.Conn); err != nil {
			return sent, err
		}
		if sent += len(data); sent == len(p) {
			return sent, nil
		}
	}
}

// Read returns data only when the whole piece has arrived and fits its checksum.
func (c *checked) Read(p []byte) (int, error) {
	for len(c.left) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		n, err := c.next(p)
		if err != nil {
			c.err = err
			return 0, err
		}
		if n > 0 {
			return n, nil
		}
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

// next reads a piece: into p if it fits there, whose length it returns, or into
// c.left.
func (c *checked) next(p []byte) (int, error) {
	var head [pieceHead]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return 0, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > pieceMax {
		return 0, fmt.Errorf("dledger: %w: a piece of %d bytes, allowed are %d", errDamagedPiece, size, pieceMax)
	}
	into := p
	if int(size) > len(p) {
		if cap(c.whole) < int(size) {
			c.whole = make([]byte, size)
		}
		into = c.whole
	}
	into = into[:size]
	if _, err := io.ReadFull(c.Conn, into); err != nil {
		if errors.Is(err, io.EOF) { // not an end between two pieces
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	if sum := binary.BigEndian.Uint32(head[4:]); sum != pieceSum(head[:4], into) {
		return 0, fmt.Errorf("dledger: %w: %d bytes do not fit their checksum %08x", errDamagedPiece, size, sum)
	}
	if int(size) > len(p) {
		c.left = into
		return 0, nil
	}
	return int(size), nil
}

func pieceSum(length, data []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, data)
}
