package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// toQueues is a producer that is told the queue of each message.
func toQueues(t *testing.T, c *cluster) func(topic string, queue int, body string) {
	t.Helper()
	p := newProducer(t, c.namesrv, producer.WithQueueSelector(producer.NewManualQueueSelector()))
	return func(topic string, queue int, body string) {
		t.Helper()
		m := primitive.NewMessage(topic, []byte(body))
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a", QueueId: queue}
		sendSync(t, p, m)
	}
}

// totalCommitted is the sum of a group's committed offsets over the first queues of a topic.
func totalCommitted(t *testing.T, addr, group, topic string, queues int) (sum int64) {
	t.Helper()
	for q := range queues {
		sum += committedOffset(t, addr, group, topic, q)
	}
	return sum
}

// Three members of one group get every message between them, and the group's offsets end at the queues' ends.
func TestConcurrentConsumption(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("concurrent"), uniqueName("g")
	c.createTopic(t, topic, 6)
	box := &inbox{}
	for range 3 {
		startConsumer(t, c.namesrv, group, []string{topic}, into(box))
	}
	box.waitFor(t, sendMany(t, c.namesrv, topic, "m", 300), time.Minute)
	addr := c.leader(t).Addr
	require.Eventually(t, func() bool { return totalCommitted(t, addr, group, topic, 6) == 300 }, time.Minute, 50*time.Millisecond)
}

// probe sends one message to each queue and tells which member got which queue. Both got it of one that was just moving.
func probe(t *testing.T, send func(topic string, queue int, body string), topic string, queues int, boxes []*inbox) [][]int {
	t.Helper()
	round := uniqueName("probe")
	for q := range queues {
		send(topic, q, round)
	}
	owned := make([][]int, len(boxes))
	require.Eventually(t, func() bool {
		taken := map[int]bool{}
		for i, b := range boxes {
			got := map[int]bool{}
			for _, m := range b.all() {
				if string(m.Body) == round {
					got[m.Queue.QueueId] = true
				}
			}
			owned[i] = nil
			for q := range queues {
				if got[q] {
					owned[i] = append(owned[i], q)
					taken[q] = true
				}
			}
		}
		return len(taken) == queues
	}, 20*time.Second, 10*time.Millisecond, "a queue has no owner")
	return owned
}

// Queues move when members come and go, at once since the broker tells the others; together the members own all queues,
// and each queue has one owner.
func TestRebalance(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("rebalance"), uniqueName("g")
	c.createTopic(t, topic, 4)
	c.setGroup(t, group, nil)
	send := toQueues(t, c)
	boxes := []*inbox{{}, {}}
	startConsumer(t, c.namesrv, group, []string{topic}, into(boxes[0]), consumer.WithInstance(uniqueName("a")))
	require.Equal(t, [][]int{{0, 1, 2, 3}, nil}, probe(t, send, topic, 4, boxes))
	second := startConsumer(t, c.namesrv, group, []string{topic}, into(boxes[1]), consumer.WithInstance(uniqueName("b")))
	require.Eventually(t, func() bool {
		owned := probe(t, send, topic, 4, boxes)
		return len(owned[0]) == 2 && len(owned[1]) == 2
	}, 20*time.Second, 50*time.Millisecond)
	require.NoError(t, second.Shutdown())
	require.Eventually(t, func() bool { return len(probe(t, send, topic, 4, boxes)[0]) == 4 }, 30*time.Second, 50*time.Millisecond)
}

func TestAllocationStrategies(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for name, s := range map[string]struct {
		strategy consumer.AllocateStrategy
		want     [][]int // nil: any split
	}{
		"averagely":       {consumer.AllocateByAveragely, [][]int{{0, 1}, {2, 3}}},
		"circle":          {consumer.AllocateByAveragelyCircle, [][]int{{0, 2}, {1, 3}}},
		"consistent hash": {consumer.AllocateByConsistentHash(10), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic, group := uniqueName("allocate"), uniqueName("g")
			c.createTopic(t, topic, 4)
			c.setGroup(t, group, nil)
			send := toQueues(t, c)
			boxes := []*inbox{{}, {}}
			for i, b := range boxes {
				startConsumer(t, c.namesrv, group, []string{topic}, into(b), consumer.WithStrategy(s.strategy), consumer.WithInstance(uniqueName(string(rune('a'+i)))))
			}
			require.Eventually(t, func() bool {
				got := probe(t, send, topic, 4, boxes)
				return s.want == nil && len(got[0])+len(got[1]) == 4 || fmt.Sprint(got) == fmt.Sprint(s.want)
			}, 40*time.Second, 50*time.Millisecond)
		})
	}
}

