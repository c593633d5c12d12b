package e2e

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

func TestProducerDeduplication(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--nodes", "1", "--set", "deduplicateTopics=once")
	c.createTopic(t, "once", 4)
	c.createTopic(t, "twice", 4)
	p := newProducer(t, c.namesrv)
	m := primitive.NewMessage("once", []byte("x"))
	first := sendSync(t, p, m)
	for range 5 {
		// The client keeps the message's unique id, and chooses other queues.
		again := sendSync(t, p, m)
		require.Equal(t, first.MsgID, again.MsgID)
		require.Equal(t, first.OffsetMsgID, again.OffsetMsgID)
		require.Equal(t, first.QueueOffset, again.QueueOffset)
		require.Equal(t, first.MessageQueue.QueueId, again.MessageQueue.QueueId)
	}
	off := primitive.NewMessage("twice", []byte("x"))
	require.NotEqual(t, sendSync(t, p, off).OffsetMsgID, sendSync(t, p, off).OffsetMsgID)
	box := newConsumer(t, c.namesrv, uniqueName("g"), "once", consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"x": true}, time.Minute)
	total := 0
	for q := range 4 {
		if c.maxOffset(t, "once", q) != "0" {
			total++
			require.Equal(t, "1", c.maxOffset(t, "once", q))
		}
	}
	require.Equal(t, 1, total)
}

// An application that sends each message until it is acknowledged, with the leader killed amid its sends: one copy of
// each, although some of the unanswered sends had been stored.
func TestProducerDeduplicationAcrossFailover(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--set", "deduplicateEnable=true")
	topic := uniqueName("dedup")
	c.createTopic(t, topic, 4)
	const workers, each = 16, 60
	var mu sync.Mutex
	acked := map[string]bool{}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for w := range workers {
		p := newProducer(t, c.namesrv, producer.WithRetry(0))
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprintf("%d-%d", w, i)
				m := primitive.NewMessage(topic, []byte(body))
				for ctx.Err() == nil {
					if r, err := p.SendSync(ctx, m); err == nil && r.Status == primitive.SendOK {
						mu.Lock()
						acked[body] = true
						mu.Unlock()
						break
					}
					time.Sleep(20 * time.Millisecond) // an application's pause before it tries again
				}
			}
		})
	}
	require.Eventually(t, func() bool { return count() > workers*each/3 }, time.Minute, time.Millisecond)
	require.NoError(t, syscall.Kill(c.leader(t).PID, syscall.SIGKILL))
	wg.Wait()
	require.Equal(t, workers*each, count())
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, acked, 2*time.Minute)
	for body, copies := range box.copies() {
		require.Equal(t, 1, copies, body)
	}
}
