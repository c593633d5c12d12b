package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
)

// tree is every file below a directory with its content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	}))
	return files
}

// eventful makes a store that has seen most of what a store can: commands that published all, some and
// nothing, topics deleted and made again, delayed messages, entries of Raft's own
// and behind the checkpoint, and a head that was removed.
func eventful(r *rig) {
	msg := func(topic string, q int32, body string) []byte { return record(r.t, topic, q, body, "TagA", r.now+10) }
	for i := range 300 {
		r.send(msg("A", int32(i%3), fmt.Sprint(i, string(make([]byte, 500)))), msg("B", 0, "b"))
		switch i % 50 {
		case 10:
			r.send(AppendCommand(nil, opMature, []byte(r.machine.values["progress"]), msg("A", 1, "matured"), msg("C", 0, "also")))
		case 20:
			r.send(AppendCommand(nil, opMature, []byte("stale"), msg("A", 1, "never")), msg(message.TopicSchedule, 2, "later"))
		case 30:
			r.send(msg("B", 0, "gone"), AppendCommand(nil, opDelete, []byte("B")), msg("B", 0, "new"), msg("B", 5, "new"))
		case 40:
			r.append(1, []byte("raft's own"))
			r.send(AppendCommand(nil, opReverse, nil, msg("A", 2, "x"), msg("A", 2, "y")))
		case 45:
			r.checkpoint()
		}
	}
}

func TestVerifySoundStore(t *testing.T) {
	r := newRig(t)
	eventful(r)
	r.used(99)
	for range 3 {
		cfg := r.config()
		cfg.FS = r.disk.CrashClone(vfs.CrashOptions{})
		cfg.OpenKV = r.kv.Clone().Open
		cfg.SegmentSize = 0
		report, err := Verify(cfg)
		require.NoError(t, err)
		require.True(t, report.OK, "%v", report.Problems)
		require.Positive(t, report.Messages)
		require.Positive(t, report.Commands)
		require.Equal(t, 7, report.Queues)
		require.Equal(t, r.store.Log().LastIndex(), report.Log.Last)
		require.Equal(t, r.store.Log().FirstIndex(), report.Log.First)
		// Then without the first segments, and with more behind the checkpoint.
		_, err = r.store.Log().TrimPrefix(r.store.Log().FirstIndex() + 200)
		require.NoError(t, err)
		r.send(record(t, "A", 0, "unsaved", "", 1), record(t, "N", 0, "of a queue the checkpoint does not know", "", 1))
	}
	require.NotEqual(t, uint64(1), r.store.Log().FirstIndex())
}

func TestVerifyFindsDamage(t *testing.T) {
	r := newRig(t)
	eventful(r)
	r.checkpoint()
	require.NoError(t, r.store.Close())
	queue := func(name string) string { return filepath.Join("store", "consumequeue", name+".00000000000000000000") }
	for name, c := range map[string]struct {
		damage func(disk *vfs.Mem)
		want   string
	}{
		"log": {func(d *vfs.Mem) { flip(t, d, segmentFile(segmentSize), 3000) }, "checksum does not match"},
		"queue, offset": {
			func(d *vfs.Mem) { flip(t, d, queue("A.1"), 32*9+6) },
			"1 entries point at no message, from 9 on; it is derived",
		},
		"queue, offset too high": {func(d *vfs.Mem) { flip(t, d, queue("A.1"), 32*9+2) }, "messages of the log have no entry"},
		"queue, tags":            {func(d *vfs.Mem) { flip(t, d, queue("A.1"), 32*9+23) }, "1 entries are wrong: entry 9 has tags code"},
		"queue, time":            {func(d *vfs.Mem) { flip(t, d, queue("A.1"), 32*9+31) }, "entry 9 has store time"},
		"queue, size":            {func(d *vfs.Mem) { flip(t, d, queue("A.1"), 32*9+11) }, "entry 9 has size"},
		"queue, checksum":        {func(d *vfs.Mem) { flip(t, d, queue("A.1"), 32*9+15) }, "entry 9 has a checksum"},
		"report":                 {func(d *vfs.Mem) { require.NoError(t, vfs.WriteFileAtomic(d, "store/damage.json", []byte("{}"))) }, "does not open before it is repaired"},
		"segment":                {func(d *vfs.Mem) { require.NoError(t, d.Remove(segmentFile(segmentSize))) }, "the segment is missing"},
	} {
		disk := r.disk.CrashClone(vfs.CrashOptions{})
		c.damage(disk)
		cfg := r.config()
		cfg.FS = disk
		report, err := Verify(cfg)
		require.NoError(t, err)
		require.False(t, report.OK, name)
		require.Contains(t, fmt.Sprint(report.Problems), c.want, name)
	}
	// What the next start puts right by itself is no damage.
	disk := r.disk.CrashClone(vfs.CrashOptions{})
	require.NoError(t, disk.Remove(queue("A.1")))
	cfg := r.config()
	cfg.FS = disk
	report, err := Verify(cfg)
	require.NoError(t, err)
	require.True(t, report.OK)
	require.Contains(t, fmt.Sprint(report.Problems), "A-1: store/consumequeue/A.1.00000000000000000000 is missing; the next start rebuilds it")
}

// On a real disk, where nothing may change and a store in use is refused.
func TestVerifyAndDumpRealDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	_, err := Verify(Config{Dir: dir})
	require.ErrorIs(t, err, os.ErrNotExist)
	cfg := Config{Dir: dir, SegmentSize: 64 << 10, Sync: true, KeyIndex: true, Cluster: "c", Group: "g", Machine: newMachine()}
	r := &rig{t: t, machine: newMachine(), next: 1}
	r.store, err = Open(cfg)
	require.NoError(t, err)
	eventful(r)
	r.checkpoint()
	var locked *vfs.LockedError
	_, err = Verify(Config{Dir: dir})
	require.ErrorAs(t, err, &locked)
	require.Equal(t, os.Getpid(), locked.PID)
	for _, err := range Dump(Config{Dir: dir}, 0, 0) {
		require.ErrorAs(t, err, &locked)
	}
	require.NoError(t, r.store.Close())

	before := tree(t, dir)
	report, err := Verify(Config{Dir: dir})
	require.NoError(t, err)
	require.True(t, report.OK, "%v", report.Problems)
	require.Empty(t, report.Problems)
	require.Equal(t, "c", report.Identity["cluster"])
	require.EqualValues(t, 64<<10, report.Log.SegmentSize)
	var got []DumpEntry
	for e, err := range Dump(Config{Dir: dir}, 10, 14) {
		require.NoError(t, err)
		got = append(got, e)
	}
	require.Equal(t, before, tree(t, dir), "nothing changed")
	require.Len(t, got, 5)
	require.EqualValues(t, 10, got[0].Index)
	require.Len(t, got[0].Records, 2)
	require.Equal(t, "A", got[0].Records[0].Topic)
	require.Equal(t, "TagA", got[0].Records[0].Properties["TAGS"])
	require.Equal(t, opMature, got[2].Records[0].Op)
	require.Len(t, got[2].Records[0].Nested, 2)
	require.Equal(t, "C", got[2].Records[0].Nested[1].Topic)
	for range Dump(Config{Dir: dir}, 0, 0) {
		break // a reader that has seen enough
	}
	reopened, err := Open(cfg)
	require.NoError(t, err, "the lock was given back")
	require.NoError(t, reopened.Close())
}
