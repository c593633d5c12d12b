package e2e

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// queryKey asks code 12 and returns the bodies of what is found, in the order of the answer.
func queryKey(t *testing.T, addr, topic, key string, kv ...string) (code int, bodies []string) {
	t.Helper()
	ext := map[string]string{
		"topic": topic, "key": key, "maxNum": "64", "beginTimestamp": "0", "endTimestamp": strconv.FormatInt(math.MaxInt64, 10),
	}
	for i := 0; i < len(kv); i += 2 {
		ext[kv[i]] = kv[i+1]
	}
	r, err := invoke(addr, 12, ext, nil)
	require.NoError(t, err)
	for rest := r.Body; len(rest) > 0; {
		n := binary.BigEndian.Uint32(rest)
		// Fixed part of a record with IPv4 hosts up to its body: 84 bytes.
		body := binary.BigEndian.Uint32(rest[84:])
		bodies = append(bodies, string(rest[88:88+body]))
		rest = rest[n:]
	}
	return r.Code, bodies
}

// TestQueryByKey: each word of KEYS finds its messages, under its topic and in its time, the newest 64 of them; a crash of
// all members loses none.
func TestQueryByKey(t *testing.T) {
	t.Parallel()
	c := ownCluster(t)
	topic, other := uniqueName("keys"), uniqueName("keys")
	c.createTopic(t, topic, 4)
	c.createTopic(t, other, 1)
	p := newProducer(t, c.namesrv)
	var times []int64
	for i := range 80 {
		m := primitive.NewMessage(topic, []byte(fmt.Sprint(i))).WithKeys([]string{"all", fmt.Sprint("order-", i)})
		sendSync(t, p, m)
		times = append(times, time.Now().UnixMilli())
	}
	sendSync(t, p, primitive.NewMessage(other, []byte("other")).WithKeys([]string{"all"}))
	var last64 []string
	for i := 16; i < 80; i++ {
		last64 = append(last64, fmt.Sprint(i))
	}
	check := func(addr string) {
		t.Helper()
		for _, i := range []int{0, 40, 79} {
			code, got := queryKey(t, addr, topic, fmt.Sprint("order-", i))
			require.Zero(t, code)
			require.Equal(t, []string{fmt.Sprint(i)}, got)
		}
		_, got := queryKey(t, addr, topic, "all")
		require.Equal(t, last64, got)
		_, got = queryKey(t, addr, topic, "all", "maxNum", "3")
		require.Equal(t, []string{"77", "78", "79"}, got)
		_, got = queryKey(t, addr, other, "all")
		require.Equal(t, []string{"other"}, got)
		code, _ := queryKey(t, addr, other, "order-1")
		require.Equal(t, 22, code)
		code, _ = queryKey(t, addr, topic, "order-7", "beginTimestamp", strconv.FormatInt(times[79]+60_000, 10))
		require.Equal(t, 22, code)
	}
	s, err := c.status()
	require.NoError(t, err)
	for _, b := range s.Brokers {
		check(b.Addr) // members that follow ask the leader
	}
	for _, b := range s.Brokers {
		require.NoError(t, syscall.Kill(b.PID, syscall.SIGKILL))
	}
	for _, args := range [][]string{{"local", "down", "--dir", c.dir}, {"local", "up", "--dir", c.dir}} {
		_, err = command("mqadmin", args...)
		require.NoError(t, err)
	}
	check(c.leader(t).Addr)
}

// TestQueryByUniqueKey: the id that the client made finds the message, delayed ones too, and its offset id shows it.
func TestQueryByUniqueKey(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("unique")
	c.createTopic(t, topic, 2)
	p := newProducer(t, c.namesrv)
	first := sendSync(t, p, primitive.NewMessage(topic, []byte("first")))
	second := sendSync(t, p, primitive.NewMessage(topic, []byte("second")))
	delayed := sendSync(t, p, primitive.NewMessage(topic, []byte("delayed")).WithDelayTimeLevel(1))
	addr := c.leader(t).Addr
	for id, want := range map[string]string{first.MsgID: "first", second.MsgID: "second"} {
		code, got := queryKey(t, addr, topic, id, "_UNIQUE_KEY_QUERY", "true")
		require.Zero(t, code)
		require.Equal(t, []string{want}, got)
	}
	code, _ := queryKey(t, addr, topic, "7F000001000000000000000000000000", "_UNIQUE_KEY_QUERY", "true")
	require.Equal(t, 22, code)
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	box.waitFor(t, map[string]bool{"delayed": true}, 30*time.Second)
	_, got := queryKey(t, addr, topic, delayed.MsgID, "_UNIQUE_KEY_QUERY", "true")
	require.Equal(t, []string{"delayed"}, got)

	at := binary.BigEndian.Uint64(hexBytes(t, first.OffsetMsgID)[8:])
	r, err := invoke(addr, 33, map[string]string{"offset": strconv.FormatUint(at, 10)}, nil)
	require.NoError(t, err)
	require.Zero(t, r.Code)
	require.Contains(t, string(r.Body), "first")
	r, err = invoke(addr, 33, map[string]string{"offset": strconv.FormatUint(at+1, 10)}, nil)
	require.NoError(t, err)
	require.Equal(t, 1, r.Code, "no message begins there")
}

func hexBytes(t *testing.T, s string) []byte {
	t.Helper()
	var b []byte
	_, err := fmt.Sscanf(s, "%x", &b)
	require.NoError(t, err)
	require.Len(t, b, 16)
	return b
}
