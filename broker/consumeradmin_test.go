package broker_test

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// live is a consumer that answers what the broker asks it.
type live struct {
	*client
	mu   sync.Mutex
	got  []*protocol.Command
	body []string
}

// newLive registers a consumer of topics; answer may be nil, and may return nil
// for no answer at all.
func newLive(t testing.TB, addr, id, group string, lang protocol.Language, version int32, answer func(*protocol.Command) *protocol.Response, topics ...string) *live {
	t.Helper()
	l := &live{client: &client{t: t, addr: addr}}
	l.rpc = remoting.NewClient(remoting.ClientConfig{InvokeTimeout: 20 * time.Second, Handler: func(call remoting.Call, req *protocol.Command) {
		l.mu.Lock()
		l.got, l.body = append(l.got, req), append(l.body, string(req.Body))
		l.mu.Unlock()
		resp := &protocol.Response{}
		if answer != nil {
			resp = answer(req)
		}
		if resp != nil {
			call.Reply(resp)
		}
	}})
	t.Cleanup(func() { require.NoError(t, l.rpc.Close()) })
	d := protocol.ConsumerData{GroupName: group, ConsumeType: protocol.ConsumePassively, MessageModel: protocol.ModelClustering, ConsumeFromWhere: protocol.FromLastOffset}
	for _, topic := range topics {
		d.Subscriptions = append(d.Subscriptions, protocol.SubscriptionData{Topic: topic, SubString: "*", ExpressionType: protocol.ExpressionTag})
	}
	req := protocol.NewRequest(protocol.CodeHeartBeat).SetBody(protocol.Encode(&protocol.HeartbeatData{
		ClientID: id, Consumers: []protocol.ConsumerData{d}, Producers: []protocol.ProducerData{{GroupName: "CLIENT_INNER_PRODUCER"}},
	}))
	req.Language, req.Version = lang, version
	resp := l.call(req)
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	return l
}

// asked returns the bodies of the requests of a code so far.
func (l *live) asked(code int32) (cmds []*protocol.Command, bodies []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range l.got {
		if c.Code == code {
			cmds, bodies = append(cmds, c), append(bodies, l.body[i])
		}
	}
	return cmds, bodies
}

func (c *client) commit(group, topic string, queue, offset int) {
	c.t.Helper()
	resp := c.call(fields(protocol.CodeUpdateConsumerOffset, "consumerGroup", group, "topic", topic,
		"queueId", strconv.Itoa(queue), "commitOffset", strconv.Itoa(offset)))
	require.Equal(c.t, protocol.StatusSuccess, resp.Code, resp.Remark)
}

func (c *client) sendN(topic string, queue int32, n int) {
	c.t.Helper()
	for range n {
		c.send(topic, queue, "hello", message.PropertyTags, "a")
	}
}

func reset(topic, group, at, force string, more ...string) *protocol.Command {
	return fields(protocol.CodeInvokeBrokerToResetOffset, append([]string{"topic", topic, "group", group, "timestamp", at, "isForce", force}, more...)...)
}

func TestResetTellsEachMemberInItsLanguage(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 2, 6)
	c.sendN("orders", 0, 3)
	c.sendN("orders", 1, 2)
	members := map[protocol.Language]*live{}
	for _, lang := range []protocol.Language{protocol.LanguageJava, protocol.LanguageGo, protocol.LanguageCPP, protocol.LanguagePython} {
		members[lang] = newLive(t, c.addr, "me@"+lang.String(), "g", lang, 401, nil, "orders")
	}
	c.commit("g", "orders", 0, 3)
	c.commit("g", "orders", 1, 1)

	const asMap = `{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"orders"}:0,{"brokerName":"broker-a","queueId":1,"topic":"orders"}:0}}`
	const asList = `{"offsetTable":[{"brokerName":"broker-a","offset":0,"queueId":0,"topic":"orders"},{"brokerName":"broker-a","offset":0,"queueId":1,"topic":"orders"}]}`
	ask := func(lang protocol.Language, want map[protocol.Language]string) {
		req := reset("orders", "g", "0", "true")
		req.Language = lang
		before, _ := members[protocol.LanguageJava].asked(protocol.CodeResetConsumerClientOffset)
		resp := c.call(req)
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		require.Equal(t, asMap, string(resp.Body))
		for lang, m := range members {
			require.Eventually(t, func() bool {
				cmds, _ := m.asked(protocol.CodeResetConsumerClientOffset)
				return len(cmds) == len(before)+1
			}, waitFor, tick, lang)
			cmds, bodies := m.asked(protocol.CodeResetConsumerClientOffset)
			require.Equal(t, want[lang], bodies[len(before)], lang)
			last := cmds[len(before)]
			require.NotZero(t, last.Flag&protocol.FlagOneway)
			for k, v := range map[string]string{"topic": "orders", "group": "g", "timestamp": "0", "isForce": "false"} {
				require.Equal(t, v, last.Str(k), k)
			}
		}
	}
	ask(protocol.LanguageJava, map[protocol.Language]string{
		protocol.LanguageJava: asMap, protocol.LanguageGo: asMap, protocol.LanguageCPP: asList, protocol.LanguagePython: asMap})
	ask(protocol.LanguageCPP, map[protocol.Language]string{
		protocol.LanguageJava: asMap, protocol.LanguageGo: asMap, protocol.LanguageCPP: asList, protocol.LanguagePython: asList})
	// The broker's own offsets are the members' to change.
	require.EqualValues(t, 3, c.offsetOf(protocol.CodeQueryConsumerOffset, "consumerGroup", "g", "topic", "orders", "queueId", "0"))
}

