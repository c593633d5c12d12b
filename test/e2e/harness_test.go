package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/stretchr/testify/require"
)

// lazyCluster is a cluster that starts at its first use and ends with the tests.
type lazyCluster struct {
	once    sync.Once
	cluster *cluster
	err     error
}

// shared is the one three-node cluster that tests use when they do not break it, checked one more that asks about
// transactions quickly, and strict a broker that creates nothing by itself and has a short table of delays.
var shared, checked, strict lazyCluster

// leftOut is what could not be checked on this machine. It is said at the end of a run: it must not look as if it had been.
var leftOut []string

func TestMain(m *testing.M) {
	rlog.SetLogLevel("fatal")
	code := m.Run()
	for _, what := range leftOut {
		fmt.Println("LEFT OUT:", what)
	}
	for _, l := range []*lazyCluster{&shared, &checked, &strict} {
		if l.cluster != nil {
			l.cluster.down()
		}
	}
	os.Exit(code)
}

// node is one broker of a cluster as `mqadmin local status -o json` reports it.
type node struct {
	Name     string `json:"name"`
	ID       string `json:"id"`
	Addr     string `json:"addr"`
	RaftAddr string `json:"raftAddr"`
	Role     string `json:"role"`
	Term     uint64 `json:"term"`
	PID      int    `json:"pid"`
}

type status struct {
	Namesrv string `json:"namesrv"`
	Brokers []node `json:"brokers"`
}

// cluster is a name server and a broker group that `mqadmin local up` started.
type cluster struct {
	dir     string
	namesrv string
}

func bin(name string) string {
	dir := os.Getenv("COMETMQ_BIN")
	if dir == "" {
		dir = filepath.Join("..", "..")
	}
	p, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		panic(err)
	}
	return p
}

