package store

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

// busy is a log with everything a rebuild has to get right.
func busy(r *rig) {
	n1, n2 := record(r.t, "T", 0, "n1", "x", 1), record(r.t, "T", 0, "n2", "y", 2)
	r.texts("T", 0, "TagA", "before", "the", "deletion")
	r.texts("U", 1, "TagB", "u0", "u1")
	r.send(AppendCommand(nil, opDelete, []byte("T")), record(r.t, "T", 0, "first", "", 3))
	r.send(AppendCommand(nil, opMature, nil, n1, n2))
	r.send(AppendCommand(nil, opMature, nil, n1, n2)) // the second time does nothing
	r.send(AppendCommand(nil, opReverse, nil, n1, n2))
	r.append(1, []byte("not records"))
	r.texts("T", 0, "", "last")
}

var busyT = []string{"first", "n1", "n2", "n2", "n1", "last"}

func TestUnfinishedRebuildBeginsAgain(t *testing.T) {
	r := newRig(t)
	busy(r)
	r.checkpoint()
	before := r.state([]string{"T", "U"}, 2)
	// What a crash during a rebuild may leave: a file of the right size whose
	// bytes never reached the disk, and the mark.
	names, err := r.disk.ReadDir("store/consumequeue")
	require.NoError(t, err)
	for _, name := range names {
		f, err := r.disk.OpenFile("store/consumequeue/"+name, os.O_RDWR, 0)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		_, err = f.WriteAt(make([]byte, size), 0)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
	require.NoError(t, r.kv.Update(map[string][]KV{bucketMeta: {number(keyRebuilding, 1)}}))
	r.reopen(vfs.CrashOptions{})
	require.Equal(t, before, r.state([]string{"T", "U"}, 2))
	require.Equal(t, busyT, r.bodies("T", 0, 0))
	// The rebuilt queues are part of a checkpoint already.
	r.reopen(vfs.CrashOptions{})
	require.Equal(t, before, r.state([]string{"T", "U"}, 2))
	require.NoError(t, r.kv.Each(bucketMeta, func(k, v []byte) error {
		if string(k) == keyRebuilding {
			require.Equal(t, number(keyRebuilding, 0).Value, slices.Clone(v))
		}
		return nil
	}))
}

func TestLostQueueDirectoryIsRebuilt(t *testing.T) {
	r := newRig(t)
	busy(r)
	r.checkpoint()
	r.texts("T", 0, "", "after the checkpoint")
	before := r.state([]string{"T", "U"}, 2)
	require.NoError(t, r.disk.RemoveAll("store/consumequeue"))
	r.reopen(vfs.CrashOptions{})
	require.Equal(t, before, r.state([]string{"T", "U"}, 2))
}

func TestCheckpointOfAnotherLogIsRefused(t *testing.T) {
	r := newRig(t)
	r.texts("T", 0, "", "a", "b")
	r.checkpoint()
	kv := r.kv.Clone()
	require.NoError(t, r.store.Close())

	other := newRig(t)
	other.texts("T", 0, "", "only one")
	require.NoError(t, other.store.Close())
	_, err := Open(testConfig(other.disk, kv, nil))
	require.ErrorIs(t, err, errRebuild)
}

// Every write and every sync of a checkpoint fails once. The next checkpoint has
// to make up for it, whatever was already done.
func TestEachFailureOfACheckpointIsMadeUpFor(t *testing.T) {
	broken := errors.New("injected")
	for at := 1; ; at++ {
		var ops, failAt int
		mem := vfs.NewMem()
		disk := vfs.NewFault(mem, func(op vfs.Op) error {
			// The log is not failed: one whose sync failed is failed for good, and its
			// upkeep works beside the rest.
			if strings.Contains(op.Path, "commitlog") {
				return nil
			}
			switch op.Kind {
			case vfs.OpWrite, vfs.OpSyncFiles, vfs.OpSyncDir, vfs.OpOpen:
			default:
				return nil
			}
			if ops++; ops == failAt {
				return broken
			}
			return nil
		})
		r := &rig{t: t, disk: mem, kv: NewMemKV(), machine: newMachine(), next: 1}
		cfg := testConfig(disk, r.kv, r.machine)
		s, err := Open(cfg)
		require.NoError(t, err)
		r.store = s
		busy(r)
		r.send(AppendCommand(nil, opSet, []byte("kv")))
		c, err := s.Capture()
		require.NoError(t, err)
		require.NoError(t, s.Log().Sync())
		require.NoError(t, s.Log().Checkpoint())
		failAt = ops + at
		err = c.queues.Flush()
		done := ops < failAt
		if !done {
			require.ErrorIs(t, err, broken, "operation %d", at)
		}
		failAt = 0
		r.texts("U", 0, "", "another")
		r.checkpoint()
		before := r.state([]string{"T", "U"}, 2)
		kv := r.kv.Clone()
		r.disk = mem.CrashClone(vfs.CrashOptions{})
		require.NoError(t, s.Close())
		r.kv = kv
		r.open()
		require.Equal(t, r.next-1, r.store.AppliedIndex(), "nothing to replay")
		require.Equal(t, before, r.state([]string{"T", "U"}, 2), "operation %d", at)
		require.NoError(t, r.store.Close())
		if done {
			require.Greater(t, at, 5, "the checkpoint did something")
			return
		}
	}
}

func TestApplyAllocatesPerEntryOnly(t *testing.T) {
	r := newRig(t)
	var data []byte
	for i := range benchMessages {
		data = append(data, record(t, "T", int32(i%4), "body", "TagA", 1)...)
	}
	index := uint64(0)
	apply := func() {
		index++
		r.store.Apply(Entry{Index: index, Term: 1, Data: data})
		r.arrivals = r.arrivals[:0]
	}
	for range 20 {
		apply()
	}
	// One for the results, now and then one for a tail or its file.
	require.LessOrEqual(t, testing.AllocsPerRun(100, apply), 5.0)
}
