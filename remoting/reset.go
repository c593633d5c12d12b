package remoting

import "net"

// resetWhenKilled makes the kernel end a connection with RST, and not with FIN,
// when this process dies without closing it. RocketMQ's Java client (4.x) takes
// no notice of a FIN: sends that are on their way wait out their 3 s, which
// leaves no time for the next attempt, and held pulls wait up to 30 s more. An
// RST fails them at once. What a dying process had answered and the kernel not
// yet sent is lost with it, so that a few more clients repeat what was done.
type resetWhenKilled struct{ *net.TCPConn }

func resettable(nc net.Conn) net.Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || tcp.SetLinger(0) != nil {
		return nc
	}
	return resetWhenKilled{tcp}
}

// Close ends the connection in the orderly way: what was written arrives.
func (c resetWhenKilled) Close() error {
	_ = c.SetLinger(-1) // fails only on a socket that is gone
	return c.TCPConn.Close()
}
