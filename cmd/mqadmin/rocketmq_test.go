package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// TestRocketMQ runs the transcripts in testdata/rocketmq: every sub-command that
// RocketMQ's mqadmin has, with what it has to print. They run at the same time
// against one cluster, so that each uses topics and groups of its own; $NAMESRV_ADDR
// and $BROKER are its addresses. Beside testscript's commands there are
//
//	exits CODE mqadmin …        run it; it shall end with this exit code
//	steady FILE mqadmin …       run it, and put its output with what differs from run to run masked into FILE
//	send TOPIC QUEUE BODY [TAG [KEY]]   store a message; its ids are $MSGID and $UNIQUE afterwards
//	commit GROUP TOPIC QUEUE OFFSET     move a consumer group
//	member GROUP TOPIC [TAG]    connect a consumer until the script ends; it has the id 10.0.0.1@GROUP
//	javabroker                  start a name server and broker that answer as RocketMQ 4.9.4 does, at $JAVA
func TestRocketMQ(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, testcluster.Options{Settings: map[string]string{"traceTopicEnable": "true"}})
	client, err := admin.New(admin.Config{NameServers: []string{c.Namesrv}})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	path, err := filepath.Abs(bin)
	require.NoError(t, err)
	at := scripted{broker: c.Nodes[0].Addr, client: client, ids: message.NewUniqueIDs(loopback)}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "rocketmq"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", path+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("NAMESRV_ADDR", c.Namesrv)
			env.Setenv("BROKER", at.broker)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TMPDIR", filepath.Join(env.WorkDir, "tmp"))
			return os.MkdirAll(filepath.Join(env.WorkDir, "tmp"), 0o755)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": endsWith, "steady": steady, "send": at.send, "commit": at.commit, "member": at.member, "javabroker": javaBroker,
		},
	})
}

// Each sub-command of 4.9.4 has a transcript.
func TestEverySubCommandHasATranscript(t *testing.T) {
	t.Parallel()
	var all []byte
	files, err := filepath.Glob(filepath.Join("testdata", "rocketmq", "*.txtar"))
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		all = append(all, text...)
	}
	count := 0
	for _, cmd := range newRoot().Commands() {
		if cmd.GroupID == rocketmqGroup {
			count++
			require.True(t, regexp.MustCompile(`\bmqadmin `+cmd.Name()+`\b`).Match(all), cmd.Name())
		}
	}
	require.Equal(t, 57, count, "sub-commands of RocketMQ 4.9.4")
}

// endsWith runs a program that shall end with the given code.
func endsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT…]")
	}
	code := 0
	var ended *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &ended) {
		code = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}

// masks are what differs from run to run; each match is masked with as many
// characters, so that columns stay where they are.
var masks = []*regexp.Regexp{
	regexp.MustCompile(`127\.0\.0\.1:(\d+)`),
	regexp.MustCompile(`\b(20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(?:,\d{3})?)`),
	regexp.MustCompile(`\b([0-9A-F]{32})\b`),
	regexp.MustCompile(`\b(1[789]\d{11})\b`),
}

// lengths are numbers that may differ in their length too; a # stands for them.
var lengths = regexp.MustCompile(`(?m)(rt=|spentTimeMills=|version=|commitLogOffset=|CommitLog Offset: +|physicOffset=|Avg RT: |true +)\d[\d.]*(ms)?(,|\]|$)`)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func steady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: steady FILE mqadmin COMMAND …")
	}
	ts.Check(ts.Exec(args[1], args[2:]...))
	text := []byte(strings.ReplaceAll(ts.ReadFile("stdout"), ts.MkAbs("."), "$WORK"))
	for _, mask := range masks {
		for _, at := range mask.FindAllSubmatchIndex(text, -1) {
			for i := at[2]; i < at[3]; i++ {
				if text[i] >= '0' && text[i] <= '9' || text[i] >= 'A' && text[i] <= 'F' {
					text[i] = '#'
				}
			}
		}
	}
	text = lengths.ReplaceAll(text, []byte("$1#$3"))
	// A file of a transcript ends with a line's end, and has no blank at the end of its lines.
	text = append(bytes.TrimRight(text, "\n"), '\n')
	text = regexp.MustCompile(`(?m)[ \t]+$`).ReplaceAll(text, nil)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o644))
}

// scripted is what the commands of transcripts work with.
type scripted struct {
	broker string
	client *admin.Client
	ids    *message.UniqueIDs
}

func number32(ts *testscript.TestScript, text string) int32 {
	n, err := strconv.ParseInt(text, 10, 32)
	ts.Check(err)
	return int32(n)
}

