package consumequeue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
)

func open(t testing.TB, fs vfs.FS, states ...State) *Set {
	t.Helper()
	s, damaged, err := Open(Config{FS: fs, Dir: "cq"}, states)
	require.NoError(t, err)
	require.Empty(t, damaged)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// nth is the entry that the tests put at offset n.
func nth(n int64) Entry {
	return Entry{Phy: message.PhyOffset(n * 100), Size: 100, CRC: uint32(n), TagsCode: -n, StoreTime: n}
}

func fill(t testing.TB, s *Set, topic string, id int32, n int) *Queue {
	t.Helper()
	var q *Queue
	for range n {
		from := int64(0)
		if q = s.Queue(topic, id); q != nil {
			from = int64(q.Next())
		}
		got, off, err := s.Append([]byte(topic), id, nth(from))
		require.NoError(t, err)
		require.EqualValues(t, from, off)
		q = got
	}
	return q
}

func persist(t testing.TB, s *Set) *Capture {
	t.Helper()
	c := s.Capture()
	require.NoError(t, c.Flush())
	c.Forget()
	return c
}

func requireAll(t testing.TB, q *Queue, from, to int64) {
	t.Helper()
	for n := from; n < to; {
		got, err := q.Read(nil, message.QueueOffset(n), 700)
		require.NoError(t, err)
		for _, e := range got {
			require.Equal(t, nth(n), e)
			n++
		}
	}
}

func TestEntryDrawing(t *testing.T) {
	var b [EntrySize]byte
	Entry{Phy: 0x0102030405060708, Size: 0x090a0b0c, CRC: 0x0d0e0f10, TagsCode: 0x1112131415161718, StoreTime: 0x191a1b1c1d1e1f20}.put(b[:])
	for i := range b {
		require.EqualValues(t, i+1, b[i])
	}
	rapid.Check(t, func(t *rapid.T) {
		e := Entry{message.PhyOffset(rapid.Int64().Draw(t, "phy")), rapid.Uint32().Draw(t, "size"), rapid.Uint32().Draw(t, "crc"), rapid.Int64().Draw(t, "tags"), rapid.Int64().Draw(t, "time")}
		e.put(b[:])
		require.Equal(t, e, decode(b[:]))
	})
}

func TestQueueAcrossFiles(t *testing.T) {
	disk := vfs.NewMem()
	s := open(t, disk)
	q := fill(t, s, "T", 0, EntriesPerFile-5)
	persist(t, s)
	fill(t, s, "T", 0, 20)
	requireAll(t, q, EntriesPerFile-10, EntriesPerFile+15)
	c := persist(t, s)
	requireAll(t, q, 0, EntriesPerFile+15)
	names, err := disk.ReadDir("cq")
	require.NoError(t, err)
	require.Equal(t, []string{"T.0.00000000000000000000", "T.0.00000000000009600000"}, names)
	st := State{Topic: "T", Next: EntriesPerFile + 15}
	require.Equal(t, []State{st}, c.States)

	// Entries beyond the checkpoint, over the end of a file, are cut off.
	st.Next = EntriesPerFile - 1
	s = open(t, disk.CrashClone(vfs.CrashOptions{}), st)
	q = s.Queue("T", 0)
	require.Equal(t, st.Next, q.Next())
	requireAll(t, q, 0, EntriesPerFile-1)
	_, err = q.At(st.Next)
	require.ErrorIs(t, err, ErrRange)
	fill(t, s, "T", 0, 3)
	persist(t, s)
	requireAll(t, q, EntriesPerFile-5, EntriesPerFile+2)
}

func TestMissingAndShortFilesAreReported(t *testing.T) {
	for _, damage := range []string{"missing", "short"} {
		disk := vfs.NewMem()
		s := open(t, disk)
		fill(t, s, "T", 0, 10)
		fill(t, s, "T", 1, 10)
		c := persist(t, s)
		name := filepath.Join("cq", "T.1.00000000000000000000")
		if damage == "missing" {
			require.NoError(t, disk.Remove(name))
		} else {
			f, err := disk.OpenFile(name, os.O_RDWR, 0)
			require.NoError(t, err)
			require.NoError(t, f.Truncate(10*EntrySize-1))
			require.NoError(t, f.Close())
		}
		again, damaged, err := Open(Config{FS: disk, Dir: "cq"}, c.States)
		require.NoError(t, err)
		require.Len(t, damaged, 1)
		require.Equal(t, c.States[1], damaged[0].State)
		requireAll(t, again.Queue("T", 0), 0, 10)
		require.NoError(t, again.Reset("T", 1, 4))
		fill(t, again, "T", 1, 6)
		persist(t, again)
		requireAll(t, again.Queue("T", 1), 4, 10)
		_, err = again.Queue("T", 1).At(3)
		require.ErrorIs(t, err, ErrRange)
		require.NoError(t, again.Close())
	}
}

func TestNamesThatCannotBeFilesAreRefused(t *testing.T) {
	s := open(t, vfs.NewMem())
	for _, name := range []string{"", ".", "..", "a/b", "a.0", "a\x00", strings.Repeat("x", 128)} {
		_, off, err := s.Append([]byte(name), 0, Entry{})
		require.ErrorIs(t, err, ErrName, name)
		require.EqualValues(t, -1, off)
		_, _, err = Open(Config{FS: vfs.NewMem(), Dir: "cq"}, []State{{Topic: name, Next: 1}})
		require.ErrorIs(t, err, ErrName, name)
	}
	_, _, err := s.Append([]byte("T"), -1, Entry{})
	require.ErrorIs(t, err, ErrName)
}

func TestRangeFollowsTheLog(t *testing.T) {
	s := open(t, vfs.NewMem())
	q := fill(t, s, "T", 0, 1000)
	persist(t, s)
	fill(t, s, "T", 0, 10)
	for _, c := range []struct{ logMin, low int64 }{{0, 0}, {100, 1}, {101, 2}, {99_999, 1000}, {100_500, 1005}, {200_000, 1010}, {100, 1010}} {
		low, next, err := q.Range(message.PhyOffset(c.logMin))
		require.NoError(t, err)
		require.EqualValues(t, c.low, low, "log begins at %d", c.logMin)
		require.EqualValues(t, 1010, next)
	}
}

func TestSparseQueueIDs(t *testing.T) {
	s := open(t, vfs.NewMem())
	ids := []int32{7, 0, 1 << 30, 3, 1, 2}
	for _, id := range ids {
		fill(t, s, "T", id, int(id%5)+1)
	}
	for _, id := range ids {
		require.EqualValues(t, id%5+1, s.Queue("T", id).Next())
		require.Equal(t, id, s.Queue("T", id).ID())
	}
	for _, id := range []int32{-1, 4, 8, 1<<30 - 1} {
		require.Nil(t, s.Queue("T", id))
	}
	require.Nil(t, s.Queue("U", 0))
}

func TestFewFilesStayOpen(t *testing.T) {
	var opened, closed atomic.Int64
	disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		switch op.Kind {
		case vfs.OpOpen:
			opened.Add(1)
		case vfs.OpClose:
			closed.Add(1)
		}
		return nil
	})
	s, _, err := Open(Config{FS: disk, Dir: "cq", OpenFiles: 3}, nil)
	require.NoError(t, err)
	for i := range 50 {
		fill(t, s, fmt.Sprint("T", i), 0, 5)
	}
	for _, q := range s.Capture().queues {
		require.NoError(t, q.flush(false))
	}
	for i := range 50 {
		requireAll(t, s.Queue(fmt.Sprint("T", i), 0), 0, 5)
		// The first open of each file found none and was followed by a create.
		require.EqualValues(t, 3, opened.Load()-50-closed.Load())
	}
	require.NoError(t, s.Close())
	require.Equal(t, opened.Load()-50, closed.Load())
}

