package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What every local cluster is called. These are RocketMQ's own sample names.
const (
	ClusterName = "DefaultCluster"
	BrokerName  = "broker-a"

	// DefaultDir is where a cluster lives that was given no directory.
	DefaultDir = "rmq-local"
	// DefaultBasePort is RocketMQ's name server port.
	DefaultBasePort = 9876

	// segmentSize keeps the commit log files of a cluster on a laptop small.
	segmentSize = 64 << 20

	stateFile   = "cluster.json"
	stateMarker = "cometmq local cluster"
)

// Flush modes, as given on the command line.
const (
	FlushSync  = "sync"
	FlushAsync = "async"
)

// Spec says what cluster is wanted.
type Spec struct {
	Dir      string // data, settings and logs; created when missing
	BasePort int    // the name server's port; the others follow from it
	Nodes    int    // members of each replica group: 1, 3, 5 or 7
	Groups   int    // replica groups, broker-a and so on; 0 is 1
	Flush    string // FlushSync or FlushAsync
	BinDir   string // where mqnamesrv and mqbroker are; empty: beside this program
	// Settings are keys of broker.conf for all members.
	Settings map[string]string
	// Namesrvs is the number of name servers; 0 means one. Each has the port after
	// the one before it.
	Namesrvs int
	// Places puts processes, by id, somewhere else than on loopback.
	Places map[string]Place
	// Faults gives each member a fault file; see SetFault.
	Faults bool
	// HoldPorts keeps the processes' ports for clients open in this process, until
	// Close, also while they are dead.
	HoldPorts bool
	// Prepare is called when the directory is made and before anybody starts; nil
	// for nothing.
	Prepare func(dir string) error
}

// Place is where a process runs: an address of its own, in a network namespace
// that somebody made before.
type Place struct {
	Host  string `json:"host"`
	Netns string `json:"netns"`
}

// node is one child in the state file.
type node struct {
	ID string `json:"id"`
	// Group is the broker name of a member's group; empty, in files of earlier
	// versions, means BrokerName.
	Group    string `json:"group,omitempty"`
	Addr     string `json:"addr"`
	RaftAddr string `json:"raftAddr,omitempty"`
	Netns    string `json:"netns,omitempty"` // network namespace it runs in; "": ours
	Process
}

// state is the content of the state file.
type state struct {
	Kind     string `json:"kind"` // always stateMarker: this directory may be purged
	Format   int    `json:"format"`
	BasePort int    `json:"basePort"`
	Nodes    int    `json:"nodes"`
	Flush    string `json:"flush"`
	BinDir   string `json:"binDir"`
	Faults   bool   `json:"faults,omitempty"`
	Namesrv  node   `json:"namesrv"`
	Spare    []node `json:"spareNamesrvs,omitempty"` // name servers beyond the first
	Brokers  []node `json:"brokers"`
	// Groups and Members count what was ever made. Neither a name nor an id is
	// used again: clients remember broker names, members the ids of the others.
	Groups  int `json:"groups,omitempty"`
	Members int `json:"members,omitempty"`

	places map[string]Place // of Spec, for the processes to be laid out
}

// namesrvs lists the name servers, and addresses joins theirs.
func (st *state) namesrvs() []node { return append([]node{st.Namesrv}, st.Spare...) }

func (st *state) addresses() string {
	var out []string
	for _, n := range st.namesrvs() {
		out = append(out, n.Addr)
	}
	return strings.Join(out, ";")
}

// nodes lists all processes, the name servers first.
func (st *state) nodes() []node { return append(st.namesrvs(), st.Brokers...) }

// namesrvsMax is the number of name servers that have ports of their own below
// the first member's and the first one's HTTP port.
const namesrvsMax = 4

const (
	listenShift = 10911 - 9876 // from the base port to the first member's
	memberShift = 10           // from one member to the next: its VIP port and more fit between
	// raftShift leads from a member's port to its Raft port. RocketMQ's samples use 40911, which lies in the range from
	// which the kernel serves outgoing connections: now and then one of those would hold it when a member starts.
	raftShift = 5
	// adminShift leads from a process's port to its HTTP port: metrics and probes.
	adminShift = 7
	host       = "127.0.0.1"
)

// groupsMax is the largest number of groups that a cluster ever had.
const groupsMax = 8