func (s scripted) send(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: send TOPIC QUEUE BODY [TAG [KEY]]")
	}
	m := admin.Message{Topic: args[0], Queue: number32(ts, args[1]), Body: []byte(args[2])}
	if len(args) > 3 {
		m.Tags = args[3]
	}
	if len(args) > 4 {
		m.Keys = args[4]
	}
	id := s.ids.Next(time.Now())
	m.Properties = message.AppendProperty(nil, message.PropertyUniqKey, id)
	res, err := s.client.SendTo(context.Background(), s.broker, m)
	ts.Check(err)
	ts.Setenv("MSGID", res.MsgID)
	ts.Setenv("UNIQUE", id)
}

func (s scripted) commit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: commit GROUP TOPIC QUEUE OFFSET")
	}
	ts.Check(s.client.CommitOffset(context.Background(), s.broker, args[0], args[1], number32(ts, args[2]), int64(number32(ts, args[3]))))
}

// member connects a consumer that answers what brokers ask of one.
func (s scripted) member(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: member GROUP TOPIC [TAG]")
	}
	group, topic, want := args[0], args[1], protocol.SubscribeAll
	sub := protocol.SubscriptionData{Topic: topic, SubString: want, ExpressionType: protocol.ExpressionTag}
	if len(args) > 2 {
		sub.SubString, sub.TagsSet, sub.CodeSet = args[2], []string{args[2]}, []int32{message.HashCode(args[2])}
	}
	info := protocol.Encode(&protocol.ConsumerRunningInfo{
		Properties: map[string]string{protocol.PropConsumeType: protocol.ConsumePassively, protocol.PropConsumeOrderly: "false",
			protocol.PropStartTimestamp: "1700000000000", protocol.PropConsumerGroup: group},
		Subscriptions: []protocol.SubscriptionData{sub},
		Queues: map[protocol.MessageQueue]protocol.ProcessQueueInfo{
			{Topic: topic, BrokerName: "broker-a", QueueID: 0}: {CommitOffset: 2, CachedMsgCount: 3, LastConsumeTimestamp: 1700000000000, LastPullTimestamp: 1700000000001},
		},
		Status: map[string]protocol.ConsumeStatus{topic: {PullRT: 1.5, PullTPS: 2.25}},
		Jstack: "main at rest\n",
	})
	rpc := remoting.NewClient(remoting.ClientConfig{Handler: func(call remoting.Call, req *protocol.Command) {
		resp := &protocol.Response{}
		switch req.Code {
		case protocol.CodeGetConsumerRunningInfo:
			resp.Body = info
		case protocol.CodeConsumeMessageDirectly:
			resp.Body = protocol.Encode(&protocol.ConsumeDirectlyResult{AutoCommit: true, ConsumeResult: "CR_SUCCESS", SpentTimeMills: 1})
		}
		if !call.Oneway() {
			call.Reply(resp)
		}
		req.Release()
	}})
	ts.Defer(func() { ts.Check(rpc.Close()) })
	req := protocol.NewRequest(protocol.CodeHeartBeat).SetBody(protocol.Encode(&protocol.HeartbeatData{
		ClientID:  "10.0.0.1@" + group,
		Producers: []protocol.ProducerData{{GroupName: group + "_producer"}},
		Consumers: []protocol.ConsumerData{{GroupName: group, ConsumeType: protocol.ConsumePassively, MessageModel: protocol.ModelClustering,
			ConsumeFromWhere: protocol.FromLastOffset, Subscriptions: []protocol.SubscriptionData{sub}}},
	}))
	req.Language, req.Version = protocol.LanguageJava, 401
	resp, err := rpc.Invoke(context.Background(), s.broker, req)
	ts.Check(err)
	if resp.Code != protocol.StatusSuccess {
		ts.Fatalf("heartbeat: status %d: %s", resp.Code, resp.Remark)
	}
	// Tools look for a group where its retry topic is, which the heartbeat made.
	for began := time.Now(); ; {
		_, err := s.client.RouteData(context.Background(), message.RetryTopic(group))
		if err == nil {
			return
		}
		if time.Since(began) > 20*time.Second {
			ts.Fatalf("no route of the retry topic: %v", err)
		}
		runtime.Gosched()
	}
}

