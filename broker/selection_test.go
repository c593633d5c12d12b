package broker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

var withSQL = map[string]string{"enablePropertyFilter": "true"}

// subscribe registers a consumer with one subscription of any type.
func (c *client) subscribe(id, group string, version int64, expression, topic string, more ...string) {
	c.t.Helper()
	subs := []protocol.SubscriptionData{{Topic: topic, SubString: expression, SubVersion: version, ExpressionType: protocol.ExpressionSQL92}}
	for _, t := range more {
		subs = append(subs, protocol.SubscriptionData{Topic: t, SubString: "*", SubVersion: version})
	}
	hb := protocol.HeartbeatData{ClientID: id, Consumers: []protocol.ConsumerData{{
		GroupName: group, ConsumeType: protocol.ConsumePassively, MessageModel: protocol.ModelClustering,
		ConsumeFromWhere: protocol.FromLastOffset, Subscriptions: subs,
	}}}
	resp := c.call(protocol.NewRequest(protocol.CodeHeartBeat).SetBody(protocol.Encode(&hb)))
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
}

func bodies(p pulled) []string {
	out := []string{}
	for _, m := range p.msgs {
		out = append(out, string(m.Body()))
	}
	return out
}

func registered(topic, group string, version int64) protocol.PullHeader {
	h := pullHeader(topic, 0, 0)
	h.ConsumerGroup, h.SysFlag, h.SubVersion = []byte(group), 0, version
	return h
}

func TestPullBySQL(t *testing.T) {
	t.Parallel()
	_, c := one(t, withSQL)
	c.createTopic("orders", 1, 6)
	c.send("orders", 0, "a", "price", "5", "city", "x")
	c.send("orders", 0, "b", "price", "50", "city", "y")
	c.send("orders", 0, "c", "price", "500")

	h := pullHeader("orders", 0, 0)
	h.ExpressionType, h.Subscription = []byte("SQL92"), []byte("price > 10")
	require.Equal(t, []string{"b", "c"}, bodies(c.pull(h)), "from the header")
	h.Subscription = []byte("price > 10 AND city IS NULL")
	require.Equal(t, []string{"c"}, bodies(c.pull(h)))
	h.Subscription = []byte("price > 1000")
	p := c.pull(h)
	require.Equal(t, protocol.StatusPullRetryImmediately, p.code)
	require.EqualValues(t, 3, p.header.NextBeginOffset, "what was refused is not read again")

	c.subscribe("me", "g1", 5, "price < 100", "orders")
	require.Equal(t, []string{"a", "b"}, bodies(c.pull(registered("orders", "g1", 5))), "from the heartbeat")
	c.subscribe("me", "g1", 6, "city = 'x'", "orders")
	require.Equal(t, []string{"a"}, bodies(c.pull(registered("orders", "g1", 6))), "of a newer version")
	require.Equal(t, protocol.StatusSubscriptionNotLatest, c.pull(registered("orders", "g1", 7)).code)
}

func TestBrokenSQLIsRefused(t *testing.T) {
	t.Parallel()
	_, c := one(t, withSQL)
	c.createTopic("orders", 1, 6)
	h := pullHeader("orders", 0, 0)
	h.ExpressionType, h.Subscription = []byte("SQL92"), []byte("price >")
	p := c.pull(h)
	require.Equal(t, protocol.StatusSubscriptionParseFailed, p.code)
	require.Contains(t, p.remark, "position 8")
	c.subscribe("me", "g1", 5, "price == 1", "orders")
	p = c.pull(registered("orders", "g1", 5))
	require.Equal(t, protocol.StatusSubscriptionParseFailed, p.code)
	require.Contains(t, p.remark, "position 8")

	check := func(kind, expression string) *protocol.Command {
		body := protocol.CheckClientRequest{ClientID: "me", Group: "g1",
			Subscription: protocol.SubscriptionData{Topic: "orders", SubString: expression, ExpressionType: kind}}
		return c.call(protocol.NewRequest(protocol.CodeCheckClientConfig).SetBody(protocol.Encode(&body)))
	}
	require.Equal(t, protocol.StatusSuccess, check("TAG", "a || b").Code)
	require.Equal(t, protocol.StatusSuccess, check("SQL92", "a = 1").Code)
	resp := check("SQL92", "a = 1 AND b LIKE 'x'")
	require.Equal(t, protocol.StatusSubscriptionParseFailed, resp.Code)
	require.Contains(t, resp.Remark, "position 13")
	require.Equal(t, protocol.StatusSubscriptionParseFailed, check("JSONPATH", "$").Code)
}

// Only a message that the expression wants wakes a pull that waits.
func TestHeldPullBySQL(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, withSQL)
	c.createTopic("orders", 1, 6)
	c.send("orders", 0, "first", "price", "50")
	h := suspended("orders", 0, 1, 15*time.Second)
	h.ExpressionType, h.Subscription = []byte("SQL92"), []byte("price > 10")
	answer := c.pullAsync(h)
	require.Eventually(t, func() bool { return cluster.Nodes[0].Broker.Held() == 1 }, 10*time.Second, 5*time.Millisecond)
	for range 20 {
		c.send("orders", 0, "cheap", "price", "1")
	}
	select {
	case p := <-answer:
		require.Fail(t, "woken by a message it does not want", "%d %s", p.code, p.remark)
	case <-time.After(200 * time.Millisecond):
	}
	began := time.Now()
	c.send("orders", 0, "dear", "price", "99")
	p := <-answer
	require.Equal(t, []string{"dear"}, bodies(p))
	require.Less(t, time.Since(began), 2*time.Second)
}

// What was wanted once comes again whatever its properties, unless
// filterSupportRetry says otherwise.
func TestSQLOverRetriedMessages(t *testing.T) {
	for name, test := range map[string]struct {
		filterRetry string
		want        []string
	}{
		"off": {"false", []string{"a", "b", "other"}},
		"on":  {"true", []string{"b", "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := one(t, map[string]string{"enablePropertyFilter": "true", "filterSupportRetry": test.filterRetry})
			retry := message.RetryTopic("g1")
			c.createTopic("orders", 1, 6)
			c.subscribe("me", "g1", 5, "price > 10", "orders", retry) // makes group and retry topic
			c.send(retry, 0, "a", "price", "5", message.PropertyRetryTopic, "orders")
			c.send(retry, 0, "b", "price", "50", message.PropertyRetryTopic, "orders")
			c.send(retry, 0, "other", "price", "5", message.PropertyRetryTopic, "unsubscribed")
			require.Equal(t, test.want, bodies(c.pull(registered(retry, "g1", 5))))
			h := pullHeader(retry, 0, 0)
			h.ConsumerGroup, h.ExpressionType, h.Subscription = []byte("g1"), []byte("SQL92"), []byte("price > 1000")
			require.Equal(t, test.want, bodies(c.pull(h)))
		})
	}
}