func TestOldestTailsAreWrittenFirst(t *testing.T) {
	disk := vfs.NewMem()
	s, _, err := Open(Config{FS: disk, Dir: "cq", TailBytes: 10 * EntrySize}, nil)
	require.NoError(t, err)
	fill(t, s, "old", 0, 6)
	fill(t, s, "new", 0, 5)
	names, err := disk.ReadDir("cq")
	require.NoError(t, err)
	require.Equal(t, []string{"old.0.00000000000000000000"}, names)
	require.LessOrEqual(t, s.held.Load(), int64(10*EntrySize))
	requireAll(t, s.Queue("old", 0), 0, 6)
	requireAll(t, s.Queue("new", 0), 0, 5)
	require.NoError(t, s.Close())
}

func TestUnwritableTailsEndInOneFailure(t *testing.T) {
	broken := errors.New("broken disk")
	failing := false
	disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if failing && op.Kind == vfs.OpWrite {
			return broken
		}
		return nil
	})
	var failures []error
	s, _, err := Open(Config{FS: disk, Dir: "cq", TailBytes: 10 * EntrySize, OnFailure: func(err error) { failures = append(failures, err) }}, nil)
	require.NoError(t, err)
	failing = true
	q := fill(t, s, "T", 0, 40)
	require.Empty(t, failures)
	requireAll(t, q, 0, 40)
	fill(t, s, "T", 0, 10)
	require.Len(t, failures, 1)
	require.ErrorIs(t, failures[0], broken)
	failing = false
	persist(t, s)
	requireAll(t, q, 0, 50)
	require.Zero(t, s.held.Load())
	require.NoError(t, s.Close())
}

