package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/internal/config"
)

// ErrRunning says that the directory's cluster is up already.
var ErrRunning = errors.New("a local cluster is running here already")

// ErrBusy says that another process is starting or stopping the cluster.
var ErrBusy = errors.New("another mqadmin is starting or stopping this cluster")

// Up starts the cluster and returns when the leader is known to the name
// server. A directory with data of an earlier Up is continued; what cannot be
// changed there (ports, number of members) must then be the same. On failure
// the children are stopped, and the error holds the end of the culprit's log.
func Up(ctx context.Context, spec Spec) (*Cluster, error) {
	var err error
	if spec.BinDir, err = binDir(spec.BinDir); err != nil {
		return nil, err
	}
	if spec.Dir, err = filepath.Abs(spec.Dir); err != nil {
		return nil, err
	}
	want, err := plan(spec)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(spec.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the local cluster's directory: %w", err)
	}
	unlock, err := lockDir(spec.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := prepare(spec.Dir, want, spec.Settings)
	if err != nil {
		return nil, err
	}
	if spec.Prepare != nil {
		if err := spec.Prepare(spec.Dir); err != nil {
			c.Close()
			return nil, err
		}
	}
	if spec.HoldPorts {
		err = c.hold(ctx)
	}
	if err == nil {
		err = c.up(ctx)
	}
	if err != nil {
		err = errors.Join(err, c.stop())
		c.Close()
		return nil, err
	}
	return c, nil
}

// prepare checks the request against the directory and writes the settings;
// it starts nothing.
func prepare(dir string, want state, settings map[string]string) (*Cluster, error) {
	st, err := claim(dir, want)
	if err != nil {
		return nil, err
	}
	if err := checkPorts(st.nodes()); err != nil {
		return nil, err
	}
	for _, sub := range append([]string{"logs", "faults"}, ids(st.namesrvs())...) {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("create the local cluster's directory: %w", err)
		}
	}
	for _, n := range st.namesrvs() {
		if err := writeConf(confFile(dir, n), namesrvConf(dir, n), nil); err != nil {
			return nil, err
		}
	}
	if err := writeBrokerConfs(dir, st, st.Brokers, settings); err != nil {
		return nil, err
	}
	if err := save(dir, st); err != nil {
		return nil, err
	}
	return newCluster(dir, st)
}

// writeBrokerConfs writes the settings of members, keeping what their owner has
// changed.
func writeBrokerConfs(dir string, st state, members []node, settings map[string]string) error {
	for _, n := range members {
		keep := map[string]string{"flushDiskType": flushDiskType(st.Flush)}
		maps.Copy(keep, settings)
		if err := writeConf(confFile(dir, n), brokerConf(dir, st, n), keep); err != nil {
			return err
		}
	}
	return nil
}

// claim decides whether dir may hold the wanted cluster, and returns what it
// will hold: of a cluster that is there already its members, and as many more
// groups as are wanted.
func claim(dir string, want state) (state, error) {
	have, err := load(dir)
	if errors.Is(err, ErrNone) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return want, fmt.Errorf("look at the local cluster's directory: %w", err)
		}
		if len(entries) > 0 {
			return want, fmt.Errorf("%s is not empty and was not made by mqadmin local; choose another --dir", dir)
		}
		return want, nil
	}
	if err != nil {
		return want, err
	}
	for _, n := range have.nodes() {
		if n.Alive() {
			return want, fmt.Errorf("%w: name server %s, directory %s (%s is process %d); stop it with: mqadmin local down --dir %s",
				ErrRunning, have.Namesrv.Addr, dir, n.ID, n.PID, dir)
		}
	}
	if have.BasePort != want.BasePort || have.Nodes != want.Nodes {
		return want, fmt.Errorf("%s holds the data of a cluster with --base-port %d --nodes %d, which cannot change; give the same, choose another --dir, or remove it: mqadmin local down --purge --dir %s",
			dir, have.BasePort, have.Nodes, dir)
	}
	groups := len(have.groups())
	if n := len(want.groups()); n < groups {
		return want, fmt.Errorf("%s holds %d groups (%s), not %d: take one out with mqadmin cluster drain and mqadmin local remove-group, so that no message is lost",
			dir, groups, strings.Join(have.groups(), ", "), n)
	} else {
		for ; groups < n; groups++ {
			if _, err := have.addGroup(); err != nil {
				return want, err
			}
		}
	}
	have.Flush, have.BinDir, have.Faults, have.Spare = want.Flush, want.BinDir, want.Faults, want.Spare
	// Nobody has been started yet: who is gone is not missed.
	have.Namesrv.Process = Process{}
	for i := range have.Brokers {
		have.Brokers[i].Process = Process{}
	}
	return have, nil
}

