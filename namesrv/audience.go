package namesrv

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Audience is the kind of network an asker is in, which decides by which of its
// addresses a broker is named to it.
type Audience int

// A broker in a container has two addresses: the one it has in its own network,
// and the one under which its port is published. Nobody can use both.
const (
	Inside  Audience = iota // told the address the broker registered
	Outside                 // told the broker's external address, if it has one
	audiences
)

// networksAuto is the value of internalNetworks that means "ask the machine".
const networksAuto = "auto"

// networks is the rule that tells inside from outside. The zero value counts
// everybody as inside.
type networks struct {
	on       bool
	inside   []netip.Prefix
	gateways []netip.Addr // inside a prefix, but the door to the outside
}

// parseNetworks reads the setting internalNetworks: "" (no rule), "auto" (see
// ownNetworks), or addresses and prefixes separated by ";" or ",", where "!"
// before an address takes it out again, as one does for a gateway.
func parseNetworks(value string) (networks, error) {
	value = strings.TrimSpace(value)
	switch value {
	case "":
		return networks{}, nil
	case networksAuto:
		return ownNetworks()
	}
	n := networks{on: true}
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == ',' }) {
		part = strings.TrimSpace(part)
		if text, out := strings.CutPrefix(part, "!"); out {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return networks{}, fmt.Errorf("internalNetworks=%q is not allowed: %q is no address", value, text)
			}
			n.gateways = append(n.gateways, a.Unmap())
			continue
		}
		p, err := netip.ParsePrefix(part)
		if err != nil {
			a, errAddr := netip.ParseAddr(part)
			if errAddr != nil {
				return networks{}, fmt.Errorf("internalNetworks=%q is not allowed: %q is neither %s nor a network like 10.0.0.0/8", value, part, networksAuto)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		n.inside = append(n.inside, p.Masked())
	}
	if len(n.inside) == 0 {
		return networks{}, fmt.Errorf("internalNetworks=%q is not allowed: it names no network", value)
	}
	return n, nil
}

// ownNetworks is the rule for a name server in a container: inside is whoever
// shares a network with it, except through the network's gateway. That is where
// connections come from that Docker passes on from the host's published ports.
func ownNetworks() (networks, error) {
	n := networks{on: true}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return networks{}, fmt.Errorf("internalNetworks=%s: list the network interfaces: %w; name the networks instead", networksAuto, err)
	}
	for _, a := range addrs {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(ipnet.IP)
		ones, bits := ipnet.Mask.Size()
		if ip = ip.Unmap(); !ok || ip.IsLoopback() || bits == 0 {
			continue
		}
		n.inside = append(n.inside, netip.PrefixFrom(ip, ones-(bits-ip.BitLen())).Masked())
	}
	file, err := os.Open("/proc/net/route")
	if err != nil {
		return networks{}, fmt.Errorf("internalNetworks=%s: find the gateway: %w; name the networks instead", networksAuto, err)
	}
	defer func() { _ = file.Close() }()
	n.gateways, err = readGateways(file)
	return n, err
}

// readGateways takes the gateways out of Linux' routing table: columns are
// interface, destination, gateway and more, addresses in hexadecimal as the
// little-endian machine has them in memory.
func readGateways(table io.Reader) ([]netip.Addr, error) {
	var out []netip.Addr
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 3 || len(f[2]) != 8 {
			continue
		}
		b, err := hex.DecodeString(f[2])
		if err != nil {
			continue // the line of headings
		}
		slices.Reverse(b)
		if a := netip.AddrFrom4([4]byte(b)); !a.IsUnspecified() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, lines.Err()
}

// audience says where an asker is. Loopback is inside: who is on this machine,
// or in this container, dials what the name server can dial.
func (n *networks) audience(asker netip.Addr) Audience {
	asker = asker.Unmap()
	if !n.on || asker.IsLoopback() {
		return Inside
	}
	if slices.Contains(n.gateways, asker) {
		return Outside
	}
	if slices.ContainsFunc(n.inside, func(p netip.Prefix) bool { return p.Contains(asker.WithZone("")) }) {
		return Inside
	}
	return Outside
}

// String is for the log.
func (n *networks) String() string {
	if !n.on {
		return "all"
	}
	var parts []string
	for _, p := range n.inside {
		parts = append(parts, p.String())
	}
	for _, g := range n.gateways {
		parts = append(parts, "!"+g.String())
	}
	return strings.Join(parts, ";")
}
