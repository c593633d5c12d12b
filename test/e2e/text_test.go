package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

const (
	textQueues = 4
	permWrite  = 2
	permRead   = 4
)

// realText is a text that people wrote: sources of the Go distribution, which every machine that builds this project
// has, with at least 10,000 lines, blank ones, several scripts, and one line over 4 KiB so that clients compress it.
func realText(t *testing.T) [][]byte {
	t.Helper()
	var text []byte
	root := runtime.GOROOT()
	if env := os.Getenv("GOROOT"); env != "" {
		root = env
	}
	for _, f := range []string{
		"src/strings/strings_test.go", "src/unicode/utf8/utf8_test.go", "src/html/entity.go", "src/net/http/server.go",
		"src/regexp/exec_test.go", "src/fmt/fmt_test.go", "src/strconv/quote_test.go",
	} {
		b, err := os.ReadFile(filepath.Join(root, f))
		require.NoError(t, err)
		text = append(text, b...)
	}
	long := append(bytes.ReplaceAll(text[:9000], []byte("\n"), []byte(" ")), '\n')
	text = append(text, long...)
	lines := bytes.SplitAfter(text, []byte("\n"))
	if n := len(lines); len(lines[n-1]) == 0 {
		lines = lines[:n-1]
	}
	blank, wide, over := 0, 0, 0
	for _, l := range lines {
		if len(l) == 1 {
			blank++
		}
		if bytes.ContainsFunc(l, func(r rune) bool { return r > 0x2fff }) {
			wide++
		}
		if len(l) > 4096 {
			over++
		}
	}
	require.GreaterOrEqual(t, len(lines), 10_000)
	require.Positive(t, blank)
	require.Positive(t, wide)
	require.Positive(t, over)
	return lines
}

// delivery is one message as a consumer saw it.
type delivery struct {
	member int
	queue  int
	offset int64
	body   string
}

// checkText says what the walk-through promises: the same multiset of bytes, order kept in each queue (line i went to
// queue i % 4), no member idle, and committed offsets equal to the queues' ends.
func checkText(t *testing.T, c *cluster, topic, group string, lines [][]byte, got []delivery) {
	t.Helper()
	var want []string
	perQueue := make([][]string, textQueues)
	for i, l := range lines {
		want = append(want, string(l))
		perQueue[i%textQueues] = append(perQueue[i%textQueues], string(l))
	}
	var bodies []string
	members := map[int]int{}
	next := make([]int64, textQueues)
	byQueue := make([][]string, textQueues)
	for _, d := range got {
		bodies = append(bodies, d.body)
		members[d.member]++
		require.Equal(t, next[d.queue], d.offset, "queue %d was not delivered in order", d.queue)
		next[d.queue]++
		byQueue[d.queue] = append(byQueue[d.queue], d.body)
	}
	sort.Strings(want)
	sort.Strings(bodies)
	require.Equal(t, len(want), len(bodies))
	require.True(t, equal(want, bodies), "the multiset of lines differs")
	for q := range perQueue {
		require.True(t, equal(perQueue[q], byQueue[q]), "the order in queue %d differs", q)
	}
	require.Positive(t, members[0], "member 0 was idle")
	require.Positive(t, members[1], "member 1 was idle")
	addr := c.leader(t).Addr
	for q := 0; q < textQueues; q++ {
		end := maxOffset(t, addr, topic, q)
		require.Equal(t, int64(len(perQueue[q])), end)
		require.Eventually(t, func() bool { return committedOffset(t, addr, group, topic, q) == end },
			10*time.Second, 50*time.Millisecond, "queue %d: committed offset is not %d", q, end)
	}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestRealFileSurvivesTheTrip(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	lines := realText(t)
	topic, group := uniqueName("text"), uniqueName("readers")
	// The members join while the topic cannot be read yet, so that they share out its queues before the first message:
	// queues that change hands in the middle of a batch are delivered again, as at-least-once allows.
	c.setTopic(t, topic, textQueues, permWrite)
	var mu sync.Mutex
	var got []delivery
	done := make(chan struct{})
	var members []rocketmq.PushConsumer
	for m := 0; m < 2; m++ {
		pc, err := rocketmq.NewPushConsumer(consumer.WithNameServer([]string{c.namesrv}), consumer.WithGroupName(group),
			consumer.WithInstance(uniqueName(fmt.Sprintf("member%d", m))), consumer.WithConsumerOrder(true),
			consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithPullBatchSize(8))
		require.NoError(t, err)
		require.NoError(t, pc.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, x := range msgs {
				got = append(got, delivery{m, x.Queue.QueueId, x.QueueOffset, string(x.Body)})
				if len(got) == len(lines) {
					close(done)
				}
			}
			return consumer.ConsumeSuccess, nil
		}))
		members = append(members, pc)
	}
	for _, pc := range members {
		require.NoError(t, pc.Start())
	}
	c.awaitMembers(t, group, 2)
	c.setTopic(t, topic, textQueues, permRead|permWrite)

	p, err := rocketmq.NewProducer(producer.WithNameServer([]string{c.namesrv}), producer.WithGroupName(uniqueName("writers")),
		producer.WithInstanceName(uniqueName("writer")), producer.WithQueueSelector(producer.NewManualQueueSelector()),
		producer.WithSendMsgTimeout(10*time.Second))
	require.NoError(t, err)
	require.NoError(t, p.Start())
	broker := c.leader(t).Name
	errs := make(chan error, textQueues)
	for q := 0; q < textQueues; q++ {
		go func() {
			for i := q; i < len(lines); i += textQueues {
				m := primitive.NewMessage(topic, lines[i])
				m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: broker, QueueId: q}
				r, err := p.SendSync(context.Background(), m)
				if err != nil || r.Status != primitive.SendOK {
					errs <- fmt.Errorf("line %d: %v %v", i, r, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for q := 0; q < textQueues; q++ {
		require.NoError(t, <-errs)
	}
	require.NoError(t, p.Shutdown())

	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		mu.Lock()
		n := len(got)
		mu.Unlock()
		require.Fail(t, "too few deliveries", "%d of %d", n, len(lines))
	}
	for _, pc := range members {
		require.NoError(t, pc.Shutdown())
	}
	mu.Lock()
	defer mu.Unlock()
	checkText(t, c, topic, group, lines, got)
}
