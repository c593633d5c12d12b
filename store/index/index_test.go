package index

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/internal/vfs"
)

func everything(hash uint64, n int) Query { return Query{Hash: hash, End: maxInt64, Max: n} }

// model is the index as a list.
type model []Entry

func (m model) query(q Query) []Entry {
	var out []Entry
	for i := len(m) - 1; i >= 0; i-- {
		if m[i].Hash == q.Hash && m[i].Time >= q.Begin && m[i].Time <= q.End && len(out) < q.Max {
			out = append(out, m[i])
		}
	}
	return out
}

// TestModel runs random adds, queries, checkpoints, restarts and crashes against a list: what was there at the last
// checkpoint survives, what came later is added again by the replay, and every query agrees.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := vfs.NewMem()
		cfg := Config{FS: disk, Dir: "index", RunEntries: 16}
		x, err := Open(cfg, nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, x.Close()) }()
		x.Completed()
		var all model
		var state []byte
		saved := 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					e := Entry{Hash: rapid.Uint64Range(0, 5).Draw(t, "hash") << 61, Phy: int64(len(all) * 100), Time: int64(len(all) / 3)}
					all = append(all, e)
					x.Add(e)
				}
			},
			"checkpoint": func(t *rapid.T) {
				c := x.Capture()
				n := len(all)
				if rapid.Bool().Draw(t, "more before the flush") {
					e := Entry{Hash: 1 << 61, Phy: int64(len(all) * 100), Time: int64(len(all) / 3)}
					all = append(all, e)
					x.Add(e)
				}
				s, err := c.Flush(0)
				require.NoError(t, err)
				state, saved = s, n
			},
			"restart": func(t *rapid.T) {
				require.NoError(t, x.Close())
				if rapid.Bool().Draw(t, "crash") {
					disk = disk.CrashClone(vfs.CrashOptions{})
					cfg.FS = disk
				}
				x, err = Open(cfg, state)
				require.NoError(t, err)
				if state == nil {
					x.Completed()
				}
				for _, e := range all[saved:] {
					x.Add(e)
				}
			},
			"": func(t *rapid.T) {
				q := Query{Hash: rapid.Uint64Range(0, 5).Draw(t, "hash") << 61, Begin: rapid.Int64Range(0, 20).Draw(t, "begin"), Max: rapid.IntRange(1, 40).Draw(t, "max")}
				q.End = q.Begin + rapid.Int64Range(0, 50).Draw(t, "span")
				got, err := x.Query(q)
				require.NoError(t, err)
				require.Equal(t, all.query(q), got)
			},
		})
	})
}

func TestManyRunsAndSearch(t *testing.T) {
	x, err := Open(Config{FS: vfs.NewMem(), Dir: "index", RunEntries: 5000}, nil)
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(1, 1))
	var all model
	for i := range 42_000 {
		e := Entry{Hash: rnd.Uint64(), Phy: int64(i), Time: int64(i)}
		if i%10 == 0 {
			e.Hash = 1 << 63 // one key with thousands of messages
		}
		all = append(all, e)
		x.Add(e)
	}
	for i := 0; i < len(all); i += 997 {
		q := everything(all[i].Hash, 64)
		got, err := x.Query(q)
		require.NoError(t, err)
		require.Equal(t, all.query(q), got)
	}
	got, err := x.Query(everything(12345, 10))
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, x.Drop(20_000))
	got, err = x.Query(everything(all[1].Hash, 1))
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, x.Close())
}

func TestDamageIsReportedAndNeverServed(t *testing.T) {
	disk := vfs.NewMem()
	cfg := Config{FS: disk, Dir: "index", RunEntries: 100}
	x, err := Open(cfg, nil)
	require.NoError(t, err)
	for i := range 150 {
		x.Add(Entry{Hash: uint64(i) << 50, Phy: int64(i), Time: 1})
	}
	x.builder.Wait() // else the tail of a table that became a run stays until the next flush
	x.Completed()
	state, err := x.Capture().Flush(0)
	require.NoError(t, err)
	require.NoError(t, x.Close())
	names, err := disk.ReadDir("index")
	require.NoError(t, err)
	for _, name := range names {
		d := disk.CrashClone(vfs.CrashOptions{})
		require.NoError(t, d.Remove(filepath.Join("index", name)))
		_, err := Open(Config{FS: d, Dir: "index", RunEntries: 100}, state)
		require.ErrorIs(t, err, ErrIncomplete, "without %s", name)
	}
	for _, name := range names {
		for _, at := range []int64{0, 5, 10, 30, 49, 53} {
			d := disk.CrashClone(vfs.CrashOptions{})
			path := filepath.Join("index", name)
			f, err := d.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			if filepath.Ext(name) == ".tail" {
				require.NoError(t, f.Truncate(at))
			} else {
				b := make([]byte, 1)
				_, err = f.ReadAt(b, at)
				require.NoError(t, err)
				b[0] ^= 0x40
				_, err = f.WriteAt(b, at)
				require.NoError(t, err)
			}
			require.NoError(t, f.Close())
			y, err := Open(Config{FS: d, Dir: "index", RunEntries: 100}, state)
			require.ErrorIs(t, err, ErrIncomplete, "%s at %d", name, at)
			require.NoError(t, y.Reset())
			y.Add(Entry{Hash: 7, Phy: 7, Time: 7})
			got, err := y.Query(everything(7, 10))
			require.NoError(t, err)
			require.Equal(t, []Entry{{7, 7, 7}}, got)
			require.NoError(t, y.Close())
		}
	}
}

