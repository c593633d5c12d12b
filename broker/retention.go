package broker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cometmq/cometmq/store"
)

// RetentionConfig says how long messages stay on disk.
type RetentionConfig struct {
	// ReservedHours is how many hours messages are kept. The files in which all
	// messages are older go at the hours of DeleteWhen, local time, "04" or
	// "04;16". With 0 every full file goes then, as in RocketMQ.
	ReservedHours int    `cfg:"fileReservedTime" live:"true" group:"true" min:"0" max:"876000"`
	DeleteWhen    string `cfg:"deleteWhen" live:"true" group:"true"`
	// MaxUsedRatio is the used share of the volume, in percent, above which old
	// files go at any hour.
	MaxUsedRatio int `cfg:"diskMaxUsedSpaceRatio" live:"true" min:"10" max:"100"`
	// CleanForcibly lets the oldest files go whatever their age when more than
	// CleanForciblyRatio percent of the volume are used.
	CleanForcibly      bool `cfg:"cleanFileForciblyEnable" live:"true"`
	CleanForciblyRatio int  `cfg:"diskSpaceCleanForciblyRatio" live:"true" min:"10" max:"100"`
	// CleanInterval is the time between two looks for old files.
	CleanInterval time.Duration `cfg:"cleanResourceInterval" unit:"ms" live:"true" min:"100" max:"3600000"`
	// ScrubRate is how many bytes of old files are read and checked per second,
	// once a day, so that damage is found while other members have the bytes.
	// 0 switches it off.
	ScrubRate int `cfg:"storeScrubRate" min:"0" max:"1073741824"`
	// CompareRate is how many bytes per second of its log the leader compares with
	// those of the others, everything once a day and what is new as it comes. 0
	// leaves it to mqadmin.
	CompareRate int `cfg:"storeCompareRate" min:"0" max:"1073741824"`
}

func defaultRetention() RetentionConfig {
	return RetentionConfig{
		ReservedHours: 72, DeleteWhen: "04", MaxUsedRatio: 75,
		CleanForcibly: true, CleanForciblyRatio: 85, CleanInterval: 10 * time.Second, ScrubRate: 8 << 20, CompareRate: 4 << 20,
	}
}

func (c *RetentionConfig) policy() (store.Retention, error) {
	hours, err := store.ParseDeleteWhen(c.DeleteWhen)
	if err != nil {
		return store.Retention{}, fmt.Errorf("deleteWhen=%s: %w", c.DeleteWhen, err)
	}
	return store.Retention{
		ReservedTime: time.Duration(c.ReservedHours) * time.Hour, DeleteWhen: hours,
		MaxUsedPercent: c.MaxUsedRatio, CleanForcibly: c.CleanForcibly, ForciblyPercent: c.CleanForciblyRatio,
	}, nil
}

// FromJavaProperty translates a property that RocketMQ's scripts hand to the
// virtual machine into a setting; false for any other property.
func FromJavaProperty(name, value string) (key, setting string, ok bool, err error) {
	key, ok = map[string]string{
		"rocketmq.broker.diskSpaceWarningLevelRatio":  "diskSpaceWarningLevelRatio",
		"rocketmq.broker.diskSpaceCleanForciblyRatio": "diskSpaceCleanForciblyRatio",
	}[name]
	if !ok {
		key, ok = map[string]string{
			"rocketmq.namesrv.domain":          "rmqAddressServerDomain",
			"rocketmq.namesrv.domain.subgroup": "rmqAddressServerSubGroup",
		}[name]
		return key, value, ok, nil
	}
	share, err := strconv.ParseFloat(value, 64)
	if err != nil || share < 0.1 || share > 1 {
		return "", "", true, fmt.Errorf("property %s=%s: give a share between 0.1 and 1", name, value)
	}
	return key, strconv.Itoa(int(100*share + 0.5)), true, nil
}

// keepMessages removes expired messages, now and then, and every second while
// the disk is so full that sends are refused.
func (b *Broker) keepMessages(ctx context.Context) {
	tick := time.NewTicker(min(diskInterval, b.cfg().CleanInterval))
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(last) < b.cfg().CleanInterval && b.diskRefusal() == nil {
				continue
			}
			last = now
		}
		b.cleanExpired()
	}
}

// cleanExpired is one round, whose error is logged.
func (b *Broker) cleanExpired() {
	if _, err := b.cleanRound(); err != nil {
		b.log.Error("cannot remove expired messages", "error", err)
	}
}

// slowRemoval is how long a round may take before it is worth a warning. Rounds
// come every ten seconds.
const slowRemoval = 2 * time.Second

// cleanRound is one round.
func (b *Broker) cleanRound() (store.Cleaned, error) {
	policy, err := b.cfg().policy()
	if err != nil {
		return store.Cleaned{}, err
	}
	began := time.Now()
	var total store.Cleaned
	for range 2 {
		done, err := b.store.CleanExpired(store.CleanRequest{
			Retention: policy, Now: time.UnixMilli(b.node.Now()), FirstNeeded: b.firstNeeded,
		})
		b.counters.removed.Add(int64(len(done.Segments)))
		b.counters.removedLen.Add(done.Bytes)
		done.Segments, done.Bytes = append(total.Segments, done.Segments...), total.Bytes+done.Bytes
		done.QueueFiles += total.QueueFiles
		total = done
		if took := time.Since(began); took > slowRemoval {
			b.log.Warn("slow removal of expired messages", "took", took.Round(time.Millisecond),
				"segments", len(total.Segments), "bytes", total.Bytes, "queue-files", total.QueueFiles)
		}
		if err != nil || !done.Unsaved {
			return total, err
		}
		// Files could go that only the next checkpoint lets go of.
		if err := b.node.Checkpoint(); err != nil {
			return total, err
		}
	}
	return total, nil
}
