package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// AddNode starts one more broker with the name of a group, which waits to be
// added to it, and returns when it answers. It keeps its place over Down and Up.
func (c *Cluster) AddNode(ctx context.Context, group string) (Broker, error) {
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return Broker{}, err
	}
	defer unlock()
	st, err := load(c.Dir) // another process may have changed it since we looked
	if err != nil {
		return Broker{}, err
	}
	if len(st.group(group)) == 0 {
		return Broker{}, fmt.Errorf("the local cluster has no group %q; it has %v", group, st.groups())
	}
	if err := st.addMember(group); err != nil {
		return Broker{}, err
	}
	n := st.Brokers[len(st.Brokers)-1]
	if err := checkPorts([]node{n}); err != nil {
		return Broker{}, err
	}
	if err := writeBrokerConfs(c.Dir, st, []node{n}, map[string]string{"raftJoin": "true"}); err != nil {
		return Broker{}, err
	}
	if err := c.replace(st); err != nil {
		return Broker{}, err
	}
	if err := c.Start(n.ID); err != nil {
		return Broker{}, err
	}
	for {
		c.mu.Lock()
		now := *c.find(n.ID)
		c.mu.Unlock()
		switch b := c.ask(ctx, now); b.Role {
		case RoleDown:
			return Broker{}, fmt.Errorf("%s ended; the end of its log:\n%s", n.ID, c.tail(n.ID))
		case RoleStarting:
		default:
			return b, nil
		}
		select {
		case <-ctx.Done():
			return Broker{}, fmt.Errorf("%s does not answer: %w; the last lines of its log:\n%s", n.ID, context.Cause(ctx), c.tail(n.ID))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// DropNode stops a member that is none of its group any more, and removes its
// data and its settings.
func (c *Cluster) DropNode(id string) error {
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := load(c.Dir)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(st.Brokers, func(n node) bool { return n.ID == id })
	if i < 0 {
		return fmt.Errorf("the local cluster has no member %q", id)
	}
	gone := st.Brokers[i]
	if err := errors.Join(stopAll([]node{gone})...); err != nil {
		return err
	}
	st.Brokers = slices.Delete(st.Brokers, i, i+1)
	if err := c.replace(st); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(c.Dir, id)), os.Remove(confFile(c.Dir, gone)))
}

// Wipe kills a member and removes its data, as if its disk was gone. Start
// brings it back empty.
func (c *Cluster) Wipe(id string) error {
	if err := c.Kill(id); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return os.RemoveAll(filepath.Join(c.Dir, id))
}
