//go:build restart

package store

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
)

// How long a store with a large log takes to open, after a clean stop and after
// kill -9 in the middle of writing. The numbers are printed; the bounds are those
// of the promise: serving in 2 s and in 5 s.

var (
	restartGB     = flag.Int64("restart.gb", 10, "size of the log")
	restartTopics = flag.Int("restart.topics", 10_000, "number of topics, one queue each")
	restartDir    = flag.String("restart.dir", "", "where to make it; default: a temporary directory")
)

// restartChild tells this program that it is the broker that will be killed.
const restartChild = "COMETMQ_RESTART_CHILD"

func restartConfig(dir string) Config {
	return Config{Dir: dir, SegmentSize: 1 << 30, Machine: newMachine(), KeyIndex: true}
}

// writer appends entries of 256 KiB made of messages of 1 KiB over all topics.
type writer struct {
	t       testing.TB
	s       *Store
	index   uint64
	topic   int
	scratch []byte
}

func (w *writer) entry() {
	w.scratch = w.scratch[:0]
	body := string(make([]byte, 850))
	for range 250 {
		w.scratch = append(w.scratch, record(w.t, fmt.Sprintf("topic-%05d", w.topic%*restartTopics), 0, body, "TagA", int64(w.index))...)
		w.topic++
	}
	w.index++
	data := append([]byte(nil), w.scratch...)
	e := commitlog.Entry{Index: w.index, Term: 1, Extensions: binary.BigEndian.AppendUint64(nil, w.index), AppendedAt: int64(w.index), Data: data}
	require.NoError(w.t, w.s.Log().Append([]commitlog.Entry{e}))
	_, off, err := w.s.Log().Read(w.index)
	require.NoError(w.t, err)
	w.s.Apply(Entry{Index: w.index, Term: 1, Time: int64(w.index), Offset: message.PhyOffset(off), Data: data})
}

func (w *writer) checkpoint() {
	c, err := w.s.Capture()
	require.NoError(w.t, err)
	require.NoError(w.t, c.Persist(nil))
}

// fillUp writes up to an offset with a checkpoint each 64 MiB, as dledger does.
func (w *writer) fillUp(to int64) {
	for next := w.s.Log().MaxOffset(); w.s.Log().MaxOffset() < to; {
		w.entry()
		if w.s.Log().MaxOffset() >= next {
			w.checkpoint()
			next = w.s.Log().MaxOffset() + 64<<20
		}
	}
	w.checkpoint()
}

func TestRestart(t *testing.T) {
	if dir := os.Getenv(restartChild); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "store")
	if *restartDir != "" {
		dir = *restartDir
	}
	s, err := Open(restartConfig(dir))
	require.NoError(t, err)
	w := &writer{t: t, s: s, index: s.Log().LastIndex()}
	began := time.Now()
	w.fillUp(*restartGB << 30)
	t.Logf("wrote %d GiB, %d entries in %v", *restartGB, w.index, time.Since(began).Round(time.Second))
	require.NoError(t, s.Close())
	w.scratch = nil

	for range 3 {
		require.Less(t, timeOpen(t, dir, "clean stop"), 2*time.Second)
	}
	for range 3 {
		kill(t, dir)
		require.Less(t, timeOpen(t, dir, "kill -9"), 5*time.Second)
	}
	// Derived files that are lost cost time at the next use, not at the start.
	sidecars, err := filepath.Glob(filepath.Join(dir, "commitlog", "*.idx"))
	require.NoError(t, err)
	for _, name := range sidecars {
		require.NoError(t, os.Remove(name))
	}
	require.Less(t, timeOpen(t, dir, "clean stop, waypoints lost"), 2*time.Second)
}

// timeOpen opens, applies what the checkpoint lacks and reads a message of the
// first and of the last topic.
func timeOpen(t *testing.T, dir, how string) time.Duration {
	t.Helper()
	began := time.Now()
	s, err := Open(restartConfig(dir))
	require.NoError(t, err)
	opened := time.Since(began)
	replayed := 0
	for index := s.AppliedIndex() + 1; index <= s.Log().LastIndex(); index++ {
		e, off, err := s.Log().Read(index)
		require.NoError(t, err)
		s.Apply(Entry{Index: index, Term: e.Term, Time: int64(binary.BigEndian.Uint64(e.Extensions)), Offset: message.PhyOffset(off), Data: e.Data})
		replayed++
	}
	for _, topic := range []int{0, *restartTopics - 1} {
		got := s.Get(GetRequest{Topic: fmt.Sprintf("topic-%05d", topic), Offset: 5})
		require.Equal(t, Found, got.Status)
	}
	took := time.Since(began)
	t.Logf("%s: serving after %v (open %v, %d entries applied again); log of %d bytes", how,
		took.Round(time.Millisecond), opened.Round(time.Millisecond), replayed, s.Log().MaxOffset())
	require.NoError(t, s.Close())
	return took
}

// kill starts a process that writes, and kills it in the middle.
func kill(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestRestart$", fmt.Sprintf("-restart.topics=%d", *restartTopics))
	cmd.Env = append(os.Environ(), restartChild+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var b [1]byte
	_, err = out.Read(b[:]) // it has written a while
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
}

// writeUntilKilled writes what comes between two checkpoints, and goes on.
func writeUntilKilled(t *testing.T, dir string) {
	s, err := Open(restartConfig(dir))
	require.NoError(t, err)
	w := &writer{t: t, s: s, index: s.Log().LastIndex()}
	for start := s.Log().MaxOffset(); ; {
		w.entry()
		if s.Log().MaxOffset() > start+60<<20 {
			fmt.Print(".")
		}
	}
}
