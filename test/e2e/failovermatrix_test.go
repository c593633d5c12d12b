package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// scenario is one capability in use while the leader dies. It starts its clients, gives the matrix its loads, and returns
// what has to hold afterwards.
type scenario func(t *testing.T, m *failoverMatrix) (check func(t *testing.T))

// failoverMatrix runs scenarios side by side on one cluster.
type failoverMatrix struct {
	c    *cluster
	stop chan struct{}
	wg   sync.WaitGroup
	// killed is set just before the leader dies, and killedAt with it.
	killed   atomic.Bool
	killedAt time.Time
	loads    []*load
}

// load is something an application does again and again.
type load struct {
	name  string
	after atomic.Int64 // successes since the leader died
	total atomic.Int64
}

// every runs do until the matrix stops; do says whether it succeeded.
func (m *failoverMatrix) every(name string, pause time.Duration, do func(i int) bool) {
	l := &load{name: name}
	m.loads = append(m.loads, l)
	m.wg.Go(func() {
		for i := 0; ; i++ {
			// An application's pause between two things it does.
			select {
			case <-m.stop:
				return
			case <-time.After(pause):
			}
			if before := m.killed.Load(); do(i) {
				l.total.Add(1)
				if before {
					l.after.Add(1)
				}
			}
		}
	})
}

// acked is a set of bodies that were acknowledged, and of those whose send failed: they may be stored or not.
type acked struct {
	mu        sync.Mutex
	ok, maybe map[string]bool
}

func newAcked() *acked { return &acked{ok: map[string]bool{}, maybe: map[string]bool{}} }

func (a *acked) note(ok bool, bodies ...string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range bodies {
		if ok {
			a.ok[b] = true
		} else {
			a.maybe[b] = true
		}
	}
	return ok
}

func (a *acked) all() map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ok
}

// once is a producer that sends each message one time only, whatever becomes of it: the client's own retries would store
// copies that say nothing about the broker.
func once(t *testing.T, m *failoverMatrix, opts ...producer.Option) func(a *acked, msgs ...*primitive.Message) bool {
	t.Helper()
	p := newProducer(t, m.c.namesrv, append(opts, producer.WithRetry(0))...)
	return func(a *acked, msgs ...*primitive.Message) bool {
		var bodies []string
		for _, msg := range msgs {
			bodies = append(bodies, string(msg.Body))
		}
		r, err := p.SendSync(context.Background(), msgs...)
		return a.note(err == nil && r.Status == primitive.SendOK, bodies...)
	}
}

// stored reads what a topic holds and sees to it that it is what was sent: everything acknowledged, nothing invented, and
// each message in one place.
func (m *failoverMatrix) stored(t *testing.T, topic string, queues int, a *acked) []*primitive.MessageExt {
	t.Helper()
	msgs := readTopic(t, m.c.leader(t).Addr, topic, queues)
	n := map[string]int{}
	for _, x := range msgs {
		n[string(x.Body)]++
		require.True(t, a.ok[string(x.Body)] || a.maybe[string(x.Body)], "%s was never sent", x.Body)
		require.Equal(t, 1, n[string(x.Body)], "%s is stored twice", x.Body)
	}
	for b := range a.ok {
		require.Equal(t, 1, n[b], "%s was acknowledged and is not there", b)
	}
	return msgs
}

