package e2e

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// pinnedNamesrv is a name server whose routes know one broker only: the member at addr, as the leader. Everything else
// it passes on to the real one.
func pinnedNamesrv(t *testing.T, namesrv, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	addrs := regexp.MustCompile(`"brokerAddrs":\{[^}]*\}`)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					q, err := readFrame(c)
					if err != nil {
						return
					}
					a, err := invoke(namesrv, q.Code, q.Ext, q.Body)
					if err != nil {
						return
					}
					if q.Code == 105 {
						a.Body = addrs.ReplaceAll(a.Body, fmt.Appendf(nil, `"brokerAddrs":{0:%q}`, addr))
					}
					a.Opaque, a.Flag = q.Opaque, 1
					if _, err := c.Write(a.encode()); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// follower is a member that does not lead.
func (c *cluster) follower(t *testing.T) node {
	t.Helper()
	c.leader(t)
	s, err := c.status()
	require.NoError(t, err)
	for _, b := range s.Brokers {
		if b.Role == "follower" {
			return b
		}
	}
	require.Fail(t, "no follower")
	return node{}
}

// TestClientOfAFollower: official clients that know nothing but one follower send in all ways, consume together with a
// member of their group that knows the leader, in order too, and are asked about their transactions.
func TestClientOfAFollower(t *testing.T) {
	t.Parallel()
	c := checkedCluster(t)
	pinned := pinnedNamesrv(t, c.namesrv, c.follower(t).Addr)
	topic, group := uniqueName("pinned"), uniqueName("g")
	c.createTopic(t, topic, 4)

	var mu sync.Mutex
	took := map[string]string{} // body to who consumed it
	take := func(who string) listener {
		return func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range msgs {
				if strings.HasPrefix(string(m.Body), "again") && m.ReconsumeTimes == 0 {
					return consumer.ConsumeRetryLater, nil
				}
				took[string(m.Body)] = who
			}
			return consumer.ConsumeSuccess, nil
		}
	}
	newConsumer(t, pinned, group, topic, consumer.MessageSelector{}, take("pinned"))
	newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, take("free"))
	c.awaitMembers(t, group, 2)

	want := map[string]bool{}
	p := newProducer(t, pinned)
	for i := range 40 {
		body := fmt.Sprint("sync", i)
		want[body] = true
		sendSync(t, p, primitive.NewMessage(topic, []byte(body)))
	}
	asyncDone := make(chan error, 1)
	want["async"], want["oneway"], want["late"], want["again"], want["batch1"], want["batch2"] = true, true, true, true, true, true
	require.NoError(t, p.SendAsync(context.Background(), func(_ context.Context, r *primitive.SendResult, err error) { asyncDone <- err },
		primitive.NewMessage(topic, []byte("async"))))
	require.NoError(t, <-asyncDone)
	require.NoError(t, p.SendOneWay(context.Background(), primitive.NewMessage(topic, []byte("oneway"))))
	sendSync(t, p, primitive.NewMessage(topic, []byte("late")).WithDelayTimeLevel(1))
	sendSync(t, p, primitive.NewMessage(topic, []byte("again")))
	_, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte("batch1")), primitive.NewMessage(topic, []byte("batch2")))
	require.NoError(t, err)

	d := &decisions{check: always(primitive.CommitMessageState), execute: always(primitive.UnknowState)}
	tp := newTransactionProducer(t, pinned, uniqueName("tpg"), d)
	want["asked about"] = true
	sendHalf(t, tp, topic, "asked about")

	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(took) == len(want)
	}, 90*time.Second, 50*time.Millisecond, "not everything arrived")
	mu.Lock()
	got := maps.Clone(took)
	mu.Unlock()
	for body := range want {
		require.Contains(t, got, body)
	}
	who := slices.Collect(maps.Values(got))
	require.Contains(t, who, "pinned")
	require.Contains(t, who, "free")

	ordered := uniqueName("ordered")
	c.createTopic(t, ordered, 1)
	for i := range 30 {
		sendSync(t, p, primitive.NewMessage(ordered, []byte(strconv.Itoa(i))))
	}
	box := newConsumer(t, pinned, uniqueName("og"), ordered, consumer.MessageSelector{}, nil, consumer.WithConsumerOrder(true))
	require.Eventually(t, func() bool { return len(box.all()) == 30 }, 60*time.Second, 20*time.Millisecond)
	for i, m := range box.all() {
		require.Equal(t, strconv.Itoa(i), string(m.Body))
	}
}

