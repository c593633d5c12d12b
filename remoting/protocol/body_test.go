package protocol

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// decoder is a body that can be read.
type decoder interface {
	Body
	Decode(body []byte) error
}

// The texts are what a 4.9.4 broker and name server sent. Each must decode, and
// encode to the same bytes again.
func TestGoldenBodies(t *testing.T) {
	const mq0, mq1 = `{"brokerName":"broker-a","queueId":0,"topic":"T1"}`, `{"brokerName":"broker-a","queueId":1,"topic":"T1"}`
	for _, tt := range []struct {
		name, text string
		body       decoder
	}{
		{"route", `{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"c1"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}`, &TopicRouteData{}},
		{"route with order", `{"brokerDatas":[],"filterServerTable":{"1.2.3.4:5":["a","b"]},"orderTopicConf":"broker-a:4","queueDatas":[]}`, &TopicRouteData{}},
		{"cluster", `{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"c1"}},"clusterAddrTable":{"c1":["broker-a"]}}`, &ClusterInfo{}},
		{"topics", `{"topicList":["T1"]}`, &TopicList{}},
		{"topics with broker", `{"brokerAddr":"10.0.0.1:10911","topicList":[]}`, &TopicList{}},
		{"kv", `{"table":{"T1":"broker-a:4"}}`, &KVTable{}},
		{"version", `{"counter":0,"timestamp":1700000000000}`, &DataVersion{}},
		{"version 5.x", `{"counter":4,"stateVersion":2,"timestamp":1700000000000}`, &DataVersion{}},
		{"register", `{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":4,"timestamp":1700000000000},"topicConfigTable":{"T1":{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T1","topicSysFlag":0,"writeQueueNums":4}}}}`, &RegisterBrokerBody{}},
		{"heartbeat", `{"clientID":"10.0.0.9@1234#5","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":1700000000000,"tagsSet":["TagA","TagB"],"topic":"T1"}],"unitMode":false}],"producerDataSet":[{"groupName":"pg"}]}`, &HeartbeatData{}},
		{"lock", `{"clientId":"cid","consumerGroup":"g","mqSet":[` + mq0 + `]}`, &LockBatchRequest{}},
		{"locked", `{"lockOKMQSet":[` + mq0 + `,` + mq1 + `]}`, &LockBatchResponse{}},
		{"consumers", `{"consumerIdList":["a","b"]}`, &ConsumerList{}},
		{"groups", `{"groupList":["g"]}`, &GroupList{}},
		{"topic stats", `{"offsetTable":{` + mq0 + `:{"lastUpdateTimestamp":1700000000000,"maxOffset":2,"minOffset":0},` + mq1 + `:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}}}`, &TopicStatsTable{}},
		{"consume stats", `{"consumeTps":0.08,"offsetTable":{` + mq0 + `:{"brokerOffset":2,"consumerOffset":1,"lastTimestamp":1700000000000}}}`, &ConsumeStats{}},
		{"consume stats list", `{"brokerAddr":"127.0.0.1:10911","consumeStatsList":[{"g1":[{"consumeTps":0.0,"offsetTable":{}}]},{"other":[]}],"totalDiff":7}`, &ConsumeStatsList{}},
		{"offset moved", `{"consumerGroup":"g","messageQueue":` + mq1 + `,"offsetNew":3,"offsetRequest":9}`, &OffsetMovedEvent{}},
		{"reset", `{"offsetTable":{` + mq0 + `:5,` + mq1 + `:7}}`, &ResetOffsetBody{}},
		{"status", `{"consumerTable":{"cid":{` + mq0 + `:5}},"messageQueueTable":{}}`, &GetConsumerStatusBody{}},
		{"consumer connection", `{"connectionSet":[{"clientAddr":"127.0.0.1:42244","clientId":"cid1","language":"JAVA","version":401}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"T1":{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1700000000000,"tagsSet":[],"topic":"T1"}}}`, &ConsumerConnection{}},
		{"producer connection", `{"connectionSet":[{"clientAddr":"127.0.0.1:42244","clientId":"cid1","language":"JAVA","version":401}]}`, &ProducerConnection{}},
		{"producers", `{"data":{"pg":[{"clientId":"cid1","language":"JAVA","lastUpdateTimestamp":1700000000000,"remoteIP":"/127.0.0.1:42244","version":401}]}}`, &ProducerTableInfo{}},
		{"group configs", `{"dataVersion":{"counter":1,"timestamp":1700000000000},"subscriptionGroupTable":{"g":{"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"groupName":"g","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}}}`, &SubscriptionGroupWrapper{}},
		{"time spans", `{"consumeTimeSpanSet":[{"consumeTimeStamp":0,"delayTime":0,"maxTimeStamp":3,"messageQueue":` + mq0 + `,"minTimeStamp":1}]}`, &ConsumeTimeSpanBody{}},
		{"stats", `{"statsDay":{"avgpt":0.0,"sum":0,"tps":0.0},"statsHour":{"avgpt":1.5,"sum":3,"tps":0.25},"statsMinute":{"avgpt":0.0,"sum":0,"tps":0.0}}`, &BrokerStatsData{}},
		{"consume queue", `{"filterData":"g1@T1 is not online!","maxQueueIndex":4,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":0,"physicSize":143,"tagsCode":2598919}]}`, &ConsumeQueueBody{}},
		{"all offsets", `{"offsetTable":{"T1@g1":{0:1}}}`, &OffsetTable{}},
		{"delay offsets", `{"offsetTable":{2:1,13:5}}`, &DelayOffsets{}},
		{"corrections", `{"correctionOffsets":{0:1}}`, &CorrectionOffsets{}},
		{"direct", `{"autoCommit":true,"consumeResult":"CR_SUCCESS","order":false,"remark":"…","spentTimeMills":3}`, &ConsumeDirectlyResult{}},
		{"ha", `{"haClientRuntimeInfo":{"activated":true,"lastReadTimestamp":1,"lastWriteTimestamp":2,"masterAddr":"10.0.0.1:10911","masterFlushOffset":3,"maxOffset":4,"transferredByteInSecond":5},"haConnectionInfo":[{"addr":"10.0.0.2:40911","diff":6,"inSync":true,"slaveAckOffset":7,"transferFromWhere":8,"transferredByteInSecond":9}],"inSyncSlaveNums":1,"master":true,"masterCommitLogMaxOffset":13}`, &HARuntimeInfo{}},
		{"topic list", `{"topicConfigList":[{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}]}`, &TopicConfigList{}},
		{"group list", `{"groupConfigList":[{"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"groupName":"g","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}]}`, &SubscriptionGroupList{}},
		{"check", `{"clientId":"c","group":"g","subscriptionData":{"classFilterMode":false,"codeSet":[],"expressionType":"SQL92","subString":"a > 1","subVersion":1,"tagsSet":[],"topic":"T"}}`, &CheckClientRequest{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, tt.body.Decode([]byte(tt.text)))
			require.Equal(t, tt.text, string(Encode(tt.body)))
			// A body that is no object is refused, one that is empty is read as zero.
			require.ErrorIs(t, tt.body.Decode([]byte(`[1]`)), ErrBody)
			if _, registration := tt.body.(*RegisterBrokerBody); !registration {
				require.ErrorIs(t, tt.body.Decode(nil), ErrBody)
			}
			require.NoError(t, tt.body.Decode([]byte(`{}`)))
		})
	}
}

