package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// AddGroup starts one more group of the same size while the cluster runs, and
// returns its broker name when its leader is registered. It has no topics of the
// others yet: mqadmin cluster spread gives it queues of them.
func (c *Cluster) AddGroup(ctx context.Context, settings map[string]string) (string, error) {
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	st, err := load(c.Dir) // another process may have changed it since we looked
	if err != nil {
		return "", err
	}
	if !st.Namesrv.Alive() {
		return "", fmt.Errorf("the cluster in %s does not run; start it with one more group: mqadmin local up --dir %s --groups %d", c.Dir, c.Dir, len(st.groups())+1)
	}
	members, err := st.addGroupWhereFree()
	if err != nil {
		return "", err
	}
	name := members[0].Group
	if err := writeBrokerConfs(c.Dir, st, members, settings); err != nil {
		return "", err
	}
	if err := c.replace(st); err != nil {
		return "", err
	}
	if err = c.startGroup(ctx, name); err != nil {
		// The name is used up: a client may have seen it.
		return "", errors.Join(err, c.dropGroup(name))
	}
	return name, nil
}

// addGroupWhereFree is addGroup that passes over members whose ports somebody
// else uses: a running cluster cannot choose another base port.
func (st *state) addGroupWhereFree() ([]node, error) {
	const tries = 32
	var taken error
	for range tries {
		next := *st
		next.Brokers = slices.Clone(st.Brokers)
		members, err := next.addGroup()
		if err != nil {
			return nil, err
		}
		if taken = checkPorts(members); taken == nil {
			*st = next
			return members, nil
		}
		st.Members++
	}
	return nil, fmt.Errorf("no free ports for another group after %d tries: %w", tries, taken)
}

// startGroup starts the members of one group and waits for its leader.
func (c *Cluster) startGroup(ctx context.Context, name string) error {
	for _, id := range c.MembersOf(name) {
		if err := c.Start(id); err != nil {
			return err
		}
	}
	if err := c.awaitLeaders(ctx, []string{name}); err != nil {
		return err
	}
	c.joinedSoon(ctx, c.MembersOf(name))
	return ctx.Err()
}

// RemoveGroup stops a group's members and removes their data and settings. What
// the group still holds is gone: drain it first.
func (c *Cluster) RemoveGroup(name string) error {
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := load(c.Dir)
	if err != nil {
		return err
	}
	if len(st.group(name)) == 0 {
		return fmt.Errorf("the local cluster has no group %q; it has %v", name, st.groups())
	}
	if len(st.groups()) == 1 {
		return fmt.Errorf("%s is the only group of this cluster; remove all of it with: mqadmin local down --purge --dir %s", name, c.Dir)
	}
	if err := c.replace(st); err != nil {
		return err
	}
	return c.dropGroup(name)
}

// dropGroup stops a group, forgets it and removes its files, in this order, so
// that a failure leaves no member half there.
func (c *Cluster) dropGroup(name string) error {
	c.mu.Lock()
	st := c.st
	c.mu.Unlock()
	members := st.group(name)
	if err := errors.Join(stopAll(members)...); err != nil {
		return err
	}
	if err := c.replace(st.withoutGroup(name)); err != nil {
		return err
	}
	for _, n := range members {
		for _, path := range []string{filepath.Join(c.Dir, n.ID), confFile(c.Dir, n), logFile(c.Dir, n)} {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("remove what %s of %s left: %w", n.ID, name, err)
			}
		}
	}
	return nil
}

// replace makes st the state, in memory and in the file.
func (c *Cluster) replace(st state) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st = st
	return save(c.Dir, st)
}
