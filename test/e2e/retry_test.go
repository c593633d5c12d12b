package e2e

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// deliveries is a listener that remembers what it was given and answers with what decide says.
type deliveries struct {
	mu     sync.Mutex
	times  []int32
	topics []string
	at     []time.Time
	decide func(m *primitive.MessageExt, cc *primitive.ConsumeConcurrentlyContext) consumer.ConsumeResult
}

func (d *deliveries) listen(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.times = append(d.times, msgs[0].ReconsumeTimes)
	d.topics = append(d.topics, msgs[0].Topic)
	d.at = append(d.at, time.Now())
	cc, _ := primitive.GetConcurrentlyCtx(ctx)
	return d.decide(msgs[0], cc), nil
}

func (d *deliveries) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.times)
}

// deadLetters waits until a group has that many dead letters and returns them.
func (c *cluster) deadLetters(t *testing.T, group string, n int) []*primitive.MessageExt {
	t.Helper()
	addr := c.leader(t).Addr
	require.Eventually(t, func() bool {
		r, err := invoke(addr, 30, fields{"topic": "%DLQ%" + group, "queueId": "0"}, nil)
		return err == nil && r.Ext["offset"] == strconv.Itoa(n)
	}, time.Minute, 50*time.Millisecond, "dead letters")
	return readQueue(t, addr, "%DLQ%"+group, 0)
}