// The leader dies by kill -9 while every kind of delivery is under way. Stock clients look for a new leader every 30 s,
// which is most of the time this takes. (Nothing here sends asynchronously: v2.1.2 dereferences nil when the connection of
// an asynchronous send breaks, a request's included.)
func TestFailoverMatrix(t *testing.T) {
	t.Parallel()
	m := &failoverMatrix{c: ownCluster(t, "--set", quickChecks), stop: make(chan struct{})}
	scenarios := []struct {
		name string
		run  scenario
	}{
		{"SendAndConsume", failoverPlain},
		{"Orderly", failoverOrderly},
		{"BatchAtomic", failoverBatch},
		{"TransactionOnce", failoverTransaction},
		{"DelayedOnceAndNotEarly", failoverDelay},
		{"RetryCountsOn", failoverRetry},
		{"OffsetsDoNotRewind", failoverOffsets},
		{"LocksKept", failoverLocks},
		{"Broadcasting", failoverBroadcast},
		{"Filters", failoverFilter},
		{"RequestReply", failoverReply},
		{"Deduplication", failoverDedup},
	}
	checks := make([]func(t *testing.T), len(scenarios))
	for i, s := range scenarios {
		checks[i] = s.run(t, m)
	}
	lacking := func(n int64, count func(l *load) int64) (names []string) {
		for _, l := range m.loads {
			if count(l) < n {
				names = append(names, fmt.Sprintf("%s (%d)", l.name, count(l)))
			}
		}
		return names
	}
	const enough = 10
	require.Eventually(t, func() bool { return len(lacking(enough, func(l *load) int64 { return l.total.Load() })) == 0 },
		30*time.Second, 50*time.Millisecond, "the loads do not start")
	old := m.c.leader(t)
	m.killedAt = time.Now()
	m.killed.Store(true)
	require.NoError(t, syscall.Kill(old.PID, syscall.SIGKILL))
	deadline := time.Now().Add(50 * time.Second)
	for names := []string{"x"}; len(names) > 0; {
		names = lacking(enough, func(l *load) int64 { return l.after.Load() })
		if time.Now().After(deadline) {
			t.Errorf("no progress after the failover: %s", strings.Join(names, ", "))
			break
		}
		// The clients poll; nothing tells when they have found the new leader.
		time.Sleep(100 * time.Millisecond)
	}
	close(m.stop)
	m.wg.Wait()
	for _, l := range m.loads {
		t.Logf("%s: %d, %d of them after the leader died", l.name, l.total.Load(), l.after.Load())
	}
	for i, s := range scenarios {
		t.Run(s.name, checks[i])
	}
}

func failoverPlain(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	m.c.createTopic(t, "plain", 4)
	box := newConsumer(t, m.c.namesrv, "plain_group", "plain", consumer.MessageSelector{}, nil)
	send, a := once(t, m), newAcked()
	m.every("plain", 10*time.Millisecond, func(i int) bool {
		return send(a, primitive.NewMessage("plain", []byte(strconv.Itoa(i))))
	})
	return func(t *testing.T) {
		m.stored(t, "plain", 4, a)
		box.waitFor(t, a.all(), 30*time.Second)
	}
}

// standIn registers a member of a group with every broker, last in the order in which queues are shared out; leave ends it.
func (m *failoverMatrix) standIn(t *testing.T, group, topic string) (leave func()) {
	t.Helper()
	s, err := m.c.status()
	require.NoError(t, err)
	var wires []*wire
	for _, b := range s.Brokers {
		w := dial(t, b.Addr)
		w.beat(t, "~", group, "CLUSTERING", 1, topic, "*")
		wires = append(wires, w)
	}
	return func() {
		for _, w := range wires {
			require.NoError(t, w.conn.Close())
		}
	}
}

// failoverOrderly: of each key an application sends the next message when the last one is acknowledged, again and again if
// need be. Its consumers may see messages repeated, but nothing out of order and nothing left out.
func failoverOrderly(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	const keys = 4
	m.c.createTopic(t, "ordered", keys)
	m.c.setGroup(t, "ordered_group", nil)
	var mu sync.Mutex
	seen := make([][]int, keys)
	// A Go member never gives a lock back, so a queue that changes hands rests for a minute. Hence a stand-in joins first: the
	// second member then finds its half of the queues free.
	leave := m.standIn(t, "ordered_group", "ordered")
	for _, name := range []string{"a", "b"} {
		startConsumer(t, m.c.namesrv, "ordered_group", []string{"ordered"}, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, x := range msgs {
				var k, v int
				_, _ = fmt.Sscanf(string(x.Body), "%d:%d", &k, &v)
				seen[k] = append(seen[k], v)
			}
			return consumer.ConsumeSuccess, nil
		}, consumer.WithConsumerOrder(true), consumer.WithInstance(uniqueName(name)))
	}
	m.c.awaitMembers(t, "ordered_group", 3)
	leave()
	p := newProducer(t, m.c.namesrv, producer.WithQueueSelector(producer.NewManualQueueSelector()))
	sent := make([]int, keys)
	for k := range keys {
		m.every("ordered key "+strconv.Itoa(k), 20*time.Millisecond, func(int) bool {
			x := primitive.NewMessage("ordered", fmt.Appendf(nil, "%d:%d", k, sent[k]))
			x.Queue = &primitive.MessageQueue{Topic: "ordered", BrokerName: "broker-a", QueueId: k}
			r, err := p.SendSync(context.Background(), x)
			if err != nil || r.Status != primitive.SendOK {
				return false
			}
			sent[k]++
			return true
		})
	}
	inOrder := func(t *testing.T, k int, got []int) {
		t.Helper()
		highest := -1
		for _, v := range got {
			require.LessOrEqual(t, v, highest+1, "key %d: %d came after %d", k, v, highest)
			highest = max(highest, v)
		}
	}
	return func(t *testing.T) {
		addr := m.c.leader(t).Addr
		for k := range keys {
			var got []int
			for _, x := range readQueue(t, addr, "ordered", k) {
				v, err := strconv.Atoi(strings.TrimPrefix(string(x.Body), strconv.Itoa(k)+":"))
				require.NoError(t, err)
				got = append(got, v)
			}
			inOrder(t, k, got)
			require.GreaterOrEqual(t, slices.Max(got), sent[k]-1)
		}
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			for k := range keys {
				if len(seen[k]) == 0 || slices.Max(seen[k]) < sent[k]-1 {
					return false
				}
			}
			return true
		}, 60*time.Second, 50*time.Millisecond, "ordered messages are missing")
		mu.Lock()
		defer mu.Unlock()
		for k := range keys {
			inOrder(t, k, seen[k])
		}
	}
}

