package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

func TestRequestReply(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("request")
	c.createTopic(t, topic, 1)
	replier := newProducer(t, c.namesrv)
	newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range msgs {
			if m.GetProperty(primitive.PropertyCorrelationID) == "" {
				continue // the warm-up
			}
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err != nil {
				return consumer.ConsumeRetryLater, err
			}
			reply.Body = append([]byte("re: "), m.Body...) // v2.1.2 drops the body it is given
			if _, err := replier.SendSync(context.Background(), reply); err != nil {
				return consumer.ConsumeRetryLater, err
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	requester := newProducer(t, c.namesrv)
	sendSync(t, requester, primitive.NewMessage(topic, []byte("warm-up")))
	// v2.1.2 cannot get a reply before its first heartbeat to the broker, a second or more after its first send.
	var got *primitive.Message
	require.Eventually(t, func() bool {
		var err error
		got, err = requester.Request(context.Background(), 3*time.Second, primitive.NewMessage(topic, []byte("question")))
		return err == nil
	}, 90*time.Second, 100*time.Millisecond)
	require.Equal(t, "re: question", string(got.Body))
	require.NotEqual(t, "0", c.maxOffset(t, "DefaultCluster_REPLY_TOPIC", 0), "replies are stored too")
}
