package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/admin"
)

// Cluster is a local cluster that is, or was, running. Its methods may be
// called by several goroutines of one process; two processes must not change
// one cluster at a time (Up and Down hold a lock on the directory).
type Cluster struct {
	Dir string

	client *admin.Client

	mu   sync.Mutex // guards what follows and the state file
	st   state
	held map[string]*os.File // ports that this process keeps open, by node; see hold
}

// Broker is one member as `mqadmin local status` reports it. The JSON names are
// a contract with scripts.
type Broker struct {
	Name     string `json:"name"` // broker name, the same for all members of a group
	ID       string `json:"id"`   // the member's dLegerSelfId, of which a local cluster has each once
	Addr     string `json:"addr"` // where clients connect
	RaftAddr string `json:"raftAddr"`
	Role     string `json:"role"` // leader, follower, candidate, starting or down
	Term     uint64 `json:"term"` // 0 while starting or down
	PID      int    `json:"pid"`  // 0 when down
}

// Status is what `mqadmin local status -o json` prints.
type Status struct {
	Namesrv string   `json:"namesrv"`
	Brokers []Broker `json:"brokers"`
}

// Roles of Broker besides the ones that a member reports itself.
const (
	RoleLeader   = "leader"
	RoleFollower = "follower"
	RoleStarting = "starting" // the process runs but does not answer yet
	RoleDown     = "down"
)

// Open returns the cluster in dir, running or not; ErrNone when there is none.
func Open(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	st, err := load(dir)
	if err != nil {
		return nil, err
	}
	return newCluster(dir, st)
}

func newCluster(dir string, st state) (*Cluster, error) {
	// Everything is on loopback: what takes longer than this is not there.
	client, err := admin.New(admin.Config{NameServers: admin.ParseNameServers(st.addresses()), Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	return &Cluster{Dir: dir, client: client, st: st}, nil
}

// Close gives up the connections, and the ports that were held. The processes go
// on.
func (c *Cluster) Close() {
	c.client.Close()
	c.release()
}

// Namesrv returns the addresses of the name servers, separated by ";".
func (c *Cluster) Namesrv() string { return c.st.addresses() }

// Namesrvs returns the ids of the name servers.
func (c *Cluster) Namesrvs() []string { return ids(c.st.namesrvs()) }

// Flush returns the flush mode, FlushSync or FlushAsync.
func (c *Cluster) Flush() string { return c.st.Flush }

// Running reports how many of the cluster's processes are alive, of how many.
func (c *Cluster) Running() (alive, all int) {
	for _, n := range c.snapshot() {
		all++
		if n.Alive() {
			alive++
		}
	}
	return alive, all
}

// snapshot returns all nodes as they are recorded now, the name servers first.
func (c *Cluster) snapshot() []node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.nodes()
}

// brokers is the part of snapshot that is no name server.
func (c *Cluster) brokers() []node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.st.Brokers)
}

// Status asks every member for its role. A member that is down or does not
// answer is reported so; that is no error.
func (c *Cluster) Status(ctx context.Context) Status {
	return Status{Namesrv: c.Namesrv(), Brokers: c.askAll(ctx, c.brokers())}
}

func (c *Cluster) askAll(ctx context.Context, nodes []node) []Broker {
	out := make([]Broker, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { out[i] = c.ask(ctx, n) })
	}
	wg.Wait()
	return out
}

func (c *Cluster) ask(ctx context.Context, n node) Broker {
	b := Broker{Name: n.Group, ID: n.ID, Addr: n.Addr, RaftAddr: n.RaftAddr, Role: RoleDown}
	if !n.Alive() {
		return b
	}
	b.PID, b.Role = n.PID, RoleStarting
	if m, err := c.client.Member(ctx, n.Addr); err == nil {
		b.Role, b.Term = m.Role, m.Term
	}
	return b
}

// Leader waits until a member of group broker-a other than the given ones says
// that it leads, and returns it; of several (a deposed one may not know yet) the
// one with the highest term. registered asks for the name server to know it too.
func (c *Cluster) Leader(ctx context.Context, registered bool, except ...string) (Broker, error) {
	return c.LeaderOf(ctx, BrokerName, registered, except...)
}

