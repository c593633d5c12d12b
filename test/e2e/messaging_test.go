package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

func TestBatchSend(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("batch")
	c.createTopic(t, topic, 1)
	p := newProducer(t, c.namesrv)
	var msgs []*primitive.Message
	want := map[string]bool{}
	for i := range 30 {
		body := fmt.Sprintf("item%d", i)
		want[body] = true
		msgs = append(msgs, primitive.NewMessage(topic, []byte(body)).WithTag("T"))
	}
	r, err := p.SendSync(context.Background(), msgs...)
	require.NoError(t, err)
	require.Equal(t, primitive.SendOK, r.Status)
	require.Len(t, strings.Split(r.OffsetMsgID, ","), 30)
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, want, time.Minute)
	// A concurrent listener hears of messages in any order; their offsets say how the batch was stored.
	got := box.all()
	slices.SortFunc(got, func(a, b *primitive.MessageExt) int { return int(a.QueueOffset - b.QueueOffset) })
	for i, m := range got[:30] {
		require.Equal(t, r.QueueOffset+int64(i), m.QueueOffset)
		require.Equal(t, fmt.Sprintf("item%d", i), string(m.Body))
	}
}

func TestTagFilter(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("tags")
	c.createTopic(t, topic, 2)
	p := newProducer(t, c.namesrv)
	want := map[string]bool{}
	// "Aa" and "BB" have one Java hash; the listener must see only the wanted one.
	for i, tag := range strings.Split(strings.Repeat("A,B,Aa,BB,,", 8), ",") {
		body := fmt.Sprintf("m%d", i)
		m := primitive.NewMessage(topic, []byte(body))
		if tag != "" {
			m.WithTag(tag)
		}
		sendSync(t, p, m)
		if tag == "A" || tag == "Aa" {
			want[body] = true
		}
	}
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "A || Aa"}, nil)
	box.waitFor(t, want, time.Minute)
	for body := range box.bodies() {
		require.True(t, want[body], "%s was not asked for", body)
	}
}

// A message for an idle queue wakes the pull that the broker holds: it must not wait for a poll interval.
func TestLongPolling(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("poll")
	c.createTopic(t, topic, 1)
	p := newProducer(t, c.namesrv)
	sendSync(t, p, primitive.NewMessage(topic, []byte("warm")))
	arrived := make(chan time.Time, 16)
	newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for range msgs {
			arrived <- time.Now()
		}
		return consumer.ConsumeSuccess, nil
	})
	<-arrived
	for i := range 5 {
		sendSync(t, p, primitive.NewMessage(topic, fmt.Appendf(nil, "m%d", i)))
		sent := time.Now()
		select {
		case at := <-arrived:
			require.Less(t, at.Sub(sent), time.Second)
		case <-time.After(10 * time.Second):
			require.Fail(t, "a held pull was not woken")
		}
	}
}

func TestOrderlyConsumption(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("orderly")
	c.createTopic(t, topic, 4)
	p := newProducer(t, c.namesrv, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	const keys, each = 8, 30
	for i := range each {
		for k := range keys {
			m := primitive.NewMessage(topic, fmt.Appendf(nil, "%d:%d", k, i))
			sendSync(t, p, m.WithShardingKey(fmt.Sprintf("key%d", k)))
		}
	}
	var mu sync.Mutex
	last := map[string]int{}
	var inversions []string
	seen := 0
	fn := func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range msgs {
			var k string
			var v int
			_, _ = fmt.Sscanf(strings.ReplaceAll(string(m.Body), ":", " "), "%s %d", &k, &v)
			before, ok := last[k]
			if ok && v != before+1 && v > before {
				inversions = append(inversions, fmt.Sprintf("%s: %d after %d", k, v, before))
			}
			if !ok || v > before {
				last[k] = v
				seen++
			}
		}
		return consumer.ConsumeSuccess, nil
	}
	group := uniqueName("g")
	for range 2 {
		newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, fn, consumer.WithConsumerOrder(true))
	}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen == keys*each
	}, 90*time.Second, 50*time.Millisecond)
	require.Empty(t, inversions)
}

func TestBroadcasting(t *testing.T) {
	c := sharedCluster(t)
	topic, group := uniqueName("broadcast"), uniqueName("g")
	c.createTopic(t, topic, 2)
	// Go v2.1.2 keeps broadcast offsets in a file under the home directory.
	t.Setenv("HOME", t.TempDir())
	var boxes []*inbox
	for range 3 {
		boxes = append(boxes, newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, nil, consumer.WithConsumerModel(consumer.BroadCasting)))
	}
	p := newProducer(t, c.namesrv)
	want := map[string]bool{}
	for i := range 20 {
		body := fmt.Sprintf("b%d", i)
		want[body] = true
		sendSync(t, p, primitive.NewMessage(topic, []byte(body)))
	}
	for _, b := range boxes {
		b.waitFor(t, want, time.Minute)
	}
}

func TestRetryAndDeadLetter(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("retry"), uniqueName("g")
	c.createTopic(t, topic, 1)
	// The retry topic exists before the consumer asks for its route: Go v2.1.2 asks once and then only every 30 s.
	_, err := command("mqadmin", "updateTopic", "-n", c.namesrv, "-c", "DefaultCluster", "-t", "%RETRY%"+group, "-r", "1", "-w", "1")
	require.NoError(t, err)
	var mu sync.Mutex
	var times []int32
	newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range msgs {
			times = append(times, m.ReconsumeTimes)
		}
		if cc, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			cc.DelayLevelWhenNextConsume = 1
		}
		return consumer.ConsumeRetryLater, nil
	}, consumer.WithMaxReconsumeTimes(2))
	p := newProducer(t, c.namesrv)
	sendSync(t, p, primitive.NewMessage(topic, []byte("poison")).WithKeys([]string{"key"}))
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(times) == 3
	}, 90*time.Second, 50*time.Millisecond, "deliveries")
	mu.Lock()
	require.Equal(t, []int32{0, 1, 2}, times)
	mu.Unlock()
	addr := c.leader(t).Addr
	require.Eventually(t, func() bool {
		r, err := invoke(addr, 30, map[string]string{"topic": "%DLQ%" + group, "queueId": "0"}, nil)
		return err == nil && r.Ext["offset"] == "1"
	}, 30*time.Second, 50*time.Millisecond, "no dead letter")
}

func TestDelayLevels(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("delay")
	c.createTopic(t, topic, 1)
	var mu sync.Mutex
	at := map[string]time.Time{}
	newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range msgs {
			at[string(m.Body)] = time.Now()
		}
		return consumer.ConsumeSuccess, nil
	})
	p := newProducer(t, c.namesrv)
	start := time.Now()
	for level := 1; level <= 2; level++ {
		sendSync(t, p, primitive.NewMessage(topic, fmt.Appendf(nil, "level%d", level)).WithDelayTimeLevel(level))
	}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(at) == 2
	}, time.Minute, 20*time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	require.GreaterOrEqual(t, at["level1"].Sub(start), time.Second)
	require.GreaterOrEqual(t, at["level2"].Sub(start), 5*time.Second)
}