func TestResetTargetsAndRefusals(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	c.sendN("orders", 0, 5)
	refused := func(code int32, remark string, req *protocol.Command) {
		t.Helper()
		resp := c.call(req)
		require.Equal(t, code, resp.Code, resp.Remark)
		require.Contains(t, resp.Remark, remark)
	}
	refused(protocol.StatusSystemError, "no topic in this broker. topic=nope", reset("nope", "g", "0", "true"))
	refused(protocol.StatusSystemError, "THe consumer group <g> not exist", reset("orders", "g", "0", "true"))
	c.commit("g", "orders", 0, 2)
	refused(protocol.StatusConsumerNotOnline, "Consumer not online, so can not reset offset, Group: g Topic: orders Timestamp: 0", reset("orders", "g", "0", "true"))
	refused(protocol.StatusSystemError, "timestamp", fields(protocol.CodeInvokeBrokerToResetOffset, "topic", "orders", "group", "g"))
	newLive(t, c.addr, "old", "gold", protocol.LanguageJava, 20, nil, "orders")
	c.commit("gold", "orders", 0, 2)
	refused(protocol.StatusSystemError, "the client does not support this feature", reset("orders", "gold", "0", "true"))

	newLive(t, c.addr, "me", "g", protocol.LanguageJava, 401, nil, "orders")
	for _, test := range []struct {
		name, at, force string
		more            []string
		want            int64
	}{
		{"to the end, which is forward: no", "-1", "false", nil, 2},
		{"to the end by force", "-1", "true", nil, 5},
		{"to the beginning", "0", "false", nil, 0},
		{"to the future: the last message", "99999999999999", "true", nil, 4},
		{"one queue to an offset (5.x)", "0", "true", []string{"queueId", "0", "offset", "3"}, 3},
		{"one queue to an offset, forward: no", "0", "false", []string{"queueId", "0", "offset", "3"}, 2},
		{"one queue to a time", "0", "true", []string{"queueId", "0", "offset", "-1"}, 0},
	} {
		resp := c.call(reset("orders", "g", test.at, test.force, test.more...))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		var body protocol.ResetOffsetBody
		require.NoError(t, body.Decode(resp.Body))
		require.Equal(t, map[protocol.MessageQueue]int64{{Topic: "orders", BrokerName: "broker-a"}: test.want}, body.Offsets, test.name)
	}
	refused(protocol.StatusSystemError, "queueId 1 is not allowed: topic orders has 1 write queues", reset("orders", "g", "0", "true", "queueId", "1"))
}

