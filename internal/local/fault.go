package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cometmq/cometmq/internal/fault"
)

const faultEnv = fault.EnvFile

func faultFile(dir, id string) string { return filepath.Join(dir, "faults", id) }

// SetFault makes a member suffer what the text says (see internal/fault; "" for
// nothing), and returns when it does. The cluster must have been started with
// Spec.Faults. Of a member that is down it is taken up at its start.
func (c *Cluster) SetFault(ctx context.Context, id, text string) error {
	if !c.st.Faults {
		return fmt.Errorf("the cluster in %s was started without fault files; let the drill start one of its own", c.Dir)
	}
	file := faultFile(c.Dir, id)
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the faults of %s: %w", id, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write the faults of %s: %w", id, err)
	}
	for c.alive(id) {
		if seen, err := os.ReadFile(file + fault.SeenSuffix); err == nil && string(seen) == text {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not take up the fault %q: %w", id, text, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

func (c *Cluster) alive(id string) bool {
	for _, n := range c.snapshot() {
		if n.ID == id {
			return n.Alive()
		}
	}
	return false
}

// DataDir is where a process keeps its data.
func (c *Cluster) DataDir(id string) string { return filepath.Join(c.Dir, id) }
