package protocol

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// frameOf builds a frame without its length prefix.
func frameOf(form Serialize, header, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(form)<<24|uint32(len(header)))
	return append(append(b, header...), body...)
}

// fieldsOf copies the fields into a map.
func fieldsOf(c *Command) map[string]string {
	m := map[string]string{}
	for _, f := range c.Fields {
		m[string(f.Key)] = string(f.Value)
	}
	return m
}

func decodeJSONHeader(t *testing.T, header string) *Command {
	t.Helper()
	c := new(Command)
	require.NoError(t, c.Decode(frameOf(SerializeJSON, header, ""), Limits{}))
	return c
}

// The two headers were sent by a Java 4.9.4 client and broker.
func TestDecodeJavaHeaders(t *testing.T) {
	c := decodeJSONHeader(t, `{"code":105,"extFields":{"topic":"T1"},"flag":0,"language":"JAVA","opaque":0,"serializeTypeCurrentRPC":"JSON","version":401}`)
	require.Equal(t, CodeGetRouteInfoByTopic, c.Code)
	require.Equal(t, LanguageJava, c.Language)
	require.Equal(t, Version, c.Version)
	require.Equal(t, "T1", c.Str("topic"))
	require.False(t, c.IsResponse())
	require.Nil(t, c.Body)

	c = decodeJSONHeader(t, `{"code":0,"extFields":{"offset":"4"},"flag":1,"language":"JAVA","opaque":5,"serializeTypeCurrentRPC":"JSON","version":401}`)
	require.True(t, c.IsResponse())
	require.Equal(t, int32(5), c.Opaque)
	var h OffsetHeader
	require.NoError(t, h.Decode(c))
	require.Equal(t, int64(4), h.Offset)
}

// The answer to GET_MAX_OFFSET as a 4.9.4 broker sent it in binary form.
func TestGoldenBinaryMaxOffset(t *testing.T) {
	golden, err := hex.DecodeString("0000" + "00" + "0191" + "0000004d" + "00000001" + "00000000" + "0000000d" +
		"0006" + hex.EncodeToString([]byte("offset")) + "00000001" + hex.EncodeToString([]byte("4")))
	require.NoError(t, err)
	c := new(Command)
	require.NoError(t, c.Decode(frameOf(SerializeROCKETMQ, string(golden), ""), Limits{}))
	require.Equal(t, int32(0), c.Code)
	require.Equal(t, LanguageJava, c.Language)
	require.Equal(t, int32(401), c.Version)
	require.Equal(t, int32(0x4d), c.Opaque)
	require.True(t, c.IsResponse())
	require.Equal(t, map[string]string{"offset": "4"}, fieldsOf(c))

	// And the same bytes when we write it.
	out, err := (&Command{Language: LanguageJava, Version: 401, Opaque: 0x4d, Flag: FlagResponse,
		Header: &OffsetHeader{Offset: 4}, Serialize: SerializeROCKETMQ}).AppendFrame(nil)
	require.NoError(t, err)
	require.Equal(t, golden, out[8:])
	require.Equal(t, uint32(len(golden)+4), binary.BigEndian.Uint32(out))
	require.Equal(t, uint32(1<<24|len(golden)), binary.BigEndian.Uint32(out[4:]))
}

// The answer to SEND_MESSAGE as a 4.9.4 broker sent it, and ours.
func TestGoldenSendResponse(t *testing.T) {
	c := decodeJSONHeader(t, `{"code":0,"extFields":{"queueId":"0","TRACE_ON":"true","MSG_REGION":"DefaultRegion","msgId":"7F000001000051AF0000000000000000","queueOffset":"0"},"flag":1,"language":"JAVA","opaque":3,"version":401}`)
	var h SendResponseHeader
	require.NoError(t, h.Decode(c))
	require.Equal(t, "7F000001000051AF0000000000000000", string(h.MsgID))
	require.True(t, h.Stored && h.TraceOn)

	out, err := AppendResponseHead(nil, SerializeJSON, 3, &Response{Header: &h})
	require.NoError(t, err)
	require.Equal(t, `{"code":0,"extFields":{"MSG_REGION":"DefaultRegion","TRACE_ON":"true","msgId":"7F000001000051AF0000000000000000","queueId":"0","queueOffset":"0"},"flag":1,"language":"GO","opaque":3,"version":401}`, string(out[8:]))

	// A refused send carries the two fields that Java reads without a null check.
	out, err = AppendResponseHead(nil, SerializeJSON, 4, &Response{Code: StatusNoPermission, Remark: `no "X"`,
		Header: &SendResponseHeader{}})
	require.NoError(t, err)
	require.Equal(t, `{"code":16,"extFields":{"MSG_REGION":"DefaultRegion","TRACE_ON":"false"},"flag":1,"language":"GO","opaque":4,"remark":"no \"X\"","version":401}`, string(out[8:]))
}