// writeConf writes a settings file that is missing. In one that exists, which
// its owner may have changed, it sets the given keys only.
func writeConf(file, text string, keep map[string]string) error {
	if old, err := os.ReadFile(file); err == nil {
		text = string(old)
	}
	if err := os.WriteFile(file, config.EditText([]byte(text), keep), 0o644); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// binDir finds the servers beside this program, following the links that
// `make build` puts at the root.
func binDir(dir string) (string, error) {
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the servers beside this program: %w", err)
		}
		if self, err = filepath.EvalSymlinks(self); err != nil {
			return "", fmt.Errorf("find the servers beside this program: %w", err)
		}
		dir = filepath.Dir(self)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, program := range []string{"mqnamesrv", "mqbroker"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return "", fmt.Errorf("%s is not in %s; build it with: make build", program, dir)
		}
	}
	return dir, nil
}

func (c *Cluster) up(ctx context.Context) error {
	for _, id := range c.Namesrvs() {
		if err := c.Start(id); err != nil {
			return err
		}
	}
	// The name server first, so that the leader's first registration finds it.
	if err := c.await(ctx, "the name server to answer", func() bool {
		_, err := c.client.Cluster(ctx)
		return err == nil
	}); err != nil {
		return err
	}
	for _, n := range c.st.Brokers {
		if err := c.Start(n.ID); err != nil {
			return err
		}
	}
	if err := c.awaitLeaders(ctx, c.st.groups()); err != nil {
		return err
	}
	var ids []string
	for _, n := range c.st.Brokers {
		ids = append(ids, n.ID)
	}
	c.joinedSoon(ctx, ids)
	return ctx.Err()
}

// joinedSoon waits a little for members to join. That is quick, and a caller
// likes to see everybody; but a member that is slow to start is no reason to
// fail.
func (c *Cluster) joinedSoon(ctx context.Context, ids []string) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for _, id := range ids {
		_ = c.Joined(ctx, id)
	}
}

// awaitLeaders waits until each of the groups has a leader that the name server
// knows.
func (c *Cluster) awaitLeaders(ctx context.Context, groups []string) error {
	what := "a leader to register"
	if len(groups) > 1 {
		what = fmt.Sprintf("%d leaders to register", len(groups))
	}
	return c.await(ctx, what, func() bool {
		led := map[string]bool{}
		for _, b := range c.Status(ctx).Brokers {
			if b.Role == RoleLeader && c.registered(ctx, b.Name, b.Addr) {
				led[b.Name] = true
			}
		}
		return !slices.ContainsFunc(groups, func(g string) bool { return !led[g] })
	})
}

// await waits for a condition, and gives up when a child ends or ctx does.
func (c *Cluster) await(ctx context.Context, what string, done func() bool) error {
	for {
		if done() {
			return nil
		}
		for _, n := range c.snapshot() {
			if n.PID != 0 && !n.Alive() {
				return fmt.Errorf("%s ended while waiting for %s; the end of %s:\n%s", n.ID, what, logFile(c.Dir, n), logTail(logFile(c.Dir, n), 12))
			}
		}
		select {
		case <-ctx.Done():
			text := fmt.Sprintf("gave up waiting for %s: %v", what, context.Cause(ctx))
			for _, n := range c.snapshot() {
				text += fmt.Sprintf("\n  the end of %s:\n%s", logFile(c.Dir, n), logTail(logFile(c.Dir, n), 6))
			}
			return errors.New(text)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// checkPorts fails with the name of the first port that somebody else listens
// on, which is a kinder message than the child's, and comes before any start.
func checkPorts(nodes []node) error {
	for _, n := range nodes {
		if n.Netns != "" {
			continue // the address is not ours to listen on; the namespace is new
		}
		for _, addr := range []string{n.Addr, n.RaftAddr, adminAddr(n)} {
			if addr == "" {
				continue
			}
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return fmt.Errorf("%s of %s is taken (%w); stop who listens there, or choose another --base-port", addr, n.ID, err)
			}
			l.Close()
		}
	}
	return nil
}

// lockDir keeps two processes from starting and stopping one cluster at a time.
// The lock is on the directory itself and ends with the process.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock the local cluster: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrBusy)
	}
	return func() { f.Close() }, nil
}
