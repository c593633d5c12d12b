package drill

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// ID names one message of one run: who sent it, and as which.
type ID struct {
	Sender int
	Seq    int64 // from 0, without holes, in the order the sender sends
}

// Position is where a message lies.
type Position struct {
	Queue  int32
	Offset int64
}

// Ack is one acknowledged message.
type Ack struct {
	ID
	Position
	At   time.Time
	From string // the address that acknowledged it
	By   string // the address of who stored it, by the message's id
}

// History is what the senders know at the end of a trial.
type History struct {
	Acks []Ack
	// Unknown are the messages whose sender never got an answer it could trust:
	// each may be stored or not.
	Unknown []ID
	// Sent is the number of messages each sender began to send; a message beyond
	// it was never sent by anybody.
	Sent []int64
	// Unordered are the senders that do not wait for one message before the next.
	Unordered map[int]bool
}

// Found is one message of a queue, as read back.
type Found struct {
	Offset int64
	Body   []byte
}

// Every body is "drill RUN SENDER SEQ " and a filler up to the wanted size, then
// the checksum of all that in eight hex digits.

// appendBody appends the body of one message; size is at least that of the
// names in it.
func appendBody(dst []byte, run string, id ID, size int) []byte {
	start := len(dst)
	dst = fmt.Appendf(dst, "drill %s %d %d ", run, id.Sender, id.Seq)
	for len(dst)-start < size-8 {
		dst = append(dst, '.')
	}
	return fmt.Appendf(dst, "%08x", crc32.ChecksumIEEE(dst[start:]))
}

// parseBody undoes appendBody. Damaged means that the checksum does not fit;
// foreign that the message belongs to another run.
func parseBody(run string, body []byte) (id ID, damaged, foreign bool) {
	if len(body) < 8 {
		return id, true, false
	}
	text, sum := body[:len(body)-8], string(body[len(body)-8:])
	if fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) != sum {
		return id, true, false
	}
	f := bytes.Fields(text)
	if len(f) < 4 || string(f[0]) != "drill" || string(f[1]) != run {
		return id, false, true
	}
	sender, err1 := strconv.Atoi(string(f[2]))
	seq, err2 := strconv.ParseInt(string(f[3]), 10, 64)
	return ID{sender, seq}, false, err1 != nil || err2 != nil
}