func TestDecodeTolerance(t *testing.T) {
	tests := []struct {
		name, header string
		check        func(t *testing.T, c *Command)
	}{
		{"empty object", `{}`, func(t *testing.T, c *Command) {
			require.Equal(t, int32(0), c.Code)
			require.Equal(t, LanguageOther, c.Language)
		}},
		{"white space", " {\n \"code\" : 34 ,\t\"opaque\":\r-7 } ", func(t *testing.T, c *Command) {
			require.Equal(t, int32(34), c.Code)
			require.Equal(t, int32(-7), c.Opaque)
		}},
		{"numbers as strings", `{"code":"30","version":"401"}`, func(t *testing.T, c *Command) {
			require.Equal(t, int32(30), c.Code)
			require.Equal(t, int32(401), c.Version)
		}},
		{"nulls", `{"code":null,"extFields":null,"remark":null,"language":null}`, func(t *testing.T, c *Command) {
			require.Equal(t, int32(0), c.Code)
			require.Empty(t, c.Fields)
			require.Empty(t, c.Remark)
		}},
		{"bare values", `{"extFields":{"a":1,"b":true,"c":null,"d":-2.5,"e":{"x":[1,"}"]}}}`, func(t *testing.T, c *Command) {
			require.Equal(t, map[string]string{"a": "1", "b": "true", "d": "-2.5", "e": `{"x":[1,"}"]}`}, fieldsOf(c))
		}},
		{"unknown keys", `{"x":{"y":[1,{"z":"\"]}"}]},"w":"a\\","v":null,"code":11}`, func(t *testing.T, c *Command) {
			require.Equal(t, int32(11), c.Code)
		}},
		{"language number", `{"language":9}`, func(t *testing.T, c *Command) { require.Equal(t, LanguageGo, c.Language) }},
		{"language unknown", `{"language":"COBOL"}`, func(t *testing.T, c *Command) { require.Equal(t, LanguageOther, c.Language) }},
		{"language out of range", `{"language":-3}`, func(t *testing.T, c *Command) { require.Equal(t, LanguageOther, c.Language) }},
		{"escapes", `{"extFields":{"i":"KEYS\u0001a\/b\u0002\"\\\b\f\n\r\t\u00e9\u20ac\ud83d\ude00\ud800x"}}`, func(t *testing.T, c *Command) {
			require.Equal(t, "KEYS\x01a/b\x02\"\\\b\f\n\r\té€😀\ufffdx", c.Str("i"))
		}},
		{"raw control characters", "{\"extFields\":{\"i\":\"KEYS\x01a\x02\"}}", func(t *testing.T, c *Command) {
			require.Equal(t, "KEYS\x01a\x02", c.Str("i"))
		}},
		{"escaped key", `{"\u0063ode":36,"extFields":{"\u0061":"x"}}`, func(t *testing.T, c *Command) {
			require.Equal(t, int32(36), c.Code)
			require.Equal(t, "x", c.Str("a"))
		}},
		{"equal keys", `{"extFields":{"a":"1","a":"2"}}`, func(t *testing.T, c *Command) { require.Equal(t, "2", c.Str("a")) }},
		{"second extFields", `{"extFields":{"a":"1"},"extFields":{"b":"2"}}`, func(t *testing.T, c *Command) {
			require.Equal(t, map[string]string{"b": "2"}, fieldsOf(c))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.check(t, decodeJSONHeader(t, tt.header)) })
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`
	for _, header := range []string{
		``, ` `, `x`, `[]`, `{`, `{"code"`, `{"code":`, `{"code":1`, `{"code":1,}x`, `{code:1}`, `{"code":1}{`, `{"code":1 "flag":2}`,
		`{"code":1.5}`, `{"code":"x"}`, `{"code":2147483648}`, `{"code":{}}`, `{"extFields":[]}`, `{"extFields":"x"}`, `{"extFields":{"a"}}`,
		`{"extFields":{"a":}}`, `{"extFields":{"a":"\u12"}}`, `{"extFields":{"a":"\x"}}`, `{"extFields":{"a":"b}}`, `{"extFields":{"a":wrong}}`, `{"remark":"\`, deep,
	} {
		c := new(Command)
		require.ErrorIs(t, c.Decode(frameOf(SerializeJSON, header, ""), Limits{}), ErrHeader, "header %q", header)
	}
	c := new(Command)
	require.ErrorIs(t, c.Decode([]byte{0, 0, 0}, Limits{}), ErrFrame)
	require.ErrorIs(t, c.Decode([]byte{0, 0, 0, 9, '{', '}'}, Limits{}), ErrFrame, "header longer than frame")
	require.ErrorIs(t, c.Decode([]byte{2, 0, 0, 2, '{', '}'}, Limits{}), ErrFrame, "unknown serialize type")
	require.ErrorIs(t, c.Decode(make([]byte, 100), Limits{FrameMax: 100}), ErrFrame, "beyond the limit")
}

func TestDecodeBinaryRefuses(t *testing.T) {
	req := NewRequest(34).SetField("k", "value")
	req.Serialize, req.Remark = SerializeROCKETMQ, "r"
	out, err := req.AppendFrame(nil)
	require.NoError(t, err)
	header := out[8:]
	for cut := range header {
		c := new(Command)
		require.ErrorIs(t, c.Decode(frameOf(SerializeROCKETMQ, string(header[:cut]), ""), Limits{}), ErrHeader, "cut at %d", cut)
	}
	for _, at := range []int{13, 18, 22, 25} { // remark, map, key and value lengths made negative
		bad := append([]byte(nil), header...)
		bad[at] |= 0x80
		c := new(Command)
		require.ErrorIs(t, c.Decode(frameOf(SerializeROCKETMQ, string(bad), ""), Limits{}), ErrHeader, "length at %d", at)
	}
}

func TestTooManyFields(t *testing.T) {
	for _, form := range []Serialize{SerializeJSON, SerializeROCKETMQ} {
		req := NewRequest(34)
		req.Serialize, req.Opaque = form, 77
		for i := range 11 {
			req.SetField(fmt.Sprint("k", i), "v")
		}
		out, err := req.AppendFrame(nil)
		require.NoError(t, err)
		c := new(Command)
		require.ErrorIs(t, c.Decode(append([]byte(nil), out[4:]...), Limits{FieldsMax: 10}), ErrTooManyFields)
		require.Equal(t, int32(77), c.Opaque, "the request can still be answered")
		require.Empty(t, c.Fields)
		require.NoError(t, c.Decode(out[4:], Limits{FieldsMax: 11}))
		require.Len(t, c.Fields, 11)
	}
}

func TestBinaryRefusesWideCode(t *testing.T) {
	req := NewRequest(CodePopMessage)
	req.Serialize = SerializeROCKETMQ
	out, err := req.AppendFrame([]byte("before"))
	require.ErrorIs(t, err, ErrHeader)
	require.Equal(t, "before", string(out))
}

// genText yields anything a client may put into a property, control characters,
// quotes and bytes that are not UTF-8 included.
func genText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }),
		rapid.StringOfN(rapid.SampledFrom([]rune("\x01\x02\"\\/\n\u2028😀a")), 0, 30, -1))
}

func TestCommandRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := &Command{
			Code: int32(rapid.Int16().Draw(t, "code")), Language: Language(rapid.IntRange(0, 13).Draw(t, "language")),
			Version: int32(rapid.Int16().Draw(t, "version")), Opaque: rapid.Int32().Draw(t, "opaque"),
			Flag: rapid.Int32().Draw(t, "flag"), Remark: genText().Draw(t, "remark"),
			Serialize: Serialize(rapid.IntRange(0, 1).Draw(t, "form")), Body: rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "body"),
		}
		for _, k := range rapid.SliceOfNDistinct(genText(), 0, 40, rapid.ID).Draw(t, "keys") {
			in.Fields = append(in.Fields, Field{Key: []byte(k), Value: []byte(genText().Draw(t, "value"))})
		}
		frame, err := in.AppendFrame(nil)
		require.NoError(t, err)
		require.Equal(t, len(frame)-4, int(binary.BigEndian.Uint32(frame)))

		out := AcquireCommand()
		defer out.Release()
		require.NoError(t, out.Decode(frame[4:], Limits{}))
		require.Equal(t, fieldsOf(in), fieldsOf(out))
		require.Equal(t, string(in.Body), string(out.Body))
		require.Equal(t, []any{in.Code, in.Language, in.Version, in.Opaque, in.Flag, in.Remark},
			[]any{out.Code, out.Language, out.Version, out.Opaque, out.Flag, out.Remark})
	})
}

func TestReleaseIsIdempotent(t *testing.T) {
	c := AcquireCommand()
	frame := GetBuffer(100)
	c.Own(frame)
	c.Release()
	c.Release() // must not put it into the pool twice
	a, b := AcquireCommand(), AcquireCommand()
	require.NotSame(t, a, b)
	NewRequest(1).Release() // not pooled: no effect
}

func TestBufferClasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 3<<20).Draw(t, "n")
		b := GetBuffer(n)
		require.Empty(t, b.B)
		require.GreaterOrEqual(t, cap(b.B), n)
		b.B = append(b.B, 1)
		b.Release()
	})
}
