//go:build chaos

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// heldGroup is a group of three whose client ports the test holds.
type heldGroup struct {
	addrs   []string
	leader  string
	namesrv string
	members map[string]*process
	homes   map[string]string
	start   func(addr string)
}

func startHeldGroup(t *testing.T) *heldGroup {
	base, err := freeBasePort()
	require.NoError(t, err)
	g := &heldGroup{namesrv: fmt.Sprintf("127.0.0.1:%d", base), members: map[string]*process{}, homes: map[string]string{}}
	startProcess(t, t.TempDir(), "mqnamesrv", "-c", writeConf(t, fmt.Sprint("listenPort=", base), "metricsExporterType=DISABLE")).
		waitLine(t, "boot success", 10*time.Second)
	peers, files, ports := "", map[string]string{}, map[string]*os.File{}
	for i := range 3 {
		peers += fmt.Sprintf(";n%d-127.0.0.1:%d", i, base+1040+10*i)
	}
	g.start = func(addr string) {
		g.members[addr] = startWith(t, g.homes[addr], []*os.File{ports[addr]}, "remoting", "mqbroker", "-c", files[addr])
	}
	for i := range 3 {
		port, home := base+1035+10*i, t.TempDir()
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		g.addrs, g.homes[addr], ports[addr] = append(g.addrs, addr), home, hold(t, port)
		files[addr] = writeConf(t, fmt.Sprint("listenPort=", port), "brokerIP1=127.0.0.1", "metricsExporterType=DISABLE", "brokerName=held", "namesrvAddr="+g.namesrv,
			"storePathRootDir="+home+"/store", "mappedFileSizeCommitLog=16777216", "enableDLegerCommitLog=true", "dLegerGroup=held",
			fmt.Sprintf("dLegerSelfId=n%d", i), "dLegerPeers="+peers[1:])
		g.start(addr)
	}
	for _, p := range g.members {
		p.waitLine(t, "boot success", 20*time.Second)
	}
	require.Eventually(t, func() bool {
		for _, addr := range g.addrs {
			r, err := invoke(addr, 28, nil, nil)
			if err == nil && strings.Contains(string(r.Body), `"raftRole":"leader"`) {
				g.leader = addr
			}
		}
		return g.leader != ""
	}, 10*time.Second, 20*time.Millisecond)
	return g
}

// TestChaosForwardingToAHeldPort: when a leader is dead and its port is held, members that send requests on to it are not
// refused. What they sent so must be answered soon after the next leader is known, and not only when the dead one is back,
// which never happens here.
func TestChaosForwardingToAHeldPort(t *testing.T) {
	g := startHeldGroup(t)
	leader := g.leader
	topic := uniqueName("held")
	must(t, leader, 17, fields{"topic": topic, "defaultTopic": "TBW102", "readQueueNums": "4", "writeQueueNums": "4", "perm": "6",
		"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}, nil)

	var longest, sent, failed atomic.Int64
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for _, addr := range g.addrs {
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
	g.members[leader].stop(syscall.SIGKILL)
	mark := sent.Load()
	require.Eventually(t, func() bool { return sent.Load() > mark+1000 }, 20*time.Second, 5*time.Millisecond)
	close(stop)
	senders.Wait()
	t.Logf("%d sends, %d without success, the longest took %d ms (%d ms before the leader died)", sent.Load(), failed.Load(), longest.Load(), before)
	require.Less(t, longest.Load(), int64(900), "an election, and not the second for which answers of the last leader are waited for")
}

// TestChaosHealingHandsTheHeldPortOn: a member whose data turns out to be damaged replaces its own process, and hands the
// socket on that was passed to it. Without that it would find its own port taken.
func TestChaosHealingHandsTheHeldPortOn(t *testing.T) {
	g := startHeldGroup(t)
	topic := uniqueName("held")
	for range 20 {
		must(t, g.leader, 10, sendFields(topic, 0), make([]byte, 1000))
	}
	victim := g.addrs[0]
	if victim == g.leader {
		victim = g.addrs[1]
	}
	// It must have what is to be damaged.
	log := filepath.Join(g.homes[victim], "store", "commitlog", "00000000000000000000")
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Count(string(text[:64<<10]), topic) >= 20
	}, 10*time.Second, 20*time.Millisecond)
	f, err := os.OpenFile(log, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), 8000)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = command("mqadmin", "store", "compare", "-n", g.namesrv)
	require.Error(t, err)
	g.members[victim].waitLine(t, "starting again", 20*time.Second)
	require.Eventually(t, func() bool { return strings.Count(g.members[victim].output(), "boot success") == 2 }, 20*time.Second, 10*time.Millisecond)
	must(t, victim, 10, sendFields(topic, 0), []byte("by the member that healed"))
}