func failoverBatch(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	const size = 20
	m.c.createTopic(t, "batches", 2)
	send, a := once(t, m), newAcked()
	for w := range 4 {
		m.every("batch", 5*time.Millisecond, func(i int) bool {
			var msgs []*primitive.Message
			for j := range size {
				msgs = append(msgs, primitive.NewMessage("batches", fmt.Appendf(nil, "%d-%d.%d", w, i, j)))
			}
			return send(a, msgs...)
		})
	}
	return func(t *testing.T) {
		items := map[string]int{}
		for _, x := range m.stored(t, "batches", 2, a) {
			batch, _, _ := strings.Cut(string(x.Body), ".")
			items[batch]++
		}
		for batch, n := range items {
			require.Equal(t, size, n, "batch %s is stored in part", batch)
		}
	}
}

// failoverTransaction: a third each of commits, roll backs, and ends that a check-back has to decide.
func failoverTransaction(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	m.c.createTopic(t, "transactions", 2)
	verdict := func(body string) primitive.LocalTransactionState {
		if body[0] == 'r' {
			return primitive.RollbackMessageState
		}
		return primitive.CommitMessageState
	}
	d := &decisions{check: verdict, execute: func(body string) primitive.LocalTransactionState {
		if body[0] == 'u' {
			return primitive.UnknowState
		}
		return verdict(body)
	}}
	p := newTransactionProducer(t, m.c.namesrv, "transaction_group", d, producer.WithRetry(0))
	a := newAcked()
	m.every("transaction", 10*time.Millisecond, func(i int) bool {
		body := fmt.Sprintf("%c%d", "cru"[i%3], i)
		r, err := p.SendMessageInTransaction(context.Background(), primitive.NewMessage("transactions", []byte(body)))
		ok := err == nil && r.Status == primitive.SendOK
		if body[0] == 'r' {
			return ok
		}
		return a.note(ok, body)
	})
	return func(t *testing.T) {
		addr := m.c.leader(t).Addr
		read := func() map[string]int {
			n := map[string]int{}
			for _, x := range readTopic(t, addr, "transactions", 2) {
				n[string(x.Body)]++
			}
			return n
		}
		require.Eventually(t, func() bool {
			n := read()
			for body := range a.all() {
				if n[body] == 0 {
					return false
				}
			}
			return true
		}, 30*time.Second, 200*time.Millisecond, "a committed transaction is missing")
		for body, n := range read() {
			require.Equal(t, 1, n, "%s was published %d times", body, n)
			require.NotEqual(t, byte('r'), body[0], "%s was rolled back", body)
			require.True(t, a.ok[body] || a.maybe[body], "%s was never sent", body)
		}
	}
}

