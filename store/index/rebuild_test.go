package index

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

// A rebuild adds the old half of the log while the applying goroutine adds the new one: the newest are found whatever
// order the entries came in.
func TestRebuildBesideAdd(t *testing.T) {
	disk := vfs.NewMem()
	cfg := Config{FS: disk, Dir: "index", RunEntries: 50}
	x, err := Open(cfg, nil)
	require.NoError(t, err)
	require.False(t, x.Complete())
	entry := func(i int) Entry { return Entry{Hash: uint64(i%3) << 62, Phy: int64(i), Time: int64(i)} }
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 1000 {
			require.NoError(t, x.AddOld(entry(i)))
		}
	})
	wg.Go(func() {
		for i := 1000; i < 2000; i++ {
			x.Add(entry(i))
		}
	})
	wg.Wait()
	var all model
	for i := range 2000 {
		all = append(all, entry(i))
	}
	check := func() {
		for _, q := range []Query{everything(0, 64), {Hash: 1 << 62, Begin: 300, End: 1200, Max: 500}, {Hash: 2 << 62, End: 100, Max: 5}} {
			got, err := x.Query(q)
			require.NoError(t, err)
			require.Equal(t, all.query(q), got)
		}
	}
	check()

	// Until a checkpoint knows that it was completed, it is not.
	state, err := x.Capture().Flush(0)
	require.NoError(t, err)
	require.NoError(t, x.Close())
	x, err = Open(cfg, state)
	require.ErrorIs(t, err, ErrIncomplete)
	x.Completed()
	state, err = x.Capture().Flush(0)
	require.NoError(t, err)
	require.NoError(t, x.Close())
	x, err = Open(cfg, state)
	require.NoError(t, err)
	require.True(t, x.Complete())
	check()
	require.NoError(t, x.Close())
	_, err = Open(cfg, []byte{1, 2, 3})
	require.ErrorIs(t, err, ErrIncomplete)
}

// A disk that refuses costs keys, which is said, and not memory without end.
func TestNothingGrowsWhileTheDiskRefuses(t *testing.T) {
	full := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if filepath.Ext(op.Path) == ".tmp" {
			return fmt.Errorf("disk full")
		}
		return nil
	})
	x, err := Open(Config{FS: full, Dir: "index", RunEntries: 10}, nil)
	require.NoError(t, err)
	x.Completed()
	for i := range 1000 {
		x.Add(Entry{Hash: 1, Phy: int64(i), Time: 1})
		x.builder.Wait()
	}
	_, n := x.Size()
	require.LessOrEqual(t, n, uint64((lostMax+2)*10))
	require.False(t, x.Complete())
	require.ErrorIs(t, x.AddOld(Entry{}), ErrStuck)
	require.NoError(t, x.Close())
}

func BenchmarkWriteRun(b *testing.B) {
	t := &table{}
	for i := range 512 << 10 {
		t.add(Entry{Hash: Hash([]byte("T"), fmt.Appendf(nil, "%d", i)), Phy: int64(i)})
	}
	x := &Index{cfg: Config{FS: vfs.OS, Dir: b.TempDir()}}
	b.ReportAllocs()
	for b.Loop() {
		r, err := x.writeRun(t)
		require.NoError(b, err)
		require.NoError(b, r.file.Close())
	}
}

func BenchmarkQuery(b *testing.B) {
	x, err := Open(Config{FS: vfs.OS, Dir: filepath.Join(b.TempDir(), "index")}, nil)
	require.NoError(b, err)
	for i := range 4 << 20 {
		x.Add(Entry{Hash: Hash([]byte("T"), fmt.Appendf(nil, "%d", i)), Phy: int64(i)})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, err := x.Query(everything(Hash([]byte("T"), fmt.Appendf(nil, "%d", i)), 64))
		require.NoError(b, err)
	}
	require.NoError(b, x.Close())
}

// What Drop removes after a checkpoint, that checkpoint does not ask for.
func TestDropBelongsToACheckpoint(t *testing.T) {
	disk := vfs.NewMem()
	cfg := Config{FS: disk, Dir: "index", RunEntries: 10}
	x, err := Open(cfg, nil)
	require.NoError(t, err)
	x.Completed()
	for i := range 100 {
		x.Add(Entry{Hash: 1, Phy: int64(i), Time: 1})
	}
	x.builder.Wait()
	state, err := x.Capture().Flush(35)
	require.NoError(t, err)
	require.NoError(t, x.Drop(35))
	require.NoError(t, x.Close())
	x, err = Open(cfg, state)
	require.NoError(t, err)
	got, err := x.Query(everything(1, 1000))
	require.NoError(t, err)
	require.Len(t, got, 70)
	require.NoError(t, x.Close())
}
