package protocol

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// sendV2 is what a Java 4.9.4 producer sends for a short message.
const sendV2 = `{"code":310,"extFields":{"a":"please_rename_unique_group_name","b":"TopicTest","c":"TBW102","d":"4","e":"2","f":"0",` +
	`"g":"1700000000000","h":"0","i":"KEYS\u0001order-12345\u0002UNIQ_KEY\u00017F0000010F2C18B4AAC2123456780000\u0002WAIT\u0001true\u0002TAGS\u0001TagA",` +
	`"j":"0","k":"false","m":"false"},"flag":0,"language":"JAVA","opaque":42,"serializeTypeCurrentRPC":"JSON","version":401}`

func TestSendHeaderOfJavaAndGo(t *testing.T) {
	var h SendHeader
	require.NoError(t, h.Decode(decodeJSONHeader(t, sendV2)))
	require.Equal(t, "TopicTest", string(h.Topic))
	require.Equal(t, int32(2), h.QueueID)
	require.Equal(t, int64(1700000000000), h.BornTimestamp)
	require.Equal(t, "KEYS\x01order-12345\x02UNIQ_KEY\x017F0000010F2C18B4AAC2123456780000\x02WAIT\x01true\x02TAGS\x01TagA", string(h.Properties))
	require.Equal(t, int32(-1), h.MaxReconsumeTimes, "absent")

	// Go sends code 10 with full names and maxReconsumeTimes 0.
	c := decodeJSONHeader(t, `{"code":10,"language":"GO","version":317,"opaque":1,"flag":0,"remark":"","extFields":{"batch":"false","bornTimestamp":"1","defaultTopic":"TBW102","defaultTopicQueueNums":"4","flag":"0","maxReconsumeTimes":"0","producerGroup":"g","properties":"p","queueId":"1","reconsumeTimes":"0","sysFlag":"0","topic":"T","unitMode":"false"}}`)
	require.NoError(t, h.Decode(c))
	require.Equal(t, "T", string(h.Topic))
	require.Equal(t, int32(0), h.MaxReconsumeTimes)

	// C++ sends some numbers bare, and booleans as numbers, with code 10 for batches too.
	require.NoError(t, h.Decode(decodeJSONHeader(t, `{"code":10,"extFields":{"batch":"1","bornTimestamp":"1795872622340","defaultTopic":"TBW102","defaultTopicQueueNums":4,"flag":0,"producerGroup":"g","properties":"WAIT\u0001true\u0002","queueId":1,"reconsumeTimes":"0","sysFlag":0,"topic":"T","unitMode":"0"},"flag":0,"language":"CPP","opaque":4,"remark":"","version":63}`)))
	require.True(t, h.Batch)
	require.False(t, h.UnitMode)
	require.Equal(t, int32(4), h.DefaultTopicQueueNums)

	// The long names mean nothing under a V2 code.
	c.Code = CodeSendMessageV2
	require.ErrorIs(t, h.Decode(c), ErrField)
}

func TestSendHeaderMissingAndMalformed(t *testing.T) {
	var h SendHeader
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		c := decodeJSONHeader(t, sendV2)
		for i := range c.Fields {
			if string(c.Fields[i].Key) == key {
				c.Fields = append(c.Fields[:i:i], c.Fields[i+1:]...)
				break
			}
		}
		require.ErrorIs(t, h.Decode(c), ErrField, "without %s", key)
	}
	for _, key := range []string{"d", "e", "f", "g", "h"} {
		require.ErrorIs(t, h.Decode(decodeJSONHeader(t, sendV2).SetField(key, "12x")), ErrField, "bad %s", key)
	}
	require.NoError(t, h.Decode(decodeJSONHeader(t, sendV2).SetField("j", "12x")), "an optional number counts as absent")
}

