package store

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
)

// metadataRig is a closed store on the real disk with 40 entries and a checkpoint
// after the 30th.
func metadataRig(t *testing.T, first uint64) (dir string, metadata []byte) {
	dir = filepath.Join(t.TempDir(), "store")
	s, err := Open(Config{Dir: dir, SegmentSize: 64 << 10, Machine: newMachine()})
	require.NoError(t, err)
	for i := range uint64(40) {
		data := record(t, "T", int32(i%2), "hello", "", int64(i+1))
		require.NoError(t, s.Log().Append([]commitlog.Entry{{Index: first + i, Term: 1, Data: data, Extensions: binary.BigEndian.AppendUint64(nil, i)}}))
		if i == 30 {
			c, err := s.Capture()
			require.NoError(t, err)
			require.NoError(t, c.Persist([]KV{{Key: []byte("raft"), Value: []byte("its part")}}))
		}
		_, off, err := s.Log().Read(first + i)
		require.NoError(t, err)
		s.Apply(Entry{Index: first + i, Term: 1, Offset: message.PhyOffset(off), Data: data})
	}
	require.NoError(t, s.Close())
	metadata, err = os.ReadFile(filepath.Join(dir, "metadata.db"))
	require.NoError(t, err)
	return dir, metadata
}

// A bit that flips anywhere in metadata.db, or a file that is cut, is found at the
// start unless it lies where nothing is kept; then everything is made again from a
// log that is whole, and a log that is not is in doubt.
func TestDamagedMetadataIsFound(t *testing.T) {
	t.Parallel()
	for _, first := range []uint64{1, 7} {
		dir, good := metadataRig(t, first)
		name := filepath.Join(dir, "metadata.db")
		found, intact := 0, 0
		try := func(bad []byte) {
			t.Helper()
			require.NoError(t, os.WriteFile(name, bad, 0o644))
			s, err := Open(Config{Dir: dir, SegmentSize: 64 << 10, Machine: newMachine()})
			if err != nil {
				require.Greater(t, first, uint64(1), "%v", err)
				var doubt *InDoubtError
				require.ErrorAs(t, err, &doubt)
				require.NoError(t, os.Remove(filepath.Join(dir, damageName)))
				found++
				return
			}
			switch s.AppliedIndex() {
			case first + 29:
				intact++
				raft, ok := s.RaftMeta("raft")
				require.True(t, ok)
				require.Equal(t, "its part", string(raft))
			case 0:
				require.EqualValues(t, 1, first, "without the entries before, the state cannot be made again")
				// Or the newer head of two is damaged, and the one before counts.
				found++
			default:
				require.Fail(t, "a checkpoint that was never made", "index %d", s.AppliedIndex())
			}
			require.NoError(t, s.Close())
		}
		// Every page's head, and every byte that is not zero once in a while.
		for at := 0; at < len(good); at++ {
			if at%4096 >= 12 && (good[at] == 0 || at%61 != 0) {
				continue
			}
			bad := append([]byte{}, good...)
			bad[at] ^= 1 << (at % 8)
			try(bad)
		}
		require.Positive(t, found)
		t.Logf("first index %d: %d flips found, %d where nothing is kept", first, found, intact)
		for _, size := range []int{1, 4096, len(good) / 2} {
			before := found
			try(good[:size])
			require.Equal(t, before+1, found, "cut to %d bytes", size)
		}
		try(good)
	}
}
