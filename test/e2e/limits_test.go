package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

const illegal = "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, msg properties length limit 32KB."

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("large")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	body := bytes.Repeat([]byte{'x'}, 4<<20+1)
	must(t, addr, 10, sendFields(topic, 0), body[1:])
	refused(t, addr, 10, sendFields(topic, 0), body, 13, illegal)
	require.Len(t, readQueue(t, addr, topic, 0)[0].Body, 4<<20)
	// The Go client has no limit of its own, but compresses.
	_, err := newProducer(t, c.namesrv).SendSync(context.Background(), primitive.NewMessage(topic, noise(4<<20+1)))
	require.ErrorContains(t, err, "the message is illegal")
}

// noise is n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// batchItem is one message of a batch send.
func batchItem(body []byte, properties string) []byte {
	size := 4 + 4 + 4 + 4 + 4 + len(body) + 2 + len(properties)
	b := binary.BigEndian.AppendUint32(nil, uint32(size))
	b = append(b, make([]byte, 12)...) // magic, checksum, flag
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(properties)))
	return append(b, properties...)
}

// The limit of a batch is that of one message.
func TestBatchLimit(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("largebatch")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	batch := with(sendFields(topic, 0), "batch", "true")
	var body []byte
	for len(body) < 3<<20 {
		body = append(body, batchItem(make([]byte, 1<<20), "k\x01v")...)
	}
	r := must(t, addr, 10, batch, body)
	require.Len(t, strings.Split(r.Ext["msgId"], ","), 3)
	refused(t, addr, 10, batch, append(body, batchItem(make([]byte, 1<<20), "")...), 13, illegal)
	require.EqualValues(t, 3, maxOffset(t, addr, topic, 0), "nothing of it is stored")
}

// The limit is on what is stored, which the name of the cluster is part of.
func TestPropertiesLimit(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("props")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	const added = "\x02CLUSTER\x01DefaultCluster"
	send := func(n int) fields {
		return with(sendFields(topic, 0), "properties", "k\x01"+strings.Repeat("v", n-2-len(added)))
	}
	must(t, addr, 10, send(32767), []byte("x"))
	refused(t, addr, 10, send(32768), []byte("x"), 13, illegal)
	require.Len(t, readQueue(t, addr, topic, 0)[0].GetProperty("k"), 32767-2-len(added))
	m := primitive.NewMessage(topic, []byte("x"))
	m.WithProperty("k", strings.Repeat("v", 32768))
	_, err := newProducer(t, c.namesrv).SendSync(context.Background(), m)
	require.ErrorContains(t, err, "the message is illegal")
}