// attempt is one send of a load: when it ended and how.
type attempt struct {
	begin, end time.Time
	body       string
	queue      int
	err        error
}

// steadySends sends until stop is closed, each worker one message after the other with a pause between; worker w sends "w-0",
// "w-1" and so on, all with the key "w".
func steadySends(p rocketmq.Producer, topic string, workers int, pause time.Duration, stop <-chan struct{}) func() []attempt {
	var mu sync.Mutex
	var all []attempt
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(pause):
				}
				a := attempt{begin: time.Now(), body: fmt.Sprintf("%d-%d", w, i), queue: -1}
				m := primitive.NewMessage(topic, []byte(a.body)).WithShardingKey(strconv.Itoa(w))
				r, err := p.SendSync(context.Background(), m)
				if err == nil && r.Status != primitive.SendOK {
					err = fmt.Errorf("status %v", r.Status)
				}
				if err == nil {
					a.queue = r.MessageQueue.QueueId
				}
				a.end, a.err = time.Now(), err
				mu.Lock()
				all = append(all, a)
				mu.Unlock()
			}
		})
	}
	return func() []attempt {
		wg.Wait()
		return all
	}
}

// outcome sums up what a load met after a moment.
func outcome(all []attempt, since time.Time) (failed int, firstAck time.Duration, longest time.Duration, firstErr error) {
	firstAck = -1
	for _, a := range all {
		if a.end.Before(since) {
			continue
		}
		longest = max(longest, a.end.Sub(a.begin))
		if a.err != nil {
			if failed++; firstErr == nil {
				firstErr = a.err
			}
			continue
		}
		if d := a.end.Sub(since); a.begin.After(since) && (firstAck < 0 || d < firstAck) {
			firstAck = d
		}
	}
	return failed, firstAck, longest, firstErr
}

func acknowledged(all []attempt) map[string]bool {
	out := map[string]bool{}
	for _, a := range all {
		if a.err == nil {
			out[a.body] = true
		}
	}
	return out
}

// member runs one broker of a local cluster from its settings file, in place of the one that mqadmin started.
func (c *cluster) member(t *testing.T, id string) *exec.Cmd {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "logs", id+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(bin("mqbroker"), "-c", filepath.Join(c.dir, "broker-"+id+".conf"))
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// raftRole is the role that the member at an address gives itself, "" when it does not answer.
func raftRole(addr string) string {
	r, err := invoke(addr, 28, nil, nil)
	if err != nil {
		return ""
	}
	m := regexp.MustCompile(`"raftRole":"(\w+)"`).FindSubmatch(r.Body)
	if l := regexp.MustCompile(`"raftLeaderId":"\w+"`); m == nil || !l.Match(r.Body) {
		return ""
	}
	return string(m[1])
}

// TestRollingRestartWithoutErrors ends each member with SIGTERM, one after the other, and starts it again, while stock
// clients send and consume: no send fails, and everything arrives once.
func TestRollingRestartWithoutErrors(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--set", "shutdownDrainTime=35000")
	s, err := c.status()
	require.NoError(t, err)
	// Processes that are ours, so that we see their exit codes.
	procs := map[string]*exec.Cmd{}
	for _, b := range s.Brokers {
		require.NoError(t, syscall.Kill(b.PID, syscall.SIGKILL))
	}
	for _, b := range s.Brokers {
		b.awaitPorts(t)
		procs[b.ID] = c.member(t, b.ID)
	}
	joined := func(addr string) {
		require.Eventually(t, func() bool { r := raftRole(addr); return r == "leader" || r == "follower" }, 30*time.Second, 20*time.Millisecond)
	}
	for _, b := range s.Brokers {
		joined(b.Addr)
	}
	topic, group := uniqueName("rolling"), uniqueName("g")
	r, err := invoke(s.Brokers[0].Addr, 17, map[string]string{"topic": topic, "defaultTopic": "TBW102", "readQueueNums": "4",
		"writeQueueNums": "4", "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}, nil)
	require.NoError(t, err)
	require.Zero(t, r.Code, r.Remark)
	box := newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, nil)
	stop := make(chan struct{})
	done := steadySends(newProducer(t, c.namesrv, byKey), topic, 4, 5*time.Millisecond, stop)
	began := time.Now()
	for _, b := range s.Brokers {
		time.Sleep(time.Second) // of load over the whole group
		cmd := procs[b.ID]
		led := raftRole(b.Addr)
		from := time.Now()
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), "exit code of %s", b.ID)
		t.Logf("%s, %s, took %v to end", b.ID, led, time.Since(from).Round(10*time.Millisecond))
		procs[b.ID] = c.member(t, b.ID)
		joined(b.Addr)
	}
	time.Sleep(time.Second) // of load after the last restart
	close(stop)
	all := done()
	failed, _, longest, firstErr := outcome(all, began)
	t.Logf("%d sends, %d failed, the longest took %v", len(all), failed, longest.Round(time.Millisecond))
	require.Zero(t, failed, "%v", firstErr)
	box.waitFor(t, acknowledged(all), time.Minute)
	checkOrder(t, box.all(), all)
}

