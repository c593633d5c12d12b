package e2e

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// newProducer starts an official Go producer that ends with the test.
func newProducer(t *testing.T, namesrv string, opts ...producer.Option) rocketmq.Producer {
	t.Helper()
	opts = append([]producer.Option{
		producer.WithNameServer([]string{namesrv}), producer.WithGroupName(uniqueName("pg")),
		producer.WithInstanceName(uniqueName("p")), producer.WithSendMsgTimeout(10 * time.Second),
	}, opts...)
	p, err := rocketmq.NewProducer(opts...)
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func sendSync(t *testing.T, p rocketmq.Producer, m *primitive.Message) *primitive.SendResult {
	t.Helper()
	r, err := p.SendSync(context.Background(), m)
	require.NoError(t, err)
	require.Equal(t, primitive.SendOK, r.Status)
	return r
}

// inbox collects what a consumer's listener is given.
type inbox struct {
	mu   sync.Mutex
	msgs []*primitive.MessageExt
}

func (b *inbox) add(msgs ...*primitive.MessageExt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.msgs = append(b.msgs, msgs...)
}

func (b *inbox) all() []*primitive.MessageExt {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*primitive.MessageExt(nil), b.msgs...)
}

// bodies counts the bodies that arrived.
func (b *inbox) bodies() map[string]int {
	n := map[string]int{}
	for _, m := range b.all() {
		n[string(m.Body)]++
	}
	return n
}

// waitFor waits until every wanted body arrived.
func (b *inbox) waitFor(t *testing.T, want map[string]bool, within time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		got := b.bodies()
		for w := range want {
			if got[w] == 0 {
				return false
			}
		}
		return true
	}, within, 20*time.Millisecond, "messages are missing")
}

type listener = func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// newConsumer starts an official Go push consumer of one topic; nil listener means: put everything into the inbox.
func newConsumer(t *testing.T, namesrv, group, topic string, sel consumer.MessageSelector, fn listener, opts ...consumer.Option) *inbox {
	t.Helper()
	box := &inbox{}
	opts = append([]consumer.Option{
		consumer.WithNameServer([]string{namesrv}), consumer.WithGroupName(group),
		consumer.WithInstance(uniqueName("c")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, opts...)
	c, err := rocketmq.NewPushConsumer(opts...)
	require.NoError(t, err)
	if fn == nil {
		fn = func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			box.add(msgs...)
			return consumer.ConsumeSuccess, nil
		}
	}
	require.NoError(t, c.Subscribe(topic, sel, fn))
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Shutdown() })
	return box
}

// into is a listener that puts everything into an inbox.
func into(box *inbox) listener {
	return func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		box.add(msgs...)
		return consumer.ConsumeSuccess, nil
	}
}

// startConsumer is newConsumer for tests that stop or suspend the consumer, or subscribe several topics.
func startConsumer(t *testing.T, namesrv, group string, topics []string, fn listener, opts ...consumer.Option) rocketmq.PushConsumer {
	t.Helper()
	opts = append([]consumer.Option{
		consumer.WithNameServer([]string{namesrv}), consumer.WithGroupName(group),
		consumer.WithInstance(uniqueName("c")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, opts...)
	c, err := rocketmq.NewPushConsumer(opts...)
	require.NoError(t, err)
	for _, topic := range topics {
		require.NoError(t, c.Subscribe(topic, consumer.MessageSelector{}, fn))
	}
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Shutdown() })
	return c
}

// sendMany sends n messages called prefix0 and so on and returns their bodies.
func sendMany(t *testing.T, namesrv, topic, prefix string, n int) map[string]bool {
	t.Helper()
	p := newProducer(t, namesrv)
	sent := map[string]bool{}
	for i := range n {
		body := prefix + strconv.Itoa(i)
		sent[body] = true
		sendSync(t, p, primitive.NewMessage(topic, []byte(body)))
	}
	return sent
}

// startSQL is startConsumer with a selector.
func startSQL(t *testing.T, c *cluster, group, topic string, sel consumer.MessageSelector, fn listener) rocketmq.PushConsumer {
	t.Helper()
	pc, err := rocketmq.NewPushConsumer(consumer.WithNameServer([]string{c.namesrv}), consumer.WithGroupName(group),
		consumer.WithInstance(uniqueName("c")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	require.NoError(t, err)
	require.NoError(t, pc.Subscribe(topic, sel, fn))
	require.NoError(t, pc.Start())
	t.Cleanup(func() { _ = pc.Shutdown() })
	return pc
}
