package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// Client is the host that we are.
const Client = "client"

// hostsMax is how many hosts of 4 addresses each fit besides ourselves.
const hostsMax = 32

// Network is a router and its hosts.
type Network struct {
	name   string // of the router's namespace, and of our end of the pair
	subnet int    // X in 198.18.X
	hosts  map[string]int

	mu      sync.Mutex // guards blocked and cut
	blocked map[[2]string]bool
	cut     map[string]bool
}

// Available says what is missing to make a network, or nil.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root; run the drill as root (sudo)")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("the program ip is missing; install the package iproute2")
	}
	return nil
}

// New makes a network of the given hosts.
func New(ids ...string) (*Network, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if len(ids) > hostsMax {
		return nil, fmt.Errorf("%d hosts, at most %d", len(ids), hostsMax)
	}
	n := &Network{name: fmt.Sprintf("cmq%d", os.Getpid()), hosts: map[string]int{Client: 0}, blocked: map[[2]string]bool{}, cut: map[string]bool{}}
	for i, id := range ids {
		n.hosts[id] = i + 1
	}
	if err := n.make(ids); err != nil {
		return nil, errors.Join(fmt.Errorf("make a network of namespaces: %w", err), n.Close())
	}
	return n, nil
}

func (n *Network) make(ids []string) error {
	var err error
	if n.subnet, err = freeSubnet(); err != nil {
		return err
	}
	if err := ip("netns", "add", n.name); err != nil {
		return err
	}
	if err := run("ip", "netns", "exec", n.name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"); err != nil {
		return err
	}
	for _, id := range append([]string{Client}, ids...) {
		if err := n.attach(id); err != nil {
			return err
		}
	}
	return ip("route", "add", fmt.Sprintf("198.18.%d.0/24", n.subnet), "via", n.gateway(Client), "dev", n.name)
}

// attach joins one host to the router.
func (n *Network) attach(id string) error {
	// Our own end is named after the router: our namespace has other interfaces.
	dev, inside := "eth0", []string{"-n", n.Netns(id)}
	if id == Client {
		dev, inside = n.name, nil
	} else if err := ip("netns", "add", n.Netns(id)); err != nil {
		return err
	}
	steps := [][]string{
		{"-n", n.name, "link", "add", port(id), "type", "veth", "peer", "name", dev, "netns", n.pidOrName(id)},
		{"-n", n.name, "addr", "add", n.gateway(id) + "/30", "dev", port(id)},
		{"-n", n.name, "link", "set", port(id), "up"},
		append(inside[:len(inside):len(inside)], "addr", "add", n.Addr(id)+"/30", "dev", dev),
		append(inside[:len(inside):len(inside)], "link", "set", dev, "up"),
	}
	if id != Client {
		steps = append(steps, []string{"-n", n.Netns(id), "link", "set", "lo", "up"},
			[]string{"-n", n.Netns(id), "route", "add", "default", "via", n.gateway(id)})
	}
	for _, s := range steps {
		if err := ip(s...); err != nil {
			return err
		}
	}
	return nil
}

// pidOrName names the namespace of a host for "ip link": ours has no name.
func (n *Network) pidOrName(id string) string {
	if id == Client {
		return strconv.Itoa(os.Getpid())
	}
	return n.Netns(id)
}

// port is the router's interface to a host.
func port(id string) string { return "to-" + id }

// Netns is the name of a host's namespace, "" of ours.
func (n *Network) Netns(id string) string {
	if id == Client {
		return ""
	}
	return n.name + "-" + id
}

// Addr is the address of a host.
func (n *Network) Addr(id string) string {
	return fmt.Sprintf("198.18.%d.%d", n.subnet, 4*n.hosts[id]+2)
}

func (n *Network) gateway(id string) string {
	return fmt.Sprintf("198.18.%d.%d", n.subnet, 4*n.hosts[id]+1)
}

// Block drops what one host sends to another, Unblock lets it through again.
func (n *Network) Block(from, to string) error   { return n.block(from, to, true) }
func (n *Network) Unblock(from, to string) error { return n.block(from, to, false) }

func (n *Network) block(from, to string, want bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	pair := [2]string{from, to}
	if n.blocked[pair] == want {
		return nil
	}
	if err := ip("-n", n.name, "rule", verb(want), "from", n.Addr(from), "to", n.Addr(to), "blackhole"); err != nil {
		return err
	}
	n.blocked[pair] = want
	return nil
}

func verb(add bool) string {
	if add {
		return "add"
	}
	return "del"
}

// Cut pulls a host's cable, Mend puts it back. The host loses its carrier, and
// what others send to it vanishes.
func (n *Network) Cut(id string) error  { return n.setCut(id, true) }
func (n *Network) Mend(id string) error { return n.setCut(id, false) }

func (n *Network) setCut(id string, want bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[id] == want {
		return nil
	}
	state := map[bool]string{true: "down", false: "up"}[want]
	// Without the rule the router would tell senders that the host is unreachable.
	err := ip("-n", n.name, "rule", verb(want), "to", n.Addr(id), "blackhole")
	if err = errors.Join(err, ip("-n", n.name, "link", "set", port(id), state)); err == nil {
		n.cut[id] = want
	}
	return err
}

// Heal undoes all cuts and blocks.
func (n *Network) Heal() error {
	var errs []error
	n.mu.Lock()
	blocked, cut := n.blocked, n.cut
	n.mu.Unlock()
	for id := range cut {
		errs = append(errs, n.Mend(id))
	}
	for pair := range blocked {
		errs = append(errs, n.Unblock(pair[0], pair[1]))
	}
	return errors.Join(errs...)
}

// Rate bounds what reaches a host, in bits per second; 0 takes the bound away.
func (n *Network) Rate(id string, bits int) error {
	if _, err := exec.LookPath("tc"); err != nil {
		return errors.New("the program tc is missing; install the package iproute2")
	}
	if bits == 0 {
		return run("tc", "-n", n.name, "qdisc", "del", "dev", port(id), "root")
	}
	return run("tc", "-n", n.name, "qdisc", "replace", "dev", port(id), "root", "tbf", "rate", strconv.Itoa(bits), "burst", "16kb", "latency", "200ms")
}

// Close removes the network. Processes that still run in it lose it.
func (n *Network) Close() error {
	var errs []error
	have, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	for _, line := range strings.Split(string(have), "\n") {
		name, _, _ := strings.Cut(line, " ")
		if name == n.name || strings.HasPrefix(name, n.name+"-") {
			errs = append(errs, ip("netns", "del", name))
		}
	}
	// A pair goes with one of its ends, but not before the kernel gets to it; a
	// network of the same name may be wanted at once.
	if exec.Command("ip", "link", "show", n.name).Run() == nil {
		_ = ip("link", "del", n.name) // gone by itself meanwhile: as well
	}
	return errors.Join(errs...)
}

// freeSubnet finds an X whose 198.18.X.0/24 nobody on this machine routes.
func freeSubnet() (int, error) {
	out, err := exec.Command("ip", "route", "show").Output()
	if err != nil {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	for i := range 250 {
		x := 1 + (os.Getpid()+i)%250
		if !strings.Contains(string(out), fmt.Sprintf("198.18.%d.", x)) {
			return x, nil
		}
	}
	return 0, errors.New("no free network in 198.18.0.0/16")
}

func ip(args ...string) error { return run("ip", args...) }

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
