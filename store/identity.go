package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/cometmq/cometmq/internal/vfs"
)

// ErrIdentity says that a directory holds the store of another cluster or group.
var ErrIdentity = errors.New("store belongs to another broker group")

const (
	identityName  = "identity"
	identityBytes = 64 << 10
)

// checkIdentity writes who a new store belongs to, or compares. A store mounted
// under the wrong broker would offer its messages as that group's and be
// truncated to that group's log.
func checkIdentity(cfg Config) error {
	name := filepath.Join(cfg.Dir, identityName)
	b, err := vfs.ReadFile(cfg.FS, name, identityBytes)
	if errors.Is(err, fs.ErrNotExist) {
		text := fmt.Sprintf("cluster=%s\ngroup=%s\ncreated=%s\n",
			cfg.Cluster, cfg.Group, time.Now().UTC().Format(time.RFC3339))
		if err := vfs.WriteFileAtomic(cfg.FS, name, []byte(text)); err != nil {
			return fmt.Errorf("write the identity of the store: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the identity of the store: %w", err)
	}
	has := parseIdentity(string(b))
	for _, f := range []struct{ key, want string }{{"cluster", cfg.Cluster}, {"group", cfg.Group}} {
		if got := has[f.key]; got != "" && f.want != "" && got != f.want {
			return fmt.Errorf("%w: %s holds the store of %s %q, not of %q; it was made %s",
				ErrIdentity, cfg.Dir, f.key, got, f.want, has["created"])
		}
	}
	return nil
}

func parseIdentity(text string) map[string]string {
	has := make(map[string]string)
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			has[k] = v
		}
	}
	return has
}
