package commitlog

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/segment"
)

func TestInspect(t *testing.T) {
	disk := vfs.NewMem()
	l := openTest(t, testConfig(disk))
	want := testEntries(1, 40, 1, 200)
	require.NoError(t, l.Append(want))
	require.NoError(t, l.Close())
	cfg := Config{FS: disk, Dir: "log"}
	writes := 0
	cfg.FS = vfs.NewFault(disk, func(op vfs.Op) error {
		if op.Kind.Mutates() && op.Kind != vfs.OpOpen {
			writes++
		}
		return nil
	})
	var got []Entry
	keep := func(e Entry, _ int64) error {
		e.Data, e.Extensions = append([]byte(nil), e.Data...), append([]byte(nil), e.Extensions...)
		got = append(got, e)
		return nil
	}
	r, err := Inspect(cfg, Inspection{Visit: keep})
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	require.True(t, r.Clean)
	require.EqualValues(t, []uint64{1, 40, 40, 40, 1}, []uint64{r.First, r.Last, r.Entries, r.MarkIndex, r.LastTerm})
	require.EqualValues(t, 1<<10, r.SegmentSize)
	require.Equal(t, l.Segments()[3].First, r.Segments[3].First)
	require.Equal(t, want[r.Segments[3].Last-1].AppendedAt, r.Segments[3].Newest)
	require.Len(t, got, 40)
	for i := range got {
		requireSame(t, want[i], got[i])
	}
	got = nil
	_, err = Inspect(cfg, Inspection{From: 17, To: 21, Visit: keep})
	require.NoError(t, err)
	require.Len(t, got, 5)
	require.EqualValues(t, 17, got[0].Index)
	require.Zero(t, writes, "nothing is changed")

	// After a trim, and with what one left behind.
	l = openTest(t, testConfig(disk))
	_, err = l.TrimPrefix(20)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	r, err = Inspect(cfg, Inspection{})
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	require.Equal(t, l.FirstIndex(), r.First)
}

// Each flipped byte is either found or lies where nothing is; only what was
// durable counts as damage.
func TestInspectFindsEveryFlippedBit(t *testing.T) {
	for _, clean := range []bool{true, false} {
		d := build(t, clean)
		names, err := d.disk.ReadDir("log")
		require.NoError(t, err)
		whole, err := Inspect(Config{FS: d.disk, Dir: "log"}, Inspection{})
		require.NoError(t, err)
		require.Empty(t, whole.Problems)
		for _, name := range names {
			_, isSegment := segment.ParseName(name)
			for at := range fileSize(t, d.disk, "log/"+name) {
				disk := d.disk.CrashClone(vfs.CrashOptions{})
				flip(t, disk, "log/"+name, at)
				what := fmt.Sprintf("clean=%v %s byte %d", clean, name, at)
				seen := map[uint64]bool{}
				r, err := Inspect(Config{FS: disk, Dir: "log"}, Inspection{Visit: func(e Entry, _ int64) error {
					requireSame(t, d.want[e.Index-1], e)
					seen[e.Index] = true
					return nil
				}})
				require.NoError(t, err, what)
				if !isSegment {
					require.NotEmpty(t, r.Problems, what)
					continue
				}
				lost := uint64(1)
				for seen[lost] {
					lost++
				}
				switch {
				case lost > 30: // between the entries
				case lost <= whole.MarkIndex:
					require.True(t, r.Damaged(), what)
					require.Len(t, seen, 29, "one bit costs one entry: %s: %v", what, r.Problems)
				default: // as a start would see it, an incomplete write
					require.False(t, r.Damaged(), "%s: lost %d, mark %d: %v", what, lost, whole.MarkIndex, r.Problems)
					require.NotEmpty(t, r.Problems, what)
					require.Len(t, seen, int(lost)-1, what)
				}
			}
		}
	}
}

func TestInspectMissingFiles(t *testing.T) {
	d := build(t, true)
	names, err := d.disk.ReadDir("log")
	require.NoError(t, err)
	for _, name := range names {
		disk := d.disk.CrashClone(vfs.CrashOptions{})
		blank := isBlank(t, disk, "log/"+name)
		require.NoError(t, disk.Remove("log/"+name))
		r, err := Inspect(Config{FS: disk, Dir: "log"}, Inspection{})
		require.NoError(t, err)
		_, isSegment := segment.ParseName(name)
		require.Equal(t, isSegment && !blank, r.Damaged(), "%s: %v", name, r.Problems)
	}
	_, err = Inspect(Config{FS: vfs.NewMem(), Dir: "nowhere"}, Inspection{})
	require.Error(t, err)
}