// command runs a binary to its end and returns its standard output.
func command(name string, args ...string) (string, error) {
	cmd := exec.Command(bin(name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// handedOut are base ports given to tests of this run that may not have bound them yet.
var handedOut sync.Map

// freeBasePort finds a base port P such that P and every port that a local cluster derives from it is free. All of them lie
// below the range from which the kernel serves outgoing connections.
func freeBasePort() (int, error) {
	for range 200 {
		p := 10000 + rand.IntN(20000)/100*100
		if _, taken := handedOut.LoadOrStore(p, true); taken || !allFree(p, p+1033, p+1035, p+1040, p+1043, p+1045, p+1050, p+1053, p+1055, p+1060) {
			continue
		}
		return p, nil
	}
	return 0, fmt.Errorf("no free port range in 200 tries")
}

func allFree(ports ...int) bool {
	for _, p := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

func up(dir string, args ...string) (*cluster, error) {
	port, err := freeBasePort()
	if err != nil {
		return nil, err
	}
	args = append([]string{"local", "up", "--dir", dir, "--base-port", strconv.Itoa(port)}, args...)
	if _, err := command("mqadmin", args...); err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	s, err := c.status()
	if err != nil {
		return nil, err
	}
	c.namesrv = s.Namesrv
	return c, nil
}

func (c *cluster) status() (status, error) {
	var s status
	out, err := command("mqadmin", "local", "status", "--dir", c.dir, "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

func (c *cluster) down() {
	if _, err := command("mqadmin", "local", "down", "--dir", c.dir, "--purge"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// leader is the broker that leads now; it waits up to 10 s for one.
func (c *cluster) leader(t *testing.T) node {
	t.Helper()
	var found node
	require.Eventually(t, func() bool {
		s, err := c.status()
		if err != nil {
			return false
		}
		for _, b := range s.Brokers {
			if b.Role == "leader" {
				found = b
				return true
			}
		}
		return false
	}, 10*time.Second, 20*time.Millisecond, "no leader")
	return found
}

func (l *lazyCluster) get(t *testing.T, args ...string) *cluster {
	t.Helper()
	l.once.Do(func() {
		dir, err := os.MkdirTemp("", "cometmq-e2e-")
		if err != nil {
			l.err = err
			return
		}
		l.cluster, l.err = up(filepath.Join(dir, "cluster"), args...)
	})
	require.NoError(t, l.err)
	return l.cluster
}

// sharedCluster starts the shared cluster at its first use.
func sharedCluster(t *testing.T) *cluster {
	t.Helper()
	return shared.get(t)
}

// checkedCluster starts the other shared cluster.
func checkedCluster(t *testing.T) *cluster {
	t.Helper()
	return checked.get(t, "--set", quickChecks)
}

// strictBroker starts the broker whose settings are not the usual ones: topics and groups have to be made by hand,
// transactions are refused, the trace topic is there, selectors hold for retried messages, messages may name light queues, and
// the delay levels are 1, 2 and then always 1 s.
func strictBroker(t *testing.T) *cluster {
	t.Helper()
	return strict.get(t, "--nodes", "1", "--set", "autoCreateTopicEnable=false,autoCreateSubscriptionGroup=false,rejectTransactionMessage=true,"+
		"traceTopicEnable=true,filterSupportRetry=true,enableLmq=true,enableMultiDispatch=true,messageDelayLevel=1s 2s 1s 1s 1s")
}

// quickChecks makes brokers ask about a transaction after half a second and then every second, and not give up while a
// client takes half a minute to find the new leader.
const quickChecks = "transactionTimeOut=500,transactionCheckInterval=1000,transactionCheckMax=1000"

// ownCluster is a cluster of this test alone, which may break it.
func ownCluster(t *testing.T, args ...string) *cluster {
	t.Helper()
	c, err := up(filepath.Join(t.TempDir(), "cluster"), args...)
	require.NoError(t, err)
	t.Cleanup(c.down)
	return c
}

// setTopic creates or changes a topic at the leader, with RocketMQ's permission bits (2 write, 4 read).
func (c *cluster) setTopic(t *testing.T, topic string, queues, perm int) {
	t.Helper()
	n := strconv.Itoa(queues)
	r, err := invoke(c.leader(t).Addr, 17, map[string]string{"topic": topic, "defaultTopic": "TBW102", "readQueueNums": n, "writeQueueNums": n,
		"perm": strconv.Itoa(perm), "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}, nil)
	require.NoError(t, err)
	require.Zero(t, r.Code, r.Remark)
	require.Eventually(t, func() bool {
		r, err := invoke(c.namesrv, 105, map[string]string{"topic": topic}, nil)
		return err == nil && r.Code == 0 && strings.Contains(string(r.Body), fmt.Sprintf(`"perm":%d,`, perm))
	}, 10*time.Second, 10*time.Millisecond, "no route of %s with permission %d", topic, perm)
}

// setGroup creates or changes a consumer group at the leader; settings are its fields where they are not the defaults. The
// group's retry topic comes with it, so that Go clients, which look for its route once before their first heartbeat, find it.
func (c *cluster) setGroup(t *testing.T, group string, settings map[string]any) {
	t.Helper()
	g := map[string]any{"groupName": group, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": true,
		"retryQueueNums": 1, "retryMaxTimes": 16, "notifyConsumerIdsChangedEnable": true}
	maps.Copy(g, settings)
	body, err := json.Marshal(g)
	require.NoError(t, err)
	must(t, c.leader(t).Addr, 200, nil, body)
	c.awaitRoute(t, "%RETRY%"+group)
}

// awaitRoute waits until the name server routes a topic: Go clients refuse to consume one without a route.
func (c *cluster) awaitRoute(t *testing.T, topic string) {
	t.Helper()
	require.Eventually(t, func() bool {
		r, err := invoke(c.namesrv, 105, fields{"topic": topic}, nil)
		return err == nil && r.Code == 0
	}, 10*time.Second, 10*time.Millisecond, "no route of %s", topic)
}

// awaitMembers waits until the broker knows that many members of a consumer group.
func (c *cluster) awaitMembers(t *testing.T, group string, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		r, err := invoke(c.leader(t).Addr, 38, map[string]string{"consumerGroup": group}, nil)
		var ids struct {
			ConsumerIDList []string `json:"consumerIdList"`
		}
		return err == nil && r.Code == 0 && json.Unmarshal(r.Body, &ids) == nil && len(ids.ConsumerIDList) == n
	}, 30*time.Second, 20*time.Millisecond, "group %s never had %d members", group, n)
}

// createTopic makes a topic with that many read and write queues and waits until the name server routes it.
func (c *cluster) createTopic(t *testing.T, topic string, queues int) {
	t.Helper()
	n := strconv.Itoa(queues)
	_, err := command("mqadmin", "updateTopic", "-n", c.namesrv, "-c", "DefaultCluster", "-t", topic, "-r", n, "-w", n)
	require.NoError(t, err)
	c.awaitRoute(t, topic)
}

func uniqueName(prefix string) string {
	return prefix + "_" + strconv.FormatInt(time.Now().UnixNano(), 36)
}

// ended says whether a process is gone, or dead and only waiting to be reaped.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	return ok && strings.HasPrefix(rest, "Z")
}
