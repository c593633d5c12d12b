package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
)

// cluster is group broker-a of the running project, as a drill wants it: seen
// through the published ports, killed through the engine.
type cluster struct {
	p       *project
	client  *admin.Client
	members []member
}

type member struct {
	id        string // dLegerSelfId
	container string
	addr      string // published
}

// open finds the members of a running cluster.
func open(ctx context.Context, p *project) (*cluster, error) {
	list, err := p.containers(ctx)
	if err != nil {
		return nil, err
	}
	c := &cluster{p: p}
	for _, k := range list {
		if k.setting("brokerName") == local.BrokerName && k.running {
			c.members = append(c.members, member{id: k.setting("dLegerSelfId"), container: k.id, addr: k.external()})
		}
	}
	if len(c.members) == 0 {
		return nil, errors.New("no broker of this tree's docker-compose.yml is running; start it with: make compose-up")
	}
	slices.SortFunc(c.members, func(a, b member) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	c.client, err = admin.New(admin.Config{NameServers: admin.ParseNameServers(hostNameServers), Timeout: time.Second})
	return c, err
}

// Namesrv lists the name servers as this machine sees them.
func (c *cluster) Namesrv() string { return hostNameServers }

// Flush is the mode of the compose file.
func (c *cluster) Flush() string { return local.FlushSync }

// Members returns the ids of the group's members.
func (c *cluster) Members() []string {
	var ids []string
	for _, m := range c.members {
		ids = append(ids, m.id)
	}
	return ids
}

func (c *cluster) find(id string) (member, error) {
	for _, m := range c.members {
		if m.id == id {
			return m, nil
		}
	}
	return member{}, fmt.Errorf("the group has no member %q", id)
}

// Leader waits until a member other than the given ones says that it leads.
func (c *cluster) Leader(ctx context.Context, registered bool, except ...string) (local.Broker, error) {
	for {
		var best local.Broker
		for _, b := range c.askAll(ctx, except) {
			if b.Role == local.RoleLeader && b.Term > best.Term {
				best = b
			}
		}
		if best.ID != "" && (!registered || c.registered(ctx, best.Addr)) {
			return best, nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return local.Broker{}, fmt.Errorf("no leader: %w", err)
		}
	}
}

// askAll asks the members for their role at the same time, but not the excepted
// ones: they may be stopped, and waiting would spoil the measurement.
func (c *cluster) askAll(ctx context.Context, except []string) []local.Broker {
	out := make([]local.Broker, len(c.members))
	var wg sync.WaitGroup
	for i, m := range c.members {
		if slices.Contains(except, m.id) {
			continue
		}
		wg.Go(func() {
			out[i] = local.Broker{Name: local.BrokerName, ID: m.id, Addr: m.addr, Role: local.RoleDown}
			if is, err := c.client.Member(ctx, m.addr); err == nil {
				out[i].Role, out[i].Term = is.Role, is.Term
			}
		})
	}
	wg.Wait()
	return out
}

// registered reports whether the name server tells this machine that the leader
// is at its published address.
func (c *cluster) registered(ctx context.Context, addr string) bool {
	info, err := c.client.Cluster(ctx)
	return err == nil && info.BrokerAddrTable[local.BrokerName].BrokerAddrs[0] == addr
}

// Joined waits until a member is leader or follower of a group with a leader.
func (c *cluster) Joined(ctx context.Context, id string) error {
	for {
		var leader, joined bool
		for _, b := range c.askAll(ctx, nil) {
			leader = leader || b.Role == local.RoleLeader
			joined = joined || b.ID == id && (b.Role == local.RoleLeader || b.Role == local.RoleFollower)
		}
		if leader && joined {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%s did not join: %w; see: docker logs", id, err)
		}
	}
}

// Kill ends a member's container by SIGKILL. The engine returns when it is gone
// and does not restart what was killed on request.
func (c *cluster) Kill(id string) error { return c.engine(id, "kill") }

// Start starts a killed member's container again.
func (c *cluster) Start(id string) error { return c.engine(id, "start") }

// Signal sends a signal to a member's process.
func (c *cluster) Signal(id string, sig syscall.Signal) error {
	return c.engine(id, "kill", "--signal", fmt.Sprint(int(sig)))
}

// engineTimeout is how long the engine may take over one container.
const engineTimeout = 20 * time.Second

func (c *cluster) engine(id string, args ...string) error {
	m, err := c.find(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	_, err = c.p.docker(ctx, append(args, m.container)...)
	return err
}

// Ended returns the members whose container is not running.
func (c *cluster) Ended() []string {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	list, err := c.p.containers(ctx)
	if err != nil {
		return []string{"unknown: " + err.Error()}
	}
	var ids []string
	for _, m := range c.members {
		if !slices.ContainsFunc(list, func(k container) bool { return k.id == m.container && k.running }) {
			ids = append(ids, m.id)
		}
	}
	return ids
}

// pause passes some time, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
