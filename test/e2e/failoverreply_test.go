package e2e

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// failoverDedup: an application sends each message until it is acknowledged. Sends without an answer may have been stored;
// with de-duplication their repetitions are not stored again.
func failoverDedup(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	must(t, m.c.leader(t).Addr, 17, fields{"topic": "deduped", "defaultTopic": "TBW102", "readQueueNums": "2", "writeQueueNums": "2", "perm": "6",
		"topicFilterType": "SINGLE_TAG", "attributes": "+deduplicate=true"}, nil)
	m.c.awaitRoute(t, "deduped")
	a := newAcked()
	for w := range 4 {
		send := once(t, m)
		var pending *primitive.Message
		n := 0
		m.every("dedup", 5*time.Millisecond, func(int) bool {
			if pending == nil {
				pending = primitive.NewMessage("deduped", fmt.Appendf(nil, "%d-%d", w, n))
				n++
			}
			if !send(a, pending) {
				return false
			}
			pending = nil
			return true
		})
	}
	return func(t *testing.T) { m.stored(t, "deduped", 2, a) }
}

// failoverReply: requests are answered before and after the failover, whichever members the requester and the replier are
// connected to. The Go client 2.1.2 cannot be used: it dereferences nil when a request's connection breaks.
func failoverReply(t *testing.T, m *failoverMatrix) func(t *testing.T) {
	m.c.createTopic(t, "questions", 1)
	a := newAcked()
	m.every("reply", 50*time.Millisecond, func(i int) bool {
		s, err := m.c.status()
		if err != nil {
			return false
		}
		var live []string
		for _, b := range s.Brokers {
			if b.Role == "leader" || b.Role == "follower" {
				live = append(live, b.Addr)
			}
		}
		if len(live) == 0 {
			return false
		}
		body := strconv.Itoa(i)
		return a.note(askAndReply(live[i%len(live)], live[i/len(live)%len(live)], body) == nil, body)
	})
	return func(t *testing.T) {
		require.NotEmpty(t, a.all())
		n := map[string]int{}
		for _, x := range readQueue(t, m.c.leader(t).Addr, "DefaultCluster_REPLY_TOPIC", 0) {
			n[string(x.Body)]++
			require.True(t, a.ok[string(x.Body)] || a.maybe[string(x.Body)], "%s was never sent", x.Body)
		}
		for body := range a.all() {
			// An answer says that the requester has the reply; storing it as well may fail with the leader.
			require.LessOrEqual(t, n[body], 1, "reply %s is stored twice", body)
		}
	}
}

// askAndReply has a requester and a replier, each on a connection of its own, and returns nil when the requester got the
// reply and the replier was told so.
func askAndReply(requester, replier, body string) error {
	ask, err := net.DialTimeout("tcp", requester, time.Second)
	if err != nil {
		return err
	}
	defer ask.Close()
	answer, err := net.DialTimeout("tcp", replier, time.Second)
	if err != nil {
		return err
	}
	defer answer.Close()
	deadline := time.Now().Add(5 * time.Second)
	if err := errors.Join(ask.SetDeadline(deadline), answer.SetDeadline(deadline)); err != nil {
		return err
	}
	call := func(c net.Conn, f frame) error {
		f.Lang, f.Ver, f.Opaque = "OTHER", 401, 1
		if _, err := c.Write(f.encode()); err != nil {
			return err
		}
		r, err := readFrame(c)
		if err == nil && (r.Code != 0 || r.Flag&1 == 0) {
			err = fmt.Errorf("%d %s", r.Code, r.Remark)
		}
		return err
	}
	id := "requester-" + body
	properties := "CORRELATION_ID\x01c" + body + "\x02REPLY_TO_CLIENT\x01" + id + "\x02TTL\x015000"
	if err := call(ask, frame{Code: 34, Body: []byte(`{"clientID":"` + id + `","producerDataSet":[{"groupName":"requesters"}]}`)}); err != nil {
		return err
	}
	if err := call(ask, frame{Code: 10, Ext: with(sendFields("questions", 0), "properties", properties), Body: []byte(body)}); err != nil {
		return err
	}
	got := make(chan error, 1)
	go func() {
		r, err := readFrame(ask)
		switch {
		case err != nil:
		case r.Code != 326 || string(r.Body) != body:
			err = fmt.Errorf("%d with body %q instead of the reply", r.Code, r.Body)
		default:
			_, err = ask.Write(frame{Lang: "OTHER", Ver: 401, Opaque: r.Opaque, Flag: 1}.encode())
		}
		got <- err
	}()
	err = call(answer, frame{Code: 324, Ext: with(sendFields("DefaultCluster_REPLY_TOPIC", 0), "properties", properties+"\x02MSG_TYPE\x01reply"), Body: []byte(body)})
	return errors.Join(err, <-got)
}
