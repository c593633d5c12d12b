package protocol

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// stdHeader is the header as encoding/json reads it.
type stdHeader struct {
	Code      int32             `json:"code"`
	Version   int32             `json:"version"`
	Opaque    int32             `json:"opaque"`
	Flag      int32             `json:"flag"`
	Remark    *string           `json:"remark"`
	Language  *string           `json:"language"`
	ExtFields map[string]string `json:"extFields"`
}

// comparable reports whether encoding/json means the same by the text as we do:
// it folds the case of keys, merges equal keys and mends invalid UTF-8.
func comparableHeader(header []byte) bool {
	if !utf8.Valid(header) || bytes.Contains(header, []byte("null")) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(header))
	seen := map[string]bool{}
	for {
		tok, err := dec.Token()
		if err != nil {
			return true
		}
		if s, ok := tok.(string); ok {
			low := string(bytes.ToLower([]byte(s)))
			if seen[low] {
				return false
			}
			seen[low] = true
			switch low {
			case "code", "version", "opaque", "flag", "remark", "language", "extfields":
				if s != low && s != "extFields" {
					return false
				}
			}
		}
	}
}

func FuzzDecodeJSONHeader(f *testing.F) {
	for _, s := range []string{`{}`, sendV2, `{"code":"30","x":[{}],"extFields":{"a":1,"b":null,"c":"\u0001\ud83d\ude00"},"language":9}`, "{\"remark\":\"\x01\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		var std stdHeader
		stdOK := json.Unmarshal(header, &std) == nil && comparableHeader(header)
		c := new(Command)
		err := c.Decode(frameOf(SerializeJSON, string(header), "body"), Limits{})
		if err != nil {
			return
		}
		require.Equal(t, "body", string(c.Body))
		if stdOK {
			require.Equal(t, []int32{std.Code, std.Version, std.Opaque, std.Flag}, []int32{c.Code, c.Version, c.Opaque, c.Flag})
			if std.Remark != nil {
				require.Equal(t, *std.Remark, c.Remark)
			}
			if std.Language != nil {
				require.Equal(t, ParseLanguage([]byte(*std.Language)), c.Language)
			}
			require.True(t, maps.Equal(std.ExtFields, fieldsOf(c)), "%v %v", std.ExtFields, fieldsOf(c))
		}
		sameAgain(t, c)
	})
}

func FuzzDecodeBinaryHeader(f *testing.F) {
	req := NewRequest(310).SetField("a", "group").SetField("i", "KEYS\x01k")
	req.Serialize, req.Remark = SerializeROCKETMQ, "remark"
	frame, err := req.AppendFrame(nil)
	require.NoError(f, err)
	f.Add(frame[8:])
	f.Fuzz(func(t *testing.T, header []byte) {
		c := new(Command)
		if c.Decode(frameOf(SerializeROCKETMQ, string(header), ""), Limits{}) != nil {
			return
		}
		sameAgain(t, c)
	})
}

// sameAgain checks that what was decoded is encoded and decoded to the same.
func sameAgain(t *testing.T, c *Command) {
	t.Helper()
	frame, err := c.AppendFrame(nil)
	require.NoError(t, err)
	again := new(Command)
	require.NoError(t, again.Decode(frame[4:], Limits{}))
	require.Equal(t, []any{c.Code, c.Language, c.Version, c.Opaque, c.Flag, c.Remark, len(c.Fields)},
		[]any{again.Code, again.Language, again.Version, again.Opaque, again.Flag, again.Remark, len(again.Fields)})
	require.Equal(t, fieldsOf(c), fieldsOf(again))
	var send SendHeader
	var pull PullHeader
	_, _ = send.Decode(c), pull.Decode(c) // must not panic
}

func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{0:1}}}`, `{"clientID":"c","consumerDataSet":[{"subscriptionDataSet":[{"codeSet":["1"]}]}]}`, `[1,"\ud800",true,null,1e5]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want any
		stdOK := utf8.Valid(body) && json.Unmarshal(body, &want) == nil
		v, err := ParseJSON(bytes.Clone(body), JSONLimits{DepthMax: 16, NodesMax: 1000})
		if err == nil && stdOK {
			requireSame(t, want, v)
		}
		for _, d := range []interface{ Decode([]byte) error }{new(HeartbeatData), new(TopicRouteData), new(ResetOffsetBody),
			new(GetConsumerStatusBody), new(RegisterBrokerBody), new(LockBatchRequest), new(ConsumeStatsList), new(ConsumerConnection)} {
			_ = d.Decode(bytes.Clone(body)) // must not panic
		}
	})
}

// requireSame compares a value of encoding/json with ours.
func requireSame(t *testing.T, want any, got Value) {
	t.Helper()
	switch w := want.(type) {
	case nil:
		require.Equal(t, KindNull, got.Kind())
	case bool:
		require.Equal(t, w, got.Bool())
	case string:
		require.Equal(t, w, got.Str())
	case float64:
		require.Equal(t, KindNumber, got.Kind())
		if len(got.Str()) <= 64 {
			require.Equal(t, w, got.Float64())
		}
	case []any:
		require.Len(t, got.Items(), len(w))
		for i := range w {
			requireSame(t, w[i], got.Items()[i])
		}
	case map[string]any:
		for k := range w {
			requireSame(t, w[k], got.Get(k))
		}
	}
}

func FuzzRegisterCompressed(f *testing.F) {
	b := RegisterBrokerBody{TopicConfigs: TopicConfigSerializeWrapper{TopicConfigTable: map[string]*TopicConfig{"T": {ReadQueueNums: 4}}}}
	packed, err := b.AppendCompressed(nil)
	require.NoError(f, err)
	f.Add(packed)
	f.Fuzz(func(t *testing.T, body []byte) {
		var in RegisterBrokerBody
		if in.DecodeCompressed(body) != nil {
			return
		}
		packed, err := in.AppendCompressed(nil)
		require.NoError(t, err)
		var out RegisterBrokerBody
		require.NoError(t, out.DecodeCompressed(packed))
		require.Equal(t, in.TopicConfigs, out.TopicConfigs)
	})
}
