package broker_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// query asks for messages by key and returns their bodies.
func (c *client) query(topic, key string, kv ...string) (*protocol.Command, []string) {
	c.t.Helper()
	req := fields(protocol.CodeQueryMessage, "topic", topic, "key", key, "maxNum", "64", "beginTimestamp", "0", "endTimestamp", "9223372036854775807")
	for i := 0; i < len(kv); i += 2 {
		req.SetField(kv[i], kv[i+1])
	}
	resp := c.call(req)
	var got []string
	for rest := resp.Body; len(rest) > 0; {
		m, err := message.ParseStored(rest)
		require.NoError(c.t, err)
		got = append(got, string(m.Body()))
		rest = rest[len(m):]
	}
	return resp, got
}

func TestQueryMessage(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 4, 6)
	for i := range 100 {
		c.send("orders", int32(i%4), strconv.Itoa(i), "KEYS", "all k"+strconv.Itoa(i), "UNIQ_KEY", "ID"+strconv.Itoa(i))
	}
	resp, got := c.query("orders", "k7")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, []string{"7"}, got)
	require.Positive(t, resp.Int64("indexLastUpdateTimestamp", 0))
	require.Positive(t, resp.Int64("indexLastUpdatePhyoffset", 0))
	_, got = c.query("orders", "ID42", "_UNIQUE_KEY_QUERY", "true", "maxNum", "1")
	require.Equal(t, []string{"42"}, got)

	newest := func(n int) (want []string) {
		for i := 100 - n; i < 100; i++ {
			want = append(want, strconv.Itoa(i))
		}
		return want
	}
	for asked, n := range map[string]int{"3": 3, "64": 64, "1000": 64} {
		_, got = c.query("orders", "all", "maxNum", asked)
		require.Equal(t, newest(n), got, "the newest, in the order of the log")
	}
	_, got = c.query("orders", "all", "maxNum", "1", "_UNIQUE_KEY_QUERY", "true")
	require.Len(t, got, 32)
	for _, none := range [][]string{
		{"orders", "nope"}, {"other", "k7"}, {"orders", "k7", "beginTimestamp", "9000000000000"}, {"orders", "k7", "endTimestamp", "5"},
		{"orders", "k7", "maxNum", "0"}, {"orders", "k7", "maxNum", "-1"}, {"orders", ""},
	} {
		resp, _ = c.query(none[0], none[1], none[2:]...)
		require.Equal(t, protocol.StatusQueryNotFound, resp.Code)
		require.Equal(t, "can not find message, maybe time range not correct", resp.Remark)
	}
	resp = c.call(fields(protocol.CodeQueryMessage, "topic", "orders"))
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "key")
}

func TestQueryWithoutIndex(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"messageIndexEnable": "false"})
	c.send("orders", 0, "x", "KEYS", "k")
	resp, _ := c.query("orders", "k")
	require.Equal(t, protocol.StatusQueryNotFound, resp.Code)
	require.Contains(t, resp.Remark, "messageIndexEnable")
}
