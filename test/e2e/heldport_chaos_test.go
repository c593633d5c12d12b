//go:build chaos

package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestChaosForwardingToAHeldPort: when a leader is dead and its port is held, members that send requests on to it are not
// refused. What they sent so must be answered soon after the next leader is known, and not only when the dead one is back,
// which never happens here.
func TestChaosForwardingToAHeldPort(t *testing.T) {
	base, err := freeBasePort()
	require.NoError(t, err)
	peers, addrs := "", []string{}
	for i := range 3 {
		peers += fmt.Sprintf(";n%d-127.0.0.1:%d", i, base+1040+10*i)
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", base+1035+10*i))
	}
	members := map[string]*process{}
	for i, addr := range addrs {
		home := t.TempDir()
		file := writeConf(t, fmt.Sprint("listenPort=", base+1035+10*i), "brokerIP1=127.0.0.1", "metricsExporterType=DISABLE", "brokerName=held",
			"storePathRootDir="+home+"/store", "mappedFileSizeCommitLog=16777216", "enableDLegerCommitLog=true", "dLegerGroup=held",
			fmt.Sprintf("dLegerSelfId=n%d", i), "dLegerPeers="+peers[1:])
		members[addr] = startWith(t, home, []*os.File{hold(t, base+1035+10*i)}, "remoting", "mqbroker", "-c", file)
	}
	for _, p := range members {
		p.waitLine(t, "boot success", 20*time.Second)
	}
	leader := ""
	require.Eventually(t, func() bool {
		for _, addr := range addrs {
			r, err := invoke(addr, 28, nil, nil)
			if err == nil && strings.Contains(string(r.Body), `"raftRole":"leader"`) {
				leader = addr
			}
		}
		return leader != ""
	}, 10*time.Second, 20*time.Millisecond)
	topic := uniqueName("held")
	must(t, leader, 17, fields{"topic": topic, "defaultTopic": "TBW102", "readQueueNums": "4", "writeQueueNums": "4", "perm": "6",
		"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}, nil)

	var longest, sent, failed atomic.Int64
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for _, addr := range addrs {
		if addr == leader {
			continue
		}
		for q := range 4 {
			senders.Go(func() { // one message under way
				c, err := net.Dial("tcp", addr)
				if err != nil {
					failed.Add(1)
					return
				}
				defer c.Close()
				for {
					select {
					case <-stop:
						return
					default:
					}
					began := time.Now()
					_ = c.SetDeadline(began.Add(20 * time.Second))
					_, err := c.Write(frame{Code: 10, Lang: "OTHER", Ver: 401, Opaque: 7, Ext: sendFields(topic, q), Body: []byte("x")}.encode())
					var r frame
					if err == nil {
						r, err = readFrame(c)
					}
					if err != nil || r.Code != 0 {
						failed.Add(1)
					}
					sent.Add(1)
					for took := time.Since(began).Milliseconds(); ; {
						old := longest.Load()
						if took <= old || longest.CompareAndSwap(old, took) {
							break
						}
					}
					if err != nil {
						return
					}
				}
			})
		}
	}
	require.Eventually(t, func() bool { return sent.Load() > 200 }, 20*time.Second, time.Millisecond)
	before := longest.Load()
	members[leader].stop(syscall.SIGKILL)
	mark := sent.Load()
	require.Eventually(t, func() bool { return sent.Load() > mark+1000 }, 20*time.Second, 5*time.Millisecond)
	close(stop)
	senders.Wait()
	t.Logf("%d sends, %d without success, the longest took %d ms (%d ms before the leader died)", sent.Load(), failed.Load(), longest.Load(), before)
	require.Less(t, longest.Load(), int64(900), "an election, and not the second for which answers of the last leader are waited for")
}
