package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// What was sent lies at the place that the result names.
func TestSendSync(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("send")
	p := newProducer(t, c.namesrv)
	addr := c.leader(t).Addr
	for i := range 20 {
		body := []byte("sync" + strconv.Itoa(i))
		r := sendSync(t, p, primitive.NewMessage(topic, body))
		require.Len(t, r.OffsetMsgID, 32)
		got := primitive.DecodeMessage(must(t, addr, 11, pullFields(topic, r.MessageQueue.QueueId, r.QueueOffset), nil).Body)
		require.Equal(t, body, got[0].Body)
		require.Equal(t, r.QueueOffset, got[0].QueueOffset)
		require.Equal(t, r.OffsetMsgID, got[0].OffsetMsgId)
	}
}

func TestSendAsync(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("async")
	c.createTopic(t, topic, 8)
	p := newProducer(t, c.namesrv)
	const n = 10_000
	var mu sync.Mutex
	ids := map[string]bool{}
	var failed []error
	window := make(chan struct{}, 256)
	var wg sync.WaitGroup
	for i := range n {
		window <- struct{}{}
		wg.Add(1)
		require.NoError(t, p.SendAsync(context.Background(), func(_ context.Context, r *primitive.SendResult, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil || r.Status != primitive.SendOK {
				failed = append(failed, fmt.Errorf("%v %w", r, err))
			} else {
				ids[r.MsgID] = true
			}
			<-window
			wg.Done()
		}, primitive.NewMessage(topic, []byte(strconv.Itoa(i)))))
	}
	wg.Wait()
	require.Empty(t, failed)
	require.Len(t, ids, n)
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	require.Eventually(t, func() bool { return len(box.all()) >= n }, time.Minute, 20*time.Millisecond)
	for _, m := range box.all() {
		require.True(t, ids[m.MsgId], "%s was never sent", m.MsgId)
	}
}

// A one-way send is stored and gets no frame back.
func TestSendOneway(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("oneway")
	c.createTopic(t, topic, 1)
	p := newProducer(t, c.namesrv)
	want := map[string]bool{"raw": true}
	for i := range 20 {
		body := "oneway" + strconv.Itoa(i)
		want[body] = true
		require.NoError(t, p.SendOneWay(context.Background(), primitive.NewMessage(topic, []byte(body))))
	}
	w := dial(t, c.leader(t).Addr)
	w.write(t, frame{Code: 10, Flag: 2, Ext: sendFields(topic, 0), Body: []byte("raw")})
	// call fails when another answer than its own comes first.
	require.Zero(t, w.call(t, 10, sendFields(topic, 0), []byte("after")).Code)
	require.Empty(t, w.pushed)
	newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil).waitFor(t, want, time.Minute)
}

func TestSendToChosenQueue(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("chosen")
	c.createTopic(t, topic, 4)
	p := newProducer(t, c.namesrv, producer.WithQueueSelector(producer.NewManualQueueSelector()))
	for i := range 10 {
		m := primitive.NewMessage(topic, []byte("x"))
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a", QueueId: 2}
		r := sendSync(t, p, m)
		require.Equal(t, 2, r.MessageQueue.QueueId)
		require.Equal(t, int64(i), r.QueueOffset)
	}
	addr := c.leader(t).Addr
	for q, end := range []int64{0, 0, 10, 0} {
		require.Equal(t, end, maxOffset(t, addr, topic, q))
	}
}

func TestMessageProperties(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("props")
	c.createTopic(t, topic, 1)
	p := newProducer(t, c.namesrv)
	m := primitive.NewMessage(topic, []byte("x")).WithTag("Tagé😀").WithKeys([]string{"k1", "k2"})
	m.WithProperty("café", `消息 🚀 "quoted" \ back`)
	m.WithProperty("empty", "")
	m.Flag = 42
	sendSync(t, p, m)
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "Tagé😀"}, nil)
	box.waitFor(t, map[string]bool{"x": true}, time.Minute)
	got := box.all()[0]
	for k, v := range m.GetProperties() {
		require.Equal(t, v, got.GetProperty(k), k)
	}
	require.Equal(t, "Tagé😀", got.GetTags())
	require.Equal(t, "k1 k2", got.GetKeys())
	require.EqualValues(t, 42, got.Flag)
}

func TestCompressedBody(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("compressed")
	c.createTopic(t, topic, 1)
	body := strings.Repeat("a long body that the client compresses; ", 500)
	sendSync(t, newProducer(t, c.namesrv), primitive.NewMessage(topic, []byte(body)))
	r := must(t, c.leader(t).Addr, 11, pullFields(topic, 0, 0), nil)
	require.Less(t, len(r.Body), len(body)/2, "stored as the client compressed it")
	stored := primitive.DecodeMessage(r.Body)[0]
	require.EqualValues(t, 1, stored.SysFlag&1)
	require.Equal(t, body, string(stored.Body))
	newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil).waitFor(t, map[string]bool{body: true}, time.Minute)
}

