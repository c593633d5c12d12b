package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// diskInterval is how often the free space is looked at. At 500 MB/s a volume
// of 100 GB fills by one percent in two seconds.
const diskInterval = time.Second

// watchDisk refuses sends while the store's volume is nearly full. It must
// happen before a write fails: a leader whose log cannot grow steps down, is
// elected again, and meanwhile nobody serves.
func (b *Broker) watchDisk(ctx context.Context) {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	for {
		b.lookAtDisk()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Broker) lookAtDisk() {
	cfg := b.cfg()
	u, err := b.fs.Usage(cfg.StoreRoot)
	if err != nil || u.Total == 0 {
		b.diskOnce.Do(func() {
			b.log.Warn("cannot tell the free space of the store's volume", "dir", cfg.StoreRoot, "error", err)
		})
		return
	}
	used := usedPercent(u)
	was := b.diskFull.Load()
	if used < float64(cfg.DiskLimit) {
		if was != nil {
			b.diskFull.Store(nil)
			b.log.Info("disk has room again, taking sends", "used-percent", fmt.Sprintf("%.1f", used))
		}
		return
	}
	text := unavailable + explain.DiskNearlyFull(cfg.StoreRoot, used, cfg.DiskLimit, cfg.ReservedHours, cfg.DeleteWhen)
	b.diskFull.Store(&text)
	if was == nil {
		b.log.Error("disk nearly full, refusing sends", "used-percent", fmt.Sprintf("%.1f", used), "limit-percent", cfg.DiskLimit, "dir", cfg.StoreRoot)
	}
}

// diskRefusal is the answer to a send while the disk is nearly full, else nil. It
// asks the log as well: one file of it can be a large part of the volume, and a
// fast disk fills a small volume between two looks.
func (b *Broker) diskRefusal() error {
	if text := b.diskFull.Load(); text != nil {
		return &refusal{code: protocol.StatusServiceNotAvailable, remark: *text}
	}
	if b.store == nil || !b.store.Log().Short() {
		return nil
	}
	cfg := b.cfg()
	u, err := b.fs.Usage(cfg.StoreRoot)
	if err != nil || u.Total == 0 {
		return &refusal{protocol.StatusServiceNotAvailable, unavailable + explain.DiskNoRoom(cfg.StoreRoot, -1, 0)}
	}
	return &refusal{protocol.StatusServiceNotAvailable, unavailable + explain.DiskNoRoom(cfg.StoreRoot, usedPercent(u), u.Free)}
}

func usedPercent(u vfs.Usage) float64 { return 100 * float64(u.Total-u.Free) / float64(u.Total) }