// checkOrder sees to it that the messages of one key arrived in the order they were sent, all in one queue.
func checkOrder(t *testing.T, got []*primitive.MessageExt, sent []attempt) {
	t.Helper()
	queue, last, seen := map[string]int{}, map[string]int{}, map[string]bool{}
	slices.SortStableFunc(got, func(a, b *primitive.MessageExt) int { return int(a.QueueOffset - b.QueueOffset) })
	for _, m := range got {
		if seen[string(m.Body)] {
			continue
		}
		seen[string(m.Body)] = true
		key, number, ok := strings.Cut(string(m.Body), "-")
		require.True(t, ok)
		n, err := strconv.Atoi(number)
		require.NoError(t, err)
		if q, ok := queue[key]; ok {
			require.Equal(t, q, m.Queue.QueueId, "key %s changed its queue at message %d", key, n)
		}
		queue[key] = m.Queue.QueueId
		require.GreaterOrEqual(t, n, last[key], "key %s is out of order", key)
		last[key] = n
	}
}

// byKey makes a producer choose the queue by the hash of a message's key.
var byKey = producer.WithQueueSelector(producer.NewHashQueueSelector())

// killLeader ends the leader with kill -9 and returns when.
func (c *cluster) killLeader(t *testing.T) time.Time {
	t.Helper()
	old := c.leader(t)
	at := time.Now()
	require.NoError(t, syscall.Kill(old.PID, syscall.SIGKILL))
	return at
}

// TestStandInQueues: the leader is killed, and a stock producer that tries a send again, on the queues that it knows,
// finds a live member at once: no send fails, long before the producer looks up the route again. A key keeps its queue
// from before stand-ins were there to after the failover.
func TestStandInQueues(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--set", "standInBrokers=2")
	topic := uniqueName("standin")
	c.createTopic(t, topic, 4)
	r, err := invoke(c.namesrv, 105, map[string]string{"topic": topic}, nil)
	require.NoError(t, err)
	require.Contains(t, string(r.Body), `"brokerName":"broker-a@2"`)
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	stop := make(chan struct{})
	// The Go producer goes on to the next queue, which Java's does with the next broker.
	anyQueue := steadySends(newProducer(t, c.namesrv, producer.WithRetry(8)), topic, 8, 5*time.Millisecond, stop)
	keyed := steadySends(newProducer(t, c.namesrv, byKey), topic, 8, 5*time.Millisecond, stop)
	time.Sleep(2 * time.Second) // of load
	at := c.killLeader(t)
	time.Sleep(5 * time.Second) // well below the 30 s after which producers learn of the new leader
	close(stop)

	all := anyQueue()
	failed, first, longest, firstErr := outcome(all, at)
	t.Logf("%d sends, %d failed, first acknowledged after %v, the longest took %v", len(all), failed, first, longest)
	require.Zero(t, failed, "%v", firstErr)
	require.Positive(t, first)
	require.Less(t, first, 3*time.Second)
	box.waitFor(t, acknowledged(all), time.Minute)

	all = keyed()
	failed, first, _, _ = outcome(all, at)
	t.Logf("by key: %d sends, %d failed, first acknowledged after %v", len(all), failed, first)
	queues := map[string]int{}
	for _, a := range all {
		key, _, _ := strings.Cut(a.body, "-")
		if a.err != nil {
			continue
		}
		if q, ok := queues[key]; ok {
			require.Equal(t, q, a.queue, "key %s changed its queue", key)
		}
		queues[key] = a.queue
	}
	require.Len(t, queues, 8)
}
