//go:build scaleout

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// TestGroupsComeAndGoUnderLoad produces and consumes with the official Go client without a pause while one group is added to
// three and another one is taken out. No send fails, nothing that was acknowledged is missing, and what is taken out is empty.
// Clients look routes up every 30 s, so that it takes about two minutes; `make scale-out` runs it.
func TestGroupsComeAndGoUnderLoad(t *testing.T) {
	c := ownCluster(t, "--groups", "3", "--nodes", "1")
	topic, group := uniqueName("flow"), uniqueName("readers")
	c.createTopic(t, topic, 4)
	p := newProducer(t, c.namesrv)
	box := newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, nil)

	load := startLoad(t, p, topic, 4)
	require.Eventually(t, load.hasSentTo("broker-a", "broker-b", "broker-c"), 20*time.Second, 20*time.Millisecond, "it does not use all groups")

	// One more: it gets queues of the topic and, when clients look the route up again, messages.
	out, err := command("mqadmin", "local", "add-group", "--dir", c.dir)
	require.NoError(t, err)
	require.Contains(t, out, "broker-d")
	out, err = command("mqadmin", "cluster", "spread", "broker-d", "-n", c.namesrv)
	require.NoError(t, err)
	require.Contains(t, out, "broker-d: 1 topics and ")
	require.Eventually(t, load.hasSentTo("broker-d"), 60*time.Second, 50*time.Millisecond, "the new group gets nothing")

	// One less. The group cannot be removed before it is drained, and says why.
	_, err = command("mqadmin", "local", "remove-group", "broker-b", "--dir", c.dir)
	require.ErrorContains(t, err, "broker-b is serving; drain it first")
	began := time.Now()
	out, err = command("mqadmin", "cluster", "drain", "broker-b", "--wait", "--within", "3m", "-o", "json", "-n", c.namesrv)
	require.NoError(t, err)
	var report struct {
		State string
		Left  []any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report), out)
	require.Equal(t, "drained", report.State)
	require.Empty(t, report.Left)
	drained := time.Since(began)
	last, atB := load.sent(), load.sentTo("broker-b")
	_, err = command("mqadmin", "local", "remove-group", "broker-b", "--dir", c.dir)
	require.NoError(t, err)
	s, err := c.status()
	require.NoError(t, err)
	require.Len(t, s.Brokers, 3)
	require.Eventually(t, func() bool { return load.sent() > last+500 }, 30*time.Second, 20*time.Millisecond, "the others do not go on")
	require.Equal(t, atB, load.sentTo("broker-b"), "a message went to the drained group")

	acked, failed := load.stop()
	require.Empty(t, failed, "sends failed")
	box.waitFor(t, acked, 60*time.Second)
	twice := 0
	for _, n := range box.bodies() {
		if n > 1 {
			twice++
		}
	}
	t.Logf("%d acknowledged, 0 lost, 0 failed sends, %d delivered more than once; %d of them by broker-b; drained after %.0f s", len(acked), twice, atB, drained.Seconds())
}

