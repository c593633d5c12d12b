package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// callRaw sends a frame with a header as it stands, and returns the answer.
func (w *wire) callRaw(t *testing.T, header string, body []byte) frame {
	t.Helper()
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(header)))
	_, err := w.conn.Write(append(append(b, header...), body...))
	require.NoError(t, err)
	for {
		if f := w.next(t, 10*time.Second); f.Flag&1 == 1 {
			return f
		}
	}
}

// What the C++ client 1.2 puts on the wire, and with it Python's, taken from librocketmq: numbers bare or in quotes, enums as
// ordinals, booleans as 0 and 1, signatures without a key, a batch under the code of a single send.
func TestFramesOfCPPClients(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("cpp"), uniqueName("g")
	c.createTopic(t, topic, 2)
	w := dial(t, c.leader(t).Addr)
	const acl = `"AccessKey":"","OnsChannel":"ALIYUN","Signature":"vn/kki9fh19Cxx89eTl/BMmMqKw="`
	call := func(code int, ext string, body []byte) frame {
		t.Helper()
		return w.callRaw(t, fmt.Sprintf(`{"code":%d,"extFields":{%s%s},"flag":0,"language":"CPP","opaque":4,"remark":"","version":63}`+"\n", code, acl, ext), body)
	}
	send := func(batch string, body []byte) frame {
		t.Helper()
		return call(10, `,"batch":"`+batch+`","bornTimestamp":"1795872622340","defaultTopic":"TBW102","defaultTopicQueueNums":4,"flag":0,"producerGroup":"cpp_pg",`+
			`"properties":"TAGS\u0001T\u0002WAIT\u0001true\u0002","queueId":1,"reconsumeTimes":"0","sysFlag":0,"topic":"`+topic+`","unitMode":"0"`, body)
	}
	require.Zero(t, send("0", []byte("one")).Code)
	r := send("1", append(batchItem([]byte("two"), "TAGS\x01T\x02"), batchItem([]byte("three"), "")...))
	require.Zero(t, r.Code, r.Remark)
	require.Len(t, strings.Split(r.Ext["msgId"], ","), 2)
	var bodies []string
	for _, m := range readQueue(t, c.leader(t).Addr, topic, 1) {
		bodies = append(bodies, string(m.Body))
	}
	require.Equal(t, []string{"one", "two", "three"}, bodies)

	beat := func(group string, model int) {
		t.Helper()
		require.Zero(t, call(34, "", fmt.Appendf(nil, `{"clientID":"30804-127.0.0.1@a","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":%q,"messageModel":%d,`+
			`"subscriptionDataSet":[{"subString":"*","subVersion":"1795872677133","topic":%q}]}]}`+"\n", group, model, topic)).Code)
	}
	beat(group, 1)
	r = call(203, `,"consumerGroup":"`+group+`"`, nil)
	for _, part := range []string{`"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET"`, `"consumeType":"CONSUME_PASSIVELY"`, `"messageModel":"CLUSTERING"`, `"subVersion":1795872677133`} {
		require.Contains(t, string(r.Body), part, "for tools in Java")
	}
	r = call(11, `,"commitOffset":"0","consumerGroup":"`+group+`","maxMsgNums":32,"queueId":1,"queueOffset":"0","subVersion":"1795872677133","subscription":"*",`+
		`"suspendTimeoutMillis":"15000","sysFlag":6,"topic":"`+topic+`"`, nil)
	require.Zero(t, r.Code, r.Remark)
	require.Zero(t, call(15, `,"commitOffset":"3","consumerGroup":"`+group+`","queueId":1,"topic":"`+topic+`"`, nil).Code)
	require.Equal(t, "3", call(14, `,"consumerGroup":"`+group+`","queueId":1,"topic":"`+topic+`"`, nil).Ext["offset"])

	cast := uniqueName("cast")
	c.setGroup(t, cast, map[string]any{"consumeBroadcastEnable": false})
	beat(cast, 0)
	r = call(11, `,"commitOffset":"0","consumerGroup":"`+cast+`","maxMsgNums":32,"queueId":1,"queueOffset":"0","subVersion":"0","suspendTimeoutMillis":"0","sysFlag":0,"topic":"`+topic+`"`, nil)
	require.Equal(t, 16, r.Code, "a broadcasting group is known as one: %s", r.Remark)
}

// What a subscription does not want does not cross the network.
func TestFilteredAtTheBroker(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("sifted")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	large := bytes.Repeat([]byte("unwanted"), 1000)
	for i := range 20 {
		tag, body := "A", []byte("wanted")
		if i%2 == 1 {
			tag, body = "B", large
		}
		must(t, addr, 10, with(sendFields(topic, 0), "properties", "TAGS\x01"+tag+"\x02n\x01"+strconv.Itoa(i)), body)
	}
	for expression, kind := range map[string]string{"A": "TAG", "n < 20 AND n <> 1 AND TAGS = 'A'": "SQL92"} {
		r := must(t, addr, 11, with(pullFields(topic, 0, 0), "subscription", expression, "expressionType", kind), nil)
		require.Len(t, primitive.DecodeMessage(r.Body), 10, kind)
		require.NotContains(t, string(r.Body), "unwanted", kind)
		require.Equal(t, "20", r.Ext["nextBeginOffset"], kind)
	}
}