func TestConsumerStatusOfAllMembers(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	tells := func(offset string) func(*protocol.Command) *protocol.Response {
		return func(req *protocol.Command) *protocol.Response {
			if req.Code != protocol.CodeGetConsumerStatusFromClient || req.Str("topic") != "orders" || req.Str("group") != "g" {
				return &protocol.Response{}
			}
			return &protocol.Response{Body: []byte(`{"messageQueueTable":{{"brokerName":"broker-a","queueId":0,"topic":"orders"}:` + offset + `}}`)}
		}
	}
	ask := func(kv ...string) *protocol.Command {
		return c.call(fields(protocol.CodeInvokeBrokerToGetStatus, append([]string{"topic", "orders", "group", "g"}, kv...)...))
	}
	resp := ask()
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Equal(t, "No Any Consumer online in the consumer group: [g]", resp.Remark)
	newLive(t, c.addr, "a", "g", protocol.LanguageJava, 401, tells("5"), "orders")
	newLive(t, c.addr, "b", "g", protocol.LanguageGo, 401, tells("6"), "orders")
	newLive(t, c.addr, "refuses", "g", protocol.LanguageGo, 401, func(req *protocol.Command) *protocol.Response {
		return &protocol.Response{Code: 1, Remark: "no"}
	}, "orders")
	newLive(t, c.addr, "hangs", "g", protocol.LanguageGo, 401, func(req *protocol.Command) *protocol.Response { return nil }, "orders")
	const q = `{"brokerName":"broker-a","queueId":0,"topic":"orders"}`
	require.Equal(t, `{"consumerTable":{"a":{`+q+`:5}},"messageQueueTable":{}}`, string(ask("clientAddr", "a").Body))
	began := time.Now()
	require.Equal(t, `{"consumerTable":{"a":{`+q+`:5},"b":{`+q+`:6}},"messageQueueTable":{}}`, string(ask().Body), "those who answered")
	require.Less(t, time.Since(began), 5*time.Second, "tools wait five seconds")
}

func TestRunningInfoComesFromTheConsumer(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	const info = `{"jstack":"x","mqTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"droped":false}},"properties":{"a":"b"}}`
	l := newLive(t, c.addr, "me@1", "g", protocol.LanguageJava, 401, func(req *protocol.Command) *protocol.Response {
		if req.Str("jstackEnable") == "empty" {
			return &protocol.Response{Remark: "json marshal error"}
		}
		if req.Str("jstackEnable") == "true" {
			return &protocol.Response{Code: 1, Remark: "too much"}
		}
		return &protocol.Response{Body: []byte(info), Header: protocol.Pairs{{"extra", "1"}}}
	}, "orders")
	ask := func(id, jstack string) *protocol.Command {
		return c.call(fields(protocol.CodeGetConsumerRunningInfo, "consumerGroup", "g", "clientId", id, "jstackEnable", jstack))
	}
	resp := ask("me@1", "false")
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, info, string(resp.Body))
	require.Equal(t, "1", resp.Str("extra"))
	cmds, _ := l.asked(protocol.CodeGetConsumerRunningInfo)
	require.Equal(t, []string{"g", "me@1", "false"}, []string{cmds[0].Str("consumerGroup"), cmds[0].Str("clientId"), cmds[0].Str("jstackEnable")})
	resp = ask("me@1", "true")
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Equal(t, "too much", resp.Remark, "the consumer's own words")
	resp = ask("me@1", "empty")
	require.Equal(t, protocol.StatusSystemError, resp.Code, "no success without a body")
	require.Equal(t, "consumer <g> <me@1> answered without a result: json marshal error", resp.Remark)
	resp = ask("you", "false")
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Equal(t, "The Consumer <g> <you> not online", resp.Remark)
	newLive(t, c.addr, "old", "g", protocol.LanguageJava, 50, nil, "orders")
	require.Contains(t, ask("old", "false").Remark, "too low to finish, please upgrade it")
	require.Contains(t, c.call(fields(protocol.CodeGetConsumerRunningInfo, "consumerGroup", "g")).Remark, "clientId")
}

// A consumer that says nothing costs ten seconds, one that leaves costs nothing.
func TestAskedConsumerThatHangsOrLeaves(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	newLive(t, c.addr, "hangs", "g", protocol.LanguageJava, 401, func(*protocol.Command) *protocol.Response { return nil }, "orders")
	leaver := newLive(t, c.addr, "leaves", "g", protocol.LanguageJava, 401, func(*protocol.Command) *protocol.Response { return nil }, "orders")
	ask := func(id string) <-chan *protocol.Command {
		out := make(chan *protocol.Command, 1)
		c.rpc.InvokeAsync(c.addr, fields(protocol.CodeGetConsumerRunningInfo, "consumerGroup", "g", "clientId", id, "jstackEnable", "false"),
			func(resp *protocol.Command, err error) { out <- resp })
		return out
	}
	hanging, leaving := ask("hangs"), ask("leaves")
	require.Eventually(t, func() bool {
		cmds, _ := leaver.asked(protocol.CodeGetConsumerRunningInfo)
		return len(cmds) == 1
	}, waitFor, tick)
	began := time.Now()
	require.NoError(t, leaver.rpc.Close())
	resp := <-leaving
	require.NotNil(t, resp)
	require.Equal(t, protocol.StatusSystemError, resp.Code)
	require.Contains(t, resp.Remark, "invoke consumer <g> <leaves> Exception")
	require.Less(t, time.Since(began), 5*time.Second)
	resp = <-hanging
	require.NotNil(t, resp)
	require.Equal(t, protocol.StatusConsumeMsgTimeout, resp.Code, resp.Remark)
	require.Contains(t, resp.Remark, "consumer <g> <hangs> Timeout")
}

