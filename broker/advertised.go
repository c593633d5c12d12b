package broker

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// listenersOf parses advertisedListeners: "internal://host:port" replaces
// brokerIP1 and says by which port clients in the broker's own network reach
// it; "external://host:port" is what a name server with internalNetworks tells
// everybody else. Both are optional.
//
// Only the internal address is this member's identity: it is registered,
// announced to the group and stored in message ids, which need an IPv4 address.
// The external one may be a host name; nobody but clients dials it.
func listenersOf(value string) (internalHost string, internalPort int, external string, err error) {
	bad := func(part, why string) (string, int, string, error) {
		return "", 0, "", fmt.Errorf("advertisedListeners=%q is not allowed: %q %s", value, part, why)
	}
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ';' }) {
		part = strings.TrimSpace(part)
		name, addr, ok := strings.Cut(part, "://")
		host, text, errAddr := net.SplitHostPort(addr)
		port, errPort := strconv.Atoi(text)
		if !ok || errAddr != nil || errPort != nil || host == "" || port < 1 || port > 65535 || strings.ContainsAny(addr, "\"{}\\ \t") {
			return bad(part, "is not internal://host:port or external://host:port")
		}
		switch name {
		case "internal":
			if internalHost != "" {
				return bad(part, "is the second internal address")
			}
			internalHost, internalPort = host, port
		case "external":
			if external != "" {
				return bad(part, "is the second external address")
			}
			external = addr
		default:
			return bad(part, "is neither internal nor external")
		}
	}
	return internalHost, internalPort, external, nil
}
