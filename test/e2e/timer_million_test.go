//go:build million

package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMillionTimers: a million messages that wait over 24 hours cost a broker less than 200 MB of memory, and after a crash
// it serves within five seconds and goes on delivering. `make million` runs it; it takes some minutes.
func TestMillionTimers(t *testing.T) {
	const total, lanes, window = 1_000_000, 8, 256
	c := ownCluster(t, "--nodes", "1", "--flush", "async")
	topic := uniqueName("million")
	c.createTopic(t, topic, 1)
	broker := c.leader(t)
	before := resident(t, broker.PID)
	start := time.Now()
	due := func(i int) int64 { return start.UnixMilli() + int64(i)*24*3600*1000/total }
	var wg sync.WaitGroup
	errs := make(chan error, lanes)
	for lane := range lanes {
		wg.Go(func() { errs <- sendTimers(broker.Addr, topic, lane, lanes, total, window, due) })
	}
	wg.Wait()
	for range lanes {
		require.NoError(t, <-errs)
	}
	took := time.Since(start)
	after := resident(t, broker.PID)
	t.Logf("sent in %v; resident %d MB before, %d MB after", took.Round(time.Second), before>>20, after>>20)
	require.Less(t, after-before, int64(200<<20))

	delivered := func() int64 { return maxOffset(t, broker.Addr, topic, 0) }
	check := func() {
		t.Helper()
		waited := func() int64 { return (time.Now().UnixMilli() - start.UnixMilli()) * total / (24 * 3600 * 1000) }
		soon := waited()
		require.Eventually(t, func() bool { return delivered() >= soon }, 10*time.Second, 10*time.Millisecond)
		require.LessOrEqual(t, delivered(), waited()+1, "none early")
	}
	check()
	require.NoError(t, syscall.Kill(broker.PID, syscall.SIGKILL))
	_, err := command("mqadmin", "local", "down", "--dir", c.dir)
	require.NoError(t, err)
	restart := time.Now()
	_, err = command("mqadmin", "local", "up", "--dir", c.dir)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		r, err := invoke(broker.Addr, 10, map[string]string{
			"producerGroup": "pg", "topic": topic + "_other", "defaultTopic": "TBW102", "defaultTopicQueueNums": "1", "queueId": "0", "sysFlag": "0",
			"bornTimestamp": "1", "flag": "0", "properties": "", "reconsumeTimes": "0", "unitMode": "false", "batch": "false",
		}, []byte("x"))
		return err == nil && r.Code == 0
	}, 30*time.Second, 5*time.Millisecond)
	serving := time.Since(restart)
	pid := c.leader(t).PID
	check()
	t.Logf("restart to serving %v; resident %d MB", serving.Round(time.Millisecond), resident(t, pid)>>20)
	require.Less(t, serving, 5*time.Second)
	require.Less(t, resident(t, pid)-before, int64(200<<20))
}

// sendTimers sends every lanes-th message over one connection, window of them under way.
func sendTimers(addr, topic string, lane, lanes, total, window int, due func(i int) int64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	slots := make(chan struct{}, window)
	failed := make(chan error, 1)
	go func() {
		r := bufio.NewReaderSize(conn, 1<<20)
		for i := lane; i < total; i += lanes {
			f, err := readFrame(r)
			if err == nil && f.Code != 0 {
				err = fmt.Errorf("send: %d %s", f.Code, f.Remark)
			}
			if err != nil {
				failed <- err
				return
			}
			<-slots
		}
		failed <- nil
	}()
	w := bufio.NewWriterSize(conn, 64<<10)
	body := make([]byte, 128)
	for i := lane; i < total; i += lanes {
		select {
		case slots <- struct{}{}:
		default:
			if err := w.Flush(); err != nil {
				return err
			}
			select {
			case slots <- struct{}{}:
			case err := <-failed:
				return err
			}
		}
		binary.BigEndian.PutUint64(body, uint64(i))
		f := frame{Code: 10, Lang: "OTHER", Ver: 401, Opaque: i, Body: body, Ext: map[string]string{
			"producerGroup": "pg", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "1", "queueId": "0", "sysFlag": "0",
			"bornTimestamp": "1", "flag": "0", "reconsumeTimes": "0", "unitMode": "false", "batch": "false",
			"properties": fmt.Sprintf("UNIQ_KEY\x01%032X\x02TIMER_DELIVER_MS\x01%s", i, strconv.FormatInt(due(i), 10)),
		}}
		if _, err := io.WriteString(w, string(f.encode())); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return <-failed
}