func TestConsumeDirectlyBringsTheMessage(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	sent := c.send("orders", 0, "precious")
	const result = `{"autoCommit":true,"consumeResult":"CR_SUCCESS","order":false,"spentTimeMills":3}`
	l := newLive(t, c.addr, "me@1", "g", protocol.LanguageJava, 401, func(*protocol.Command) *protocol.Response {
		return &protocol.Response{Body: []byte(result)}
	}, "orders")
	ask := func(kv ...string) *protocol.Command {
		return c.call(fields(protocol.CodeConsumeMessageDirectly, append([]string{"consumerGroup", "g"}, kv...)...))
	}
	id := string(sent.MsgID)
	for _, kv := range [][]string{{"clientId", "me@1", "msgId", id}, {"msgId", id}, {"clientId", "me@1", "msgId", id, "brokerName", "wrong"}} {
		resp := ask(kv...)
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		require.Equal(t, result, string(resp.Body))
		cmds, bodies := l.asked(protocol.CodeConsumeMessageDirectly)
		last := cmds[len(cmds)-1]
		require.Equal(t, "broker-a", last.Str("brokerName"))
		require.Equal(t, "me@1", last.Str("clientId"), "any member, when none was named")
		m, err := message.ParseStored([]byte(bodies[len(bodies)-1]))
		require.NoError(t, err)
		require.Equal(t, "precious", string(m.Body()))
		require.Equal(t, id, message.OffsetMsgID(m.StoreHost(), m.PhyOffset()))
	}
	require.Contains(t, ask("clientId", "me@1", "msgId", "no id").Remark, "is not the id of a stored message")
	require.Contains(t, ask("clientId", "me@1", "msgId", id[:len(id)-2]+"01").Remark, "can not find message by the id")
	require.Contains(t, ask("clientId", "you", "msgId", id).Remark, "The Consumer <g> <you> not online")
}

var times = regexp.MustCompile(`("(?:lastUpdateTimestamp|lastTimestamp|maxTimeStamp|minTimeStamp|consumeTimeStamp|delayTime|consumeTps)"):[0-9.]+`)

// timeless replaces times and rates by a mark, so that bodies can be compared.
func timeless(body []byte) string { return times.ReplaceAllString(string(body), "$1:T") }