func TestRouteStandardJSON(t *testing.T) {
	const standard = `{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"c1"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}`
	var r TopicRouteData
	require.NoError(t, r.Decode([]byte(standard)))
	require.Equal(t, map[int64]string{0: "10.0.0.1:10911", 1: "10.0.0.2:10911"}, r.BrokerDatas[0].BrokerAddrs)
	out := r.AppendStandardJSON(nil)
	require.Equal(t, standard, string(out))
	require.True(t, json.Valid(out))
	require.NotContains(t, string(out), " ", "the Go client's hand parser needs compact text")
}

// Go clients send the numbers of codeSet as strings and leave out what is empty.
func TestHeartbeatOfGo(t *testing.T) {
	var h HeartbeatData
	require.NoError(t, h.Decode([]byte(`{ "clientID":"10.0.0.9@77","producerDataSet":null,"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY","messageModel":"NEW_MODEL","consumeFromWhere":"X","unitMode":false,"subscriptionDataSet":[{"ClassFilterMode":false,"topic":"T","subString":"a||b","tagsSet":["a","b"],"codeSet":["97","98"],"subVersion":5,"expressionType":""}]}] }`)))
	require.Empty(t, h.Producers)
	require.Equal(t, []int32{97, 98}, h.Consumers[0].Subscriptions[0].CodeSet)
	require.Equal(t, ExpressionTag, h.Consumers[0].Subscriptions[0].ExpressionType)
	require.Equal(t, "NEW_MODEL", h.Consumers[0].MessageModel, "unknown values are kept")
	require.NoError(t, h.Decode([]byte(`{"clientID":"c","heartbeatFingerprint":-5,"withoutSub":true}`)))
	require.Equal(t, HeartbeatData{ClientID: "c", Fingerprint: -5, WithoutSub: true}, h)
}

