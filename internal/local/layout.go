package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
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
	Nodes    int    // members of the replica group: 1, 3, 5 or 7
	Flush    string // FlushSync or FlushAsync
	BinDir   string // where mqnamesrv and mqbroker are; empty: beside this program
	// Settings are keys of broker.conf for all members.
	Settings map[string]string
}

// node is one child in the state file.
type node struct {
	ID       string `json:"id"`
	Addr     string `json:"addr"`
	RaftAddr string `json:"raftAddr,omitempty"`
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
	Namesrv  node   `json:"namesrv"`
	Brokers  []node `json:"brokers"`
}

const (
	listenShift = 10911 - 9876 // from the base port to the first member's
	memberShift = 10           // from one member to the next: its VIP port and more fit between
	// raftShift leads from a member's port to its Raft port. RocketMQ's samples use 40911, which lies in the range from
	// which the kernel serves outgoing connections: now and then one of those would hold it when a member starts.
	raftShift = 5
	host      = "127.0.0.1"
)

// plan lays out the cluster's ports, all on loopback.
func plan(spec Spec) (state, error) {
	st := state{Kind: stateMarker, Format: 1, BasePort: spec.BasePort, Nodes: spec.Nodes, Flush: spec.Flush, BinDir: spec.BinDir}
	if spec.Nodes < 1 || spec.Nodes > 7 || spec.Nodes%2 == 0 {
		return st, fmt.Errorf("--nodes %d is not allowed: a group has 1, 3, 5 or 7 members (an even number survives no more failures than one less)", spec.Nodes)
	}
	if spec.Flush != FlushSync && spec.Flush != FlushAsync {
		return st, fmt.Errorf("--flush %q is not allowed: %s or %s", spec.Flush, FlushSync, FlushAsync)
	}
	last := spec.BasePort + listenShift + memberShift*(spec.Nodes-1) + raftShift
	if spec.BasePort < 1024 || last > 65535 {
		return st, fmt.Errorf("--base-port %d is not allowed: 1024 to %d, because %d ports up to %d follow from it",
			spec.BasePort, 65535-(last-spec.BasePort), 1+2*spec.Nodes, last)
	}
	at := func(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	st.Namesrv = node{ID: "namesrv", Addr: at(spec.BasePort)}
	for i := range spec.Nodes {
		listen := spec.BasePort + listenShift + memberShift*i
		st.Brokers = append(st.Brokers, node{ID: "n" + strconv.Itoa(i), Addr: at(listen), RaftAddr: at(listen + raftShift)})
	}
	return st, nil
}

// namesrvConf and brokerConf return the settings a child is started with.
func namesrvConf(dir string, st state) string {
	_, port, _ := net.SplitHostPort(st.Namesrv.Addr)
	return fmt.Sprintf(`# The name server of a local cluster, written by "mqadmin local up".
listenPort=%s
bindAddress=%s
kvConfigPath=%s
`, port, host, filepath.Join(dir, "namesrv", "kvConfig.json"))
}

func brokerConf(dir string, st state, n node) string {
	_, port, _ := net.SplitHostPort(n.Addr)
	var peers []string
	for _, p := range st.Brokers {
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
# A local cluster stops at once instead of forwarding for clients that have not
# heard of the new leader.
shutdownDrainTime=0
`, n.ID, confFile(dir, n), ClusterName, BrokerName, host, host, port, st.Namesrv.Addr, filepath.Join(dir, n.ID),
		segmentSize, flushDiskType(st.Flush), BrokerName, strings.Join(peers, ";"), n.ID)
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

// FreeBasePort returns a base port whose whole block of ports is free now.
func FreeBasePort(nodes int) (int, error) {
	for range 50 {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, fmt.Errorf("look for free ports: %w", err)
		}
		// Below the range from which the kernel gives ports to outgoing
		// connections, so that nobody takes one before the child does.
		base := 10000 + l.Addr().(*net.TCPAddr).Port%15000
		l.Close()
		st, err := plan(Spec{BasePort: base, Nodes: nodes, Flush: FlushSync})
		if err != nil {
			return 0, err
		}
		if checkPorts(st) == nil {
			return base, nil
		}
	}
	return 0, errors.New("no block of free ports found on " + host)
}