func TestFailedRunStaysInMemory(t *testing.T) {
	disk := vfs.NewMem()
	full := vfs.NewFault(disk, func(op vfs.Op) error {
		if filepath.Ext(op.Path) == ".tmp" {
			return fmt.Errorf("disk full")
		}
		return nil
	})
	x, err := Open(Config{FS: full, Dir: "index", RunEntries: 10}, nil)
	require.NoError(t, err)
	for i := range 35 {
		x.Add(Entry{Hash: 1, Phy: int64(i), Time: 1})
	}
	got, err := x.Query(everything(1, 100))
	require.NoError(t, err)
	require.Len(t, got, 35)
	require.True(t, slices.IsSortedFunc(got, func(a, b Entry) int { return cmp.Compare(b.Phy, a.Phy) }))
	require.NoError(t, x.Close())
}

func FuzzHeader(f *testing.F) {
	f.Add(header{count: 1, minPhy: 2, maxPhy: 2, minTime: 3, maxTime: 3}.encode(), int64(headerSize+entrySize))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		h, err := decodeHeader(b, size)
		if err == nil && size != headerSize+int64(h.count)*entrySize {
			t.Fatalf("%d entries in %d bytes", h.count, size)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	x, err := Open(Config{FS: vfs.OS, Dir: filepath.Join(b.TempDir(), "index")}, nil)
	require.NoError(b, err)
	topic, key := []byte("TopicTest"), []byte("7F00000100002A9F0000000000000000")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key[31] = byte(i)
		x.Add(Entry{Hash: Hash(topic, key), Phy: int64(i) * 200, Time: int64(i)})
	}
	require.NoError(b, x.Close())
}

// Verify notices what no reader would, and Open removes what it cannot use.
func TestVerifyAndUnusableRuns(t *testing.T) {
	disk := vfs.NewMem()
	entries := make([]Entry, 1000)
	for i := range entries {
		entries[i] = Entry{Hash: uint64(i) << 54, Phy: int64(i), Time: int64(i)}
	}
	require.NoError(t, disk.MkdirAll("index", 0o755))
	name := "index/00000000000000000007.run"
	require.NoError(t, vfs.WriteAtomic(disk, name, func(f vfs.File) error { return encodeRun(f, entries) }))
	good, err := vfs.ReadFile(disk, name, 1<<20)
	require.NoError(t, err)
	write := func(b []byte) { require.NoError(t, vfs.WriteFileAtomic(disk, name, b)) }
	write(good)
	runs, n, problems, err := Verify(disk, "index")
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Equal(t, []int{1, 1000}, []int{runs, int(n)})
	for _, at := range []int{headerSize, len(good) - 1, headerSize + 500*entrySize + 3} {
		bad := append([]byte(nil), good...)
		bad[at] ^= 1
		write(bad)
		_, _, problems, err = Verify(disk, "index")
		require.NoError(t, err)
		require.Len(t, problems, 1)
		require.False(t, problems[0].Unusable)
	}
	write(good[:99])
	_, _, problems, err = Verify(disk, "index")
	require.NoError(t, err)
	require.Len(t, problems, 1)
	require.True(t, problems[0].Unusable)
	x, err := Open(Config{FS: disk, Dir: "index"}, nil)
	require.ErrorIs(t, err, ErrIncomplete)
	require.NoError(t, x.Close())
	_, err = disk.Stat(name)
	require.Error(t, err)
	_, _, _, err = Verify(disk, "nowhere")
	require.NoError(t, err)
}