func TestHeadersRoundTrip(t *testing.T) {
	encode := func(t require.TestingT, code int32, h HeaderEncoder, form Serialize) *Command {
		req := NewRequest(code).SetHeader(h)
		req.Serialize = form
		frame, err := req.AppendFrame(nil)
		require.NoError(t, err)
		c := new(Command)
		require.NoError(t, c.Decode(frame[4:], Limits{}))
		return c
	}
	rapid.Check(t, func(t *rapid.T) {
		form := Serialize(rapid.IntRange(0, 1).Draw(t, "form"))
		text := func() []byte { return []byte(genText().Draw(t, "text")) }
		i32, i64 := rapid.Int32(), rapid.Int64()

		send := SendHeader{ProducerGroup: text(), Topic: text(), DefaultTopic: text(), DefaultTopicQueueNums: i32.Draw(t, "d"),
			QueueID: i32.Draw(t, "e"), SysFlag: i32.Draw(t, "f"), BornTimestamp: i64.Draw(t, "g"), Flag: i32.Draw(t, "h"),
			Properties: text(), ReconsumeTimes: i32.Draw(t, "j"), UnitMode: rapid.Bool().Draw(t, "k"),
			MaxReconsumeTimes: rapid.Int32Min(-1).Draw(t, "l"), Batch: rapid.Bool().Draw(t, "m")}
		var gotSend SendHeader
		require.NoError(t, gotSend.Decode(encode(t, CodeSendBatchMessage, &send, form)))
		require.Equal(t, send, gotSend)
		require.NoError(t, gotSend.Decode(encode(t, CodeSendReplyMessage, SendHeaderV1{&send}, form)))
		require.Equal(t, send, gotSend)

		pull := PullHeader{ConsumerGroup: text(), Topic: text(), QueueID: i32.Draw(t, "q"), QueueOffset: i64.Draw(t, "o"),
			MaxMsgNums: i32.Draw(t, "n"), SysFlag: i32.Draw(t, "s"), CommitOffset: i64.Draw(t, "c"),
			SuspendTimeoutMillis: i64.Draw(t, "sm"), Subscription: text(), SubVersion: i64.Draw(t, "v"), ExpressionType: text()}
		var gotPull PullHeader
		require.NoError(t, gotPull.Decode(encode(t, CodePullMessage, &pull, form)))
		require.Equal(t, pull, gotPull)

		resp := PullResponseHeader{SuggestWhichBrokerID: i64.Draw(t, "b"), NextBeginOffset: i64.Draw(t, "x"),
			MinOffset: i64.Draw(t, "min"), MaxOffset: i64.Draw(t, "max")}
		var gotResp PullResponseHeader
		require.NoError(t, gotResp.Decode(encode(t, 0, &resp, form)))
		require.Equal(t, resp, gotResp)

		back := SendBackHeader{Offset: i64.Draw(t, "off"), Group: string(text()), DelayLevel: i32.Draw(t, "dl"), OriginMsgID: "id",
			OriginTopic: "t", UnitMode: true, MaxReconsumeTimes: 16}
		var gotBack SendBackHeader
		require.NoError(t, gotBack.Decode(encode(t, CodeConsumerSendMsgBack, &back, form)))
		require.Equal(t, back, gotBack)

		end := EndTransactionHeader{ProducerGroup: string(text()), TranStateTableOffset: 1, CommitLogOffset: i64.Draw(t, "clo"),
			CommitOrRollback: TransactionCommit, FromTransactionCheck: true, MsgID: "m", TransactionID: "t"}
		var gotEnd EndTransactionHeader
		require.NoError(t, gotEnd.Decode(encode(t, CodeEndTransaction, &end, form)))
		require.Equal(t, end, gotEnd)

		check := CheckTransactionHeader{TranStateTableOffset: i64.Draw(t, "tso"), CommitLogOffset: i64.Draw(t, "clo"),
			MsgID: string(text()), TransactionID: "t", OffsetMsgID: "o"}
		var gotCheck CheckTransactionHeader
		require.NoError(t, gotCheck.Decode(encode(t, CodeCheckTransactionState, &check, form)))
		require.Equal(t, check, gotCheck)

		push := PushReplyHeader{Reply: send, BornHost: "1.2.3.4:5", StoreHost: "6.7.8.9:10", StoreTimestamp: i64.Draw(t, "st")}
		push.Reply.Batch, push.Reply.MaxReconsumeTimes = false, -1
		var gotPush PushReplyHeader
		require.NoError(t, gotPush.Decode(encode(t, CodePushReplyMessageToClient, &push, form)))
		require.Equal(t, push, gotPush)

		broker := BrokerHeader{ClusterName: string(text()), BrokerName: "b", BrokerAddr: "1.2.3.4:5", BrokerID: i64.Draw(t, "id"),
			HAServerAddr: "h", ExternalAddr: string(text()), Compressed: rapid.Bool().Draw(t, "z"), BodyCRC32: i32.Draw(t, "crc")}
		var gotBroker BrokerHeader
		require.NoError(t, gotBroker.Decode(encode(t, CodeRegisterBroker, &broker, form)))
		require.Equal(t, broker, gotBroker)

		offset := ConsumerOffsetHeader{ConsumerGroup: text(), Topic: text(), QueueID: i32.Draw(t, "oq"), CommitOffset: rapid.Int64Min(0).Draw(t, "oc")}
		var gotOffset ConsumerOffsetHeader
		require.NoError(t, gotOffset.Decode(encode(t, CodeUpdateConsumerOffset, &offset, form)))
		require.Equal(t, offset, gotOffset)
	})
}

