package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/segment"
)

// damaged/repairs.json lists when this store was set aside, newest last, so that
// a disk that goes on losing data is given up rather than refilled for ever.
const (
	repairsName  = "repairs.json"
	repairsBytes = 64 << 10
	repairsKept  = 16
	// repairsMax is how often a store may be set aside within repairsWithin.
	repairsMax    = 4
	repairsWithin = time.Hour
)

// Repair is one time that a store was set aside.
type Repair struct {
	At        time.Time `json:"at"`
	Reason    string    `json:"reason"`
	LastIndex uint64    `json:"lastIndex"` // of the log that was given up
}

// FailingError says that a store is damaged again and again.
type FailingError struct {
	Dir   string
	Times int
}

// Error says what to do.
func (e *FailingError) Error() string {
	return fmt.Sprintf("the store in %s was damaged %d times within an hour: its disk or the memory of this machine is failing. "+
		"Replace it; removing %s lets the group bring this member up again", e.Dir, e.Times, filepath.Join(e.Dir, damagedDir, repairsName))
}

// Repairs lists when the store was set aside, newest last. A list that cannot be
// read is none.
func Repairs(cfg Config) []Repair {
	cfg = cfg.withDefaults()
	b, err := vfs.ReadFile(cfg.FS, filepath.Join(cfg.Dir, damagedDir, repairsName), repairsBytes)
	var list []Repair
	if err != nil || json.Unmarshal(b, &list) != nil {
		return nil
	}
	return list
}

// Failing returns a *FailingError for a store that was set aside too often.
func Failing(cfg Config, now time.Time) error {
	times := 0
	for _, r := range Repairs(cfg) {
		if age := now.Sub(r.At); age >= 0 && age < repairsWithin {
			times++
		}
	}
	if times < repairsMax {
		return nil
	}
	return &FailingError{Dir: cfg.Dir, Times: times}
}

// SetAside empties a store that is not open so that the group refills it. What is
// damaged is kept as evidence, with the report. The caller must see to it that
// this member does not vote before it has everything again that it may have
// acknowledged; the returned report's LastIndex is the end of the log as far as
// it is known. It is made of steps that may be repeated: after a crash call it
// again.
func SetAside(cfg Config) (Damage, error) {
	cfg = cfg.withDefaults()
	var d Damage
	err := offline(cfg, func() error {
		var err error
		if d, _, err = ReadDamage(cfg); err != nil {
			return err
		}
		if err := keepEvidence(cfg, d); err != nil {
			return err
		}
		if err := noteRepair(cfg, d); err != nil {
			return err
		}
		names := []string{"consumequeue", "index", "metadata.db", "commitlog"}
		if _, err := cfg.FS.Stat(filepath.Join(cfg.Dir, incomingDir, readyName)); err == nil {
			names = append(names, incomingDir) // it could not be taken over
		}
		for _, name := range names {
			if err := cfg.FS.RemoveAll(filepath.Join(cfg.Dir, name)); err != nil {
				return fmt.Errorf("empty the store: %w", err)
			}
		}
		// The report goes last: until then a start is refused.
		return dropReport(cfg)
	})
	return d, err
}

// noteRepair adds to the list. A try that is repeated after a crash counts once.
func noteRepair(cfg Config, d Damage) error {
	r := Repair{At: time.Now().UTC(), LastIndex: d.LastIndex, Reason: "unknown"}
	if len(d.Findings) > 0 {
		f := d.Findings[0]
		r.Reason = fmt.Sprintf("%s at %d: %s", f.File, f.Offset, f.Reason)
	}
	list := Repairs(cfg)
	if n := len(list); n > 0 && list[n-1].Reason == r.Reason && list[n-1].LastIndex == r.LastIndex {
		return nil
	}
	list = append(list, r)
	b, err := json.MarshalIndent(list[max(0, len(list)-repairsKept):], "", "  ")
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(cfg.FS, filepath.Join(cfg.Dir, damagedDir, repairsName), append(b, '\n'))
}

// keepEvidence moves the damaged files aside, at most damagedKept.
func keepEvidence(cfg Config, d Damage) error {
	aside := filepath.Join(cfg.Dir, damagedDir)
	if err := cfg.FS.MkdirAll(aside, 0o755); err != nil {
		return err
	}
	moved := map[string]bool{}
	for _, f := range d.Findings {
		name := f.File
		if f.Base >= 0 {
			name = filepath.Join("commitlog", segment.Name(f.Base))
		}
		// A report is a file too, and may say anything.
		if moved[name] || len(moved) == damagedKept || !filepath.IsLocal(name) || filepath.Dir(name) == damagedDir {
			continue
		}
		moved[name] = true
		err := cfg.FS.Rename(filepath.Join(cfg.Dir, name), filepath.Join(aside, filepath.Base(name)+commitlog.DamagedExt))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep what is damaged: %w", err)
		}
	}
	return limitEvidence(cfg)
}

// limitEvidence removes all but the last files kept.
func limitEvidence(cfg Config) error {
	aside := filepath.Join(cfg.Dir, damagedDir)
	names, err := cfg.FS.ReadDir(aside)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, commitlog.DamagedExt) })
	for len(names) > damagedKept {
		if err := cfg.FS.Remove(filepath.Join(aside, names[0])); err != nil {
			return err
		}
		names = names[1:]
	}
	return cfg.FS.SyncDir(aside)
}

// dropReport keeps the report beside the evidence and takes it from where it
// keeps the store from opening.
func dropReport(cfg Config) error {
	name, aside := filepath.Join(cfg.Dir, damageName), filepath.Join(cfg.Dir, damagedDir)
	if _, err := cfg.FS.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := cfg.FS.MkdirAll(aside, 0o755); err != nil {
		return err
	}
	if err := cfg.FS.Rename(name, filepath.Join(aside, damageName)); err != nil {
		return fmt.Errorf("take back the report of damage: %w", err)
	}
	return errors.Join(cfg.FS.SyncDir(aside), cfg.FS.SyncDir(cfg.Dir))
}
