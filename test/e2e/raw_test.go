package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// frame is a remoting command with a JSON header, written here a second time on purpose: an oracle that shares code with
// the server would share its mistakes.
type frame struct {
	Code   int               `json:"code"`
	Lang   string            `json:"language"`
	Ver    int               `json:"version"`
	Opaque int               `json:"opaque"`
	Flag   int               `json:"flag"`
	Remark string            `json:"remark,omitempty"`
	Ext    map[string]string `json:"extFields,omitempty"`
	Body   []byte            `json:"-"`
}

func (f frame) encode() []byte {
	h, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(h)+len(f.Body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(h)))
	return append(append(b, h...), f.Body...)
}

func readFrame(r io.Reader) (frame, error) {
	var f frame
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	n, h := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])&0xffffff
	if n < 4+h || n > 16<<20 {
		return f, fmt.Errorf("frame of %d bytes with a header of %d", n, h)
	}
	rest := make([]byte, n-4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return f, err
	}
	f.Body = rest[h:]
	return f, json.Unmarshal(rest[:h], &f)
}

// invoke sends one request on a connection of its own and returns the answer.
func invoke(addr string, code int, ext map[string]string, body []byte) (frame, error) {
	c, err := net.DialTimeout("tcp", addr, 3*time.Second)
	if err != nil {
		return frame{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return frame{}, err
	}
	if _, err := c.Write(frame{Code: code, Lang: "OTHER", Ver: 401, Opaque: 7, Ext: ext, Body: body}.encode()); err != nil {
		return frame{}, err
	}
	return readFrame(c)
}

// number asks for a value that the answer carries in one field.
func number(t *testing.T, addr string, code int, field string, ext map[string]string) int64 {
	t.Helper()
	r, err := invoke(addr, code, ext, nil)
	require.NoError(t, err)
	require.Zero(t, r.Code, "code %d answered %d %s", code, r.Code, r.Remark)
	v, err := strconv.ParseInt(r.Ext[field], 10, 64)
	require.NoError(t, err)
	return v
}

func maxOffset(t *testing.T, addr, topic string, queue int) int64 {
	t.Helper()
	return number(t, addr, 30, "offset", map[string]string{"topic": topic, "queueId": strconv.Itoa(queue)})
}

func committedOffset(t *testing.T, addr, group, topic string, queue int) int64 {
	t.Helper()
	return number(t, addr, 14, "offset", map[string]string{"consumerGroup": group, "topic": topic, "queueId": strconv.Itoa(queue)})
}

type fields = map[string]string

// must sends one request and wants success.
func must(t *testing.T, addr string, code int, ext fields, body []byte) frame {
	t.Helper()
	r, err := invoke(addr, code, ext, body)
	require.NoError(t, err)
	require.Zero(t, r.Code, "code %d answered %d %s", code, r.Code, r.Remark)
	return r
}

// refused sends one request and wants it answered with a code and a remark that contains each part.
func refused(t *testing.T, addr string, code int, ext fields, body []byte, want int, parts ...string) {
	t.Helper()
	r, err := invoke(addr, code, ext, body)
	require.NoError(t, err)
	require.Equal(t, want, r.Code, r.Remark)
	for _, part := range parts {
		require.Contains(t, r.Remark, part)
	}
}

// with copies fields and changes some: name, value, name, value.
func with(base fields, kv ...string) fields {
	m := maps.Clone(base)
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

// sendFields are the fields of SEND_MESSAGE.
func sendFields(topic string, queue int) fields {
	return fields{
		"producerGroup": "raw", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": strconv.Itoa(queue),
		"sysFlag": "0", "bornTimestamp": strconv.FormatInt(time.Now().UnixMilli(), 10), "flag": "0", "properties": "",
	}
}

// pullFields are the fields of a pull that carries its subscription and is answered at once.
func pullFields(topic string, queue int, offset int64) fields {
	return fields{
		"consumerGroup": "TOOLS_CONSUMER", "topic": topic, "queueId": strconv.Itoa(queue), "queueOffset": strconv.FormatInt(offset, 10),
		"maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0",
		"expressionType": "TAG",
	}
}

// readQueue pulls a queue from its first message to its end and decodes the messages as the official client does.
func readQueue(t *testing.T, addr, topic string, queue int) []*primitive.MessageExt {
	t.Helper()
	var all []*primitive.MessageExt
	for offset := int64(0); ; {
		r, err := invoke(addr, 11, pullFields(topic, queue, offset), nil)
		require.NoError(t, err)
		if r.Code == 19 || r.Code == 21 && r.Ext["nextBeginOffset"] == strconv.FormatInt(offset, 10) {
			return all
		}
		require.Contains(t, []int{0, 20, 21}, r.Code, r.Remark)
		if r.Code == 0 {
			all = append(all, primitive.DecodeMessage(r.Body)...)
		}
		offset, err = strconv.ParseInt(r.Ext["nextBeginOffset"], 10, 64)
		require.NoError(t, err)
	}
}

// readTopic is readQueue over the first queues of a topic.
func readTopic(t *testing.T, addr, topic string, queues int) []*primitive.MessageExt {
	t.Helper()
	var all []*primitive.MessageExt
	for q := range queues {
		all = append(all, readQueue(t, addr, topic, q)...)
	}
	return all
}

// wire is a connection that is kept, for requests that a broker sends to its clients.
type wire struct {
	conn   net.Conn
	opaque int
	pushed []frame // requests of the broker that came while an answer was awaited
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 3*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &wire{conn: c}
}

// write sends a request without waiting for its answer.
func (w *wire) write(t *testing.T, f frame) {
	t.Helper()
	w.opaque++
	f.Lang, f.Ver, f.Opaque = "OTHER", 401, w.opaque
	_, err := w.conn.Write(f.encode())
	require.NoError(t, err)
}

// call sends a request and returns its answer.
func (w *wire) call(t *testing.T, code int, ext fields, body []byte) frame {
	t.Helper()
	w.write(t, frame{Code: code, Ext: ext, Body: body})
	for {
		f := w.next(t, 10*time.Second)
		if f.Flag&1 == 1 {
			require.Equal(t, w.opaque, f.Opaque, "an answer to another request")
			return f
		}
		w.pushed = append(w.pushed, f)
	}
}

// next is the next frame that arrives.
func (w *wire) next(t *testing.T, within time.Duration) frame {
	t.Helper()
	require.NoError(t, w.conn.SetReadDeadline(time.Now().Add(within)))
	f, err := readFrame(w.conn)
	require.NoError(t, err)
	return f
}

// beat sends a heartbeat with one consumer group, its subscriptions given as topic, expression, topic, expression.
func (w *wire) beat(t *testing.T, client, group, model string, version int64, subs ...string) {
	t.Helper()
	var list []map[string]any
	for i := 0; i < len(subs); i += 2 {
		list = append(list, map[string]any{"topic": subs[i], "subString": subs[i+1], "subVersion": version, "expressionType": "TAG"})
	}
	body, err := json.Marshal(map[string]any{"clientID": client, "consumerDataSet": []any{map[string]any{
		"groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": model, "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
		"subscriptionDataSet": list,
	}}, "producerDataSet": []any{}})
	require.NoError(t, err)
	r := w.call(t, 34, nil, body)
	require.Zero(t, r.Code, r.Remark)
}
