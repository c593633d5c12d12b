package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// Producers and consumers that trace leave a record of the send, of the delivery and of its end, which name the message;
// in the trace topic of the broker or in a topic of the application.
func TestMessageTrace(t *testing.T) {
	c := strictBroker(t)
	custom := uniqueName("traces")
	c.createTopic(t, custom, 1)
	for name, traceTopic := range map[string]string{"default topic": "RMQ_SYS_TRACE_TOPIC", "custom topic": custom} {
		t.Run(name, func(t *testing.T) {
			topic, group := uniqueName("traced"), uniqueName("g")
			c.createTopic(t, topic, 1)
			c.setGroup(t, group, nil)
			trace := &primitive.TraceConfig{TraceTopic: traceTopic, GroupName: uniqueName("tg"), Access: primitive.Local, NamesrvAddrs: []string{c.namesrv}}
			box := newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, nil, consumer.WithTrace(trace))
			p := newProducer(t, c.namesrv, producer.WithTrace(trace))
			r := sendSync(t, p, primitive.NewMessage(topic, []byte("x")).WithKeys([]string{"key-1"}))
			require.True(t, r.TraceOn)
			require.Equal(t, "DefaultRegion", r.RegionID)
			box.waitFor(t, map[string]bool{"x": true}, time.Minute)
			addr := c.leader(t).Addr
			require.Eventually(t, func() bool {
				found := map[string]bool{}
				for _, m := range readQueue(t, addr, traceTopic, 0) {
					for _, line := range strings.Split(string(m.Body), "\x02") {
						if kind, rest, ok := strings.Cut(line, "\x01"); ok && strings.Contains(rest, r.MsgID) && strings.Contains(m.GetKeys(), r.MsgID) {
							found[kind] = true
						}
					}
				}
				return found["Pub"] && found["SubBefore"] && found["SubAfter"]
			}, 20*time.Second, 50*time.Millisecond)
		})
	}
}
