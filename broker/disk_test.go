package broker

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestNearlyFullDiskRefusesSends(t *testing.T) {
	set, err := NewSettings()
	require.NoError(t, err)
	require.NoError(t, set.Put("storePathRootDir", "/data", "test"))
	disk := vfs.NewMem()
	b := &Broker{settings: set, fs: disk, log: hclog.NewNullLogger()}
	look := func(free uint64) error {
		disk.SetUsage(vfs.Usage{Total: 1000, Free: free})
		b.lookAtDisk()
		return b.diskRefusal()
	}
	require.NoError(t, look(101))
	err = look(87)
	code, remark := b.answerOf(err)
	require.Equal(t, protocol.StatusServiceNotAvailable, code, "producers try elsewhere")
	require.Contains(t, remark, "disk 91.3 % of /data (limit 90 %): refusing writes")
	require.NoError(t, look(200), "taken again when there is room")
	_, err = set.Update(map[string]string{"diskSpaceWarningLevelRatio": "75"})
	require.NoError(t, err)
	require.Error(t, look(200), "the limit can be changed while running")
}
