package message

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// UniqueIDs makes the ids that producers give their messages (UNIQ_KEY), in
// RocketMQ's form: 32 upper-case hexadecimal digits of the machine's address (4
// bytes), the process (2), something random (4), milliseconds since the month
// began (4) and a counter (2). It may be used by several goroutines.
type UniqueIDs struct {
	fixed   [10]byte
	counter atomic.Uint32
}

// NewUniqueIDs returns a source whose ids name an address; of an IPv6 one only
// the last four bytes.
func NewUniqueIDs(host netip.Addr) *UniqueIDs {
	u := &UniqueIDs{}
	ip := host.As16()
	copy(u.fixed[:], ip[12:])
	binary.BigEndian.PutUint16(u.fixed[4:], uint16(os.Getpid()))
	binary.BigEndian.PutUint32(u.fixed[6:], rand.Uint32())
	u.counter.Store(rand.Uint32())
	return u
}

// Next returns an id that this source has not made before in this month.
func (u *UniqueIDs) Next(now time.Time) string {
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, now.Location())
	b := append(make([]byte, 0, 16), u.fixed[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(now.Sub(month).Milliseconds()))
	b = binary.BigEndian.AppendUint16(b, uint16(u.counter.Add(1)))
	return strings.ToUpper(hex.EncodeToString(b))
}