func TestDeletedTopicIsKeptForItsCheckpointAndItsReaders(t *testing.T) {
	disk := vfs.NewMem()
	s := open(t, disk)
	files := func() int {
		names, err := disk.ReadDir("cq")
		require.NoError(t, err)
		return len(names)
	}
	q := fill(t, s, "T", 0, 10)
	persist(t, s)
	before := s.Capture()
	s.DeleteTopic("T")
	s.DeleteTopic("unknown")
	require.Nil(t, s.Queue("T", 0))
	requireAll(t, q, 0, 10) // a reader that has the queue
	require.NoError(t, before.Flush())
	before.Forget()
	require.Equal(t, 1, files(), "a checkpoint from before still needs them")

	again := fill(t, s, "T", 0, 3)
	c := s.Capture()
	require.Equal(t, []Key{{"T", 0}}, c.Deleted)
	require.Equal(t, []State{{Topic: "T", Gen: 1, Next: 3}}, c.States)
	require.NoError(t, c.Flush())
	q.topic.readers.Add(1)
	c.Forget()
	require.Equal(t, 2, files(), "a reader is in there")
	q.topic.readers.Add(-1)
	persist(t, s)
	require.Equal(t, 1, files())
	requireAll(t, again, 0, 3)
	_, err := q.Read(nil, 0, 1)
	require.ErrorIs(t, err, ErrDeleted)
}

// Readers on other goroutines, while the applier appends, tails are written and
// checkpoints sync.
func TestReadersDuringAppends(t *testing.T) {
	s, _, err := Open(Config{FS: vfs.NewMem(), Dir: "cq", TailBytes: 100 * EntrySize, OpenFiles: 2}, nil)
	require.NoError(t, err)
	const topics, each = 5, 3000
	for i := range topics {
		fill(t, s, fmt.Sprint("T", i), 0, 1)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range topics {
		wg.Go(func() {
			q := s.Queue(fmt.Sprint("T", i), 0)
			for n := int64(0); n < each; {
				got, err := q.Read(nil, message.QueueOffset(n), 50)
				if errors.Is(err, ErrRange) {
					runtime.Gosched()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range got {
					if e != nth(n) {
						t.Errorf("entry %d is %+v", n, e)
						return
					}
					n++
				}
			}
		})
	}
	captures := make(chan *Capture, 1)
	wg.Go(func() {
		for c := range captures {
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
			c.Forget()
		}
		close(stop)
	})
	for n := range each - 1 {
		for i := range topics {
			_, _, err := s.Append([]byte(fmt.Sprint("T", i)), 0, nth(int64(n+1)))
			require.NoError(t, err)
		}
		if n%100 == 0 {
			captures <- s.Capture()
		}
	}
	close(captures)
	wg.Wait()
	<-stop
	require.NoError(t, s.Close())
}

func TestIdleQueuesAreSmall(t *testing.T) {
	const queues = 10_000
	s := open(t, vfs.NewMem())
	names := make([][]byte, queues)
	for i := range names {
		names[i] = fmt.Appendf(nil, "Topic-%05d", i)
	}
	measure := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools of other tests hold goes with the second one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := measure()
	for _, name := range names {
		q, err := s.create(string(name), 0)
		require.NoError(t, err)
		require.NotNil(t, q)
	}
	per := (measure() - before) / queues
	require.Less(t, per, uint64(300), "bytes per idle queue")
	runtime.KeepAlive(s)
}

func BenchmarkAppend(b *testing.B) {
	s, _, err := Open(Config{FS: vfs.OS, Dir: b.TempDir()}, nil)
	require.NoError(b, err)
	topic := []byte("BenchTopic")
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = s.Append(topic, 1, Entry{Phy: 1})
	}
	require.NoError(b, s.Close())
}

func BenchmarkRead32(b *testing.B) {
	s, _, err := Open(Config{FS: vfs.OS, Dir: b.TempDir()}, nil)
	require.NoError(b, err)
	q := fill(b, s, "T", 0, 2000)
	require.NoError(b, q.flush(false))
	fill(b, s, "T", 0, 100)
	dst := make([]Entry, 0, 32)
	for name, off := range map[string]message.QueueOffset{"file": 100, "tail": 2010} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = q.Read(dst, off, 32)
			}
		})
	}
	require.NoError(b, s.Close())
}
