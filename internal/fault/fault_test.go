package fault

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/internal/wall"
)

func TestParse(t *testing.T) {
	s, err := Parse("sync-delay=20ms\nsync-hang=true\n sync-error=EIO\nwrite-error=ENOSPC\n\nkill-after=7\nclock=-1h\n")
	require.NoError(t, err)
	require.Equal(t, Set{SyncDelay: 20 * time.Millisecond, SyncHang: true, SyncError: syscall.EIO, WriteError: syscall.ENOSPC, KillAfter: 7, Clock: -time.Hour}, s)
	for _, bad := range []string{"sync-dellay=1s", "sync-delay=1", "kill-after=x", "sync-error=EWRONG", "clock"} {
		_, err := Parse(bad)
		require.ErrorContains(t, err, bad)
	}
}

// A server that follows the file suffers what it says, until it says so no more.
func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "faults")
	mem := vfs.NewMem()
	f := Follow(file, mem, func(string) {})
	defer f.Close()
	disk, err := f.FS().OpenFile("data", os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(t, err)
	defer disk.Close()
	put := func(text string) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		require.Eventually(t, func() bool {
			b, err := os.ReadFile(file + SeenSuffix)
			return err == nil && string(b) == text
		}, 10*time.Second, time.Millisecond, "%q was not taken up", text)
	}
	write := func() error { _, err := disk.WriteAt([]byte("x"), 0); return err }
	require.NoError(t, write())
	require.NoError(t, disk.Sync())

	put("write-error=ENOSPC\nclock=1h\n")
	require.ErrorIs(t, write(), syscall.ENOSPC)
	require.NoError(t, disk.Sync())
	require.WithinDuration(t, time.Now().Add(time.Hour), wall.Now(), 10*time.Second)

	put("sync-error=EIO\n")
	require.NoError(t, write())
	require.ErrorIs(t, disk.Sync(), syscall.EIO)
	require.ErrorIs(t, f.FS().SyncDir("."), syscall.EIO)
	require.ErrorIs(t, f.FS().SyncFiles([]vfs.File{disk}), syscall.EIO)
	require.WithinDuration(t, time.Now(), wall.Now(), 10*time.Second)

	kills := 0
	f.kill = func() { kills++ }
	put("kill-after=2\n")
	_, err = disk.ReadAt(make([]byte, 1), 0)
	require.NoError(t, err)
	require.NoError(t, write())
	require.Zero(t, kills, "one change, and a reading")
	require.NoError(t, disk.Sync())
	require.Equal(t, 1, kills)

	put("sync-hang=true\n")
	synced := make(chan error, 1)
	go func() { synced <- disk.Sync() }()
	put("sync-hang=true\nclock=1s\n")
	select {
	case <-synced:
		require.Fail(t, "a hanging fsync returned")
	default:
	}
	put("sync-delay=1ms\n")
	require.NoError(t, <-synced)
}