// Without a word of the listener a retry takes level 3, the next one level 4 and so on, which are 1 s here. The message
// keeps its topic, and counts.
func TestRetryLater(t *testing.T) {
	t.Parallel()
	c := strictBroker(t)
	topic, group := uniqueName("later"), uniqueName("g")
	c.createTopic(t, topic, 1)
	c.setGroup(t, group, nil)
	d := &deliveries{decide: func(m *primitive.MessageExt, _ *primitive.ConsumeConcurrentlyContext) consumer.ConsumeResult {
		if m.ReconsumeTimes < 3 {
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	}}
	startConsumer(t, c.namesrv, group, []string{topic}, d.listen)
	sendMany(t, c.namesrv, topic, "m", 1)
	require.Eventually(t, func() bool { return d.count() == 4 }, time.Minute, 20*time.Millisecond)
	require.Equal(t, []int32{0, 1, 2, 3}, d.times)
	require.Equal(t, []string{topic, topic, topic, topic}, d.topics)
	for i := 1; i < 4; i++ {
		require.GreaterOrEqual(t, d.at[i].Sub(d.at[i-1]), time.Second)
	}
}

// The listener names the level of the next delivery.
func TestRetryDelayOfTheListener(t *testing.T) {
	t.Parallel()
	c := strictBroker(t)
	topic, group := uniqueName("named"), uniqueName("g")
	c.createTopic(t, topic, 1)
	c.setGroup(t, group, nil)
	d := &deliveries{decide: func(m *primitive.MessageExt, cc *primitive.ConsumeConcurrentlyContext) consumer.ConsumeResult {
		cc.DelayLevelWhenNextConsume = 2
		if m.ReconsumeTimes == 0 {
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	}}
	startConsumer(t, c.namesrv, group, []string{topic}, d.listen)
	sendMany(t, c.namesrv, topic, "m", 1)
	require.Eventually(t, func() bool { return d.count() == 2 }, time.Minute, 20*time.Millisecond)
	require.GreaterOrEqual(t, d.at[1].Sub(d.at[0]), 2*time.Second)
}

// Level -1 means: no more tries.
func TestImmediateDeadLetter(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("atonce"), uniqueName("g")
	c.createTopic(t, topic, 1)
	d := &deliveries{decide: func(_ *primitive.MessageExt, cc *primitive.ConsumeConcurrentlyContext) consumer.ConsumeResult {
		cc.DelayLevelWhenNextConsume = -1
		return consumer.ConsumeRetryLater
	}}
	startConsumer(t, c.namesrv, group, []string{topic}, d.listen)
	sendMany(t, c.namesrv, topic, "m", 1)
	require.Equal(t, "m0", string(c.deadLetters(t, group, 1)[0].Body))
	require.Equal(t, 1, d.count())
}

// A dead letter is an ordinary message: it is read, sent to its topic again and consumed.
func TestDeadLetterSentAgain(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("again"), uniqueName("g")
	c.createTopic(t, topic, 1)
	refuse := true
	d := &deliveries{decide: func(_ *primitive.MessageExt, cc *primitive.ConsumeConcurrentlyContext) consumer.ConsumeResult {
		if refuse {
			refuse = false
			cc.DelayLevelWhenNextConsume = -1
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	}}
	startConsumer(t, c.namesrv, group, []string{topic}, d.listen)
	p := newProducer(t, c.namesrv)
	first := sendSync(t, p, primitive.NewMessage(topic, []byte("precious")).WithKeys([]string{"order-7"}).WithTag("T"))
	c.deadLetters(t, group, 1)
	c.awaitRoute(t, "%DLQ%"+group)
	box := newConsumer(t, c.namesrv, uniqueName("reader"), "%DLQ%"+group, consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"precious": true}, time.Minute)
	letter := box.all()[0]
	require.Equal(t, "order-7", letter.GetKeys())
	require.Equal(t, "T", letter.GetTags())
	require.Equal(t, topic, letter.GetProperty(primitive.PropertyRetryTopic))
	require.Equal(t, first.OffsetMsgID, letter.GetProperty("ORIGIN_MESSAGE_ID"))
	sendSync(t, p, primitive.NewMessage(letter.GetProperty(primitive.PropertyRetryTopic), letter.Body))
	require.Eventually(t, func() bool { return d.count() == 2 }, time.Minute, 20*time.Millisecond)
}

// sendBack returns a message to the broker as a consumer does; a client that sends no maximum leaves it to the group.
func sendBack(t *testing.T, addr, group string, m *primitive.MessageExt, max string) {
	t.Helper()
	ext := fields{"group": group, "offset": strconv.FormatInt(m.CommitLogOffset, 10), "delayLevel": "1", "originTopic": m.Topic, "originMsgId": m.MsgId}
	if max != "" {
		ext["maxReconsumeTimes"] = max
	}
	must(t, addr, 36, ext, nil)
}

// The maximum of the group holds for clients that send none; a client's own comes before it.
func TestMaximumOfTheGroup(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for name, test := range map[string]struct {
		max     string
		retries int
	}{"the group's": {"", 2}, "the client's": {"1", 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic, group := uniqueName("max"), uniqueName("g")
			c.createTopic(t, topic, 1)
			c.setGroup(t, group, map[string]any{"retryMaxTimes": 2})
			sendMany(t, c.namesrv, topic, "m", 1)
			addr := c.leader(t).Addr
			m := readQueue(t, addr, topic, 0)[0]
			for i := range test.retries {
				sendBack(t, addr, group, m, test.max)
				require.Eventually(t, func() bool { return maxOffset(t, addr, "%RETRY%"+group, 0) == int64(i+1) }, 10*time.Second, 20*time.Millisecond)
				m = readQueue(t, addr, "%RETRY%"+group, 0)[i]
				require.EqualValues(t, i+1, m.ReconsumeTimes)
			}
			sendBack(t, addr, group, m, test.max)
			require.EqualValues(t, test.retries+1, c.deadLetters(t, group, 1)[0].ReconsumeTimes)
		})
	}
}

// A consumer whose send-back fails sends the message to its retry topic itself, counts and maximum in the header.
func TestRetryBySend(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	group := uniqueName("g")
	c.setGroup(t, group, nil)
	addr := c.leader(t).Addr
	refused(t, addr, 36, fields{"group": group, "offset": "123456789012", "delayLevel": "0"}, nil, 1, "look message by offset failed, 123456789012")
	send := func(times string) {
		must(t, addr, 10, with(sendFields("%RETRY%"+group, 0), "reconsumeTimes", times, "maxReconsumeTimes", "3"), []byte("time "+times))
	}
	send("2")
	require.EqualValues(t, 1, maxOffset(t, addr, "%RETRY%"+group, 0))
	send("3")
	require.Equal(t, "time 3", string(c.deadLetters(t, group, 1)[0].Body))
	require.EqualValues(t, 1, maxOffset(t, addr, "%RETRY%"+group, 0))
}

// With filterSupportRetry a retried message has to pass the selector that its group has by then.
func TestSelectorOnRetry(t *testing.T) {
	t.Parallel()
	c := strictBroker(t)
	topic, group := uniqueName("again"), uniqueName("g")
	c.createTopic(t, topic, 1)
	c.setGroup(t, group, nil)
	d := &deliveries{decide: func(*primitive.MessageExt, *primitive.ConsumeConcurrentlyContext) consumer.ConsumeResult {
		return consumer.ConsumeRetryLater
	}}
	sql := func(expression string) consumer.MessageSelector {
		return consumer.MessageSelector{Type: consumer.SQL92, Expression: expression}
	}
	p := newProducer(t, c.namesrv)
	for _, color := range []string{"red", "blue"} {
		m := primitive.NewMessage(topic, []byte(color))
		m.WithProperty("color", color)
		sendSync(t, p, m)
	}
	first := startSQL(t, c, group, topic, sql("color IS NOT NULL"), d.listen)
	require.Eventually(t, func() bool { return d.count() == 2 }, time.Minute, 10*time.Millisecond)
	require.NoError(t, first.Shutdown())
	box := &inbox{}
	startSQL(t, c, group, topic, sql("color = 'red'"), into(box))
	box.waitFor(t, map[string]bool{"red": true}, time.Minute)
	require.Never(t, func() bool { return box.bodies()["blue"] > 0 }, 2*time.Second, 50*time.Millisecond)
}

// Delay levels come from a table, and a level above its end counts as the last.
func TestDelayLevelTable(t *testing.T) {
	t.Parallel()
	c := strictBroker(t)
	topic := uniqueName("table")
	c.createTopic(t, topic, 4)
	p := newProducer(t, c.namesrv, producer.WithQueueSelector(producer.NewRoundRobinQueueSelector()))
	want := map[string]time.Duration{"2": 2 * time.Second, "5": time.Second, "99": time.Second, "1": time.Second}
	bodies := map[string]bool{}
	sent := map[string]time.Time{}
	for level := range want {
		bodies[level] = true
		sent[level] = time.Now()
		n, err := strconv.Atoi(level)
		require.NoError(t, err)
		sendSync(t, p, primitive.NewMessage(topic, []byte(level)).WithDelayTimeLevel(n))
	}
	require.Eventually(t, func() bool { return len(readTopic(t, c.leader(t).Addr, topic, 4)) == len(want) }, 20*time.Second, 50*time.Millisecond)
	for _, m := range readTopic(t, c.leader(t).Addr, topic, 4) {
		late := time.UnixMilli(m.StoreTimestamp).Sub(sent[string(m.Body)]) - want[string(m.Body)]
		require.GreaterOrEqual(t, late, -10*time.Millisecond, "level %s", m.Body) // the broker's clock is not this process's
		require.Less(t, late, 5*time.Second, "level %s", m.Body)
	}
}

// What waits when the broker stops is delivered when it is back, once.
func TestDelaySurvivesRestart(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--nodes", "1", "--set", "messageDelayLevel=3s")
	c.createTopic(t, "wait", 1)
	p := newProducer(t, c.namesrv)
	for i := range 20 {
		sendSync(t, p, primitive.NewMessage("wait", []byte(strconv.Itoa(i))).WithDelayTimeLevel(1))
	}
	_, err := command("mqadmin", "local", "down", "--dir", c.dir)
	require.NoError(t, err)
	_, err = command("mqadmin", "local", "up", "--dir", c.dir)
	require.NoError(t, err)
	addr := c.leader(t).Addr
	require.Eventually(t, func() bool { return maxOffset(t, addr, "wait", 0) >= 20 }, 20*time.Second, 50*time.Millisecond)
	seen := map[string]bool{}
	for _, m := range readQueue(t, addr, "wait", 0) {
		require.False(t, seen[string(m.Body)], "%s came twice", m.Body)
		seen[string(m.Body)] = true
	}
	require.Len(t, seen, 20)
}