// C++ clients, and what is built on them, send the ordinals of enums and numbers in quotes.
func TestHeartbeatOfCPP(t *testing.T) {
	var h HeartbeatData
	require.NoError(t, h.Decode([]byte(`{"clientID":"30804-127.0.0.1@a","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"g","messageModel":1,"subscriptionDataSet":[{"subString":"*","subVersion":"1795872677133","topic":"T"}]},{"consumeFromWhere":5,"consumeType":0,"groupName":"b","messageModel":0}]}`)))
	c := h.Consumers[0]
	require.Equal(t, []string{FromLastOffset, ConsumePassively, ModelClustering}, []string{c.ConsumeFromWhere, c.ConsumeType, c.MessageModel})
	require.EqualValues(t, 1795872677133, c.Subscriptions[0].SubVersion)
	c = h.Consumers[1]
	require.Equal(t, []string{FromTimestamp, ConsumeActively, ModelBroadcasting}, []string{c.ConsumeFromWhere, c.ConsumeType, c.MessageModel})
	require.NoError(t, h.Decode([]byte(`{"clientID":"c","consumerDataSet":[{"groupName":"g","messageModel":2,"consumeType":-1}]}`)))
	require.Equal(t, "2", h.Consumers[0].MessageModel, "unknown values are kept")
	require.Equal(t, "-1", h.Consumers[0].ConsumeType)
}

// Clients write maps with queues as keys in three ways.
func TestQueueKeyForms(t *testing.T) {
	want := map[MessageQueue]int64{{Topic: "T", BrokerName: "b", QueueID: 3}: 5}
	for _, text := range []string{
		`{"offsetTable":{{"brokerName":"b","queueId":3,"topic":"T"}:5}}`,
		`{"offsetTable":{ { "brokerName" : "b", "queueId" : "3", "topic" : "T" } : "5" } }`,
		`{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":3,\"topic\":\"T\"}":5}}`,
		`{"offsetTable":[[{"brokerName":"b","queueId":3,"topic":"T"},5]]}`,
		`{"offsetTable":[{"brokerName":"b","offset":5,"queueId":3,"topic":"T"}]}`,
	} {
		var b ResetOffsetBody
		require.NoError(t, b.Decode([]byte(text)), text)
		require.Equal(t, want, b.Offsets, text)
	}
	require.Equal(t, `{"offsetTable":[{"brokerName":"b","offset":5,"queueId":3,"topic":"T"}]}`,
		string((&ResetOffsetBody{Offsets: want}).AppendListJSON(nil)))
}