func newPullConsumer(t *testing.T, namesrv, group, topic string, opts ...consumer.Option) rocketmq.PullConsumer {
	t.Helper()
	opts = append([]consumer.Option{consumer.WithNameServer([]string{namesrv}), consumer.WithGroupName(group), consumer.WithInstance(uniqueName("pull"))}, opts...)
	pc, err := rocketmq.NewPullConsumer(opts...)
	require.NoError(t, err)
	require.NoError(t, pc.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
	require.NoError(t, pc.Start())
	t.Cleanup(func() { _ = pc.Shutdown() })
	return pc
}

// The four outcomes of a pull by hand.
func TestPullConsumer(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("pull")
	c.createTopic(t, topic, 1)
	sendMany(t, c.namesrv, topic, "m", 50)
	pc := newPullConsumer(t, c.namesrv, uniqueName("g"), topic)
	q := &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a", QueueId: 0}
	r, err := pc.PullFrom(context.Background(), q, 45, 10)
	require.NoError(t, err)
	require.Equal(t, primitive.PullFound, r.Status)
	require.Len(t, r.GetMessageExts(), 5)
	require.Equal(t, int64(50), r.NextBeginOffset)
	require.Equal(t, int64(0), r.MinOffset)
	require.Equal(t, int64(50), r.MaxOffset)
	r, err = pc.PullFrom(context.Background(), q, 99, 10)
	require.NoError(t, err)
	require.Equal(t, primitive.PullOffsetIllegal, r.Status)
	require.Equal(t, int64(50), r.NextBeginOffset)

	// The Go client always waits for new messages; a frame that does not is answered at once.
	addr := c.leader(t).Addr
	for _, pull := range []struct {
		what string
		ext  fields
		code int
		next string
	}{
		{"no new message", pullFields(topic, 0, 50), 19, "50"},
		{"no message that matches", with(pullFields(topic, 0, 0), "subscription", "nobody"), 20, "50"},
		{"beyond the end", pullFields(topic, 0, 51), 21, "50"},
		{"below the first", pullFields(topic, 0, -1), 21, "0"},
	} {
		r, err := invoke(addr, 11, pull.ext, nil)
		require.NoError(t, err)
		require.Equal(t, pull.code, r.Code, pull.what)
		require.Equal(t, fields{"nextBeginOffset": pull.next, "minOffset": "0", "maxOffset": "50", "suggestWhichBrokerId": "0"}, r.Ext, pull.what)
	}
}

func TestPollAndAcknowledge(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("poll"), uniqueName("g")
	c.createTopic(t, topic, 2)
	want := sendMany(t, c.namesrv, topic, "m", 20)
	pc := newPullConsumer(t, c.namesrv, group, topic)
	box := &inbox{}
	for deadline := time.Now().Add(30 * time.Second); len(box.bodies()) < len(want) && time.Now().Before(deadline); {
		r, err := pc.Poll(context.Background(), time.Second)
		if err != nil {
			continue
		}
		box.add(r.GetMsgList()...)
		pc.ACK(context.Background(), r, consumer.ConsumeSuccess)
	}
	box.waitFor(t, want, time.Second)
	require.NoError(t, pc.PersistOffset(context.Background(), topic))
	addr := c.leader(t).Addr
	require.Eventually(t, func() bool { return totalCommitted(t, addr, group, topic, 2) == 20 }, 10*time.Second, 50*time.Millisecond)
}

// A new group on a topic whose first messages are gone starts where it asks to; on a young topic it starts at 0 whatever it
// asks.
func TestConsumeFrom(t *testing.T) {
	t.Parallel()
	hours := make([]string, 24)
	for h := range hours {
		hours[h] = fmt.Sprintf("%02d", h)
	}
	c := ownCluster(t, "--nodes", "1", "--set", "mappedFileSizeCommitLog=1048576,fileReservedTime=0,cleanResourceInterval=100,deleteWhen="+strings.Join(hours, ";"))
	c.createTopic(t, "young", 1)
	c.createTopic(t, "old", 1)
	addr := c.leader(t).Addr
	for range 30 {
		must(t, addr, 10, sendFields("old", 0), make([]byte, 100_000))
	}
	require.Eventually(t, func() bool {
		return number(t, addr, 31, "offset", fields{"topic": "old", "queueId": "0"}) > 0
	}, 30*time.Second, 100*time.Millisecond, "the first messages stay")
	send := func(body string) {
		must(t, addr, 10, sendFields("old", 0), []byte(body))
		must(t, addr, 10, sendFields("young", 0), []byte(body))
	}
	send("before")
	// The client names a time in whole seconds, and gets the message nearest to it.
	time.Sleep(2200 * time.Millisecond)
	between := time.Now().UTC().Format("20060102150405")
	send("between")
	for name, from := range map[string]struct {
		topic string
		opts  []consumer.Option
		want  []string // what comes besides what is sent when the consumer runs, "first" standing for anything before
	}{
		"last":           {"old", []consumer.Option{consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset)}, nil},
		"timestamp":      {"old", []consumer.Option{consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp), consumer.WithConsumeTimestamp(between)}, []string{"between"}},
		"first":          {"old", []consumer.Option{consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, []string{"first", "before", "between"}},
		"last but young": {"young", []consumer.Option{consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset)}, []string{"before", "between"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group := uniqueName("g")
			box := newConsumer(t, c.namesrv, group, from.topic, consumer.MessageSelector{}, nil, from.opts...)
			c.awaitMembers(t, group, 1)
			body := uniqueName("after")
			// What is sent before the consumer has looked for its place belongs to the past of "last"; so it goes on sending.
			require.Eventually(t, func() bool {
				must(t, addr, 10, sendFields(from.topic, 0), []byte(body))
				return box.bodies()[body] > 0
			}, time.Minute, 200*time.Millisecond)
			want := map[string]bool{}
			for _, w := range from.want {
				want[w] = true
			}
			got := map[string]bool{}
			for b := range box.bodies() {
				switch {
				case len(b) > 1000:
					got["first"] = true
				case !strings.HasPrefix(b, "after"):
					got[b] = true
				}
			}
			require.Equal(t, want, got)
		})
	}
}