// plan lays out the cluster's ports, all on loopback.
func plan(spec Spec) (state, error) {
	st := state{Kind: stateMarker, Format: 1, BasePort: spec.BasePort, Nodes: spec.Nodes, Flush: spec.Flush, BinDir: spec.BinDir, Faults: spec.Faults, places: spec.Places}
	groups := max(spec.Groups, 1)
	if spec.Nodes < 1 || spec.Nodes > 7 || spec.Nodes%2 == 0 {
		return st, fmt.Errorf("--nodes %d is not allowed: a group has 1, 3, 5 or 7 members (an even number survives no more failures than one less)", spec.Nodes)
	}
	if groups > groupsMax || spec.Groups < 0 {
		return st, fmt.Errorf("--groups %d is not allowed: 1 to %d", spec.Groups, groupsMax)
	}
	if spec.Flush != FlushSync && spec.Flush != FlushAsync {
		return st, fmt.Errorf("--flush %q is not allowed: %s or %s", spec.Flush, FlushSync, FlushAsync)
	}
	members := groups * spec.Nodes
	last := spec.BasePort + listenShift + memberShift*(members-1) + adminShift
	if spec.BasePort < 1024 || last > 65535 {
		return st, fmt.Errorf("--base-port %d is not allowed: 1024 to %d, because %d ports up to %d follow from it",
			spec.BasePort, 65535-(last-spec.BasePort), 2+3*members, last)
	}
	if spec.Namesrvs > namesrvsMax {
		return st, fmt.Errorf("%d name servers are not allowed: %d at most", spec.Namesrvs, namesrvsMax)
	}
	for i := range max(spec.Namesrvs, 1) {
		id := "namesrv"
		if i > 0 {
			id += strconv.Itoa(i)
		}
		n := node{ID: id, Addr: st.at(id, spec.BasePort+i), Netns: spec.Places[id].Netns}
		if i == 0 {
			st.Namesrv = n
		} else {
			st.Spare = append(st.Spare, n)
		}
	}
	for range groups {
		if _, err := st.addGroup(); err != nil {
			return st, err
		}
	}
	return st, nil
}

// at is the address of a process, on loopback if it was given no place.
func (st *state) at(id string, port int) string {
	at := host
	if p, ok := st.places[id]; ok {
		at = p.Host
	}
	return net.JoinHostPort(at, strconv.Itoa(port))
}

// addGroup lays out one more group, with new members, and returns them.
func (st *state) addGroup() ([]node, error) {
	if st.Groups >= groupsMax {
		return nil, fmt.Errorf("this cluster has had %d groups, which is the limit; start another one in another --dir", st.Groups)
	}
	name := groupName(st.Groups)
	st.Groups++
	before := len(st.Brokers)
	for range st.Nodes {
		if err := st.addMember(name); err != nil {
			return nil, err
		}
	}
	return st.Brokers[before:], nil
}

// groupName is the broker name of the nth group.
func groupName(n int) string { return strings.TrimSuffix(BrokerName, "a") + string(rune('a'+n)) }

// addMember lays out one more member of a group.
func (st *state) addMember(group string) error {
	listen := st.BasePort + listenShift + memberShift*st.Members
	if listen+adminShift > 65535 {
		return fmt.Errorf("no port is left above %d for another member; start the cluster again in another --dir with a smaller --base-port", listen)
	}
	id := "n" + strconv.Itoa(st.Members)
	st.Brokers = append(st.Brokers, node{ID: id, Group: group, Addr: st.at(id, listen), RaftAddr: st.at(id, listen+raftShift), Netns: st.places[id].Netns})
	st.Members++
	return nil
}

// withoutGroup is the state without a group; it shares no memory with st.
func (st state) withoutGroup(name string) state {
	st.Brokers = slices.DeleteFunc(slices.Clone(st.Brokers), func(n node) bool { return n.Group == name })
	return st
}

// group returns the members of a group.
func (st *state) group(name string) []node {
	var out []node
	for _, n := range st.Brokers {
		if n.Group == name {
			out = append(out, n)
		}
	}
	return out
}

// groups returns the names of the groups, in the order of their making.
func (st *state) groups() []string {
	var out []string
	for _, n := range st.Brokers {
		if !slices.Contains(out, n.Group) {
			out = append(out, n.Group)
		}
	}
	return out
}

// namesrvConf and brokerConf return the settings a child is started with.
func namesrvConf(dir string, n node) string {
	host, port, _ := net.SplitHostPort(n.Addr)
	return fmt.Sprintf(`# The name server of a local cluster, written by "mqadmin local up".
listenPort=%s
bindAddress=%s
kvConfigPath=%s
metricsPromExporterHost=%s
metricsPromExporterPort=%s
`, port, host, filepath.Join(dir, n.ID, "kvConfig.json"), host, adminPort(n))
}

