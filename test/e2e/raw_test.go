package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

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
