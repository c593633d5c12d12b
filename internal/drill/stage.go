package drill

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cometmq/cometmq/internal/local"
	"github.com/cometmq/cometmq/internal/netns"
)

// Stage is a cluster with everything around it that a drill breaks.
type Stage struct {
	Local    *local.Cluster
	Net      *netns.Network // nil without
	Settings map[string]string
	volumes  []string // mounted
}

// netBasePort is the name server's port in a network of its own, where every
// port is free.
const netBasePort = 9876

// SetStage starts a cluster as a drill needs it. The spec says the rest; its
// settings win over the drill's.
func SetStage(ctx context.Context, name string, spec local.Spec) (*Stage, error) {
	needs, err := NeedsOf(name)
	if err != nil {
		return nil, err
	}
	s := &Stage{Settings: map[string]string{}}
	maps.Copy(s.Settings, needs.Settings)
	maps.Copy(s.Settings, spec.Settings)
	spec.Settings, spec.Faults, spec.Namesrvs = s.Settings, needs.Faults, max(needs.Namesrvs, 1)
	if needs.Nodes > 0 {
		spec.Nodes = needs.Nodes
	}
	if needs.Volume > 0 {
		if os.Geteuid() != 0 {
			return nil, fmt.Errorf("drill %s mounts small volumes, which needs root; run it as root (sudo)", name)
		}
		spec.Prepare = func(dir string) error { return s.mount(dir, spec.Nodes, needs.Volume) }
	}
	if needs.Network {
		if spec.HoldPorts {
			return nil, fmt.Errorf("drill %s has each process in a network of its own, where its port cannot be held: leave out --hold-ports", name)
		}
		if err := s.makeNetwork(&spec); err != nil {
			return nil, err
		}
	}
	if s.Local, err = local.Up(ctx, spec); err != nil {
		return nil, errors.Join(fmt.Errorf("start a cluster for the drill: %w", err), s.remove())
	}
	return s, nil
}

// ids are what local.Up will call the processes.
func stageIDs(spec *local.Spec) []string {
	ids := []string{"namesrv"}
	for i := 1; i < spec.Namesrvs; i++ {
		ids = append(ids, fmt.Sprintf("namesrv%d", i))
	}
	for i := range spec.Nodes {
		ids = append(ids, fmt.Sprintf("n%d", i))
	}
	return ids
}

func (s *Stage) makeNetwork(spec *local.Spec) error {
	ids := stageIDs(spec)
	var err error
	if s.Net, err = netns.New(ids...); err != nil {
		return err
	}
	spec.BasePort, spec.Places = netBasePort, map[string]local.Place{}
	for _, id := range ids {
		spec.Places[id] = local.Place{Host: s.Net.Addr(id), Netns: s.Net.Netns(id)}
	}
	return nil
}

// mount gives each member a small volume for its data.
func (s *Stage) mount(dir string, nodes, mib int) error {
	for i := range nodes {
		at := filepath.Join(dir, fmt.Sprintf("n%d", i))
		if err := os.MkdirAll(at, 0o755); err != nil {
			return fmt.Errorf("make a small volume: %w", err)
		}
		if err := syscall.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
			return fmt.Errorf("mount a small volume at %s: %w", at, err)
		}
		s.volumes = append(s.volumes, at)
	}
	return nil
}

// Strike stops the cluster and takes the rest down; with purge its data go too.
func (s *Stage) Strike(purge bool) error {
	defer s.Local.Close()
	err := s.Local.Down(false)
	err = errors.Join(err, s.remove())
	if purge {
		err = errors.Join(err, s.Local.Down(true))
	}
	return err
}

// remove takes away volumes and network. What a small volume held is gone then.
func (s *Stage) remove() error {
	var errs []error
	for _, at := range s.volumes {
		if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", at, err))
		}
	}
	s.volumes = nil
	if s.Net != nil {
		errs = append(errs, s.Net.Close())
	}
	return errors.Join(errs...)
}