func TestUniqueMessageID(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("unique")
	c.createTopic(t, topic, 1)
	r := sendSync(t, newProducer(t, c.namesrv), primitive.NewMessage(topic, []byte("x")))
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"x": true}, time.Minute)
	require.Equal(t, r.MsgID, box.all()[0].MsgId)
	require.Equal(t, r.MsgID, box.all()[0].GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex))
}

// The offset message id holds an address and a place; whoever asks there gets the message.
func TestOffsetMessageID(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("offsetid")
	c.createTopic(t, topic, 1)
	r := sendSync(t, newProducer(t, c.namesrv), primitive.NewMessage(topic, []byte("found")))
	id, err := primitive.UnmarshalMsgID([]byte(r.OffsetMsgID))
	require.NoError(t, err)
	at := fmt.Sprintf("%s:%d", id.Addr, id.Port)
	require.Equal(t, c.leader(t).Addr, at)
	got := primitive.DecodeMessage(must(t, at, 33, fields{"offset": strconv.FormatInt(id.Offset, 10)}, nil).Body)[0]
	require.Equal(t, "found", string(got.Body))
	require.Equal(t, r.MsgID, got.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex))
	require.Equal(t, r.OffsetMsgID, got.OffsetMsgId)
}

// secondGroup starts a broker group of one beside a cluster, with the same name server.
func (c *cluster) secondGroup(t *testing.T) (p *process, addr string) {
	t.Helper()
	port, err := freeBasePort()
	require.NoError(t, err)
	conf := filepath.Join(t.TempDir(), "broker-b.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil,
		"brokerName=broker-b\nbrokerIP1=127.0.0.1\nnamesrvAddr=%s\nlistenPort=%d\nstorePathRootDir=%s\nmappedFileSizeCommitLog=16777216\n"+
			"enableDLegerCommitLog=true\ndLegerGroup=broker-b\ndLegerPeers=n0-127.0.0.1:%d\ndLegerSelfId=n0\n",
		c.namesrv, port, t.TempDir(), port+1), 0o600))
	p = startProcess(t, t.TempDir(), "mqbroker", "-c", conf)
	p.waitLine(t, "boot success", 15*time.Second)
	return p, fmt.Sprintf("127.0.0.1:%d", port)
}

