package netns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Impairment is what a bad line does to packets, both ways. Packets that wait
// for different times overtake each other.
type Impairment struct {
	Delay, Jitter   time.Duration // each packet waits Delay ± Jitter
	Loss, Duplicate float64       // share of the packets, 0 to 1
}

// BadLine is a line that is impaired until End. The router sends what goes to or
// comes from the host through a TUN device to us, and we hand it back late, twice
// or not at all: many kernels do not have the queueing discipline that would.
type BadLine struct {
	n       *Network
	id      string
	tun     *os.File
	imp     Impairment
	done    chan struct{}
	waiting atomic.Int64
	Dropped atomic.Int64 // packets
}

const (
	badDevice = "bad"
	badTable  = "77"
	// waitingMax bounds the packets that wait; beyond it they are dropped, as a
	// full queue does.
	waitingMax = 20_000
	packetMax  = 65_536
)

// rules lead the packets of a host through the device, and those that come from
// the device on as usual. Lower numbers go first.
func (n *Network) badRules(id, verb string) [][]string {
	return [][]string{
		{"-n", n.name, "rule", verb, "pref", "100", "iif", badDevice, "lookup", "main"},
		{"-n", n.name, "rule", verb, "pref", "101", "to", n.Addr(id), "lookup", badTable},
		{"-n", n.name, "rule", verb, "pref", "102", "from", n.Addr(id), "lookup", badTable},
	}
}

// Impair makes a host's line bad. There can be one bad line at a time.
func (n *Network) Impair(id string, imp Impairment) (*BadLine, error) {
	tun, err := n.openTUN()
	if err != nil {
		return nil, fmt.Errorf("impair the line of %s: %w", id, err)
	}
	l := &BadLine{n: n, id: id, tun: tun, imp: imp, done: make(chan struct{})}
	go l.run()
	steps := append([][]string{
		{"-n", n.name, "link", "set", badDevice, "up"},
		{"-n", n.name, "route", "add", "default", "dev", badDevice, "table", badTable},
	}, n.badRules(id, "add")...)
	for _, s := range steps {
		if err := ip(s...); err != nil {
			return nil, errors.Join(err, l.End())
		}
	}
	return l, nil
}

// End makes the line good again. What waits is lost.
func (l *BadLine) End() error {
	for _, s := range l.n.badRules(l.id, "del") {
		_ = ip(s...) // one that was not made is gone as well
	}
	err := l.tun.Close() // the device and its routes go with it
	<-l.done
	return err
}

func (l *BadLine) run() {
	defer close(l.done)
	for b := make([]byte, packetMax); ; {
		size, err := l.tun.Read(b)
		if err != nil {
			return
		}
		copies := 1
		if rand.Float64() < l.imp.Duplicate {
			copies = 2
		}
		for range copies {
			if rand.Float64() < l.imp.Loss || l.waiting.Load() >= waitingMax {
				l.Dropped.Add(1)
				continue
			}
			packet := append([]byte(nil), b[:size]...)
			l.waiting.Add(1)
			time.AfterFunc(l.imp.Delay+time.Duration((2*rand.Float64()-1)*float64(l.imp.Jitter)), func() {
				l.waiting.Add(-1)
				_, _ = l.tun.Write(packet) // after End nobody waits for it
			})
		}
	}
}

// openTUN makes the device in the router's namespace. A device belongs to the
// namespace in which it was opened, so one thread goes there for a moment; it
// is not used again, because coming back may fail.
func (n *Network) openTUN() (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	out := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		file, err := tunIn("/var/run/netns/" + n.name)
		out <- result{file, err}
	}()
	r := <-out
	if r.err != nil {
		return nil, r.err
	}
	// What comes from the device has the address of another line.
	for _, dev := range []string{"all", badDevice} {
		if err := run("ip", "netns", "exec", n.name, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/"+dev+"/rp_filter"); err != nil {
			return nil, errors.Join(err, r.file.Close())
		}
	}
	return r.file, nil
}

func tunIn(netns string) (*os.File, error) {
	ns, err := os.Open(netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter %s: %w", netns, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(badDevice)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make a TUN device: %w", err)
	}
	return os.NewFile(uintptr(fd), badDevice), nil
}
