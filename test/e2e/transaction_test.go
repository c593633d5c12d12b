package e2e

import (
	"context"
	"fmt"
	"slices"
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

// decisions is a transaction listener that answers by the message's body.
type decisions struct {
	execute, check func(body string) primitive.LocalTransactionState

	mu     sync.Mutex
	checks []string // bodies asked about, in order
}

func (d *decisions) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return d.execute(string(m.Body))
}

func (d *decisions) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	d.mu.Lock()
	d.checks = append(d.checks, string(m.Body))
	d.mu.Unlock()
	return d.check(string(m.Body))
}

func (d *decisions) asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.checks)
}

func always(s primitive.LocalTransactionState) func(string) primitive.LocalTransactionState {
	return func(string) primitive.LocalTransactionState { return s }
}

func newTransactionProducer(t *testing.T, namesrv, group string, d *decisions, opts ...producer.Option) rocketmq.TransactionProducer {
	t.Helper()
	opts = append([]producer.Option{
		producer.WithNameServer([]string{namesrv}), producer.WithGroupName(group), producer.WithInstanceName(uniqueName("tp")),
		producer.WithSendMsgTimeout(10 * time.Second),
	}, opts...)
	p, err := rocketmq.NewTransactionProducer(d, opts...)
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func sendHalf(t *testing.T, p rocketmq.TransactionProducer, topic, body string) *primitive.TransactionSendResult {
	t.Helper()
	r, err := p.SendMessageInTransaction(context.Background(), primitive.NewMessage(topic, []byte(body)))
	require.NoError(t, err)
	require.Equal(t, primitive.SendOK, r.Status)
	return r
}

// maxOffset asks the leader how many messages a queue had.
func (c *cluster) maxOffset(t *testing.T, topic string, queue int) string {
	t.Helper()
	r, err := invoke(c.leader(t).Addr, 30, map[string]string{"topic": topic, "queueId": fmt.Sprint(queue)}, nil)
	require.NoError(t, err)
	return r.Ext["offset"]
}

func TestTransactionCommit(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("commit")
	c.createTopic(t, topic, 1)
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	d := &decisions{check: always(primitive.UnknowState), execute: func(string) primitive.LocalTransactionState {
		if got := c.maxOffset(t, topic, 0); got != "0" {
			return primitive.RollbackMessageState // visible before it was committed
		}
		return primitive.CommitMessageState
	}}
	p := newTransactionProducer(t, c.namesrv, uniqueName("pg"), d)
	r := sendHalf(t, p, topic, "committed")
	require.Equal(t, primitive.CommitMessageState, r.State)
	box.waitFor(t, map[string]bool{"committed": true}, time.Minute)
	got := box.all()[0]
	require.Equal(t, r.MsgID, got.MsgId)
	require.EqualValues(t, primitive.TransactionCommitType, got.SysFlag&0xC)
	require.NotZero(t, got.PreparedTransactionOffset)
	require.Equal(t, "1", c.maxOffset(t, topic, 0))
}

func TestTransactionRollback(t *testing.T) {
	t.Parallel()
	c := checkedCluster(t)
	topic := uniqueName("rollback")
	c.createTopic(t, topic, 1)
	d := &decisions{execute: always(primitive.RollbackMessageState), check: always(primitive.CommitMessageState)}
	p := newTransactionProducer(t, c.namesrv, uniqueName("pg"), d)
	sendHalf(t, p, topic, "rolled back")
	// A later one tells that the checks had their chance.
	unknown := &decisions{execute: always(primitive.UnknowState), check: always(primitive.CommitMessageState)}
	sendHalf(t, newTransactionProducer(t, c.namesrv, uniqueName("pg"), unknown), topic, "later")
	require.Eventually(t, func() bool { return c.maxOffset(t, topic, 0) == "1" }, time.Minute, 50*time.Millisecond)
	require.Empty(t, d.asked())
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"later": true}, time.Minute)
	require.Equal(t, map[string]int{"later": 1}, box.bodies())
}

