package broker_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// collect pulls a queue until it has n messages.
func (c *client) collect(topic string, n int) []message.Stored {
	c.t.Helper()
	var got []message.Stored
	require.Eventually(c.t, func() bool {
		h := pullHeader(topic, 0, int64(len(got)))
		p := c.pull(h)
		got = append(got, p.msgs...)
		return len(got) >= n
	}, waitFor, tick)
	return got
}

func TestTimedMessages(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	now := time.Now().UnixMilli()
	due := map[string]int64{}
	for i, ms := range []int64{900, 300, 600, 301, 1500} {
		body := strconv.Itoa(i)
		due[body] = now + ms
		c.send("orders", 0, body, "TIMER_DELIVER_MS", strconv.FormatInt(now+ms, 10), "TAGS", "a", "KEYS", "k"+body)
	}
	c.send("orders", 0, "relative", "TIMER_DELAY_MS", "400")
	c.send("orders", 0, "second", "TIMER_DELAY_SEC", "1", "TIMER_DELAY_MS", "100000000", "TIMER_DELIVER_MS", "5")
	c.send("orders", 0, "past", "TIMER_DELIVER_MS", strconv.FormatInt(now-1, 10))
	c.send("orders", 0, "none", "TIMER_DELAY_MS", "0")
	got := c.collect("orders", 9)
	require.Len(t, got, 9)
	require.Equal(t, []string{"past", "none"}, []string{string(got[0].Body()), string(got[1].Body())}, "at once")
	for _, m := range got {
		at, ok := due[string(m.Body())]
		if !ok {
			continue
		}
		require.GreaterOrEqual(t, m.StoreTimestamp(), at, "early")
		require.Less(t, m.StoreTimestamp(), at+1000)
		require.Equal(t, message.TagsCode([]byte("a")), m.TagsCode())
		_, ok = m.Property(message.PropertyTimerDeliverMS)
		require.True(t, ok)
		resp, found := c.query("orders", "k"+string(m.Body()))
		require.Equal(t, protocol.StatusSuccess, resp.Code)
		require.Equal(t, []string{string(m.Body())}, found, "once")
	}
	require.Equal(t, "3", string(got[3].Body()), "in the order in which they come due: %s", got[2].Body())
}

func TestTimedMessagesRefused(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"timerCongestNumEachSlot": "3", "messageDelayLevel": "1s 2s"})
	c.createTopic("orders", 1, 6)
	refused := func(code int32, text string, props ...string) {
		t.Helper()
		h := sendHeader("orders", 0)
		for i := 0; i < len(props); i += 2 {
			h.Properties = message.AppendProperty(h.Properties, props[i], props[i+1])
		}
		resp := c.call(sendRequest(h, "x"))
		require.Equal(t, code, resp.Code, resp.Remark)
		require.Contains(t, resp.Remark, text)
	}
	const threeDays = 3 * 24 * 3600
	in := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).UnixMilli(), 10) }
	refused(protocol.StatusMessageIllegal, "259200000ms", "TIMER_DELAY_SEC", strconv.Itoa(threeDays+1))
	refused(protocol.StatusMessageIllegal, "max delay", "TIMER_DELIVER_MS", in(threeDays*time.Second+time.Minute))
	refused(protocol.StatusMessageIllegal, "max delay", "TIMER_DELAY_SEC", "9223372036854775807")
	refused(protocol.StatusMessageIllegal, "TIMER_DELAY_MS=\"soon\" is not a number", "TIMER_DELAY_MS", "soon")
	refused(protocol.StatusMessageIllegal, "TIMER_DEL_UNIQKEY", "TIMER_DEL_UNIQKEY", "x", "TIMER_DELAY_SEC", "100")
	resp := c.call(sendRequest(sendHeader(message.TimerTopic(5), 0), "x"))
	require.Equal(t, protocol.StatusNoPermission, resp.Code)

	at := in(10 * time.Hour)
	for range 3 {
		c.send("orders", 0, "x", "TIMER_DELIVER_MS", at)
	}
	refused(protocol.StatusSystemError, "flow control", "TIMER_DELIVER_MS", at)
	c.send("orders", 0, "other minute", "TIMER_DELIVER_MS", in(11*time.Hour))

	// A level beside a time wins.
	c.send("orders", 0, "level", "TIMER_DELAY_SEC", "100000", "DELAY", "1")
	got := c.collect("orders", 1)
	require.Equal(t, "level", string(got[0].Body()))
	_, ok := got[0].Property(message.PropertyTimerDelaySec)
	require.False(t, ok)
	_, c = one(t, map[string]string{"timerWheelEnable": "false"})
	c.createTopic("orders", 1, 6)
	refused(protocol.StatusSystemError, "timerWheelEnable", "TIMER_DELAY_MS", "10")
}

// Who was stopped while messages came due delivers all of them afterwards, and
// the slots go.
func TestTimedMessagesOverdue(t *testing.T) {
	t.Parallel()
	cluster, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	want := map[string]int{}
	for i := range 200 {
		body := fmt.Sprint(i)
		want[body] = 1
		c.send("orders", 0, body, "TIMER_DELAY_MS", strconv.Itoa(200+i*7%400))
	}
	cluster.Nodes[0].Stop()
	cluster.Nodes[0].Restart()
	c = newClient(t, cluster.Nodes[0].Addr)
	got := map[string]int{}
	for _, m := range c.collect("orders", 200) {
		got[string(m.Body())]++
	}
	require.Equal(t, want, got)
}