// failoverDelay: messages of 1 and of 5 s keep coming, so that some mature while there is no leader.
func failoverDelay(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	m.c.createTopic(t, "delayed", 2)
	delays := map[int]time.Duration{1: time.Second, 2: 5 * time.Second}
	send, a := once(t, m), newAcked()
	var mu sync.Mutex
	at := map[string]time.Time{}
	m.every("delayed", 10*time.Millisecond, func(i int) bool {
		body := fmt.Sprintf("%d-%d", 1+i%2, i)
		mu.Lock()
		at[body] = time.Now()
		mu.Unlock()
		return send(a, primitive.NewMessage("delayed", []byte(body)).WithDelayTimeLevel(1+i%2))
	})
	return func(t *testing.T) {
		addr := m.c.leader(t).Addr
		require.Eventually(t, func() bool {
			return maxOffset(t, addr, "delayed", 0)+maxOffset(t, addr, "delayed", 1) >= int64(len(a.all()))
		}, 30*time.Second, 100*time.Millisecond, "delayed messages are missing")
		across := 0
		for _, x := range m.stored(t, "delayed", 2, a) {
			if at[string(x.Body)].Before(m.killedAt) && time.UnixMilli(x.StoreTimestamp).After(m.killedAt) {
				across++
			}
			early := at[string(x.Body)].Add(delays[int(x.Body[0]-'0')]).Sub(time.UnixMilli(x.StoreTimestamp))
			require.Less(t, early, 20*time.Millisecond, "%s came early", x.Body) // clocks of two processes
		}
		require.Greater(t, across, 10, "messages that were waiting when the leader died")
	}
}

// failoverRetry: a message that is never consumed counts its deliveries up to the maximum, and then is a dead letter, once.
func failoverRetry(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	const limit = 12
	m.c.createTopic(t, "poison", 1)
	m.c.setGroup(t, "poison_group", map[string]any{"retryMaxTimes": limit})
	d := &deliveries{decide: func(_ *primitive.MessageExt, cc *primitive.ConsumeConcurrentlyContext) consumer.ConsumeResult {
		cc.DelayLevelWhenNextConsume = 1
		return consumer.ConsumeRetryLater
	}}
	startConsumer(t, m.c.namesrv, "poison_group", []string{"poison"}, d.listen, consumer.WithMaxReconsumeTimes(limit))
	sendMany(t, m.c.namesrv, "poison", "m", 1)
	require.Eventually(t, func() bool { return d.count() >= 3 }, 30*time.Second, 20*time.Millisecond)
	return func(t *testing.T) {
		require.True(t, d.at[0].Before(m.killedAt))
		require.True(t, d.at[len(d.at)-1].After(m.killedAt))
		require.EqualValues(t, limit+1, m.c.deadLetters(t, "poison_group", 1)[0].ReconsumeTimes)
		var counts []int32
		for _, x := range readQueue(t, m.c.leader(t).Addr, "%RETRY%poison_group", 0) {
			counts = append(counts, x.ReconsumeTimes)
		}
		for i, n := range counts {
			require.EqualValues(t, i+1, n, "retries %v", counts)
		}
		require.Len(t, counts, limit)
	}
}

// failoverOffsets: a commit that was answered is never forgotten, and what is read never goes back behind it.
func failoverOffsets(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	m.c.createTopic(t, "progress", 1)
	var confirmed, read, rewound atomic.Int64
	m.every("commit", 10*time.Millisecond, func(i int) bool {
		s, err := m.c.status()
		if err != nil {
			return false
		}
		for _, b := range s.Brokers {
			if b.Role != "leader" {
				continue
			}
			r, err := invoke(b.Addr, 15, fields{"consumerGroup": "progress_group", "topic": "progress", "queueId": "0", "commitOffset": strconv.Itoa(i + 1)}, nil)
			if err == nil && r.Code == 0 {
				confirmed.Store(int64(i + 1))
				return true
			}
		}
		return false
	})
	m.every("read offsets", 10*time.Millisecond, func(int) bool {
		s, err := m.c.status()
		if err != nil {
			return false
		}
		for _, b := range s.Brokers {
			floor := confirmed.Load()
			if b.Role != "leader" {
				continue
			}
			r, err := invoke(b.Addr, 14, fields{"consumerGroup": "progress_group", "topic": "progress", "queueId": "0"}, nil)
			if err != nil || r.Code != 0 {
				continue
			}
			n, err := strconv.ParseInt(r.Ext["offset"], 10, 64)
			if err != nil || n < floor {
				rewound.Add(1)
			}
			read.Store(n)
			return true
		}
		return false
	})
	return func(t *testing.T) {
		require.Zero(t, rewound.Load())
		require.GreaterOrEqual(t, committedOffset(t, m.c.leader(t).Addr, "progress_group", "progress", 0), confirmed.Load())
		require.Positive(t, read.Load())
	}
}