// javaBroker starts a server that stands in for a name server and a broker of
// RocketMQ 4.9.4 with ACL: its answers are bytes as fastjson writes them.
func javaBroker(ts *testscript.TestScript, neg bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	addr := l.Addr().String()
	ts.Setenv("JAVA", addr)
	answer := func(req *protocol.Command) *protocol.Response {
		body := func(text string) *protocol.Response {
			return &protocol.Response{Header: protocol.EmptyHeader{}, Body: []byte(strings.ReplaceAll(text, "$ADDR", addr))}
		}
		switch req.Code {
		case protocol.CodeGetBrokerCluster:
			return body(`{"brokerAddrTable":{"java-a":{"brokerAddrs":{0:"$ADDR"},"brokerName":"java-a","cluster":"J"}},"clusterAddrTable":{"J":["java-a"]}}`)
		case protocol.CodeGetRouteInfoByTopic:
			return body(`{"brokerDatas":[{"brokerAddrs":{0:"$ADDR",1:"10.0.0.9:10911"},"brokerName":"java-a","cluster":"J"}],"filterServerTable":{},` +
				`"queueDatas":[{"brokerName":"java-a","perm":6,"readQueueNums":2,"topicSynFlag":0,"writeQueueNums":2}]}`)
		case protocol.CodeGetTopicStatsInfo:
			return body(`{"offsetTable":{{"brokerName":"java-a","queueId":0,"topic":"orders"}:{"lastUpdateTimestamp":1700000000000,"maxOffset":7,"minOffset":1},` +
				`{"brokerName":"java-a","queueId":1,"topic":"orders"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}}}`)
		case protocol.CodeGetConsumeStats:
			return body(`{"consumeTps":1.5,"offsetTable":{{"brokerName":"java-a","queueId":0,"topic":"orders"}:{"brokerOffset":7,"consumerOffset":3,"lastTimestamp":1700000000000}}}`)
		case protocol.CodeUpdateAndCreateACLConfig, protocol.CodeDeleteACLConfig, protocol.CodeUpdateGlobalWhiteAddrs:
			var got []string
			for _, f := range req.Fields {
				got = append(got, fmt.Sprintf("%s=%s", f.Key, f.Value))
			}
			if req.Str("accessKey") == "refused" {
				return &protocol.Response{Code: protocol.StatusUpdateACLConfigFailed, Remark: "The secretKey length < 6; got " + strings.Join(got, " ")}
			}
			return body("")
		case protocol.CodeGetBrokerClusterACLConfig:
			return body(`{"globalWhiteAddrs":["10.0.0.*","192.168.1.1"],"plainAccessConfigs":[{"accessKey":"rocketmq2","admin":true,"defaultGroupPerm":"SUB",` +
				`"defaultTopicPerm":"PUB","groupPerms":["g=SUB"],"secretKey":"12345678","topicPerms":["a=DENY","b=PUB|SUB"],"whiteRemoteAddress":"192.168.1.*"}]}`)
		case protocol.CodeGetBrokerClusterACLInfo:
			return &protocol.Response{Header: protocol.Pairs{{"clusterName", "J"}, {"brokerName", "java-a"}, {"brokerAddr", addr},
				{"version", `{"counter":3,"timestamp":1700000000000}`},
				{"allAclFileVersion", `{"/conf/plain_acl.yml":{"counter":3,"timestamp":1700000000000}}`}}}
		}
		return &protocol.Response{Code: protocol.StatusRequestCodeNotSupported, Remark: fmt.Sprintf("request type %d not supported", req.Code)}
	}
	srv, err := remoting.NewServer(remoting.ServerConfig{Listener: l, Handler: func(call remoting.Call, req *protocol.Command) {
		call.Reply(answer(req))
		req.Release()
	}})
	ts.Check(err)
	ts.Check(srv.Start())
	ts.Defer(func() { ts.Check(srv.Close()) })
}

func TestTimesOfCommandLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"1700000000000":           time.UnixMilli(1700000000000),
		"2024-02-29#23:59:58:007": time.Date(2024, 2, 29, 23, 59, 58, 7_000_000, time.Local),
	} {
		ms, err := parseTimestamp(text)
		require.NoError(t, err, text)
		require.Equal(t, want.UnixMilli(), ms, text)
	}
	for _, text := range []string{"", "now", "2024-02-30#00:00:00:000", "2024-02-29 23:59:58", "12:00"} {
		_, err := parseTimestamp(text)
		require.Error(t, err, text)
	}
}

func TestJSONIsLaidOutAsJavaDoes(t *testing.T) {
	t.Parallel()
	for compact, want := range map[string]string{
		`{}`:                     "{}",
		`{"a":1,"b":"x,{y"}`:     "{\n\t\"a\":1,\n\t\"b\":\"x,{y\"\n}",
		`{"a":{0:"x",1:"y"}}`:    "{\n\t\"a\":{0:\"x\",1:\"y\"\n\t}\n}",
		`{"a":[],"b":["x","y"]}`: "{\n\t\"a\":[],\n\t\"b\":[\"x\",\"y\"]\n}",
		`{"a":[{"b":"\"}"}]}`:    "{\n\t\"a\":[\n\t\t{\n\t\t\t\"b\":\"\\\"}\"\n\t\t}\n\t]\n}",
	} {
		require.Equal(t, want, prettyJSON([]byte(compact)))
	}
}