func TestPullHeaderMissing(t *testing.T) {
	full := &PullHeader{ConsumerGroup: []byte("g"), Topic: []byte("t")}
	frame, err := NewRequest(CodePullMessage).SetHeader(full).AppendFrame(nil)
	require.NoError(t, err)
	for i := range pullRequiredNames {
		c := new(Command)
		require.NoError(t, c.Decode(append([]byte(nil), frame[4:]...), Limits{}))
		for j := range c.Fields {
			if string(c.Fields[j].Key) == pullRequiredNames[i] {
				c.Fields = append(c.Fields[:j:j], c.Fields[j+1:]...)
				break
			}
		}
		var h PullHeader
		err := h.Decode(c)
		require.ErrorIs(t, err, ErrField)
		require.ErrorContains(t, err, pullRequiredNames[i])
	}
}

// Java's parseInt and parseLong are what the peers use.
func TestNumberRules(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"-0", 0, true}, {"+7", 7, true}, {"-7", -7, true}, {"007", 7, true},
		{"9223372036854775807", 1<<63 - 1, true}, {"-9223372036854775808", -1 << 63, true},
		{"9223372036854775808", 0, false}, {"-9223372036854775809", 0, false}, {"92233720368547758070", 0, false},
		{"", 0, false}, {"-", 0, false}, {"+", 0, false}, {" 1", 0, false}, {"1 ", 0, false}, {"1.0", 0, false}, {"0x1", 0, false}, {"--1", 0, false},
	} {
		got, ok := parseInt64([]byte(tt.text))
		require.Equal(t, tt.ok, ok, "%q", tt.text)
		require.Equal(t, tt.want, got, "%q", tt.text)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		got, ok := parseInt64([]byte(strconv.FormatInt(n, 10)))
		require.True(t, ok)
		require.Equal(t, n, got)
		small, ok := parseInt32([]byte(strconv.FormatInt(n, 10)))
		require.Equal(t, n == int64(int32(n)), ok)
		if ok {
			require.Equal(t, int32(n), small)
		}
	})
	for text, want := range map[string]bool{"true": true, "TRUE": true, "True": true, "1": false, "yes": false, "": false, "true ": false} {
		require.Equal(t, want, parseBool([]byte(text)), "%q", text)
	}
}

func TestGettersAndReader(t *testing.T) {
	c := NewRequest(30).SetField("topic", "T").SetField("queueId", "3").SetField("bad", "x").SetField("topic", "T2")
	require.Equal(t, "T2", c.Str("topic"), "set again")
	require.Len(t, c.Fields, 3)
	require.Equal(t, int32(3), c.Int("queueId", -1))
	require.Equal(t, int32(-1), c.Int("bad", -1))
	require.Equal(t, int64(-1), c.Int64("none", -1))
	require.False(t, c.Bool("none"))

	r := c.Required()
	require.Equal(t, "T2", r.Str("topic"))
	require.Equal(t, int32(3), r.Int("queueId"))
	require.NoError(t, r.Err())
	r.Int64("bad")
	r.Str("none")
	require.ErrorIs(t, r.Err(), ErrField)
	require.ErrorContains(t, r.Err(), `code 30: field bad`, "the first failure is kept")
}

func TestVersionDesc(t *testing.T) {
	for v, want := range map[int32]string{401: "V4_9_4", 400: "V4_9_4_SNAPSHOT", 479: "V5_3_3", 317: "V4_5_2", 213: "V4_0_0", 413: "V5_0_0", 121: "121"} {
		require.Equal(t, want, VersionDesc(v))
	}
}

func TestLanguageNames(t *testing.T) {
	for l := LanguageJava; l <= LanguageNodeJS; l++ {
		require.Equal(t, l, ParseLanguage([]byte(l.String())))
		require.Equal(t, l, ParseLanguage(strconv.AppendInt(nil, int64(l), 10)))
	}
	require.Equal(t, LanguageOther, ParseLanguage([]byte("99")))
}
