package commitlog

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/internal/vfs"
)

// TestModel compares random histories with a slice of entries. A crash may
// keep any unsynced part; what must survive it the rig knows.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := vfs.NewMem()
		cfg := testConfig(disk)
		cfg.Sync = rapid.Bool().Draw(t, "sync")
		cfg.CacheEntries = rapid.IntRange(1, 8).Draw(t, "cache")
		r := newRig(cfg)
		require.NoError(t, r.open())
		defer func() { _ = r.log.Close() }()
		term := uint64(1)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				n := rapid.IntRange(1, 12).Draw(t, "entries")
				batch := make([]Entry, n)
				for i := range batch {
					batch[i] = testEntry(r.next()+uint64(i), term, rapid.IntRange(0, 980).Draw(t, "size"))
				}
				require.NoError(t, r.append(batch...))
			},
			"term":       func(*rapid.T) { term++ },
			"checkpoint": func(t *rapid.T) { require.NoError(t, r.checkpoint()) },
			"truncate": func(t *rapid.T) {
				if len(r.acked) < 2 {
					return
				}
				term++
				require.NoError(t, r.truncate(rapid.Uint64Range(r.acked[1].Index, r.next()-1).Draw(t, "from")))
			},
			"trim": func(t *rapid.T) {
				if len(r.acked) == 0 {
					return
				}
				require.NoError(t, r.trim(rapid.Uint64Range(r.acked[0].Index, r.next()).Draw(t, "before")))
			},
			"restart": func(t *rapid.T) {
				require.NoError(t, r.close())
				require.NoError(t, r.open())
			},
			"crash": func(t *rapid.T) {
				kind := vfs.CrashOptions{Random: rapid.Bool().Draw(t, "random"), Seed: rapid.Uint64().Draw(t, "seed")}
				disk = disk.CrashClone(kind)
				l, got, err := r.survivor(disk)
				require.NoError(t, err)
				r.cfg.FS, r.log, r.acked, r.low = disk, l, got, len(got)
				term++
			},
			"": func(t *rapid.T) {
				requireEntries(t, r.log, r.acked)
				requireSound(t, withFS(cfg, disk.CrashClone(vfs.CrashOptions{})), r)
			},
		})
	})
}

// requireSound inspects what a crash would leave: whatever it is, it is no damage.
func requireSound(t require.TestingT, cfg Config, r *rig) {
	seen := 0
	report, err := Inspect(cfg, Inspection{Visit: func(e Entry, off int64) error {
		if len(r.acked) > 0 && e.Index >= r.acked[0].Index {
			requireSame(t, r.acked[e.Index-r.acked[0].Index], e)
			seen++
		}
		return nil
	}})
	require.NoError(t, err)
	require.False(t, report.Damaged(), "%v", report.Problems)
	require.GreaterOrEqual(t, seen, r.low)
}