func TestTransactionCheckBack(t *testing.T) {
	t.Parallel()
	c := checkedCluster(t)
	topic := uniqueName("checkback")
	c.createTopic(t, topic, 1)
	var mu sync.Mutex
	calls := map[string]int{}
	d := &decisions{execute: always(primitive.UnknowState), check: func(body string) primitive.LocalTransactionState {
		mu.Lock()
		defer mu.Unlock()
		calls[body]++
		switch {
		case body == "never":
			return primitive.RollbackMessageState
		case calls[body] < 3:
			return primitive.UnknowState
		}
		return primitive.CommitMessageState
	}}
	p := newTransactionProducer(t, c.namesrv, uniqueName("pg"), d)
	sendHalf(t, p, topic, "third time")
	sendHalf(t, p, topic, "never")
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"third time": true}, time.Minute)
	require.Equal(t, map[string]int{"third time": 1}, box.bodies())
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[string]int{"third time": 3, "never": 1}, calls)
	require.Equal(t, "1", c.maxOffset(t, topic, 0))
}

func TestTransactionCheckBackAnotherProducer(t *testing.T) {
	t.Parallel()
	c := checkedCluster(t)
	topic, group := uniqueName("another"), uniqueName("pg")
	c.createTopic(t, topic, 1)
	gone := &decisions{execute: always(primitive.UnknowState), check: always(primitive.UnknowState)}
	first := newTransactionProducer(t, c.namesrv, group, gone)
	sendHalf(t, first, topic, "orphan")
	require.NoError(t, first.Shutdown())
	other := &decisions{execute: always(primitive.CommitMessageState), check: always(primitive.CommitMessageState)}
	second := newTransactionProducer(t, c.namesrv, group, other)
	sendHalf(t, second, topic, "own") // so that it knows the broker and sends its heartbeats there
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"orphan": true, "own": true}, 90*time.Second)
	require.Equal(t, []string{"orphan"}, other.asked())
}

// Nobody ever answers: the message ends up in TRANS_CHECK_MAX_TIME_TOPIC, and can be brought back once.
func TestTransactionGivenUpAndResumed(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--nodes", "1", "--set", "transactionTimeOut=500,transactionCheckInterval=1000,transactionCheckMax=2")
	topic := uniqueName("giveup")
	c.createTopic(t, topic, 1)
	var mu sync.Mutex
	answer := primitive.UnknowState
	d := &decisions{execute: always(primitive.UnknowState), check: func(string) primitive.LocalTransactionState {
		mu.Lock()
		defer mu.Unlock()
		return answer
	}}
	p := newTransactionProducer(t, c.namesrv, uniqueName("pg"), d)
	sendHalf(t, p, topic, "lost")
	const aside = "TRANS_CHECK_MAX_TIME_TOPIC"
	require.Eventually(t, func() bool { return c.maxOffset(t, aside, 0) == "1" }, time.Minute, 50*time.Millisecond)
	box := newConsumer(t, c.namesrv, uniqueName("g"), aside, consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"lost": true}, time.Minute)
	mu.Lock()
	answer = primitive.CommitMessageState
	mu.Unlock()
	resume := func() int {
		r, err := invoke(c.leader(t).Addr, 323, map[string]string{"msgId": box.all()[0].OffsetMsgId}, nil)
		require.NoError(t, err)
		return int(r.Code)
	}
	require.Equal(t, 0, resume())
	require.Eventually(t, func() bool { return c.maxOffset(t, topic, 0) == "1" }, time.Minute, 50*time.Millisecond)
	require.Equal(t, 1, resume())
	require.Equal(t, "1", c.maxOffset(t, topic, 0))
}

// copies counts the places at which each body lies; being delivered twice is not being stored twice.
func (b *inbox) copies() map[string]int {
	places := map[string]map[string]bool{}
	for _, m := range b.all() {
		body := string(m.Body)
		if places[body] == nil {
			places[body] = map[string]bool{}
		}
		places[body][fmt.Sprint(m.Queue.QueueId, "/", m.QueueOffset)] = true
	}
	n := map[string]int{}
	for body, at := range places {
		n[body] = len(at)
	}
	return n
}