// twoGroups are two broker groups with one topic on both, one queue each.
func twoGroups(t *testing.T) (c *cluster, second *process, topic string) {
	t.Helper()
	c = ownCluster(t, "--nodes", "1")
	second, addr := c.secondGroup(t)
	topic = uniqueName("both")
	for _, a := range []string{c.leader(t).Addr, addr} {
		must(t, a, 17, fields{"topic": topic, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6",
			"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}, nil)
	}
	require.Eventually(t, func() bool {
		r, err := invoke(c.namesrv, 105, fields{"topic": topic}, nil)
		return err == nil && strings.Contains(string(r.Body), `"broker-a"`) && strings.Contains(string(r.Body), `"broker-b"`)
	}, 10*time.Second, 10*time.Millisecond)
	return c, second, topic
}

// One of two groups dies in the middle of a loop of sends, and the loop does not notice.
func TestRetryOnAnotherBroker(t *testing.T) {
	t.Parallel()
	c, second, topic := twoGroups(t)
	p := newProducer(t, c.namesrv)
	used := map[string]int{}
	for i := range 40 {
		if i == 20 {
			require.Len(t, used, 2)
			second.stop(syscall.SIGKILL)
			used = map[string]int{}
		}
		used[sendSync(t, p, primitive.NewMessage(topic, []byte(strconv.Itoa(i)))).MessageQueue.BrokerName]++
	}
	require.Equal(t, 20, used["broker-a"])
}

// WAIT is a word to the broker: the message is acknowledged and stored without it.
func TestWaitStoreFlag(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("wait")
	c.createTopic(t, topic, 1)
	m := primitive.NewMessage(topic, []byte("x"))
	m.WithProperty(primitive.PropertyWaitStoreMsgOk, "false")
	m.WithProperty("other", "kept")
	sendSync(t, newProducer(t, c.namesrv), m)
	got := readQueue(t, c.leader(t).Addr, topic, 0)
	require.Len(t, got, 1)
	require.Equal(t, "kept", got[0].GetProperty("other"))
	require.Empty(t, got[0].GetProperty(primitive.PropertyWaitStoreMsgOk))
}

// A message counts as sent when a majority has it: one member down changes nothing, two down and nothing is acknowledged,
// and with a majority again everything goes on.
func TestSendStatusFollowsTheMajority(t *testing.T) {
	t.Parallel()
	c := ownCluster(t)
	c.createTopic(t, "majority", 1)
	p := newProducer(t, c.namesrv, producer.WithRetry(0))
	leader := c.leader(t)
	s, err := c.status()
	require.NoError(t, err)
	var followers []node
	for _, b := range s.Brokers {
		if b.ID != leader.ID {
			followers = append(followers, b)
		}
	}
	require.Len(t, followers, 2)
	pause := func(b node, sig syscall.Signal) {
		require.NoError(t, syscall.Kill(b.PID, sig))
	}
	pause(followers[0], syscall.SIGSTOP)
	defer pause(followers[0], syscall.SIGCONT)
	sendSync(t, p, primitive.NewMessage("majority", []byte("two of three")))
	pause(followers[1], syscall.SIGSTOP)
	defer pause(followers[1], syscall.SIGCONT)
	_, err = p.SendSync(context.Background(), primitive.NewMessage("majority", []byte("one of three")))
	require.Error(t, err)
	pause(followers[1], syscall.SIGCONT)
	require.Eventually(t, func() bool {
		r, err := p.SendSync(context.Background(), primitive.NewMessage("majority", []byte("two again")))
		return err == nil && r.Status == primitive.SendOK
	}, 45*time.Second, 50*time.Millisecond)
}

// Unit mode marks the topics that a producer's first send and a consumer's heartbeat create.
func TestUnitMode(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("unit"), uniqueName("ug")
	addr := c.leader(t).Addr
	must(t, addr, 10, with(sendFields(topic, 0), "unitMode", "true"), []byte("x"))
	body, err := json.Marshal(map[string]any{"clientID": "u", "consumerDataSet": []any{map[string]any{
		"groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING", "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
		"unitMode": true, "subscriptionDataSet": []any{}}}})
	require.NoError(t, err)
	require.Zero(t, dial(t, addr).call(t, 34, nil, body).Code)
	for code, name := range map[int]string{311: topic, 312: "%RETRY%" + group} {
		require.Eventually(t, func() bool {
			r, err := invoke(c.namesrv, code, nil, nil)
			return err == nil && strings.Contains(string(r.Body), `"`+name+`"`)
		}, 10*time.Second, 20*time.Millisecond, "%s is not in list %d", name, code)
	}
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("spaced"), uniqueName("g")
	one, two := uniqueName("one"), uniqueName("two")
	boxes := map[string]*inbox{}
	for _, ns := range []string{one, two} {
		c.createTopic(t, ns+"%"+topic, 1)
		boxes[ns] = newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, nil, consumer.WithNamespace(ns))
	}
	for ns := range boxes {
		r := sendSync(t, newProducer(t, c.namesrv, producer.WithNamespace(ns)), primitive.NewMessage(topic, []byte("for "+ns)))
		require.Equal(t, ns+"%"+topic, r.MessageQueue.Topic)
	}
	for ns, box := range boxes {
		box.waitFor(t, map[string]bool{"for " + ns: true}, time.Minute)
		require.Len(t, box.bodies(), 1)
	}
	r, err := invoke(c.namesrv, 105, fields{"topic": topic}, nil)
	require.NoError(t, err)
	require.Equal(t, 17, r.Code, "the bare name is no topic")
}

// A first send makes the topic, with as many queues as the client asks for and the template allows; where that is switched
// off it is told so.
func TestAutoCreateTopic(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("auto")
	sendSync(t, newProducer(t, c.namesrv), primitive.NewMessage(topic, []byte("x")))
	var route struct {
		QueueDatas []struct{ ReadQueueNums, WriteQueueNums, Perm int }
	}
	require.Eventually(t, func() bool {
		r, err := invoke(c.namesrv, 105, with(fields{"topic": topic}, "acceptStandardJsonOnly", "true"), nil)
		return err == nil && r.Code == 0 && json.Unmarshal(r.Body, &route) == nil
	}, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, 4, route.QueueDatas[0].WriteQueueNums)
	require.Equal(t, 4, route.QueueDatas[0].ReadQueueNums)
	require.Equal(t, 6, route.QueueDatas[0].Perm)

	s := strictBroker(t)
	refused(t, s.leader(t).Addr, 10, sendFields(topic, 0), []byte("x"), 17, "topic["+topic+"] not exist")
	_, err := newProducer(t, s.namesrv).SendSync(context.Background(), primitive.NewMessage(topic, []byte("x")))
	require.Error(t, err)
}

// The configuration of an ordered topic, kept by the name server, comes with its route where that is switched on.
func TestOrderedTopicConfiguration(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--nodes", "1")
	c.createTopic(t, "ordered", 4)
	must(t, c.namesrv, 318, nil, []byte("orderMessageEnable=true"))
	must(t, c.namesrv, 100, fields{"namespace": "ORDER_TOPIC_CONFIG", "key": "ordered", "value": "broker-a:4"}, nil)
	r := must(t, c.namesrv, 105, fields{"topic": "ordered"}, nil)
	require.Contains(t, string(r.Body), `"orderTopicConf":"broker-a:4"`)
	must(t, c.namesrv, 102, fields{"namespace": "ORDER_TOPIC_CONFIG", "key": "ordered"}, nil)
	r = must(t, c.namesrv, 105, fields{"topic": "ordered"}, nil)
	require.NotContains(t, string(r.Body), "orderTopicConf")
}
