package commitlog

import (
	"bytes"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

// fullLog is on a disk that has room for five segments and the reserve.
func fullLog(t *testing.T) (*vfs.Mem, *rig) {
	disk := vfs.NewMem()
	cfg := testConfig(disk)
	cfg.SegmentSize, cfg.Reserve = 32<<10, 32<<10
	disk.SetQuota(6*32<<10 + 4000) // some for mark and sidecars
	r := newRig(cfg)
	require.NoError(t, r.open())
	return disk, r
}

func TestReserveOnFullDisk(t *testing.T) {
	disk, r := fullLog(t)
	var out bytes.Buffer
	r.log.log = hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Warn})
	for !r.log.Short() {
		require.NoError(t, r.append(testEntry(r.next(), 1, 900)), "the reserve is there before an append fails")
	}
	require.Contains(t, out.String(), "could not prepare the next segment")
	for !strings.Contains(out.String(), "goes on in a short segment") {
		require.NoError(t, r.append(testEntry(r.next(), 1, 900)))
	}
	require.GreaterOrEqual(t, len(r.log.Segments()), 6)
	// What the group itself writes goes on for a while, and then fails clean.
	small := 0
	for {
		if err := r.append(testEntry(r.next(), 1, 20)); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.NotErrorIs(t, err, ErrFailed)
			break
		}
		small++
	}
	require.Greater(t, small, 40)
	requireEntries(t, r.log, r.acked)

	// The head can be removed although the disk is full, and that is a way out.
	require.NoError(t, r.trim(r.acked[len(r.acked)/2].Index))
	require.NoError(t, r.append(testEntry(r.next(), 1, 20)))
	require.False(t, r.log.Short())
	_, err := disk.Stat("log/" + reserveName)
	require.NoError(t, err)
	require.NoError(t, r.append(testEntries(r.next(), 10, 1, 900)...))
	requireEntries(t, r.log, r.acked)
	require.NoError(t, r.close())
	l := openTest(t, withFS(r.cfg, disk.CrashClone(vfs.CrashOptions{})))
	requireEntries(t, l, r.acked)
	require.False(t, l.Short())
}

// Without a reserve a full disk is an error at once, as it was.
func TestNoReserve(t *testing.T) {
	disk, r := fullLog(t)
	require.NoError(t, r.close())
	r.cfg.Reserve = 0
	require.NoError(t, disk.Remove("log/"+reserveName))
	require.NoError(t, r.open())
	var err error
	for err == nil {
		err = r.append(testEntry(r.next(), 1, 900))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.False(t, r.log.Short())
	require.NoError(t, r.close())
}

// A crash at any moment of living on the reserve loses nothing, and a restart
// knows that the disk is still full.
func TestReserveIsCrashSafe(t *testing.T) {
	disk, r := fullLog(t)
	require.NoError(t, r.close())
	crashes := 0
	r.cfg.FS = vfs.NewFault(disk, func(op vfs.Op) error {
		if !op.Kind.Mutates() {
			return nil
		}
		for i, kind := range crashKinds[:4] {
			kind.Seed += 10 * op.N
			crashes++
			l, _, err := r.survivor(disk.CrashClone(kind))
			require.NoError(t, err, "crash %d before %v", i, op)
			if err := l.Close(); err != nil {
				require.ErrorIs(t, err, syscall.ENOSPC) // without the clean mark the next start scans
			}
		}
		return nil
	})
	require.NoError(t, r.open())
	for range 100 {
		err := r.append(testEntry(r.next(), 1, 4000))
		if err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
	}
	require.True(t, r.log.Short())
	l := openTest(t, withFS(r.cfg, disk.CrashClone(vfs.CrashOptions{})))
	require.True(t, l.Short())
	require.NoError(t, r.trim(r.next()))
	require.NoError(t, r.append(testEntry(r.next(), 1, 900)))
	require.False(t, r.log.Short())
	require.Greater(t, crashes, 200)
}