func TestNames(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	addr := c.leader(t).Addr
	longest := uniqueName("n") + strings.Repeat("x", 127)
	longest = longest[:127]
	for name, remark := range map[string]string{
		longest:                  "",
		uniqueName("%a|b-c_D9"):  "",
		longest + "x":            "The specified topic is longer than topic max length.",
		strings.Repeat("x", 256): "The specified topic is longer than topic max length.",
		"with space":             "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		"with.dot":               "The specified topic contains illegal characters",
		"größe":                  "The specified topic contains illegal characters",
		"new\nline":              "The specified topic contains illegal characters",
		" ":                      "The specified topic is blank.",
		"":                       "The specified topic is blank.",
	} {
		create := fields{"topic": name, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6",
			"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}
		if remark == "" {
			must(t, addr, 10, sendFields(name, 0), []byte("x"))
			must(t, addr, 17, create, nil)
			continue
		}
		refused(t, addr, 10, sendFields(name, 0), []byte("x"), 1, remark)
		refused(t, addr, 17, create, nil, 1, remark)
	}
	for _, system := range []string{"TBW102", "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "DefaultCluster"} {
		refused(t, addr, 17, fields{"topic": system, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6",
			"topicFilterType": "SINGLE_TAG"}, nil, 1, "The topic["+system+"] is conflict with system topic.")
	}
}

// A pull is given at most 32 messages and 256 KiB, but one message whatever its size.
func TestPullLimits(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, large := uniqueName("many"), uniqueName("large")
	c.createTopic(t, topic, 1)
	c.createTopic(t, large, 1)
	sendMany(t, c.namesrv, topic, "m", 70)
	addr := c.leader(t).Addr
	r := must(t, addr, 11, with(pullFields(topic, 0, 0), "maxMsgNums", "64"), nil)
	require.Len(t, primitive.DecodeMessage(r.Body), 32)
	require.Equal(t, "32", r.Ext["nextBeginOffset"])
	for _, n := range []int{1 << 20, 100 << 10, 100 << 10, 100 << 10} {
		must(t, addr, 10, sendFields(large, 0), make([]byte, n))
	}
	require.Len(t, primitive.DecodeMessage(must(t, addr, 11, pullFields(large, 0, 0), nil).Body), 1)
	require.Len(t, primitive.DecodeMessage(must(t, addr, 11, pullFields(large, 0, 1), nil).Body), 2)
}

func TestReservedTopics(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	addr := c.leader(t).Addr
	for _, topic := range []string{"SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC",
		"SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT"} {
		refused(t, addr, 10, sendFields(topic, 0), []byte("x"), 16, "Sending message to topic["+topic+"] is forbidden.")
	}
	// Tracing clients make their topic themselves where the broker has none; it is the system's all the same.
	trace := fields{"topic": "RMQ_SYS_TRACE_TOPIC", "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "0", "topicFilterType": "SINGLE_TAG"}
	must(t, addr, 10, sendFields("RMQ_SYS_TRACE_TOPIC", 0), []byte("x"))
	c.awaitRoute(t, "RMQ_SYS_TRACE_TOPIC")
	refused(t, addr, 17, trace, nil, 1, "The topic[RMQ_SYS_TRACE_TOPIC] is conflict with system topic.")
	refused(t, addr, 215, trace, nil, 1, "The topic[RMQ_SYS_TRACE_TOPIC] is conflict with system topic.")
}

// brokerPermission caps the permission of every topic's route; producers leave, except those of ordered topics, which the
// broker refuses.
func TestBrokerPermission(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--nodes", "1", "--set", "brokerPermission=4")
	addr := c.leader(t).Addr
	for topic, order := range map[string]string{"plain": "false", "ordered": "true"} {
		must(t, addr, 17, fields{"topic": topic, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6",
			"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": order}, nil)
	}
	require.Eventually(t, func() bool {
		r, err := invoke(c.namesrv, 105, fields{"topic": "plain"}, nil)
		return err == nil && strings.Contains(string(r.Body), `"perm":4,`)
	}, 10*time.Second, 10*time.Millisecond)
	must(t, addr, 10, sendFields("plain", 0), []byte("from an older route"))
	refused(t, addr, 10, sendFields("ordered", 0), []byte("x"), 16, "sending message is forbidden")
	_, err := newProducer(t, c.namesrv).SendSync(context.Background(), primitive.NewMessage("plain", []byte("x")))
	require.Error(t, err)
	newConsumer(t, c.namesrv, uniqueName("g"), "plain", consumer.MessageSelector{}, nil).
		waitFor(t, map[string]bool{"from an older route": true}, time.Minute)

	c.reconfigure(t, "brokerPermission=4", "brokerPermission=2")
	addr = c.leader(t).Addr
	must(t, addr, 10, sendFields("ordered", 0), []byte("x"))
	refused(t, addr, 11, pullFields("plain", 0, 0), nil, 16, "pulling message is forbidden")
}

// Before startAcceptSendRequestTimeStamp sends are refused with the time at which they will be taken.
func TestStartAccepting(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(6 * time.Second)
	c := ownCluster(t, "--nodes", "1", "--set", fmt.Sprintf("startAcceptSendRequestTimeStamp=%d", at.UnixMilli()))
	addr := c.leader(t).Addr
	refused(t, addr, 10, sendFields("early", 0), []byte("x"), 1, "broker unable to service, until "+at.Format(time.DateTime))
	require.Eventually(t, func() bool {
		r, err := invoke(addr, 10, sendFields("early", 0), []byte("x"))
		return err == nil && r.Code == 0
	}, 20*time.Second, 50*time.Millisecond)
	require.True(t, time.Now().After(at))
}
