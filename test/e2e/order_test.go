package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// An ordered listener that asks for a moment gets the same message again, and the later ones wait for it.
func TestOrderedSuspend(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("moment"), uniqueName("g")
	c.createTopic(t, topic, 1)
	c.setGroup(t, group, nil)
	sendMany(t, c.namesrv, topic, "m", 6)
	var mu sync.Mutex
	var order []string
	seen := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), order...)
	}
	startConsumer(t, c.namesrv, group, []string{topic}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		body := string(msgs[0].Body)
		order = append(order, body)
		if cc, ok := primitive.GetOrderlyCtx(ctx); ok && body == "m2" && strings.Count(strings.Join(order, " "), "m2") < 3 {
			cc.SuspendCurrentQueueTimeMillis = 100
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.WithConsumerOrder(true))
	require.Eventually(t, func() bool { return len(seen()) >= 8 }, time.Minute, 20*time.Millisecond)
	require.Equal(t, "m0 m1 m2 m2 m2 m3 m4 m5", strings.Join(seen(), " "))
}

// lockQueues asks for the locks of a topic's first queues and tells how many were granted.
func lockQueues(t *testing.T, addr string, code int, client, group, topic string, queues int) int {
	t.Helper()
	var set []map[string]any
	for q := range queues {
		set = append(set, map[string]any{"brokerName": "broker-a", "queueId": q, "topic": topic})
	}
	body, err := json.Marshal(map[string]any{"clientId": client, "consumerGroup": group, "mqSet": set})
	require.NoError(t, err)
	r := must(t, addr, code, nil, body)
	if code == 42 {
		return 0
	}
	var granted struct {
		OK []json.RawMessage `json:"lockOKMQSet"`
	}
	require.NoError(t, json.Unmarshal(r.Body, &granted))
	return len(granted.OK)
}

// A queue has one owner in a group: who asks first, until it lets go.
func TestQueueLock(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("lock"), uniqueName("g")
	c.createTopic(t, topic, 4)
	addr := c.leader(t).Addr
	lock := func(client string) int { return lockQueues(t, addr, 41, client, group, topic, 4) }
	require.Equal(t, 4, lock("a"))
	require.Equal(t, 0, lock("b"))
	require.Equal(t, 4, lock("a"), "renewed")
	require.Equal(t, 4, lockQueues(t, addr, 41, "b", uniqueName("other"), topic, 4), "another group")
	lockQueues(t, addr, 42, "b", group, topic, 4)
	require.Equal(t, 0, lock("b"), "nobody gives up another's locks")
	lockQueues(t, addr, 42, "a", group, topic, 2)
	require.Equal(t, 2, lock("b"))
}

// The locks of a client that died end 60 s after it renewed them.
func TestQueueLockExpires(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("expire"), uniqueName("g")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	require.Equal(t, 1, lockQueues(t, addr, 41, "dead", group, topic, 1))
	began := time.Now()
	require.Eventually(t, func() bool { return lockQueues(t, addr, 41, "next", group, topic, 1) == 1 }, 75*time.Second, 200*time.Millisecond)
	require.Greater(t, time.Since(began), 59*time.Second)
}
