package e2e

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Requests that a client should not send: each is answered with RocketMQ's code and a remark that names the fault, or, where
// RocketMQ takes it, taken. Afterwards the broker serves as before.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic, group := uniqueName("bad"), uniqueName("g")
	c.createTopic(t, topic, 2)
	addr := c.leader(t).Addr
	id := must(t, addr, 10, sendFields(topic, 0), []byte("one")).Ext["msgId"]
	place := strconv.FormatInt(readQueue(t, addr, topic, 0)[0].CommitLogOffset, 10)
	long, queue := strings.Repeat("x", 256), fields{"topic": topic, "queueId": "0"}
	unknown := uniqueName("unknown")
	send := sendFields(topic, 0)
	prop := func(p string) fields { return with(send, "properties", p) }
	pull := pullFields(topic, 0, 0)
	commit := fields{"consumerGroup": group, "topic": topic, "queueId": "0", "commitOffset": "1"}
	back := fields{"group": group, "offset": "0", "delayLevel": "0"}
	end := fields{"producerGroup": "pg", "tranStateTableOffset": "0", "commitLogOffset": "0", "commitOrRollback": "8", "fromTransactionCheck": "false", "msgId": "x"}
	create := fields{"topic": topic, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6", "topicFilterType": "SINGLE_TAG"}
	batch := with(send, "batch", "true")
	object := func(kv ...any) []byte {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		return b
	}
	beat := func(group string) []byte {
		return object("clientID", "c", "consumerDataSet", []any{map[string]any{"groupName": group, "consumeType": "CONSUME_PASSIVELY",
			"messageModel": "CLUSTERING", "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET", "subscriptionDataSet": []any{}}})
	}
	lock := func(client, group, topic string, queue int) []byte {
		return object("clientId", client, "consumerGroup", group, "mqSet", []any{map[string]any{"topic": topic, "queueId": queue, "brokerName": "broker-a"}})
	}
	query := fields{"topic": topic, "key": "nobody", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}
	item := batchItem([]byte("x"), "")
	const groupLong, groupIllegal = "the specified group is longer than group max length 255.", "the specified group[a b] contains illegal characters"
	for _, r := range []struct {
		what   string
		code   int
		ext    fields
		body   []byte
		want   int
		remark string
	}{
		{"property without separator", 10, prop("novalue"), nil, 0, ""},
		{"properties of separators", 10, prop("\x01\x02\x01\x02\x02"), nil, 0, ""},
		{"property without name, or without value", 10, prop("\x01value\x02k\x01"), nil, 0, ""},
		{"property with two separators", 10, prop("k\x01a\x01b\x02good\x01yes"), nil, 0, ""},
		{"property twice", 10, prop("k\x01a\x02k\x01b"), nil, 0, ""},
		{"delay level that is no number", 10, prop("DELAY\x01soon"), nil, 1, `property DELAY="soon" is not a number`},
		{"delay level out of range", 10, prop("DELAY\x0199999999999"), nil, 1, `property DELAY="99999999999" is not a number`},
		{"delay level below zero", 10, prop("DELAY\x01-3"), nil, 0, ""},
		{"half of an illegal group", 10, with(send, "producerGroup", "a b", "properties", "TRAN_MSG\x01true"), nil, 1, groupIllegal},
		{"half of a long group", 10, with(send, "producerGroup", long, "properties", "TRAN_MSG\x01true"), nil, 1, groupLong},
		{"send to queue -1: any", 10, with(send, "topic", unknown+"s", "queueId", "-1"), nil, 0, ""},
		{"send to queue 2 of 2", 10, with(send, "queueId", "2"), nil, 1, "request queueId[2] is illegal, TopicConfig [topicName=" + topic},
		{"send to a queue that is no number", 10, with(send, "queueId", "two"), nil, 1, `field queueId is not a number in range: "two"`},
		{"send to a queue out of range", 10, with(send, "queueId", "4294967296"), nil, 1, `field queueId is not a number in range: "4294967296"`},
		{"send without fields", 10, nil, nil, 1, "field producerGroup is missing"},
		{"send without a topic", 10, fields{"producerGroup": "p"}, nil, 1, "field topic is missing"},
		{"send to a topic of 256 bytes", 10, with(send, "topic", long), nil, 1, "The specified topic is longer than topic max length."},
		{"send to an illegal topic", 10, with(send, "topic", "a.b"), nil, 1, "The specified topic contains illegal characters"},
		{"send with a template that is none", 10, with(send, "topic", unknown, "defaultTopic", topic), nil, 17, "topic[" + unknown + "] not exist"},
		{"retry of an unknown group", 10, with(send, "topic", "%RETRY%"+unknown), nil, 26, unknown},
		{"batch of nothing", 10, batch, nil, 13, "the batch holds no message"},
		{"batch with a stump", 10, batch, item[:10], 1, "10 bytes are left for batch item 0"},
		{"batch that was cut", 10, batch, item[:len(item)-1], 1, "batch item 0 has size 23 with 22 bytes left"},
		{"batch item of negative size", 10, batch, append([]byte{0xff, 0xff, 0xff, 0xff}, item[4:]...), 1, "batch item 0 has size"},
		{"batch item with a body too long", 10, batch, append(append(bytes.Clone(item[:16]), 0x7f, 0xff, 0xff, 0xff), item[20:]...), 1, "body of batch item 0 passes its end"},
		{"batch to a retry topic", 10, with(batch, "topic", "%RETRY%"+group), item, 13, "batch request does not support retry group"},

		{"pull of queue -1", 11, with(pull, "queueId", "-1"), nil, 1, "queueId[-1] is illegal, topic:[" + topic + "] topicConfig.readQueueNums:[2]"},
		{"pull of queue 2 of 2", 11, with(pull, "queueId", "2"), nil, 1, "queueId[2] is illegal"},
		{"pull below the first message", 11, with(pull, "queueOffset", "-1"), nil, 21, "OFFSET_TOO_SMALL"},
		{"pull far below", 11, with(pull, "queueOffset", "-9223372036854775808"), nil, 21, "OFFSET_TOO_SMALL"},
		{"pull beyond the end", 11, with(pull, "queueOffset", "9223372036854775807"), nil, 21, "OFFSET_OVERFLOW_BADLY"},
		{"pull of an empty queue beyond its end", 11, with(pull, "queueId", "1", "queueOffset", "7"), nil, 21, "NO_MESSAGE_IN_QUEUE"},
		{"pull at no number", 11, with(pull, "queueOffset", "9223372036854775808"), nil, 1, `field queueOffset is not a number in range`},
		{"pull of -1 messages", 11, with(pull, "maxMsgNums", "-1"), nil, 0, "FOUND"},
		{"pull that waits for less than nothing", 11, with(pull, "queueId", "1", "suspendTimeoutMillis", "-7", "sysFlag", "6"), nil, 19, ""},
		{"pull of an unknown topic", 11, with(pull, "topic", unknown), nil, 17, "topic[" + unknown + "] not exist, apply first please!"},
		{"pull of a topic of 256 bytes", 11, with(pull, "topic", long), nil, 17, "not exist"},
		{"pull by a group of 256 bytes", 11, with(pull, "consumerGroup", long), nil, 1, groupLong},
		{"pull by an illegal group", 11, with(pull, "consumerGroup", "a b"), nil, 1, groupIllegal},
		{"pull by nobody", 11, with(pull, "consumerGroup", ""), nil, 1, "the specified group is blank"},
		{"pull with broken SQL", 11, with(pull, "subscription", "a >", "expressionType", "SQL92"), nil, 23, "at position 4"},
		{"pull with an unknown kind of expression", 11, with(pull, "subscription", "a", "expressionType", "XPATH"), nil, 23, `expression type "XPATH" is not known`},
		{"pull without a tag", 11, with(pull, "subscription", " || "), nil, 23, `no tag in " || "`},
		{"lite pull without fields", 361, fields{"topic": topic}, nil, 1, "field consumerGroup is missing"},
		{"check of broken SQL", 46, nil, object("clientId", "c", "group", group, "subscriptionData", map[string]any{"topic": topic, "subString": "a = 1 AND b LIKE 'x'", "expressionType": "SQL92"}), 23, `found "LIKE" where the end was expected at position 13`},
		{"check of nothing", 46, nil, nil, 1, "client check: malformed body"},

		{"commit of -5", 15, with(commit, "commitOffset", "-5"), nil, 1, "offset -5 of queue 0 is not allowed"},
		{"commit to queue -1", 15, with(commit, "queueId", "-1"), nil, 1, "offset 1 of queue -1 is not allowed"},
		{"commit beyond the end", 15, with(commit, "consumerGroup", unknown, "commitOffset", "1000"), nil, 0, ""},
		{"commit by a group of 256 bytes", 15, with(commit, "consumerGroup", long), nil, 1, groupLong},
		{"commit by an illegal group", 15, with(commit, "consumerGroup", "a b"), nil, 1, groupIllegal},
		{"commit to a topic of 256 bytes", 15, with(commit, "topic", long), nil, 1, "The specified topic is longer than topic max length."},
		{"offset of queue -1", 14, with(commit, "queueId", "-1"), nil, 0, ""},
		{"end of queue -1", 30, with(queue, "queueId", "-1"), nil, 0, ""},
		{"end of a queue that is no number", 30, with(queue, "queueId", "x"), nil, 1, `field queueId is not a number in range: "x"`},
		{"begin of queue -1", 31, with(queue, "queueId", "-1"), nil, 0, ""},
		{"search by no time", 29, with(queue, "timestamp", "yesterday"), nil, 1, `field timestamp is not a number in range: "yesterday"`},
		{"search before all time", 29, with(queue, "timestamp", "-1"), nil, 0, ""},

		{"send-back of what lies beyond the end", 36, with(back, "offset", "99999999999"), nil, 1, "look message by offset failed, 99999999999"},
		{"send-back of what lies before the begin", 36, with(back, "offset", "-1"), nil, 1, "look message by offset failed, -1"},
		{"send-back of the middle of a message", 36, with(back, "offset", "1"), nil, 1, "look message by offset failed, 1"},
		{"send-back by a group of 256 bytes", 36, with(back, "group", long), nil, 1, groupLong},
		{"send-back by a group whose retry topic is too long", 36, with(back, "group", long[:125]), nil, 1, "topic[%RETRY%" + long[:125] + "]: The specified topic is longer"},
		{"send-back by an illegal group", 36, with(back, "group", "a b"), nil, 1, groupIllegal},
		{"send-back of nothing", 36, fields{"group": group}, nil, 1, "field offset is missing"},
		{"end of an unknown transaction", 37, with(end, "commitLogOffset", "99999999999"), nil, 1, "Find prepared transaction message failed: no message begins at commit log offset 99999999999"},
		{"end of a transaction before the begin", 37, with(end, "commitLogOffset", "-1"), nil, 1, "Find prepared transaction message failed"},
		{"end of a message that is no half", 37, with(end, "commitLogOffset", place), nil, 1, "is of topic " + topic},
		{"end of no transaction", 37, fields{"producerGroup": "pg", "commitOrRollback": "8"}, nil, 1, "field tranStateTableOffset is missing"},
		{"resume of nonsense", 323, fields{"msgId": "nonsense"}, nil, 1, `msgId "nonsense" is not an offset message id`},
		{"resume of a message that was not given up", 323, fields{"msgId": id}, nil, 1, "TRANS_CHECK_MAX_TIME_TOPIC"},
		{"view beyond the end", 33, fields{"offset": "99999999999"}, nil, 1, "can not find message by the offset, 99999999999"},
		{"view before the begin", 33, fields{"offset": "-1"}, nil, 1, "can not find message by the offset, -1"},
		{"view of the middle of a message", 33, fields{"offset": "3"}, nil, 1, "can not find message by the offset, 3"},
		{"query without a key", 12, fields{"topic": topic}, nil, 1, "field key is missing"},
		{"query of what is not there", 12, query, nil, 22, "can not find message"},
		{"query of -1 messages", 12, with(query, "maxNum", "-1"), nil, 22, "can not find message"},
		{"query that ends before it begins", 12, with(query, "beginTimestamp", "9999999999999", "endTimestamp", "0"), nil, 22, "time range not correct"},

		{"heartbeat of nothing", 34, nil, nil, 1, "heartbeat without a body"},
		{"heartbeat that was cut", 34, nil, []byte("{"), 1, "heartbeat: malformed body"},
		{"heartbeat by a group of 256 bytes", 34, nil, beat(long), 1, groupLong},
		{"heartbeat by an illegal group", 34, nil, beat("a b"), 1, groupIllegal},
		{"heartbeat of nobody", 34, nil, object("consumerDataSet", []any{}), 1, "heartbeat without a clientID"},
		{"members of an unknown group", 38, fields{"consumerGroup": unknown}, nil, 1, "no consumer for this group, " + unknown},
		{"lock that was cut", 41, nil, []byte("{"), 1, "lock request: malformed body"},
		{"lock by an illegal group", 41, nil, lock("c", "a b", topic, 0), 1, groupIllegal},
		{"lock by a group of 256 bytes", 41, nil, lock("c", long, topic, 0), 1, groupLong},
		{"lock by nobody", 41, nil, lock("", group, topic, 0), 1, "client id of 0 bytes"},
		{"lock of queue -1: not granted", 41, nil, lock("c", group, topic, -1), 0, ""},

		{"topic with -1 queues", 17, with(create, "readQueueNums", "-1"), nil, 1, "queue numbers and permission must be at least 0"},
		{"topic with too many queues", 17, with(create, "writeQueueNums", "2147483647"), nil, 1, "2147483647 write queues, at most"},
		{"topic with permission -1", 17, with(create, "perm", "-1"), nil, 1, "queue numbers and permission must be at least 0"},
		{"topic with a permission that is no number", 17, with(create, "perm", "rw"), nil, 1, `field perm is not a number in range: "rw"`},
		{"topic with an unknown filter type", 17, with(create, "topicFilterType", "NO_TAG"), nil, 1, `topicFilterType "NO_TAG" is not known`},
		{"group that was cut", 200, nil, []byte("{"), 1, "subscription group: malformed body"},
		{"group without a name", 200, nil, object("consumeEnable", true), 1, "the specified group is blank"},
		{"group of 256 bytes", 200, nil, object("groupName", long), 1, groupLong},
		{"group whose retry topic is too long", 200, nil, object("groupName", long[:121]), 1, "topic[%RETRY%" + long[:121] + "]: The specified topic is longer"},
		{"illegal group", 200, nil, object("groupName", "a b"), 1, groupIllegal},
		{"state of an unknown topic", 202, fields{"topic": unknown}, nil, 17, "topic[" + unknown + "] not exist"},
		{"removal of a system topic", 215, fields{"topic": "TBW102"}, nil, 1, "The topic[TBW102] is conflict with system topic."},
		{"unknown request", 31999, nil, nil, 3, "request type 31999 not supported"},
		{"negative request", -1, nil, nil, 3, "request type -1 not supported"},
	} {
		t.Run(r.what, func(t *testing.T) {
			f, err := invoke(addr, r.code, r.ext, r.body)
			require.NoError(t, err)
			require.Equal(t, r.want, f.Code, f.Remark)
			require.Contains(t, f.Remark, r.remark)
			if r.code == 10 {
				require.Equal(t, "DefaultRegion", f.Ext["MSG_REGION"], "producers read it on errors too")
			}
			if r.code == 41 && r.want == 0 {
				require.NotContains(t, string(f.Body), topic)
			}
		})
	}
	good := 0
	for _, m := range readTopic(t, addr, topic, 2) {
		if m.GetProperty("good") == "yes" {
			good++
		}
	}
	require.Equal(t, 1, good, "what is whole in a broken property string is kept")
	must(t, addr, 10, send, []byte("last"))
}
