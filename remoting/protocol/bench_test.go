package protocol

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// sendFrame is a SEND_MESSAGE_V2 frame without its length prefix.
func sendFrame() []byte {
	return frameOf(SerializeJSON, sendV2, "a body of some size")
}

// Decoding rewrites escapes in place, so each round decodes a fresh copy; the
// copy of 400 bytes is part of the figures.
func BenchmarkDecodeSendV2(b *testing.B) {
	src := sendFrame()
	frame := make([]byte, len(src))
	c := AcquireCommand()
	var h SendHeader
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		copy(frame, src)
		if c.Decode(frame, Limits{}) != nil || h.Decode(c) != nil {
			b.Fatal("not decoded")
		}
	}
}

func BenchmarkDecodeSendV2Binary(b *testing.B) {
	src := new(Command)
	require.NoError(b, src.Decode(sendFrame(), Limits{}))
	src.Serialize = SerializeROCKETMQ
	frame, err := src.AppendFrame(nil)
	require.NoError(b, err)
	c := AcquireCommand()
	var h SendHeader
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if c.Decode(frame[4:], Limits{}) != nil || h.Decode(c) != nil {
			b.Fatal("not decoded")
		}
	}
}

func BenchmarkEncodeSendResponse(b *testing.B) {
	h := &SendResponseHeader{Stored: true, MsgID: []byte("7F000001000051AF0000000000000000"), QueueOffset: 123456}
	r := &Response{Header: h}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = AppendResponseHead(buf[:0], SerializeJSON, 7, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeSendV2(b *testing.B) {
	c := new(Command)
	require.NoError(b, c.Decode(sendFrame(), Limits{}))
	var h SendHeader
	require.NoError(b, h.Decode(c))
	req := NewRequest(CodeSendMessageV2).SetHeader(&h)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = req.AppendFrame(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// The path of one send must not allocate here.
func TestNoAllocations(t *testing.T) {
	src := sendFrame()
	frame := make([]byte, len(src))
	h := &SendResponseHeader{Stored: true, MsgID: []byte("7F000001000051AF0000000000000000")}
	out := make([]byte, 0, 1024)
	var send SendHeader
	n := testing.AllocsPerRun(1000, func() {
		c := AcquireCommand()
		copy(frame, src)
		if c.Decode(frame, Limits{}) != nil || send.Decode(c) != nil {
			t.Fatal("not decoded")
		}
		out, _ = AppendResponseHead(out[:0], c.Serialize, c.Opaque, &Response{Header: h})
		c.Release()
	})
	if raceEnabled {
		return // the round was made all the same, for the detector
	}
	require.Less(t, n, 0.5, "the pools may be emptied by a collection now and then")
}