func brokerConf(dir string, st state, n node) string {
	host, port, _ := net.SplitHostPort(n.Addr)
	var peers []string
	for _, p := range st.group(n.Group) {
		peers = append(peers, p.ID+"-"+p.RaftAddr)
	}
	return fmt.Sprintf(`# Member %s of a local cluster, written by "mqadmin local up". It is an ordinary
# broker.conf: change it and restart the cluster, or start this member by hand:
#   mqbroker -c %s
brokerClusterName=%s
brokerName=%s
brokerIP1=%s
bindAddress=%s
listenPort=%s
namesrvAddr=%s
storePathRootDir=%s
mappedFileSizeCommitLog=%d
flushDiskType=%s
enableDLegerCommitLog=true
dLegerGroup=%s
dLegerPeers=%s
dLegerSelfId=%s
autoCreateTopicEnable=true
enablePropertyFilter=true
metricsPromExporterHost=%s
metricsPromExporterPort=%s
# A local cluster stops at once instead of forwarding for clients that have not
# heard of the new leader.
shutdownDrainTime=0
`, n.ID, confFile(dir, n), ClusterName, n.Group, host, host, port, st.addresses(), filepath.Join(dir, n.ID),
		segmentSize, flushDiskType(st.Flush), n.Group, strings.Join(peers, ";"), n.ID, host, adminPort(n))
}

// adminAddr is where a process serves metrics and probes over HTTP.
func adminAddr(n node) string {
	host, _, _ := net.SplitHostPort(n.Addr)
	return net.JoinHostPort(host, adminPort(n))
}

func adminPort(n node) string {
	_, text, _ := net.SplitHostPort(n.Addr)
	port, _ := strconv.Atoi(text)
	return strconv.Itoa(port + adminShift)
}

func flushDiskType(flush string) string { return strings.ToUpper(flush) + "_FLUSH" }

func confFile(dir string, n node) string {
	if n.RaftAddr == "" {
		return filepath.Join(dir, n.ID+".conf")
	}
	return filepath.Join(dir, "broker-"+n.ID+".conf")
}

func logFile(dir string, n node) string { return filepath.Join(dir, "logs", n.ID+".log") }

// ErrNone says that a directory holds no local cluster.
var ErrNone = errors.New("no local cluster here")

// load reads the state file; ErrNone when there is none.
func load(dir string) (state, error) {
	var st state
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return st, fmt.Errorf("%s: %w; start one with: mqadmin local up --dir %s", dir, ErrNone, dir)
	}
	if err != nil {
		return st, fmt.Errorf("read the state of the local cluster: %w", err)
	}
	if err := json.Unmarshal(b, &st); err != nil || st.Kind != stateMarker || st.Format != 1 {
		return st, fmt.Errorf("%s is not a state file of mqadmin local (or of another version): remove it, or choose another --dir", filepath.Join(dir, stateFile))
	}
	for i := range st.Brokers {
		if st.Brokers[i].Group == "" {
			st.Brokers[i].Group = BrokerName
		}
	}
	st.Groups, st.Members = max(st.Groups, 1), max(st.Members, len(st.Brokers))
	return st, nil
}

// save replaces the state file as a whole.
func save(dir string, st state) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, stateFile+".tmp")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the state of the local cluster: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, stateFile)); err != nil {
		return fmt.Errorf("write the state of the local cluster: %w", err)
	}
	return nil
}

// FreeBasePort returns a base port whose whole block of ports, for that many
// members of all groups together, is free now.
func FreeBasePort(members int) (int, error) {
	for range 50 {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, fmt.Errorf("look for free ports: %w", err)
		}
		// Below the range from which the kernel gives ports to outgoing
		// connections, so that nobody takes one before the child does.
		base := 10000 + l.Addr().(*net.TCPAddr).Port%15000
		l.Close()
		st := state{BasePort: base, Namesrv: node{ID: "namesrv", Addr: net.JoinHostPort(host, strconv.Itoa(base))}}
		for range members {
			if err := st.addMember(BrokerName); err != nil {
				return 0, err
			}
		}
		if checkPorts(st.nodes()) == nil {
			return base, nil
		}
	}
	return 0, errors.New("no block of free ports found on " + host)
}
