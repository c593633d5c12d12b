package dledger

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store"
)

// TestStoreLogsWaitsForTheApplier stores far more than a member may hold unapplied. While entries are being applied
// StoreLogs must wait for them; when nothing is applied (nothing is committed) it must go on.
func TestStoreLogsWaitsForTheApplier(t *testing.T) {
	st, err := store.Open(store.Config{FS: vfs.NewMem(), Dir: filepath.Join(t.TempDir(), "store"), SegmentSize: 32 << 20, OpenKV: store.NewMemKV().Open})
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	// While steady, each look at the applied index finds it one further.
	var applied atomic.Uint64
	steady := false
	look := func() uint64 {
		if steady {
			return applied.Add(1)
		}
		return applied.Load()
	}
	logs := &logStore{log: st.Log(), applied: look, watch: &watch{}, fatal: func(err error) { t.Error(err) }, logger: hclog.NewNullLogger()}
	data := make([]byte, 1<<20)
	index := uint64(0)
	storeOne := func() {
		index++
		require.NoError(t, logs.StoreLog(&raft.Log{Index: index, Term: 1, Type: raft.LogNoop, Data: data}))
	}
	// Nothing is applied: a pause, not a block.
	const unapplied = backlogMax>>20 + maxAppendEntries
	for range unapplied {
		storeOne()
	}
	require.Greater(t, logs.backlog(), int64(backlogMax))
	begin := time.Now()
	storeOne()
	require.GreaterOrEqual(t, time.Since(begin), applierPause)

	// Entries are applied slowly but steadily: the next one waits until the backlog is small.
	steady = true
	storeOne()
	require.LessOrEqual(t, logs.backlog(), int64(backlogMax)+2<<20)
}