// Every body that tools read, by the letter. The same request at a follower gives
// the same answer.
func TestAdminBodies(t *testing.T) {
	t.Parallel()
	cluster := testcluster.Start(t, testcluster.Options{Nodes: 2})
	c := newClient(t, cluster.Leader().Addr)
	follower := newClient(t, cluster.Follower().Addr)
	c.createTopic("orders", 2, 6)
	c.createTopic("idle", 1, 6)
	c.sendN("orders", 0, 3)
	c.sendN("orders", 1, 1)
	newLive(t, c.addr, "me@1", "g", protocol.LanguageJava, 401, nil, "orders")
	c.commit("g", "orders", 0, 2)
	c.commit("g", "orders", 1, 1)
	c.commit("g", "idle", 0, 0) // not subscribed any more
	resp := c.call(protocol.NewRequest(protocol.CodeUpdateAndCreateSubGroup).SetBody(protocol.Encode(protocol.NewSubscriptionGroupConfig("offline"))))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	c.commit("offline", "orders", 0, 1)
	c.commit("offline", "idle", 0, 0)
	const q0, q1 = `{"brokerName":"broker-a","queueId":0,"topic":"orders"}`, `{"brokerName":"broker-a","queueId":1,"topic":"orders"}`
	const idle = `{"brokerName":"broker-a","queueId":0,"topic":"idle"}`
	const ofG = `"consumeTps":T,"offsetTable":{` + q0 + `:{"brokerOffset":3,"consumerOffset":2,"lastTimestamp":T},` + q1 + `:{"brokerOffset":1,"consumerOffset":1,"lastTimestamp":T}}`
	for _, test := range []struct {
		name string
		code int32
		kv   []string
		want string
	}{
		{"topic stats", protocol.CodeGetTopicStatsInfo, []string{"topic", "orders"},
			`{"offsetTable":{` + q0 + `:{"lastUpdateTimestamp":T,"maxOffset":3,"minOffset":0},` + q1 + `:{"lastUpdateTimestamp":T,"maxOffset":1,"minOffset":0}}}`},
		{"consume stats of a live group", protocol.CodeGetConsumeStats, []string{"consumerGroup", "g"}, `{` + ofG + `}`},
		{"consume stats of one topic", protocol.CodeGetConsumeStats, []string{"consumerGroup", "g", "topic", "orders"}, `{` + ofG + `}`},
		{"consume stats of an offline group", protocol.CodeGetConsumeStats, []string{"consumerGroup", "offline"},
			`{"consumeTps":T,"offsetTable":{` + idle + `:{"brokerOffset":0,"consumerOffset":0,"lastTimestamp":T},` +
				q0 + `:{"brokerOffset":3,"consumerOffset":1,"lastTimestamp":T},` + q1 + `:{"brokerOffset":1,"consumerOffset":0,"lastTimestamp":T}}}`},
		{"consume stats of nobody", protocol.CodeGetConsumeStats, []string{"consumerGroup", "nobody"}, `{"consumeTps":T,"offsetTable":{}}`},
		{"time spans", protocol.CodeQueryConsumeTimeSpan, []string{"topic", "orders", "group", "g"},
			`{"consumeTimeSpanSet":[{"consumeTimeStamp":T,"delayTime":T,"maxTimeStamp":T,"messageQueue":` + q0 + `,"minTimeStamp":T},` +
				`{"consumeTimeStamp":T,"delayTime":T,"maxTimeStamp":T,"messageQueue":` + q1 + `,"minTimeStamp":T}]}`},
		{"who consumes", protocol.CodeQueryTopicConsumeByWho, []string{"topic", "orders"}, `{"groupList":["g","offline"]}`},
		{"who consumes nothing", protocol.CodeQueryTopicConsumeByWho, []string{"topic", "none"}, `{"groupList":[]}`},
		{"all offsets", protocol.CodeGetAllConsumerOffset, nil,
			`{"offsetTable":{"idle@g":{0:0},"idle@offline":{0:0},"orders@g":{0:2,1:1},"orders@offline":{0:1}}}`},
		{"delay offsets", protocol.CodeGetAllDelayOffset, nil, `{"offsetTable":{}}`},
		{"correction", protocol.CodeQueryCorrectionOffset, []string{"topic", "orders", "compareGroup", "g"}, `{"correctionOffsets":{0:1,1:1}}`},
		{"correction without a group", protocol.CodeQueryCorrectionOffset, []string{"topic", "orders", "compareGroup", "g", "filterGroups", "offline"}, `{"correctionOffsets":{0:2,1:1}}`},
		{"correction, compared is behind", protocol.CodeQueryCorrectionOffset, []string{"topic", "orders", "compareGroup", "offline", "filterGroups", "offline"},
			`{"correctionOffsets":{0:9223372036854775807,1:1}}`},
		{"correction, compared is alone", protocol.CodeQueryCorrectionOffset, []string{"topic", "orders", "compareGroup", "offline", "filterGroups", "g,offline"},
			`{"correctionOffsets":{0:9223372036854775807}}`},
		{"queue entries, offline group", protocol.CodeQueryConsumeQueue, []string{"topic", "orders", "queueId", "1", "index", "0", "count", "5", "consumerGroup", "offline"},
			`{"filterData":"offline@orders is not online!","maxQueueIndex":1,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":P,"physicSize":P,"tagsCode":97}]}`},
		{"queue entries, live group", protocol.CodeQueryConsumeQueue, []string{"topic", "orders", "queueId", "0", "index", "1", "count", "1", "consumerGroup", "g"},
			`{"filterData":"TAG: *","maxQueueIndex":3,"minQueueIndex":0,"queueData":[{"eval":true,"physicOffset":P,"physicSize":P,"tagsCode":97}],` +
				`"subscriptionData":{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":0,"tagsSet":[],"topic":"orders"}}`},
		{"queue entries beyond", protocol.CodeQueryConsumeQueue, []string{"topic", "orders", "queueId", "0", "index", "9", "count", "5"},
			`{"maxQueueIndex":3,"minQueueIndex":0,"queueData":[]}`},
		{"consumer connections", protocol.CodeGetConsumerConnectionList, []string{"consumerGroup", "g"},
			`{"connectionSet":[{"clientAddr":A,"clientId":"me@1","language":"JAVA","version":401}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING",` +
				`"subscriptionTable":{"orders":{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":0,"tagsSet":[],"topic":"orders"}}}`},
		{"producer connections", protocol.CodeGetProducerConnectionList, []string{"producerGroup", "CLIENT_INNER_PRODUCER"},
			`{"connectionSet":[{"clientAddr":A,"clientId":"me@1","language":"JAVA","version":401}]}`},
		{"all producers", protocol.CodeGetAllProducerInfo, nil,
			`{"data":{"CLIENT_INNER_PRODUCER":[{"clientId":"me@1","language":"JAVA","lastUpdateTimestamp":T,"remoteIP":A,"version":401}]}}`},
		{"broker consume stats of orders", protocol.CodeGetBrokerConsumeStats, []string{"isOrder", "true"}, noBrokerStats()},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, asked := range []*client{c, follower} {
				resp := asked.call(fields(test.code, test.kv...))
				require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
				got := timeless(resp.Body)
				got = regexp.MustCompile(`"(physicOffset|physicSize)":[0-9]+`).ReplaceAllString(got, `"$1":P`)
				got = regexp.MustCompile(`"/?127\.0\.0\.1:[0-9]+"`).ReplaceAllString(got, "A")
				require.Equal(t, test.want, got)
			}
		})
	}
	for _, test := range []struct {
		code   int32
		kv     []string
		status int32
		remark string
	}{
		{protocol.CodeGetTopicStatsInfo, []string{"topic", "none"}, protocol.StatusTopicNotExist, "topic[none] not exist"},
		{protocol.CodeQueryConsumeTimeSpan, []string{"topic", "none", "group", "g"}, protocol.StatusTopicNotExist, "topic[none] not exist"},
		{protocol.CodeGetConsumerConnectionList, []string{"consumerGroup", "offline"}, protocol.StatusConsumerNotOnline, "not online"},
		{protocol.CodeGetProducerConnectionList, []string{"producerGroup", "none"}, protocol.StatusSystemError, "the producer group[none] not exist"},
		{protocol.CodeQueryConsumeQueue, []string{"topic", "none", "queueId", "7", "index", "0", "count", "1"}, protocol.StatusSystemError, "7@none is not exist!"},
		{protocol.CodeViewBrokerStatsData, []string{"statsName", "TOPIC_PUT_NUMS", "statsKey", "none"}, protocol.StatusSystemError, "The stats <TOPIC_PUT_NUMS> <none> not exist"},
	} {
		for _, asked := range []*client{c, follower} {
			resp := asked.call(fields(test.code, test.kv...))
			require.Equal(t, test.status, resp.Code, resp.Remark)
			require.Contains(t, resp.Remark, test.remark)
		}
	}
	all := c.call(fields(protocol.CodeGetBrokerConsumeStats, "isOrder", "false"))
	var list protocol.ConsumeStatsList
	require.NoError(t, list.Decode(all.Body))
	require.EqualValues(t, 1+3, list.TotalDiff)
	at := slices.IndexFunc(list.Groups, func(g protocol.GroupConsumeStats) bool { return g.Group == "g" })
	require.Len(t, list.Groups[at].Stats, 1)
	// Nothing of this changed any offset: RocketMQ's correction does.
	require.Contains(t, string(c.call(fields(protocol.CodeGetAllConsumerOffset)).Body), `"orders@offline":{0:1}`)
}