func TestConsumeResultNumber(t *testing.T) {
	var r ConsumeDirectlyResult
	require.NoError(t, r.Decode([]byte(`{"consumeResult":1}`)))
	require.Equal(t, "CR_LATER", r.ConsumeResult)
}

func TestRegisterOldAndEmpty(t *testing.T) {
	var b RegisterBrokerBody
	require.NoError(t, b.Decode(nil))
	require.NotNil(t, b.TopicConfigs.TopicConfigTable)
	require.NoError(t, b.DecodeCompressed(nil))
	require.NoError(t, b.Decode([]byte(`{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{"T":{"perm":6}}}`)), "before 3.0.11")
	require.Equal(t, DataVersion{Timestamp: 2, Counter: 1}, b.TopicConfigs.DataVersion)
	require.Equal(t, "T", b.TopicConfigs.TopicConfigTable["T"].TopicName)
}

func TestRegisterCompressedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := RegisterBrokerBody{FilterServerList: rapid.SliceOfN(genText(), 1, 3).Draw(t, "filters")}
		in.TopicConfigs.DataVersion = DataVersion{Timestamp: rapid.Int64().Draw(t, "ts"), Counter: rapid.Int64().Draw(t, "n"), StateVersion: rapid.Int64().Draw(t, "s")}
		in.TopicConfigs.TopicConfigTable = map[string]*TopicConfig{}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[%a-zA-Z0-9_-]{1,127}`), 0, 20, rapid.ID).Draw(t, "names") {
			c := &TopicConfig{TopicName: name, ReadQueueNums: rapid.Int32().Draw(t, "r"), WriteQueueNums: 4, Perm: 6, TopicFilterType: FilterMultiTag}
			if rapid.Bool().Draw(t, "attributes") {
				c.Attributes = map[string]string{"message.type": genText().Draw(t, "attribute")}
			}
			in.TopicConfigs.TopicConfigTable[name] = c
		}
		packed, err := in.AppendCompressed([]byte("keep"))
		require.NoError(t, err)
		require.Equal(t, "keep", string(packed[:4]))
		var out RegisterBrokerBody
		require.NoError(t, out.DecodeCompressed(packed[4:]))
		require.Equal(t, in, out)
		require.NoError(t, out.Decode(Encode(&in)))
		require.Equal(t, in, out)
	})
}

// zipped compresses what write emits.
func zipped(t *testing.T, write func(z *zlib.Writer)) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	write(z)
	require.NoError(t, z.Close())
	return out.Bytes()
}

func TestRegisterCompressedBounds(t *testing.T) {
	u32 := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	put := func(parts ...[]byte) []byte {
		return zipped(t, func(z *zlib.Writer) {
			for _, p := range parts {
				_, err := z.Write(p)
				require.NoError(t, err)
			}
		})
	}
	var b RegisterBrokerBody
	require.ErrorIs(t, b.DecodeCompressed([]byte("not zlib")), ErrBody)
	require.ErrorIs(t, b.DecodeCompressed(put(u32(1<<30))), ErrTooLarge, "announced length")
	require.ErrorIs(t, b.DecodeCompressed(put(u32(-1))), ErrTooLarge)
	require.ErrorIs(t, b.DecodeCompressed(put(u32(0), u32(registerTopicsMax+1))), ErrTooLarge, "announced count")
	require.ErrorIs(t, b.DecodeCompressed(put(u32(0), u32(5))), ErrBody, "ends early")
	require.ErrorIs(t, b.DecodeCompressed(put(u32(0), u32(1), u32(3), []byte("a b"))), ErrBody)
	require.ErrorIs(t, b.DecodeCompressed(put(u32(0), u32(1), u32(16), []byte("T 4 x 6 MULTITAG"))), ErrBody)
	require.NoError(t, b.DecodeCompressed(put(u32(0), u32(0), u32(0))))

	// A bomb: 64 KiB of body that inflates far beyond the bound.
	topic := []byte("T 4 4 6 SINGLE_TAG" + strings.Repeat(" ", registerTextMax-18))
	bomb := zipped(t, func(z *zlib.Writer) {
		_, _ = z.Write(append(u32(0), u32(registerTopicsMax)...))
		for range registerInflatedMax/registerTextMax + 2 {
			_, _ = z.Write(u32(len(topic)))
			_, _ = z.Write(topic)
		}
	})
	require.Less(t, len(bomb), 1<<20)
	require.ErrorIs(t, b.DecodeCompressed(bomb), ErrTooLarge)
}

func TestParseJSONBounds(t *testing.T) {
	_, err := ParseJSON([]byte(strings.Repeat("[", 33)+strings.Repeat("]", 33)), JSONLimits{})
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = ParseJSON([]byte(strings.Repeat("[", 32)+strings.Repeat("]", 32)), JSONLimits{})
	require.NoError(t, err)
	_, err = ParseJSON([]byte(`[1,2,3]`), JSONLimits{NodesMax: 3})
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = ParseJSON([]byte(`[1,2,3]`), JSONLimits{NodesMax: 4})
	require.NoError(t, err)
	_, err = ParseJSON([]byte(strings.Repeat(`{"a":`, 1<<20)), JSONLimits{})
	require.ErrorIs(t, err, ErrTooLarge)
	for _, bad := range []string{``, `{`, `[`, `[1`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,`, `nul`, `"a`, `{}x`, `:`, `{"$ref"`} {
		_, err := ParseJSON([]byte(bad), JSONLimits{})
		require.ErrorIs(t, err, ErrBody, "%q", bad)
	}
	// fastjson's reference objects are just objects here.
	v, err := ParseJSON([]byte(`{"a":{"$ref":"$.b"}}`), JSONLimits{})
	require.NoError(t, err)
	require.Equal(t, "$.b", v.Get("a").Get("$ref").Str())
}

func TestValueAccessors(t *testing.T) {
	v, err := ParseJSON([]byte(`{"i":"12","f":3.9,"big":99999999999999999999,"t":"TRUE","n":null,"a":["x",1,true],"o":{1:"b"},"i":13}`), JSONLimits{})
	require.NoError(t, err)
	require.Equal(t, int64(13), v.Get("i").Int64(), "the last of equal keys")
	require.Equal(t, int64(3), v.Get("f").Int64())
	require.Equal(t, int64(0), v.Get("big").Int64())
	require.Equal(t, int32(0), v.Get("big").Int32())
	require.True(t, v.Get("t").Bool())
	require.True(t, v.Get("n").BoolOr(true))
	require.False(t, v.Get("f").BoolOr(true))
	require.Equal(t, []string{"x", "1", "true"}, v.Get("a").Strs())
	require.Equal(t, map[string]string{"1": "b"}, v.Get("o").StrMap())
	require.Equal(t, Value{}, v.Get("none").Get("deeper"))
	require.Equal(t, 0, v.Get("i").Len())
	require.Nil(t, v.Get("none").Strs())
}

func TestFloatForm(t *testing.T) {
	for v, want := range map[float64]string{0: "0.0", 1: "1.0", 0.08: "0.08", -2.5: "-2.5", math.Inf(1): "0.0"} {
		require.Equal(t, want, string(appendJSON(nil, func(w *jsonWriter) { w.float(v) })))
	}
	require.Equal(t, "0.0", string(appendJSON(nil, func(w *jsonWriter) { w.float(math.NaN()) })))
}

// Text that encoding/json writes, ParseJSON reads as the same value.
func TestParseJSONAgreesWithStandard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "map")
		text, err := json.Marshal(map[string]any{"table": in, "n": 1})
		require.NoError(t, err)
		var kv KVTable
		require.NoError(t, kv.Decode(text))
		require.Equal(t, in, kv.Table)
		// And what we write, encoding/json reads.
		var back struct{ Table map[string]string }
		require.NoError(t, json.Unmarshal(Encode(&kv), &back))
		require.Equal(t, in, back.Table)
	})
}