// A pull at the end of its queue is held for as long as it asks, also while messages arrive that it does not want, and
// answered at once when one does that it wants.
func TestIdlePullIsHeld(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("idle")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	held := func(offset int64, d time.Duration) (*wire, time.Time) {
		w, asked := dial(t, addr), time.Now()
		w.write(t, frame{Code: 11, Ext: with(pullFields(topic, 0, offset), "subscription", "A", "sysFlag", "6", "suspendTimeoutMillis", strconv.FormatInt(d.Milliseconds(), 10))})
		return w, asked
	}
	send := func(tag string) {
		must(t, addr, 10, with(sendFields(topic, 0), "properties", "TAGS\x01"+tag), []byte(tag))
	}
	w, since := held(0, 1200*time.Millisecond)
	r := w.next(t, 10*time.Second)
	require.Equal(t, 19, r.Code)
	require.GreaterOrEqual(t, time.Since(since), 1200*time.Millisecond)

	w, since = held(0, time.Second)
	send("B")
	r = w.next(t, 10*time.Second)
	require.GreaterOrEqual(t, time.Since(since), time.Second, "woken by a message that it does not want")
	require.Equal(t, 20, r.Code)
	require.Equal(t, "1", r.Ext["nextBeginOffset"], "it goes on behind what it does not want")

	w, since = held(1, 20*time.Second)
	send("A")
	r = w.next(t, 10*time.Second)
	require.Zero(t, r.Code)
	require.Less(t, time.Since(since), 10*time.Second)
	require.Len(t, primitive.DecodeMessage(r.Body), 1)
}

// The second port, two below the first, serves everything but pulls.
func TestSecondPort(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("vip")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	second := net.JoinHostPort(host, strconv.Itoa(n-2))
	must(t, second, 10, sendFields(topic, 0), []byte("x"))
	require.EqualValues(t, 1, maxOffset(t, second, topic, 0))
	refused(t, second, 11, pullFields(topic, 0, 0), nil, 3, " request type 11 not supported")
	require.Len(t, readQueue(t, addr, topic, 0), 1)

	// A client registers on the first port and goes on on the second.
	group := uniqueName("g")
	dial(t, addr).beat(t, "me", group, "CLUSTERING", 1, topic, "*")
	require.Equal(t, 1, lockQueues(t, second, 41, "me", group, topic, 1))
	var ids struct {
		ConsumerIDList []string `json:"consumerIdList"`
	}
	require.NoError(t, json.Unmarshal(must(t, second, 38, fields{"consumerGroup": group}, nil).Body, &ids))
	require.Equal(t, []string{"me"}, ids.ConsumerIDList)
}

// Clients 5.x say on which side of a time they mean the message.
func TestSearchBoundaries(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("boundary")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	for range 3 {
		must(t, addr, 10, sendFields(topic, 0), []byte("x"))
		time.Sleep(5 * time.Millisecond) // so that each has a time of its own
	}
	stored := readQueue(t, addr, topic, 0)
	search := func(at int64, boundary string) int64 {
		return number(t, addr, 29, "offset", fields{"topic": topic, "queueId": "0", "timestamp": strconv.FormatInt(at, 10), "boundaryType": boundary})
	}
	for _, s := range []struct {
		at           int64
		lower, upper int64
	}{
		{stored[0].StoreTimestamp - 1, 0, 0}, {stored[0].StoreTimestamp, 0, 0}, {stored[0].StoreTimestamp + 1, 1, 0},
		{stored[2].StoreTimestamp, 2, 2}, {stored[2].StoreTimestamp + 1, 3, 2},
	} {
		require.Equal(t, s.lower, search(s.at, "LOWER"))
		require.Equal(t, s.upper, search(s.at, "UPPER"))
	}
}

// TestKilledServerResetsConnections: clients that take no notice of an orderly end see that the server died, and a server
// that stops in good order takes leave in good order.
func TestKilledServerResetsConnections(t *testing.T) {
	t.Parallel()
	for sig, want := range map[syscall.Signal]error{syscall.SIGKILL: syscall.ECONNRESET, syscall.SIGTERM: io.EOF} {
		port, err := freeBasePort()
		require.NoError(t, err)
		p := startProcess(t, t.TempDir(), "mqnamesrv", "-c", writeConf(t, fmt.Sprint("listenPort=", port)))
		p.waitLine(t, "boot success", 10*time.Second)
		c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = c.Write(frame{Code: 318, Lang: "OTHER"}.encode())
		require.NoError(t, err)
		_, err = readFrame(c)
		require.NoError(t, err)
		p.stop(sig)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, want, "after %v", sig)
	}
}