// Neither a new consumer nor a new broker process makes a group begin again.
func TestOffsetsSurviveRestart(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--nodes", "1")
	c.createTopic(t, "kept", 2)
	round := func(prefix string, total int64) {
		box := &inbox{}
		pc := startConsumer(t, c.namesrv, "keepers", []string{"kept"}, into(box))
		want := sendMany(t, c.namesrv, "kept", prefix, 20)
		box.waitFor(t, want, time.Minute)
		// The client commits what its listener has returned from, every 5 s and at its end; an end in the moment
		// between a message's arrival and that return would leave the message to the next round.
		require.Eventually(t, func() bool {
			return totalCommitted(t, c.leader(t).Addr, "keepers", "kept", 2) == total
		}, time.Minute, 20*time.Millisecond)
		require.NoError(t, pc.Shutdown())
		for body := range box.bodies() {
			require.True(t, want[body], "%s came again", body)
		}
	}
	round("first", 20)
	round("second", 40)
	_, err := command("mqadmin", "local", "down", "--dir", c.dir)
	require.NoError(t, err)
	_, err = command("mqadmin", "local", "up", "--dir", c.dir)
	require.NoError(t, err)
	require.EqualValues(t, 40, totalCommitted(t, c.leader(t).Addr, "keepers", "kept", 2))
	round("third", 60)
}

// A pull carries the consumer's progress with it.
func TestCommitWithPull(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("ride"), uniqueName("g")
	c.createTopic(t, topic, 1)
	sendMany(t, c.namesrv, topic, "m", 10)
	addr := c.leader(t).Addr
	ride := with(pullFields(topic, 0, 7), "consumerGroup", group, "sysFlag", "5", "commitOffset", "7")
	must(t, addr, 11, ride, nil)
	require.EqualValues(t, 7, committedOffset(t, addr, group, topic, 0))
	// Not without the flag, and not from a slave's reader, which has none.
	must(t, addr, 11, with(ride, "sysFlag", "4", "commitOffset", "9"), nil)
	require.EqualValues(t, 7, committedOffset(t, addr, group, topic, 0))
}

