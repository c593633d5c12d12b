package store

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/consumequeue"
)

// hourly sends one message an hour from start on, each most of a segment.
func (r *rig) hourly(start time.Time, n int) {
	r.t.Helper()
	for i := range n {
		at := start.Add(time.Duration(i) * time.Hour)
		data := record(r.t, "T", int32(i%2), fmt.Sprint(i, strings.Repeat("x", 40<<10)), "", at.UnixMilli())
		e := commitlog.Entry{
			Index: r.next, Term: 1, AppendedAt: at.UnixNano(),
			Extensions: binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())), Data: data,
		}
		require.NoError(r.t, r.store.Log().Append([]commitlog.Entry{e}))
		r.next++
		r.store.Apply(r.entry(e.Index))
	}
}

func (r *rig) clean(req CleanRequest) Cleaned {
	r.t.Helper()
	done, err := r.store.CleanExpired(req)
	require.NoError(r.t, err)
	return done
}

func (r *rig) used(percent uint64) {
	r.disk.SetUsage(vfs.Usage{Total: 100 << 20, Free: (100 - percent) << 20})
}

var day = time.Date(2026, 3, 2, 0, 0, 0, 0, time.Local)

func TestRetentionByAge(t *testing.T) {
	r := newRig(t)
	r.used(50)
	r.hourly(day, 100)
	r.checkpoint()
	req := CleanRequest{Retention: DefaultRetention(), Now: day.Add(80*time.Hour + time.Minute)} // 08:01
	done := r.clean(req)
	require.Empty(t, done.Segments, "not the hour")
	require.Empty(t, done.Reason)

	req.Now = day.Add(76*time.Hour + time.Minute) // 04:01: messages of 04:00 and before are 72 h old
	done = r.clean(req)
	require.Len(t, done.Segments, 5)
	require.EqualValues(t, 5*64<<10, done.Bytes)
	require.EqualValues(t, 6, r.store.Log().FirstIndex())
	require.Contains(t, done.Reason, "hour 04")
	require.Contains(t, done.Kept, "71h1m0s old")

	low, next := r.store.QueueRange("T", 0)
	require.EqualValues(t, []message.QueueOffset{3, 50}, []message.QueueOffset{low, next}, "0, 2, 4 are gone")
	low, _ = r.store.QueueRange("T", 1)
	require.EqualValues(t, 2, low)
	got := r.store.Get(GetRequest{Topic: "T", QueueID: 0, Offset: 0})
	require.Equal(t, OffsetTooSmall, got.Status)
	require.EqualValues(t, 3, got.Next)
	require.Len(t, r.bodies("T", 0, 3), 47)

	// By hand at another hour, ten in a round, for some rounds.
	req.Now = day.Add(101 * time.Hour)
	r.store.DeleteExpired()
	done = r.clean(req)
	require.Len(t, done.Segments, 10)
	require.Equal(t, "at most 10 in one round", done.Kept)
	require.Contains(t, done.Reason, "by hand")
	require.Len(t, r.clean(req).Segments, 10)
	require.Len(t, r.clean(req).Segments, 5, "those 72 h old")
	for range manualRounds {
		req.Now = req.Now.Add(time.Second)
		_ = r.clean(req)
	}
	require.Empty(t, r.clean(req).Reason)

	r.reopen(vfs.CrashOptions{})
	require.EqualValues(t, 31, r.store.Log().FirstIndex())
	low, _ = r.store.QueueRange("T", 0)
	require.EqualValues(t, 15, low)
}

func TestRetentionByWatermark(t *testing.T) {
	r := newRig(t)
	r.hourly(day, 30)
	r.checkpoint()
	req := CleanRequest{Retention: DefaultRetention(), Now: day.Add(73*time.Hour + time.Minute)} // 01:01
	r.used(75)
	require.Empty(t, r.clean(req).Segments)
	r.used(76)
	done := r.clean(req)
	require.Len(t, done.Segments, 2, "old enough at any hour")
	require.Contains(t, done.Reason, "diskMaxUsedSpaceRatio 75")
	require.Empty(t, r.clean(req).Segments)

	// Above the next one age does not count, but no more goes than is needed.
	r.disk.SetUsage(vfs.Usage{Total: 10 << 20, Free: (1<<20 + 1<<19) - 100<<10})
	done = r.clean(req)
	require.Len(t, done.Segments, 2, "100 KiB above the limit are two segments of 64 KiB")
	require.Contains(t, done.Reason, "diskSpaceCleanForciblyRatio 85")
	r.used(99)
	require.Len(t, r.clean(req).Segments, 10)
	require.Len(t, r.clean(req).Segments, 10)
	require.Len(t, r.clean(req).Segments, 5)
	done = r.clean(req)
	require.Empty(t, done.Segments)
	require.Equal(t, "it is the newest segment", done.Kept)
	low, next := r.store.QueueRange("T", 1)
	require.EqualValues(t, 14, low)
	require.EqualValues(t, 15, next)
	low, next = r.store.QueueRange("T", 0)
	require.Equal(t, low, next, "all messages of this queue are gone")
	require.EqualValues(t, 15, next, "its numbering goes on")

	r.used(99)
	r2 := newRig(t)
	r2.hourly(day, 5)
	r2.checkpoint()
	r2.used(99)
	req.CleanForcibly = false
	req.Now = day.Add(time.Hour)
	require.Empty(t, r2.clean(req).Segments)
}

