package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

const replyTopic = "test-cluster_REPLY_TOPIC"

func replyRequest(to string) *protocol.Command {
	h := sendHeader(replyTopic, 0)
	h.Properties = []byte("MSG_TYPE\x01reply\x02CORRELATION_ID\x01c1")
	if to != "" {
		h.Properties = message.AppendProperty(h.Properties, message.PropertyReplyToClient, to)
	}
	return protocol.NewRequest(protocol.CodeSendReplyMessageV2).SetHeader(&h).SetBody([]byte("answer"))
}

func TestReplyIsPushedAndStored(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	requester := newListener(t, c.addr)
	requester.produce("10.0.0.1@1", "pg")
	got := c.stored(replyRequest("10.0.0.1@1"))
	require.Len(t, got.MsgID, 32)
	require.Len(t, requester.all(), 1, "pushed before the replier is answered")
	p := requester.all()[0]
	require.Equal(t, "answer", string(p.body))
	require.Equal(t, replyTopic, string(p.reply.Reply.Topic))
	require.Equal(t, c.addr, p.reply.StoreHost)
	require.Contains(t, p.reply.BornHost, "127.0.0.1:")
	require.NotZero(t, p.reply.StoreTimestamp)
	_, ok := message.Property(p.reply.Reply.Properties, message.PropertyPushReplyTime)
	require.True(t, ok)
	id, _ := message.Property(p.reply.Reply.Properties, message.PropertyCorrelationID)
	require.Equal(t, "c1", string(id))
	m := c.pull(pullHeader(replyTopic, 0, 0)).msgs[0]
	require.Equal(t, "answer", string(m.Body()))
}

func TestReplyWithoutRequester(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	resp := c.call(replyRequest("nobody"))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Equal(t, "push reply message fail, channel of <nobody> not found.", resp.Remark)
	require.Len(t, resp.Str("msgId"), 32, "stored all the same")
	resp = c.call(replyRequest(""))
	require.Equal(t, "reply message properties[REPLY_TO_CLIENT] is null", resp.Remark)
	refusing := newListener(t, c.addr)
	refusing.status = protocol.StatusSystemError
	refusing.produce("deaf", "pg")
	resp = c.call(replyRequest("deaf"))
	require.Equal(t, "push reply message to deaffail.", resp.Remark)
	require.EqualValues(t, 3, c.maxOffset(replyTopic, 0))
}

// A producer sends its first heartbeat within a second of its start, a request
// perhaps before that.
func TestReplyFindsItsRequesterBeforeItsFirstHeartbeat(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	replier := newListener(t, cluster.Leader().Addr)
	const topic = "requests"
	replier.createTopic(topic, 1, 6)
	for name, addr := range map[string]string{"leader": cluster.Leader().Addr, "follower": cluster.Follower().Addr} {
		id := "10.0.0.1@" + name
		requester, other := newListener(t, addr), newListener(t, addr)
		h := sendHeader(topic, 0)
		h.Properties = message.AppendProperty(nil, message.PropertyReplyToClient, id)
		requester.stored(protocol.NewRequest(protocol.CodeSendMessageV2).SetHeader(&h).SetBody([]byte("question")))
		// Whoever sends the same once more does not get the answer.
		other.stored(protocol.NewRequest(protocol.CodeSendMessageV2).SetHeader(&h).SetBody([]byte("question")))
		resp := replier.call(replyRequest(id))
		require.Equal(t, protocol.StatusSuccess, resp.Code, "%s: %s", name, resp.Remark)
		require.Len(t, requester.all(), 1, name)
		require.Empty(t, other.all(), name)
	}
}

func TestReplyNeedNotBeStored(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"storeReplyMessageEnable": "false"})
	requester := newListener(t, c.addr)
	requester.produce("me", "pg")
	got := c.stored(replyRequest("me"))
	require.Equal(t, "0", string(got.MsgID))
	require.Zero(t, got.QueueOffset)
	require.Zero(t, c.maxOffset(replyTopic, 0))
}

// Requester and replier may be with another member than the leader, while they
// have not learnt of it.
func TestReplyFindsItsRequesterOnAFollower(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 3})
	follower := newListener(t, cluster.Follower().Addr)
	follower.produce("there", "pg")
	require.Equal(t, protocol.StatusSuccess, follower.call(replyRequest("there")).Code)
	require.Len(t, follower.all(), 1)
	leader := newListener(t, cluster.Leader().Addr)
	leader.produce("at-the-leader", "pg")
	require.Equal(t, protocol.StatusSuccess, follower.call(replyRequest("at-the-leader")).Code)
	require.Len(t, leader.all(), 1)
}