// noBrokerStats is the answer of GET_BROKER_CONSUME_STATS for ordered topics, of
// which there are none: all groups with nothing.
func noBrokerStats() string {
	names := []string{"CID_ONS-HTTP-PROXY", "CID_ONSAPI_OWNER", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_PULL", "CID_RMQ_SYS_TRANS",
		"CLIENT_INNER_PRODUCER", "FILTERSRV_CONSUMER", "SCHEDULE_CONSUMER", "SELF_TEST_C_GROUP", "TOOLS_CONSUMER", "__MONITOR_CONSUMER", "g", "offline"}
	var b strings.Builder
	b.WriteString(`{"brokerAddr":A,"consumeStatsList":[`)
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"` + n + `":[]}`)
	}
	return b.String() + `],"totalDiff":0}`
}

func TestCloneOffsets(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("a", 2, 6)
	c.createTopic("b", 1, 6)
	c.sendN("a", 0, 5)
	for _, g := range []string{"src", "dest"} {
		c.commit(g, "a", 0, 1)
	}
	c.commit("src", "a", 1, 4)
	c.commit("src", "b", 0, 3)
	// Not replicated yet when it is cloned, and an old commit of the destination
	// waits behind it.
	oneway := func(group, offset string) {
		require.NoError(t, c.rpc.Oneway(t.Context(), c.addr, fields(protocol.CodeUpdateConsumerOffset,
			"consumerGroup", group, "topic", "a", "queueId", "0", "commitOffset", offset)))
	}
	oneway("src", "5")
	oneway("dest", "2")
	clone := func(dest, topic string) {
		t.Helper()
		resp := c.call(fields(protocol.CodeCloneGroupOffset, "srcGroup", "src", "destGroup", dest, "topic", topic, "offline", "false"))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	}
	clone("dest", "a")
	table := func() string { return string(c.call(fields(protocol.CodeGetAllConsumerOffset)).Body) }
	require.Equal(t, `{"offsetTable":{"a@dest":{0:5,1:4},"a@src":{0:5,1:4},"b@src":{0:3}}}`, table())
	clone("all", "")
	require.Contains(t, table(), `"a@all":{0:5,1:4}`)
	require.Contains(t, table(), `"b@all":{0:3}`)
	// A live group's forgotten topics are not cloned, unless it is said to be offline.
	newLive(t, c.addr, "me", "src", protocol.LanguageJava, 401, nil, "a")
	clone("live", "")
	require.NotContains(t, table(), "b@live")
	resp := c.call(fields(protocol.CodeCloneGroupOffset, "srcGroup", "src", "destGroup", "forced", "offline", "true"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Contains(t, table(), `"b@forced":{0:3}`)
	require.Equal(t, protocol.StatusSystemError, c.call(fields(protocol.CodeCloneGroupOffset, "srcGroup", "src", "destGroup", "no good", "offline", "true")).Code)
}

// A commit that still waits must not bring back the offsets of what was deleted.
func TestDeletedOffsetsStayDeleted(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"consumerOffsetFlushInterval": "150"})
	oneway := func(group, topic string) {
		require.NoError(t, c.rpc.Oneway(t.Context(), c.addr, fields(protocol.CodeUpdateConsumerOffset,
			"consumerGroup", group, "topic", topic, "queueId", "0", "commitOffset", "7")))
	}
	c.createTopic("orders", 1, 6)
	oneway("g", "orders")
	resp := c.call(fields(protocol.CodeDeleteTopicInBroker, "topic", "orders"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	// Flushes what waits: a commit of "g" would be written by now.
	require.Equal(t, `{"offsetTable":{}}`, string(c.call(fields(protocol.CodeGetAllConsumerOffset)).Body))

	c.createTopic("orders", 1, 6)
	group := protocol.NewSubscriptionGroupConfig("g")
	resp = c.call(protocol.NewRequest(protocol.CodeUpdateAndCreateSubGroup).SetBody(protocol.Encode(group)))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	oneway("g", "orders")
	resp = c.call(fields(protocol.CodeDeleteSubGroup, "groupName", "g", "removeOffset", "true"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, `{"offsetTable":{}}`, string(c.call(fields(protocol.CodeGetAllConsumerOffset)).Body))
	oneway("g", "orders")
	resp = c.call(fields(protocol.CodeDeleteSubGroup, "groupName", "g", "removeOffset", "false"))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, `{"offsetTable":{"orders@g":{0:7}}}`, string(c.call(fields(protocol.CodeGetAllConsumerOffset)).Body), "kept when it is not asked for")
}

func TestCleanUpOfWhatHasNoTopic(t *testing.T) {
	t.Parallel()
	_, c := one(t, map[string]string{"messageDelayLevel": "1s 1h"})
	c.createTopic("orders", 1, 6)
	c.sendN("orders", 0, 1)
	c.commit("g", "orders", 0, 1)
	c.commit("g", "never-was", 0, 4)
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	resp, err := c.rpc.Invoke(ctx, c.addr, fields(protocol.CodeCleanUnusedTopic))
	require.NoError(t, err)
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, `{"offsetTable":{"orders@g":{0:1}}}`, string(c.call(fields(protocol.CodeGetAllConsumerOffset)).Body))
	require.EqualValues(t, 1, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0"))
	for _, code := range []int32{protocol.CodeCleanExpiredConsumeQueue, protocol.CodeDeleteExpiredCommitLog} {
		resp := c.call(fields(code))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		require.Contains(t, resp.Remark, "removed 0 segments of the commit log")
	}
	require.EqualValues(t, 1, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0"))
}

// Messages that wait for their time lie in topics without a configuration: the
// clean-up of unused topics must leave them alone.
func TestCleanUpSparesTimedMessages(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	c.createTopic("orders", 1, 6)
	at := time.Now().Add(3 * time.Second)
	c.send("orders", 0, "later", message.PropertyTimerDeliverMS, strconv.FormatInt(at.UnixMilli(), 10))
	c.send("orders", 0, "level", message.PropertyDelayTimeLevel, "2")
	waiting := func() int64 {
		return c.offsetOf(protocol.CodeGetMaxOffset, "topic", message.TimerTopic(message.TimerSlot(at.UnixMilli())), "queueId", "0")
	}
	require.EqualValues(t, 1, waiting())
	require.Zero(t, c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0"))
	resp := c.call(fields(protocol.CodeCleanUnusedTopic))
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.EqualValues(t, 1, waiting())
	require.Eventually(t, func() bool {
		return c.offsetOf(protocol.CodeGetMaxOffset, "topic", "orders", "queueId", "0") == 2
	}, 30*time.Second, tick, "both are delivered")
	// They are counted where they wait, together and not by the minute, and where they went.
	view := func(topic string) int64 {
		resp := c.call(fields(protocol.CodeViewBrokerStatsData, "statsName", "TOPIC_PUT_NUMS", "statsKey", topic))
		require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
		var data protocol.BrokerStatsData
		require.NoError(t, data.Decode(resp.Body))
		return data.Day.Sum
	}
	require.EqualValues(t, 1, view("rmq_sys_wheel_timer"))
	require.EqualValues(t, 1, view("SCHEDULE_TOPIC_XXXX"))
	require.Eventually(t, func() bool { return view("orders") == 2 }, waitFor, tick)
}

func TestListsOfTopicsAndGroups(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	topics := protocol.TopicConfigList{Topics: []protocol.TopicConfig{
		{TopicName: "a", ReadQueueNums: 1, WriteQueueNums: 2, Perm: 6}, {TopicName: "b", ReadQueueNums: 3, WriteQueueNums: 3, Perm: 4, Order: true, TopicSysFlag: 3}}}
	put := func(code int32, body protocol.Body) *protocol.Command {
		return c.call(protocol.NewRequest(code).SetBody(protocol.Encode(body)))
	}
	resp := put(protocol.CodeUpdateAndCreateTopicList, &topics)
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Equal(t, `{"order":true,"perm":4,"readQueueNums":3,"topicFilterType":"SINGLE_TAG","topicName":"b","topicSysFlag":3,"writeQueueNums":3}`,
		string(c.call(fields(protocol.CodeGetTopicConfig, "topic", "b")).Body))
	topics.Topics = []protocol.TopicConfig{{TopicName: "a", ReadQueueNums: 1, WriteQueueNums: 2, Perm: 6, Attributes: map[string]string{"+message.type": "FIFO"}}}
	resp = put(protocol.CodeUpdateAndCreateTopicList, &topics)
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Contains(t, string(c.call(fields(protocol.CodeGetTopicConfig, "topic", "a")).Body), `"attributes":{"message.type":"FIFO"}`)
	topics.Topics[0].Attributes = map[string]string{"-message.type": ""}
	put(protocol.CodeUpdateAndCreateTopicList, &topics)
	require.NotContains(t, string(c.call(fields(protocol.CodeGetTopicConfig, "topic", "a")).Body), "FIFO")
	topics.Topics = []protocol.TopicConfig{{TopicName: "c", Perm: 6}, {TopicName: "TBW102", Perm: 6}}
	require.Contains(t, put(protocol.CodeUpdateAndCreateTopicList, &topics).Remark, "conflict with system topic")
	require.Equal(t, protocol.StatusTopicNotExist, c.call(fields(protocol.CodeGetTopicConfig, "topic", "c")).Code, "all or nothing")

	groups := protocol.SubscriptionGroupList{Groups: []*protocol.SubscriptionGroupConfig{protocol.NewSubscriptionGroupConfig("g1"), protocol.NewSubscriptionGroupConfig("g2")}}
	groups.Groups[1].RetryMaxTimes = 3
	resp = put(protocol.CodeUpdateAndCreateSubGroupList, &groups)
	require.Equal(t, protocol.StatusSuccess, resp.Code, resp.Remark)
	require.Contains(t, string(c.call(fields(protocol.CodeGetSubGroupConfig, "group", "g2")).Body), `"retryMaxTimes":3`)
	require.Equal(t, protocol.StatusSuccess, c.call(fields(protocol.CodeGetTopicConfig, "topic", "%RETRY%g1")).Code)
	groups.Groups = make([]*protocol.SubscriptionGroupConfig, 1001)
	for i := range groups.Groups {
		groups.Groups[i] = protocol.NewSubscriptionGroupConfig("x" + strconv.Itoa(i))
	}
	require.Contains(t, put(protocol.CodeUpdateAndCreateSubGroupList, &groups).Remark, "1001 groups in one request; at most 1000")
}