// failoverLocks: who owned a queue under the old leader owns it under the new one, and nobody else does.
func failoverLocks(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	m.c.createTopic(t, "locked", 4)
	require.Equal(t, 4, lockQueues(t, m.c.leader(t).Addr, 41, "owner", "lock_group", "locked", 4))
	var stolen atomic.Int64
	var owner atomic.Bool
	m.every("lock", 100*time.Millisecond, func(i int) bool {
		s, err := m.c.status()
		if err != nil {
			return false
		}
		for _, b := range s.Brokers {
			if b.Role != "leader" {
				continue
			}
			client := []string{"thief", "owner"}[i%2]
			body := `{"clientId":"` + client + `","consumerGroup":"lock_group","mqSet":[{"topic":"locked","brokerName":"broker-a","queueId":0},{"topic":"locked","brokerName":"broker-a","queueId":3}]}`
			r, err := invoke(b.Addr, 41, nil, []byte(body))
			if err != nil || r.Code != 0 {
				continue
			}
			n := strings.Count(string(r.Body), `"queueId"`)
			if client == "thief" {
				stolen.Add(int64(n))
			} else if n == 2 && m.killed.Load() {
				owner.Store(true)
			}
			return true
		}
		return false
	})
	return func(t *testing.T) {
		require.Zero(t, stolen.Load(), "locks were granted to another client")
		require.True(t, owner.Load(), "the owner could not renew its locks")
	}
}

func failoverBroadcast(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	m.c.createTopic(t, "cast", 2)
	var boxes []*inbox
	for range 2 {
		boxes = append(boxes, newConsumer(t, m.c.namesrv, "cast_group", "cast", consumer.MessageSelector{}, nil,
			consumer.WithConsumerModel(consumer.BroadCasting)))
	}
	send, a := once(t, m), newAcked()
	m.every("broadcast", 20*time.Millisecond, func(i int) bool {
		return send(a, primitive.NewMessage("cast", []byte(strconv.Itoa(i))))
	})
	return func(t *testing.T) {
		for _, b := range boxes {
			b.waitFor(t, a.all(), 40*time.Second)
		}
	}
}

func failoverFilter(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	m.c.createTopic(t, "sieve", 2)
	tagged := newConsumer(t, m.c.namesrv, "tag_group", "sieve", consumer.MessageSelector{Type: consumer.TAG, Expression: "even"}, nil)
	selected := newConsumer(t, m.c.namesrv, "sql_group", "sieve", consumer.MessageSelector{Type: consumer.SQL92, Expression: "n BETWEEN 3 AND 5"}, nil)
	send, a := once(t, m), newAcked()
	m.every("filter", 10*time.Millisecond, func(i int) bool {
		x := primitive.NewMessage("sieve", fmt.Appendf(nil, "%d-%d", i%10, i)).WithTag([]string{"even", "odd"}[i%2])
		x.WithProperty("n", strconv.Itoa(i%10))
		return send(a, x)
	})
	return func(t *testing.T) {
		for box, wanted := range map[*inbox]string{tagged: "02468", selected: "345"} {
			want := map[string]bool{}
			for body := range a.all() {
				if strings.Contains(wanted, body[:1]) {
					want[body] = true
				}
			}
			box.waitFor(t, want, 40*time.Second)
			for body := range box.bodies() {
				require.Contains(t, wanted, body[:1], "%s was not asked for", body)
			}
		}
	}
}

// A cluster with nothing else to do delivers within 100 ms of the time. The machine that runs this may have other things to
// do, so it is the median of ten that counts.
func TestDelayIsPunctual(t *testing.T) {
	c := ownCluster(t)
	c.createTopic(t, "punctual", 1)
	late := make(chan time.Duration, 10)
	startConsumer(t, c.namesrv, "punctual_group", []string{"punctual"}, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, x := range msgs {
			late <- time.Since(time.UnixMilli(x.BornTimestamp).Add(time.Second))
		}
		return consumer.ConsumeSuccess, nil
	})
	p := newProducer(t, c.namesrv)
	var times []time.Duration
	for i := range 10 {
		sendSync(t, p, primitive.NewMessage("punctual", []byte(strconv.Itoa(i))).WithDelayTimeLevel(1))
		// Spread over the second, so that each is on its own.
		time.Sleep(50 * time.Millisecond)
	}
	for range 10 {
		select {
		case l := <-late:
			times = append(times, l)
		case <-time.After(20 * time.Second):
			require.Fail(t, "delayed messages are missing")
		}
	}
	slices.Sort(times)
	t.Logf("late by %v", times)
	require.GreaterOrEqual(t, times[0], -20*time.Millisecond, "early")
	require.LessOrEqual(t, times[5], 100*time.Millisecond, "late by %v", times)
}
