package message

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
)

// ErrMessageID says that a text is no offset message id.
var ErrMessageID = errors.New("not an offset message id")

const upperHex = "0123456789ABCDEF"

// AppendOffsetMsgID appends the id made of the address that can serve the
// message and its physical offset: upper-case hex of 4 or 16 address bytes, the
// port in 4 and the offset in 8, which are 32 or 56 characters. Clients connect
// to the address inside it, so host must be the broker's advertised one.
func AppendOffsetMsgID(dst []byte, host netip.AddrPort, p PhyOffset) []byte {
	var buf [28]byte
	b := appendHost(buf[:0], host)
	b = binary.BigEndian.AppendUint64(b, uint64(p))
	for _, c := range b {
		dst = append(dst, upperHex[c>>4], upperHex[c&15])
	}
	return dst
}

// OffsetMsgID is AppendOffsetMsgID as a string.
func OffsetMsgID(host netip.AddrPort, p PhyOffset) string {
	var buf [56]byte
	return string(AppendOffsetMsgID(buf[:0], host, p))
}

// ParseOffsetMsgID undoes OffsetMsgID; lower-case digits are accepted. A client's
// UNIQ_KEY has the same look, so success does not prove that such a message
// exists. Errors wrap ErrMessageID.
func ParseOffsetMsgID(id string) (netip.AddrPort, PhyOffset, error) {
	if len(id) != 32 && len(id) != 56 {
		return netip.AddrPort{}, 0, fmt.Errorf("%w: %d characters instead of 32 or 56", ErrMessageID, len(id))
	}
	var buf [28]byte
	b := buf[:len(id)/2]
	if _, err := hex.Decode(b, []byte(id)); err != nil {
		return netip.AddrPort{}, 0, fmt.Errorf("%w: %w", ErrMessageID, err)
	}
	ip, _ := netip.AddrFromSlice(b[:len(b)-12])
	port := binary.BigEndian.Uint32(b[len(b)-12:])
	off := int64(binary.BigEndian.Uint64(b[len(b)-8:]))
	if port > 65535 || off < 0 {
		return netip.AddrPort{}, 0, fmt.Errorf("%w: port %d, offset %d", ErrMessageID, port, off)
	}
	return netip.AddrPortFrom(ip, uint16(port)), PhyOffset(off), nil
}