// TestDrainRefusesWhatWouldLoseMessages makes each reason once.
func TestDrainRefusesWhatWouldLoseMessages(t *testing.T) {
	c := ownCluster(t, "--groups", "2", "--nodes", "1")
	drain := func(args ...string) (string, error) {
		return command("mqadmin", append([]string{"cluster", "drain", "broker-b", "-n", c.namesrv, "--quiet", "0s"}, args...)...)
	}
	var leaderB, leaderA string
	s, err := c.status()
	require.NoError(t, err)
	for _, b := range s.Brokers {
		if b.Name == "broker-b" {
			leaderB = b.Addr
		} else {
			leaderA = b.Addr
		}
	}
	put := func(addr, topic, order string) {
		_, err := command("mqadmin", "updateTopic", "-n", c.namesrv, "-b", addr, "-t", topic, "-r", "1", "-w", "1", "-o", order)
		require.NoError(t, err)
		c.awaitRoute(t, topic)
	}
	put(leaderB, "lonely", "false")
	put(leaderB, "ordered", "true")
	put(leaderA, "ordered", "true")
	must(t, c.namesrv, 100, fields{"namespace": "ORDER_TOPIC_CONFIG", "key": "configured", "value": "broker-a:1;broker-b:1"}, nil)
	p := newProducer(t, c.namesrv)
	sendSync(t, p, primitive.NewMessage("lonely", []byte("for nobody")))

	_, err = drain()
	for _, reason := range []string{
		"broker-b is not drained, nothing was changed",
		"no other group has the topic lonely",
		"topic ordered has order=true",
		// updateTopic -o writes one for its topic, as RocketMQ's does.
		"the order configuration of topics configured, ordered names broker-b",
		"lonely: 1 messages that no group reads",
	} {
		require.ErrorContains(t, err, reason)
	}
	sendSync(t, p, primitive.NewMessage("lonely", []byte("still taken")))

	// Each remedy takes its reason away.
	for _, topic := range []string{"configured", "ordered"} {
		must(t, c.namesrv, 102, fields{"namespace": "ORDER_TOPIC_CONFIG", "key": topic}, nil)
	}
	out, err := command("mqadmin", "cluster", "spread", "-n", c.namesrv)
	require.NoError(t, err)
	require.Contains(t, out, "broker-a: 1 topics and ")
	_, err = drain("--ordered")
	require.ErrorContains(t, err, "lonely: 2 messages that no group reads")
	require.NotContains(t, err.Error(), "no other group")
	box := newConsumer(t, c.namesrv, uniqueName("late"), "lonely", consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"for nobody": true, "still taken": true}, 60*time.Second)
	out, err = drain("--ordered", "--wait", "--within", "1m")
	require.NoError(t, err)
	require.Contains(t, out, "broker-b is drained")

	// Drained it takes nothing, and back in service it does.
	r, err := invoke(leaderB, 10, fields{"producerGroup": "pg", "topic": "lonely", "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": "0",
		"sysFlag": "0", "bornTimestamp": "1", "flag": "0", "properties": "", "reconsumeTimes": "0", "unitMode": "false", "batch": "false"}, []byte("late"))
	require.NoError(t, err)
	require.Equal(t, 1, r.Code, r.Remark)
	_, err = command("mqadmin", "cluster", "drain", "broker-a", "-n", c.namesrv, "--ordered")
	require.ErrorContains(t, err, "no other broker group that takes messages")
	out, err = drain("--undo")
	require.NoError(t, err)
	require.Contains(t, out, "in service again")
	p2 := newProducer(t, c.namesrv)
	seen := map[string]bool{}
	for i := range 8 {
		r := sendSync(t, p2, primitive.NewMessage("lonely", fmt.Appendf(nil, "again %d", i)))
		seen[r.MessageQueue.BrokerName] = true
	}
	require.True(t, seen["broker-b"], "it gets nothing after --undo")
}

// flow is a load that goes on until it is stopped.
type flow struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	count  atomic.Int64

	mu     sync.Mutex
	acked  map[string]bool
	by     map[string]int
	failed []string
}

type sender interface {
	SendSync(ctx context.Context, msgs ...*primitive.Message) (*primitive.SendResult, error)
}

func startLoad(t *testing.T, p sender, topic string, workers int) *flow {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &flow{cancel: cancel, acked: map[string]bool{}, by: map[string]int{}}
	t.Cleanup(func() { f.stop() })
	for w := range workers {
		f.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				body := fmt.Sprintf("%d-%d", w, i)
				r, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(body)))
				f.mu.Lock()
				if err == nil && r.Status == primitive.SendOK {
					f.acked[body] = true
					f.by[r.MessageQueue.BrokerName]++
					f.count.Add(1)
				} else {
					f.failed = append(f.failed, fmt.Sprintf("%s: %v", body, err))
				}
				f.mu.Unlock()
				// A steady flow; as fast as it goes would only test the machine.
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	return f
}

func (f *flow) sent() int64 { return f.count.Load() }

func (f *flow) sentTo(broker string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.by[broker]
}

func (f *flow) hasSentTo(brokers ...string) func() bool {
	return func() bool {
		for _, b := range brokers {
			if f.sentTo(b) == 0 {
				return false
			}
		}
		return true
	}
}

func (f *flow) stop() (acked map[string]bool, failed string) {
	f.cancel()
	f.wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acked, strings.Join(f.failed[:min(len(f.failed), 5)], "\n")
}