// A suspended consumer keeps its queues and takes nothing more than what its last pull brings.
func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("suspend"), uniqueName("g")
	c.createTopic(t, topic, 1)
	c.setGroup(t, group, nil)
	box := &inbox{}
	pc := startConsumer(t, c.namesrv, group, []string{topic}, into(box))
	box.waitFor(t, sendMany(t, c.namesrv, topic, "before", 1), time.Minute)
	pc.Suspend()
	// This one answers the pull that was waiting when the consumer was suspended.
	box.waitFor(t, sendMany(t, c.namesrv, topic, "held", 1), time.Minute)
	late := sendMany(t, c.namesrv, topic, "late", 10)
	require.Never(t, func() bool { return len(box.bodies()) > 2 }, 2*time.Second, 50*time.Millisecond)
	c.awaitMembers(t, group, 1)
	pc.Resume()
	// A suspended Go client looks every 30 s.
	box.waitFor(t, late, time.Minute)
}

func TestBatchConsumption(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("batches")
	c.createTopic(t, topic, 1)
	want := sendMany(t, c.namesrv, topic, "m", 64)
	box := &inbox{}
	var mu sync.Mutex
	largest := 0
	startConsumer(t, c.namesrv, uniqueName("g"), []string{topic}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, len(msgs))
		return into(box)(ctx, msgs...)
	}, consumer.WithConsumeMessageBatchMaxSize(16))
	box.waitFor(t, want, time.Minute)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 16, largest)
}

// A listener that does not return in time is given up by the client, which sends the message back.
func TestConsumeTimeout(t *testing.T) {
	t.Parallel()
	c := strictBroker(t)
	topic, group := uniqueName("stuck"), uniqueName("g")
	c.createTopic(t, topic, 1)
	c.setGroup(t, group, nil)
	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	box := &inbox{}
	startConsumer(t, c.namesrv, group, []string{topic}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		if msgs[0].ReconsumeTimes == 0 {
			<-stuck
		}
		return into(box)(ctx, msgs...)
	}, consumer.WithConsumeTimeout(time.Second))
	sendMany(t, c.namesrv, topic, "m", 1)
	box.waitFor(t, map[string]bool{"m0": true}, time.Minute)
	require.EqualValues(t, 1, box.all()[0].ReconsumeTimes)
}

// A group that is switched off reads nothing, and goes on where it was when it is switched on.
func TestDisabledGroup(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("disabled"), uniqueName("g")
	c.createTopic(t, topic, 1)
	c.setGroup(t, group, map[string]any{"consumeEnable": false})
	want := sendMany(t, c.namesrv, topic, "m", 5)
	addr := c.leader(t).Addr
	refused(t, addr, 11, with(pullFields(topic, 0, 0), "consumerGroup", group), nil, 16, "subscription group no permission, "+group)
	box := newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, nil)
	require.Never(t, func() bool { return len(box.all()) > 0 }, time.Second, 50*time.Millisecond)
	c.setGroup(t, group, nil)
	box.waitFor(t, want, time.Minute)
}

func TestSeveralTopicsInOneGroup(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	one, two, group := uniqueName("one"), uniqueName("two"), uniqueName("g")
	c.createTopic(t, one, 1)
	c.createTopic(t, two, 1)
	box := &inbox{}
	pc := startConsumer(t, c.namesrv, group, []string{one, two}, into(box))
	box.waitFor(t, sendMany(t, c.namesrv, one, "one", 7), time.Minute)
	box.waitFor(t, sendMany(t, c.namesrv, two, "two", 3), time.Minute)
	require.NoError(t, pc.Shutdown())
	addr := c.leader(t).Addr
	require.Eventually(t, func() bool {
		return committedOffset(t, addr, group, one, 0) == 7 && committedOffset(t, addr, group, two, 0) == 3
	}, 10*time.Second, 50*time.Millisecond)
}

// Members are told within a second that one joined or left.
func TestMembersAreNotified(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("notice"), uniqueName("g")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	first, second := dial(t, addr), dial(t, addr)
	first.beat(t, "first", group, "CLUSTERING", 1, topic, "*")
	first.pushed = nil
	notice := func() {
		t.Helper()
		f := first.next(t, time.Second)
		require.Equal(t, 40, f.Code)
		require.Equal(t, 2, f.Flag&2, "one-way")
		require.Equal(t, group, f.Ext["consumerGroup"])
	}
	second.beat(t, "second", group, "CLUSTERING", 1, topic, "*")
	require.NotEmpty(t, second.pushed, "the newcomer is told before its heartbeat is answered")
	notice()
	c.awaitMembers(t, group, 2)
	require.NoError(t, second.conn.Close())
	notice()
	c.awaitMembers(t, group, 1)
}