// The leader is killed with -9 amid transactions. Ends that were lost with it are asked for by the next one; what was
// committed appears once, what was rolled back never.
func TestTransactionAcrossFailover(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--set", quickChecks)
	topic := uniqueName("txfailover")
	c.createTopic(t, topic, 4)
	verdict := func(body string) primitive.LocalTransactionState {
		if body[0] == 'r' {
			return primitive.RollbackMessageState
		}
		return primitive.CommitMessageState
	}
	var n int
	d := &decisions{check: verdict, execute: func(body string) primitive.LocalTransactionState {
		if n++; n%3 == 0 {
			return primitive.UnknowState
		}
		return verdict(body)
	}}
	// Without the client's own retries: a send that failed may have been stored, and its retry is another transaction.
	p := newTransactionProducer(t, c.namesrv, uniqueName("pg"), d, producer.WithRetry(0))
	prepared, uncertain := map[string]bool{}, map[string]bool{}
	send := func(i int) bool {
		body := fmt.Sprintf("%c%d", "cr"[i%2], i)
		r, err := p.SendMessageInTransaction(context.Background(), primitive.NewMessage(topic, []byte(body)))
		if err != nil || r.Status != primitive.SendOK {
			uncertain[body] = true
			return false
		}
		prepared[body] = true
		return true
	}
	i := 0
	for ; i < 60; i++ {
		require.True(t, send(i))
	}
	old := c.leader(t)
	var killed sync.WaitGroup
	killed.Go(func() {
		time.Sleep(20 * time.Millisecond) // amid the sends below
		_ = syscall.Kill(old.PID, syscall.SIGKILL)
	})
	for after, deadline := 0, time.Now().Add(90*time.Second); after < 40 && time.Now().Before(deadline); i++ {
		switch ok := send(i); {
		case !ok:
			time.Sleep(50 * time.Millisecond) // the client looks for the new leader every 30 s
		case c.leader(t).PID != old.PID:
			after++
		}
	}
	killed.Wait()
	want := map[string]bool{}
	for body := range prepared {
		if body[0] == 'c' {
			want[body] = true
		}
	}
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, want, 2*time.Minute)
	require.Greater(t, len(want), 40)
	require.Never(t, func() bool {
		for _, n := range box.copies() {
			if n > 1 {
				return true
			}
		}
		return false
	}, 3*time.Second, 100*time.Millisecond, "a later check-back published again")
	for body, copies := range box.copies() {
		require.Equal(t, 1, copies, body)
		require.Equal(t, byte('c'), body[0], "%s was rolled back", body)
		require.True(t, want[body] || uncertain[body], "%s was never sent", body)
	}
}

// A message may ask for patience: it is not asked about before the time that it names.
func TestTransactionImmunityTime(t *testing.T) {
	t.Parallel()
	c := checkedCluster(t)
	topic := uniqueName("immune")
	c.createTopic(t, topic, 1)
	d := &decisions{execute: always(primitive.UnknowState), check: always(primitive.CommitMessageState)}
	p := newTransactionProducer(t, c.namesrv, uniqueName("pg"), d)
	m := primitive.NewMessage(topic, []byte("patient"))
	m.WithProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "5")
	sent := time.Now()
	_, err := p.SendMessageInTransaction(context.Background(), m)
	require.NoError(t, err)
	sendHalf(t, p, topic, "hasty")
	require.Eventually(t, func() bool { return slices.Contains(d.asked(), "hasty") }, time.Minute, 20*time.Millisecond)
	require.NotContains(t, d.asked(), "patient")
	require.Eventually(t, func() bool { return slices.Contains(d.asked(), "patient") }, time.Minute, 20*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(sent), 5*time.Second)
	require.Eventually(t, func() bool { return c.maxOffset(t, topic, 0) == "2" }, 10*time.Second, 20*time.Millisecond)
}

func TestTransactionRefused(t *testing.T) {
	t.Parallel()
	c := strictBroker(t)
	topic := uniqueName("refused")
	c.createTopic(t, topic, 1)
	d := &decisions{execute: always(primitive.CommitMessageState), check: always(primitive.CommitMessageState)}
	p := newTransactionProducer(t, c.namesrv, uniqueName("pg"), d, producer.WithRetry(0))
	_, err := p.SendMessageInTransaction(context.Background(), primitive.NewMessage(topic, []byte("x")))
	require.ErrorContains(t, err, "sending transaction message is forbidden")
	require.Equal(t, "0", c.maxOffset(t, topic, 0))
}
