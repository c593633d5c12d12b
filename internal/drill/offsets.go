package drill

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cometmq/cometmq/admin"
)

// commit is one consumer offset that the broker confirmed.
type commit struct {
	offset int64
	at     time.Time // of the confirmation
}

// committer stores consumer offsets in the background, as a consumer that keeps
// up would, and remembers what was confirmed.
type committer struct {
	client *admin.Client
	broker string
	group  string
	topic  string
	cancel context.CancelFunc
	wg     sync.WaitGroup
	last   [][]commit // per queue, in order
}

// commitPause is a good deal shorter than the 5 s of real consumers.
const commitPause = 10 * time.Millisecond

func startCommits(ctx context.Context, client *admin.Client, broker, group, topic string, queues int) *committer {
	c := &committer{client: client, broker: broker, group: group, topic: topic, last: make([][]commit, queues)}
	ctx, c.cancel = context.WithCancel(ctx)
	for q := range queues {
		c.wg.Go(func() {
			for offset := int64(1); ctx.Err() == nil; offset++ {
				c.once(ctx, int32(q), offset)
				select {
				case <-ctx.Done():
				case <-time.After(commitPause):
				}
			}
		})
	}
	return c
}

// once makes one attempt; failures are expected while nobody leads.
func (c *committer) once(ctx context.Context, queue int32, offset int64) {
	info, err := c.client.Cluster(ctx)
	if err != nil {
		return
	}
	addr := info.BrokerAddrTable[c.broker].BrokerAddrs[0]
	if addr == "" || c.client.CommitOffset(ctx, addr, c.group, c.topic, queue, offset) != nil {
		return
	}
	c.last[queue] = append(c.last[queue], commit{offset, time.Now()})
}

// stop ends the commits.
func (c *committer) stop() {
	c.cancel()
	c.wg.Wait()
}

// behind compares what the leader has now with what had been confirmed before
// the fault. It returns how many queues are behind and the age, at the fault, of
// the oldest confirmed commit that is missing.
func (c *committer) behind(ctx context.Context, fault time.Time) (queues int, age time.Duration, err error) {
	for q, commits := range c.last {
		addrs, err := c.client.Leaders(ctx, "")
		if err != nil {
			return 0, 0, err
		}
		have, _, err := c.client.ConsumerOffset(ctx, addrs[0], c.group, c.topic, int32(q))
		if err != nil {
			return 0, 0, fmt.Errorf("read back the consumer offset of queue %d: %w", q, err)
		}
		n, oldest := missing(commits, have, fault)
		if n > 0 {
			queues++
			age = max(age, oldest)
		}
	}
	return queues, age, nil
}

// missing counts the commits confirmed before the fault that are beyond what
// was recovered, and the age of the oldest of them at the fault.
func missing(commits []commit, have int64, fault time.Time) (n int, oldest time.Duration) {
	for _, c := range commits {
		if c.offset > have && !c.at.After(fault) {
			n++
			oldest = max(oldest, fault.Sub(c.at))
		}
	}
	return n, oldest
}