// LeaderOf is Leader for any group.
func (c *Cluster) LeaderOf(ctx context.Context, group string, registered bool, except ...string) (Broker, error) {
	for {
		// An excepted member is not even asked: it may be stopped, and waiting for
		// it would spoil the measurement of an election.
		nodes := slices.DeleteFunc(c.brokers(), func(n node) bool { return n.Group != group || slices.Contains(except, n.ID) })
		var best Broker
		for _, b := range c.askAll(ctx, nodes) {
			if b.Role == RoleLeader && b.Term > best.Term {
				best = b
			}
		}
		if best.ID != "" && (!registered || c.registered(ctx, group, best.Addr)) {
			return best, nil
		}
		select {
		case <-ctx.Done():
			return Broker{}, fmt.Errorf("no leader of %s: %w", group, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *Cluster) registered(ctx context.Context, group, addr string) bool {
	info, err := c.client.Cluster(ctx)
	return err == nil && info.BrokerAddrTable[group].BrokerAddrs[0] == addr
}

// Signal sends a signal to one member.
func (c *Cluster) Signal(id string, sig syscall.Signal) error {
	for _, n := range c.snapshot() {
		if n.ID == id {
			return n.signal(sig)
		}
	}
	return fmt.Errorf("the local cluster has no member %q", id)
}

// Kill ends a member at once (SIGKILL) and returns when it is gone.
func (c *Cluster) Kill(id string) error {
	if err := c.Signal(id, syscall.SIGKILL); err != nil {
		return err
	}
	for _, n := range c.snapshot() {
		if n.ID == id && !n.waitGone(5*time.Second) {
			return fmt.Errorf("%s (process %d) survived SIGKILL for 5 s; it hangs in the kernel", id, n.PID)
		}
	}
	return nil
}

// Start starts a member that is down, and records its pid. It does not wait for
// the member to answer.
func (c *Cluster) Start(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.find(id)
	if n == nil {
		return fmt.Errorf("the local cluster has no member %q", id)
	}
	if n.Alive() {
		return nil
	}
	program := "mqbroker"
	if n.RaftAddr == "" {
		program = "mqnamesrv"
	}
	var env []string
	if c.st.Faults && n.RaftAddr != "" {
		env = append(env, faultEnv+"="+faultFile(c.Dir, n.ID))
	}
	p, err := child(logFile(c.Dir, *n), n.Netns, c.held[id], env, filepath.Join(c.st.BinDir, program), "-c", confFile(c.Dir, *n))
	if err != nil {
		return err
	}
	n.Process = p
	return save(c.Dir, c.st)
}

func (c *Cluster) find(id string) *node {
	if c.st.Namesrv.ID == id {
		return &c.st.Namesrv
	}
	for i := range c.st.Spare {
		if c.st.Spare[i].ID == id {
			return &c.st.Spare[i]
		}
	}
	for i := range c.st.Brokers {
		if c.st.Brokers[i].ID == id {
			return &c.st.Brokers[i]
		}
	}
	return nil
}

// Joined waits until the member answers as leader or follower of a group that
// has a leader.
func (c *Cluster) Joined(ctx context.Context, id string) error {
	group := c.groupOf(id)
	for {
		var leader, member bool
		for _, b := range c.Status(ctx).Brokers {
			if b.Name != group {
				continue
			}
			leader = leader || b.Role == RoleLeader
			member = member || b.ID == id && (b.Role == RoleLeader || b.Role == RoleFollower)
		}
		if leader && member {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not join: %w; the last lines of its log:\n%s", id, context.Cause(ctx), c.tail(id))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) groupOf(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.find(id); n != nil {
		return n.Group
	}
	return ""
}

// tail is the end of a log. The id need not be one of those that were there when
// the cluster was opened.
func (c *Cluster) tail(id string) string { return logTail(logFile(c.Dir, node{ID: id}), 12) }

// Usage returns the consumption of one member.
func (c *Cluster) Usage(id string) (Usage, error) {
	for _, n := range c.snapshot() {
		if n.ID == id {
			return n.Usage()
		}
	}
	return Usage{}, fmt.Errorf("the local cluster has no member %q", id)
}

// Down stops every process of the cluster, the brokers first, and returns when
// all are gone. With purge it removes the directory too.
func (c *Cluster) Down(purge bool) error {
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.stop(); err != nil {
		return err
	}
	if !purge {
		return nil
	}
	if _, err := load(c.Dir); err != nil {
		return fmt.Errorf("not removing %s: %w", c.Dir, err)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("remove the local cluster: %w", err)
	}
	return nil
}

// stopTimeout is how long a process may take to end after SIGTERM before it is
// killed; a follower on its way down has nothing to hand over.
const stopTimeout = 20 * time.Second

func (c *Cluster) stop() error {
	// The state file is the truth: another process may have restarted a member.
	if st, err := load(c.Dir); err == nil {
		c.mu.Lock()
		c.st = st
		c.mu.Unlock()
	}
	nodes := c.snapshot()
	first := len(nodes) - len(c.brokers())
	errs := stopAll(nodes[first:])
	return errors.Join(append(errs, stopAll(nodes[:first])...)...)
}

func stopAll(nodes []node) []error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			// A stopped process (SIGSTOP) would never see SIGTERM.
			errs[i] = errors.Join(n.signal(syscall.SIGTERM), n.signal(syscall.SIGCONT))
			if n.waitGone(stopTimeout) {
				return
			}
			errs[i] = errors.Join(errs[i], fmt.Errorf("%s (process %d) ignored SIGTERM for %s and was killed", n.ID, n.PID, stopTimeout), n.signal(syscall.SIGKILL))
			n.waitGone(5 * time.Second)
		})
	}
	wg.Wait()
	return errs
}

// Spec returns what the cluster was made with.
func (c *Cluster) Spec() Spec {
	return Spec{Dir: c.Dir, BasePort: c.st.BasePort, Nodes: c.st.Nodes, Groups: len(c.st.groups()), Flush: c.st.Flush, BinDir: c.st.BinDir}
}

// Ended returns the ids of the processes that were started and are gone,
// according to the state file, which other processes may have changed.
func (c *Cluster) Ended() []string {
	st, err := load(c.Dir)
	if err != nil {
		return nil
	}
	return ids(slices.DeleteFunc(st.nodes(), node.Alive))
}

func ids(nodes []node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.ID)
	}
	return out
}

// LogTail returns the last dozen lines that a process printed.
func (c *Cluster) LogTail(id string) string { return c.tail(id) }

// Members returns the ids of the members of group broker-a, the one that drills
// break.
func (c *Cluster) Members() []string { return c.MembersOf(BrokerName) }

// MembersOf returns the ids of a group's members.
func (c *Cluster) MembersOf(group string) []string {
	return ids(slices.DeleteFunc(c.brokers(), func(n node) bool { return n.Group != group }))
}

// Groups returns the broker names of all groups.
func (c *Cluster) Groups() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.groups()
}