func TestQueueOffsets(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("offsets")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	queue := fields{"topic": topic, "queueId": "0"}
	require.EqualValues(t, -1, number(t, addr, 32, "timestamp", queue), "an empty queue has no earliest time")
	require.Zero(t, number(t, addr, 29, "offset", with(queue, "timestamp", "5")))
	sendMany(t, c.namesrv, topic, "m", 10)
	stored := readQueue(t, addr, topic, 0)
	require.EqualValues(t, 10, number(t, addr, 30, "offset", queue))
	require.Zero(t, number(t, addr, 31, "offset", queue))
	require.Equal(t, stored[0].StoreTimestamp, number(t, addr, 32, "timestamp", queue))
	search := func(at int64) int64 {
		return number(t, addr, 29, "offset", with(queue, "timestamp", strconv.FormatInt(at, 10)))
	}
	require.Zero(t, search(0), "before the first: the first")
	require.EqualValues(t, 9, search(time.Now().Add(time.Hour).UnixMilli()), "beyond the last: the last")
	for _, m := range stored {
		require.Equal(t, m.StoreTimestamp, stored[search(m.StoreTimestamp)].StoreTimestamp)
	}
	r := must(t, addr, 202, fields{"topic": topic}, nil)
	require.Contains(t, string(r.Body), `"maxOffset":10,"minOffset":0`, "topicStatus says the same")
}

// A pull must not be older than what the group's heartbeat said, and reads by the newest word of it.
func TestSubscriptionVersion(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("version"), uniqueName("g")
	c.createTopic(t, topic, 1)
	p := newProducer(t, c.namesrv)
	for _, tag := range []string{"A", "B"} {
		sendSync(t, p, primitive.NewMessage(topic, []byte("tagged "+tag)).WithTag(tag))
	}
	addr := c.leader(t).Addr
	pull := func(version string) fields {
		return with(pullFields(topic, 0, 0), "consumerGroup", group, "sysFlag", "0", "subscription", "", "subVersion", version)
	}
	refused(t, addr, 11, pull("1"), nil, 24, "group info not exist")
	w := dial(t, addr)
	w.beat(t, "c", group, "CLUSTERING", 5, topic, "A")
	refused(t, addr, 11, pull("6"), nil, 25, "not latest")
	read := func(version string) string {
		got := primitive.DecodeMessage(must(t, addr, 11, pull(version), nil).Body)
		require.Len(t, got, 1)
		return string(got[0].Body)
	}
	require.Equal(t, "tagged A", read("5"))
	require.Equal(t, "tagged A", read("0"), "as the Go client sends it")
	w.beat(t, "c", group, "CLUSTERING", 6, topic, "B")
	require.Equal(t, "tagged B", read("6"))
	// A topic that a heartbeat no longer names is no longer subscribed.
	w.beat(t, "c", group, "CLUSTERING", 7, uniqueName("other"), "*")
	refused(t, addr, 11, pull("6"), nil, 24, "subscription not exist")
}

func TestBroadcastingRefused(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("nocast"), uniqueName("g")
	c.createTopic(t, topic, 1)
	c.setGroup(t, group, map[string]any{"consumeBroadcastEnable": false})
	addr := c.leader(t).Addr
	dial(t, addr).beat(t, "c", group, "CLUSTERING", 1, topic, "*")
	w := dial(t, addr)
	w.beat(t, "d", group, "BROADCASTING", 1, topic, "*")
	refused(t, addr, 11, with(pullFields(topic, 0, 0), "consumerGroup", group, "sysFlag", "0"), nil, 16, "broadcast")
}

// Groups come into being with their first heartbeat or pull; where that is switched off they are refused.
func TestAutoCreateGroup(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("autogroup"), uniqueName("g")
	c.createTopic(t, topic, 1)
	dial(t, c.leader(t).Addr).beat(t, "c", group, "CLUSTERING", 1, topic, "*")
	must(t, c.leader(t).Addr, 352, fields{"group": group}, nil)

	s := strictBroker(t)
	addr := s.leader(t).Addr
	s.createTopic(t, topic, 1)
	dial(t, addr).beat(t, "c", group, "CLUSTERING", 1, topic, "*")
	for code, ext := range map[int]fields{
		11: with(pullFields(topic, 0, 0), "consumerGroup", group),
		36: {"group": group, "offset": "0", "delayLevel": "0"},
	} {
		refused(t, addr, code, ext, nil, 26, group)
	}
	s.setGroup(t, group, nil)
	r, err := invoke(addr, 11, with(pullFields(topic, 0, 0), "consumerGroup", group), nil)
	require.NoError(t, err)
	require.Equal(t, 19, r.Code, r.Remark)
}
