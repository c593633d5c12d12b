package dledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Before Raft speaks on a connection, the side that dialled greets and the
// other answers; what follows travels in checked pieces (checked.go). A port scanner, a browser or a member of another group is
// told so here, in one sentence, and never reaches Raft's decoder, which
// trusts what it reads.
//
// All integers are big-endian. The greeting:
//
//	u32 magic | u8 version=2 | u32 genesis |
//	u8 n | n bytes cluster | u8 n | n bytes group | u8 n | n bytes id of the dialling member
//
// The magic is 0xC0E7D1ED when Raft is to speak on the connection and 0xC0E7D1CA
// for calls of ours (calls.go).
//
// The answer, 0 meaning welcome:
//
//	u32 magic 0xC0E7D1ED | u8 version=2 | u8 verdict | u8 n | n bytes sentence
//
// genesis is the checksum of the group's first configuration, 0 while a member
// does not know it. Members that began with different peers wrote different
// first entries; every later physical offset would differ between them, and
// Raft would not notice, because index and term of that entry are the same.
// Names are at most 127 bytes, the sentence at most 255.
const (
	helloMagic   = 0xC0E7D1ED
	callMagic    = 0xC0E7D1CA
	helloVersion = 2 // 1 had no checked pieces behind the greeting

	// helloTimeout bounds the exchange. It is far above a round trip and far
	// below what would let silent strangers pile up.
	helloTimeout = 3 * time.Second
)

// Verdicts of the answer.
const (
	verdictWelcome byte = iota
	verdictVersion
	verdictCluster
	verdictGroup
	verdictGenesis
)

// hello is what a member says of itself.
type hello struct {
	cluster, group, id string
	genesis            uint32
	calls              bool // the connection is for calls of ours
}

// errStranger is what a peer that does not speak this protocol gets in the log.
var errStranger = errors.New("it does not speak this group's protocol")

func (h hello) encode() []byte {
	magic := uint32(helloMagic)
	if h.calls {
		magic = callMagic
	}
	b := binary.BigEndian.AppendUint32(nil, magic)
	b = append(b, helloVersion)
	b = binary.BigEndian.AppendUint32(b, h.genesis)
	for _, s := range []string{h.cluster, h.group, h.id} {
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	return b
}

// readHello reads a greeting and nothing behind it. It reads no more than 396
// bytes whatever arrives. A greeting of another version is returned as
// versionError so that it can be answered.
func readHello(r io.Reader) (hello, error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:5]); err != nil {
		return hello{}, fmt.Errorf("%w: the greeting ends early: %w", errStranger, err)
	}
	magic := binary.BigEndian.Uint32(head[:])
	if magic != helloMagic && magic != callMagic {
		return hello{}, fmt.Errorf("%w: it began with %q", errStranger, head[:4])
	}
	if head[4] != helloVersion {
		return hello{}, versionError(head[4])
	}
	if _, err := io.ReadFull(r, head[5:]); err != nil {
		return hello{}, fmt.Errorf("%w: the greeting ends early: %w", errStranger, err)
	}
	h := hello{genesis: binary.BigEndian.Uint32(head[5:]), calls: magic == callMagic}
	for _, s := range []*string{&h.cluster, &h.group, &h.id} {
		v, err := readName(r, nameBytesMax)
		if err != nil {
			return hello{}, err
		}
		*s = v
	}
	return h, nil
}

func readName(r io.Reader, most int) (string, error) {
	var buf [256]byte
	if _, err := io.ReadFull(r, buf[:1]); err != nil {
		return "", fmt.Errorf("%w: the greeting ends early: %w", errStranger, err)
	}
	n := int(buf[0])
	if n > most {
		return "", fmt.Errorf("%w: a name of %d bytes, allowed are %d", errStranger, n, most)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return "", fmt.Errorf("%w: the greeting ends early: %w", errStranger, err)
	}
	return string(buf[:n]), nil
}

type versionError byte

func (v versionError) Error() string {
	return fmt.Sprintf("it greets with version %d, this member knows version %d", byte(v), helloVersion)
}

// judge compares a greeting with our own and returns the verdict and, unless it
// is welcome, a sentence for both sides' logs.
func (h hello) judge(other hello) (byte, string) {
	switch {
	case other.cluster != h.cluster:
		return verdictCluster, fmt.Sprintf("it belongs to cluster %q, this member to %q", other.cluster, h.cluster)
	case other.group != h.group:
		return verdictGroup, fmt.Sprintf("it belongs to group %q, this member to %q", other.group, h.group)
	case other.genesis != 0 && h.genesis != 0 && other.genesis != h.genesis:
		return verdictGenesis, fmt.Sprintf("it began with other peers than this member (%08x, here %08x): "+
			"empty the member that joined last and give it the peers the group began with", other.genesis, h.genesis)
	default:
		return verdictWelcome, ""
	}
}

// welcome is the accepting side. It returns the greeting. An error means that the
// connection must be closed; who it was is in it.
func (h hello) welcome(conn net.Conn) (hello, error) {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return hello{}, err
	}
	other, err := readHello(conn)
	var verdict byte
	var sentence string
	var version versionError
	switch {
	case errors.As(err, &version):
		verdict, sentence = verdictVersion, version.Error()
	case err != nil:
		return hello{}, err
	default:
		verdict, sentence = h.judge(other)
	}
	sentence = sentence[:min(len(sentence), 255)]
	answer := binary.BigEndian.AppendUint32(nil, helloMagic)
	answer = append(answer, helloVersion, verdict, byte(len(sentence)))
	answer = append(answer, sentence...)
	if _, err := conn.Write(answer); err != nil {
		return hello{}, fmt.Errorf("answer the greeting: %w", err)
	}
	if verdict != verdictWelcome {
		return hello{}, fmt.Errorf("member %q: %s", other.id, sentence)
	}
	return other, conn.SetDeadline(time.Time{})
}

// greet is the dialling side.
func (h hello) greet(conn net.Conn, timeout time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.Write(h.encode()); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	var head [6]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return fmt.Errorf("no answer to the greeting: %w", err)
	}
	if binary.BigEndian.Uint32(head[:]) != helloMagic {
		return fmt.Errorf("%w: it answered with %q", errStranger, head[:4])
	}
	sentence, err := readName(conn, 255)
	if err != nil {
		return err
	}
	if head[5] != verdictWelcome {
		return fmt.Errorf("it refused this member, saying: %q", sentence)
	}
	return conn.SetDeadline(time.Time{})
}
