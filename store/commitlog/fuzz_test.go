package commitlog

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

// FuzzRecover opens arbitrary files. Whatever they hold, nothing panics, every
// entry that is served is one that checks, and a log that opens can be used.
func FuzzRecover(f *testing.F) {
	for _, clean := range []bool{true, false} {
		disk := vfs.NewMem()
		cfg := testConfig(disk)
		l, err := Open(cfg)
		require.NoError(f, err)
		require.NoError(f, l.Append(testEntries(1, 9, 1, 150)))
		require.NoError(f, l.Checkpoint())
		require.NoError(f, l.Append(testEntries(10, 2, 1, 50)))
		if clean {
			require.NoError(f, l.Close())
		}
		file := func(name string) []byte {
			b, err := vfs.ReadFile(disk, "log/"+name, 1<<20)
			require.NoError(f, err)
			return b
		}
		seg, next := file("00000000000000000000"), file("00000000000000001024")
		f.Add(seg, next, file("00000000000000000000.idx"), file(markName), true)
		f.Add(seg, next, []byte{}, []byte{}, false)
		f.Add(seg[:700], []byte{}, []byte{}, file(markName), true)
	}
	f.Fuzz(func(t *testing.T, seg, next, idx, mark []byte, sync bool) {
		disk := vfs.NewMem()
		require.NoError(t, disk.MkdirAll("log", 0o755))
		for name, b := range map[string][]byte{
			"00000000000000000000": seg, "00000000000000001024": next,
			"00000000000000000000.idx": idx, markName: mark,
		} {
			if len(b) == 0 || len(b) > 1<<12 {
				continue
			}
			file, err := disk.OpenFile("log/"+name, os.O_RDWR|os.O_CREATE, 0o644)
			require.NoError(t, err)
			_, err = file.WriteAt(b, 0)
			require.NoError(t, err)
			require.NoError(t, file.Close())
		}
		cfg := testConfig(disk)
		cfg.Sync = sync
		l, err := Open(cfg)
		if err != nil {
			return
		}
		defer l.Close()
		var bad *CorruptError
		for i, n := l.FirstIndex(), 0; i <= l.LastIndex() && n < 200; i, n = i+1, n+1 {
			e, off, err := l.Read(i)
			if err != nil {
				require.True(t, errors.As(err, &bad) || errors.Is(err, ErrNotFound) && i == 0, "%v", err)
				continue
			}
			require.Equal(t, i, e.Index)
			raw := make([]byte, len(e.Data))
			require.NoError(t, l.ReadAt(raw, off))
			require.Equal(t, len(e.Data), len(raw))
		}
		for off := l.MinOffset(); off < l.MaxOffset(); off += 37 {
			if _, _, _, err := l.EntryAt(off); err != nil {
				require.True(t, errors.As(err, &bad) || errors.Is(err, ErrNotFound), "%v", err)
			}
		}
		add := testEntries(l.LastIndex()+1, 2, 1<<63, 60)
		if err := l.Append(add); err != nil {
			require.True(t, errors.Is(err, ErrGap) || errors.Is(err, ErrTerm), "%v", err)
			return
		}
		got, _, err := l.Read(add[1].Index)
		require.NoError(t, err)
		requireSame(t, add[1], got)
	})
}

// FuzzSidecar and FuzzMark: the decoders accept only what they can represent.
func FuzzSidecar(f *testing.F) {
	f.Add(sidecar{base: 0, first: 1, last: 3, end: 900, ways: []waypoint{{1, 0}, {3, 500}}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSidecar(b)
		if err == nil {
			require.Equal(t, b, s.encode())
		}
	})
}

func FuzzMark(f *testing.F) {
	f.Add(mark{flags: flagSync, segmentSize: 1 << 30, first: 1, offset: 77, index: 2, term: 1}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMark(b)
		if err == nil {
			require.Equal(t, b, m.encode())
		}
	})
}
