package commitlog

import (
	"bytes"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cometmq/cometmq/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFlushInterval: in asynchronous mode entries are durable after at most
// the interval, without anybody asking.
func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		cfg := Config{FS: disk, Dir: "log", SegmentSize: 1 << 10, FlushInterval: 500 * time.Millisecond}
		l := openTest(t, cfg)
		want := testEntries(1, 20, 1, 100)
		require.NoError(t, l.Append(want))
		time.Sleep(501 * time.Millisecond)
		synctest.Wait()
		crashed := openTest(t, withFS(cfg, disk.CrashClone(vfs.CrashOptions{})))
		requireEntries(t, crashed, want)
		require.NoError(t, crashed.Close())
		require.NoError(t, l.Close())
	})
}

func TestBackgroundSyncFailureIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		armed := false
		disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
			if armed && op.Kind == vfs.OpSync {
				return syscall.EIO
			}
			return nil
		})
		told := make(chan error, 2)
		cfg := Config{FS: disk, Dir: "log", SegmentSize: 1 << 10, OnFailure: func(err error) { told <- err }}
		l := openTest(t, cfg)
		armed = true
		require.NoError(t, l.Append(testEntries(1, 1, 1, 100)))
		require.ErrorIs(t, <-told, syscall.EIO)
		require.ErrorIs(t, l.Append(testEntries(2, 1, 1, 100)), ErrFailed)
		require.ErrorIs(t, l.Close(), ErrFailed)
		require.Empty(t, told)
	})
}

func TestSlowSyncIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := false
		disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
			if slow && op.Kind == vfs.OpSync {
				time.Sleep(1500 * time.Millisecond)
			}
			return nil
		})
		var out bytes.Buffer
		cfg := testConfig(disk)
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Warn})
		l := openTest(t, cfg)
		require.NoError(t, l.Append(testEntries(1, 1, 1, 100)))
		require.Empty(t, out.String())
		slow = true
		require.NoError(t, l.Append(testEntries(2, 1, 1, 100)))
		require.Contains(t, out.String(), "slow sync")
		require.Contains(t, out.String(), "1.5s")
		slow = false
		require.NoError(t, l.Close())
	})
}

// TestFullDisk: that the next segment can not be reserved is a warning at
// first and an error only when it is needed; the log stays usable.
func TestFullDisk(t *testing.T) {
	full := false
	disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if full && op.Kind == vfs.OpPreallocate {
			return syscall.ENOSPC
		}
		return nil
	})
	var out bytes.Buffer
	cfg := testConfig(disk)
	cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Warn})
	l := openTest(t, cfg)
	full = true
	var want []Entry
	var err error
	for err == nil {
		e := testEntry(uint64(len(want)+1), 1, 50)
		if err = l.Append([]Entry{e}); err == nil {
			want = append(want, e)
		}
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NotErrorIs(t, err, ErrFailed)
	require.Equal(t, 1, bytes.Count(out.Bytes(), []byte("could not prepare")), out.String())
	requireEntries(t, l, want)
	full = false
	more := testEntries(uint64(len(want)+1), 20, 1, 50)
	require.NoError(t, l.Append(more))
	requireEntries(t, l, append(want, more...))
}

func TestNextSegmentIsPrepared(t *testing.T) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.inline = false
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 1, 1, 750)))
	require.Eventually(t, func() bool {
		_, err := disk.CrashClone(vfs.CrashOptions{}).Stat("log/00000000000000001024")
		return err == nil
	}, 5*time.Second, time.Millisecond)
}

// TestReadersBesideWriter runs readers against appends, truncations and
// checkpoints; what they see is an entry that was there or ErrNotFound.
func TestReadersBesideWriter(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.inline, cfg.Sync, cfg.FlushInterval = false, false, time.Millisecond
	l := openTest(t, cfg)
	require.NoError(t, l.Append(testEntries(1, 5, 1, 100)))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for n := range 3 {
		wg.Go(func() {
			for i := uint64(n); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				index := i%(l.LastIndex()+2) + 1
				e, off, err := l.Read(index)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if err != nil || !sameEntry(e, testEntry(index, e.Term, len(e.Data))) {
					t.Errorf("read %d: %v", index, err)
					return
				}
				if got, _, _, err := l.EntryAt(off); err != nil && !errors.Is(err, ErrNotFound) || err == nil && e.Term == 1 && got != index {
					t.Errorf("entry at %d: %d, %v", off, got, err)
					return
				}
			}
		})
	}
	for term := uint64(2); term < 60; term++ {
		require.NoError(t, l.Append(testEntries(l.LastIndex()+1, 40, term, int(term)*5)))
		require.NoError(t, l.Checkpoint())
		require.NoError(t, l.TruncateSuffix(l.LastIndex()-35))
	}
	close(stop)
	wg.Wait()
}