// What a restart or another member needs stays, however full the disk is.
func TestRetentionKeepsWhatIsNeeded(t *testing.T) {
	r := newRig(t)
	r.hourly(day, 10)
	r.used(99)
	req := CleanRequest{Retention: DefaultRetention(), Now: day.Add(1000 * time.Hour)}
	done := r.clean(req)
	require.Empty(t, done.Segments, "no checkpoint yet")
	require.Contains(t, done.Kept, "entries from 1 on are needed")
	r.checkpoint()
	r.hourly(day.Add(10*time.Hour), 5)
	req.FirstNeeded = func(forced bool) uint64 {
		require.True(t, forced)
		return 4
	}
	require.Len(t, r.clean(req).Segments, 3)
	req.FirstNeeded = nil
	require.Len(t, r.clean(req).Segments, 7, "up to the checkpoint")
	require.Empty(t, r.clean(req).Segments)
	r.reopen(vfs.CrashOptions{})
	require.EqualValues(t, 11, r.store.Log().FirstIndex())
	require.Len(t, r.bodies("T", 0, 5), 3)
	require.NoError(t, r.store.Close())
	_, err := r.store.CleanExpired(req)
	require.ErrorIs(t, err, ErrClosed)
}

// Queue files go when their last entry does, after the next checkpoint; a crash
// in between leaves them.
func TestQueueFilesExpire(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join("store", "consumequeue")
	const perEntry = 500
	body := strings.Repeat("x", 10)
	records := make([]byte, 0, 1<<16)
	for i := range perEntry {
		records = append(records, record(t, "T", 0, fmt.Sprint(body, i), "", 1)...)
	}
	require.Less(t, len(records), 64<<10)
	entries := consumequeue.EntriesPerFile/perEntry + 10
	for range entries {
		r.send(records)
	}
	r.send(record(t, "U", 0, "idle", "", 1))
	r.checkpoint()
	names := func() int {
		names, err := r.disk.ReadDir(dir)
		require.NoError(t, err)
		return len(names)
	}
	require.Equal(t, 3, names())
	_, err := r.store.Log().TrimPrefix(uint64(entries - 12))
	require.NoError(t, err)
	r.used(1)
	require.Zero(t, r.clean(CleanRequest{}).QueueFiles, "some of the file's messages are left")
	_, err = r.store.Log().TrimPrefix(uint64(entries - 5))
	require.NoError(t, err)
	require.Equal(t, 1, r.clean(CleanRequest{}).QueueFiles)
	require.Equal(t, 3, names())
	low, _ := r.store.QueueRange("T", 0)
	r.reopen(vfs.CrashOptions{})
	require.Equal(t, 3, names())
	require.Equal(t, 1, r.clean(CleanRequest{}).QueueFiles, "found again")
	r.send(record(t, "U", 0, "makes it dirty", "", 1))
	r.checkpoint()
	require.Equal(t, 2, names())
	now, _ := r.store.QueueRange("T", 0)
	require.Equal(t, low, now)
	res := r.store.Get(GetRequest{Topic: "T", QueueID: 0, Offset: low})
	require.Equal(t, Found, res.Status)
	r.reopen(vfs.CrashOptions{})
	require.Equal(t, 2, names())
	now, _ = r.store.QueueRange("T", 0)
	require.Equal(t, low, now)
	// Rebuilt from what the log has, it begins where the log does.
	require.NoError(t, r.disk.Remove(filepath.Join(dir, "T.0.00000000000009600000")))
	r.reopen(vfs.CrashOptions{})
	now, _ = r.store.QueueRange("T", 0)
	require.Equal(t, low, now)
	require.Len(t, r.bodies("T", 0, low), (entries*perEntry)-int(low))
}

func TestParseDeleteWhen(t *testing.T) {
	hours, err := ParseDeleteWhen("04; 16")
	require.NoError(t, err)
	require.Equal(t, []int{4, 16}, hours)
	for _, bad := range []string{"", "24", "-1", "4,5", "4;"} {
		_, err := ParseDeleteWhen(bad)
		require.Error(t, err, bad)
	}
}