func TestQueuesAreSharedEvenly(t *testing.T) {
	t.Parallel()
	queues := make([]admin.Queue, 7)
	for i := range queues {
		queues[i].ID = int32(i)
	}
	for members := 1; members <= 9; members++ {
		var all []admin.Queue
		for m := range members {
			share := averageShare(queues, m, members)
			require.LessOrEqual(t, len(share), len(queues)/members+1)
			require.GreaterOrEqual(t, len(share), len(queues)/members)
			all = append(all, share...)
		}
		require.Equal(t, queues, all)
	}
}

func TestTraceOfOldAndNewClients(t *testing.T) {
	t.Parallel()
	line := func(fields ...string) string { return strings.Join(fields, traceField) + traceRecordEnd }
	body := line("Pub", "1700000000000", "r", "pg", "topic", "id1", "tag", "key", "host", "5", "12", "0", "true") +
		line("Pub", "1700000000000", "r", "pg", "topic", "id2", "tag", "key", "host", "5", "12", "0", "offid", "false", "client") +
		line("SubBefore", "1700000000000", "r", "cg", "req", "id1", "0", "key") +
		line("SubAfter", "req", "id1", "7", "true", "key", "0") +
		line("SubAfter", "req", "id1", "7", "true", "key", "0", "1700000000001", "cg") +
		line("Pub", "cut") + line("SubAfter", "req", "id1", "notanumber", "true", "key")
	require.Equal(t, []traceRecord{
		{tracePub, "id1", "pg", 1700000000000, 12, true, "c"},
		{tracePub, "id2", "pg", 1700000000000, 12, false, "c"},
		{traceSubAfter, "id1", "", 0, 7, true, "c"},
		{traceSubAfter, "id1", "cg", 1700000000001, 7, true, "c"},
	}, parseTrace(body, "c"))
}

func TestStuckMembersAreNamed(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	q := protocol.MessageQueue{Topic: "t", BrokerName: "b", QueueID: 1}
	say := func(orderly string, p protocol.ProcessQueueInfo) string {
		return stuckQueues("me", &protocol.ConsumerRunningInfo{
			Properties: map[string]string{protocol.PropConsumeType: protocol.ConsumePassively, protocol.PropConsumeOrderly: orderly},
			Queues:     map[protocol.MessageQueue]protocol.ProcessQueueInfo{q: p},
		}, now)
	}
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixMilli() }
	name := "me MessageQueue [topic=t, brokerName=b, queueId=1] "
	require.Equal(t, name+"can't consume for a while, maybe blocked, 61000ms\n", say("false", protocol.ProcessQueueInfo{CachedMsgCount: 1, LastConsumeTimestamp: ago(61 * time.Second)}))
	require.Empty(t, say("false", protocol.ProcessQueueInfo{CachedMsgCount: 1, LastConsumeTimestamp: ago(59 * time.Second)}))
	require.Empty(t, say("false", protocol.ProcessQueueInfo{LastConsumeTimestamp: ago(time.Hour)}))
	require.Equal(t, name+"can't lock for a while, 5000ms\n", say("true", protocol.ProcessQueueInfo{LastLockTimestamp: ago(5 * time.Second)}))
	require.Equal(t, name+"unlock 3 times, still failed\n", say("true", protocol.ProcessQueueInfo{Locked: true, Droped: true, TryUnlockTimes: 3}))
	require.Empty(t, say("true", protocol.ProcessQueueInfo{Locked: true}))
}

func TestDifferentSubscriptionsAreSeen(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	member := func(started time.Time, topics ...string) *protocol.ConsumerRunningInfo {
		info := &protocol.ConsumerRunningInfo{Properties: map[string]string{protocol.PropConsumeType: protocol.ConsumePassively,
			protocol.PropStartTimestamp: strconv.FormatInt(started.UnixMilli(), 10)}}
		for i, topic := range topics {
			info.Subscriptions = append(info.Subscriptions, protocol.SubscriptionData{Topic: topic, SubString: "*", SubVersion: int64(i) + started.UnixMilli()})
		}
		return info
	}
	long := now.Add(-time.Hour)
	both := func(a, b *protocol.ConsumerRunningInfo) map[string]*protocol.ConsumerRunningInfo {
		return map[string]*protocol.ConsumerRunningInfo{"a": a, "b": b}
	}
	require.True(t, sameSubscriptions(both(member(long, "x", "y"), member(long.Add(time.Second), "y", "x")), now))
	require.False(t, sameSubscriptions(both(member(long, "x"), member(long, "y")), now))
	require.False(t, sameSubscriptions(both(member(long), member(long)), now), "nothing is subscribed")
	require.True(t, sameSubscriptions(both(member(now.Add(-time.Minute), "x"), member(long, "y")), now), "the first has just started")
}

func TestSingleDashIsNoError(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	require.Equal(t, exitFailed, run(context.Background(), []string{"updateTopic", "-topic", "x"}, nil, &out, &errs))
	require.Contains(t, errs.String(), "brokerAddr clusterName")
}
