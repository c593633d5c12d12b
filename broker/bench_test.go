package broker

import (
	"context"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// newAlone runs a group of one with an asynchronous flush.
func newAlone(tb testing.TB) *Broker {
	tb.Helper()
	return newAloneWith(tb, nil)
}

// newAloneWith is newAlone with settings.
func newAloneWith(tb testing.TB, settings map[string]string) *Broker {
	tb.Helper()
	set, err := NewSettings()
	require.NoError(tb, err)
	values := map[string]string{
		"brokerName": "broker-a", "brokerIP1": "127.0.0.1", "storePathRootDir": tb.TempDir(), "flushDiskType": flushAsync,
		"mappedFileSizeCommitLog": "268435456", "raftEntriesInFlight": "4",
	}
	maps.Copy(values, settings)
	_, err = set.Load(values, "test")
	require.NoError(tb, err)
	open := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(tb, err)
		return l
	}
	b, err := New(Options{Settings: set, Listener: open(), RaftListener: open(), Exit: func(err error) { tb.Error(err) }})
	require.NoError(tb, err)
	require.NoError(tb, b.Start(context.Background()))
	tb.Cleanup(func() { require.NoError(tb, b.Close()) })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(tb, b.WaitReady(ctx))
	return b
}

// frameOf is the frame of a send as it comes off a connection, without its
// length.
func frameOf(tb testing.TB, topic string, size int) []byte {
	tb.Helper()
	h := protocol.SendHeader{
		ProducerGroup: []byte("pg"), Topic: []byte(topic), DefaultTopic: []byte("TBW102"), DefaultTopicQueueNums: 4, QueueID: 0,
		BornTimestamp: 1_700_000_000_000, MaxReconsumeTimes: -1,
		Properties: []byte("UNIQ_KEY\x017F00000100002A9F4C6F1A2B3C4D0000\x02WAIT\x01true\x02TAGS\x01a"),
	}
	frame, err := protocol.NewRequest(protocol.CodeSendMessageV2).SetHeader(&h).SetBody(make([]byte, size)).AppendFrame(nil)
	require.NoError(tb, err)
	return frame[4:]
}

// sendFrame is what a connection does with a frame.
func (b *Broker) sendFrame(tb testing.TB, frame []byte, sink func(*protocol.Response)) {
	buf := protocol.GetBuffer(len(frame))
	buf.B = append(buf.B, frame...)
	cmd := protocol.AcquireCommand()
	cmd.Own(buf)
	if err := cmd.Decode(buf.B, protocol.DefaultLimits()); err != nil {
		tb.Fatal(err)
	}
	b.handle(remoting.NewCall(nil, cmd, sink), cmd)
}

// BenchmarkSend is the whole of a send but the socket: decode, check, encode,
// Raft, apply, answer, with 512 of 128 bytes outstanding.
func BenchmarkSend(bench *testing.B) {
	b := newAlone(bench)
	frame := frameOf(bench, "TopicTest", 128)
	slots := make(chan struct{}, 512)
	var failed sync.Once
	sink := func(r *protocol.Response) {
		if r.Code != protocol.StatusSuccess {
			failed.Do(func() { bench.Error(r.Code, r.Remark) })
		}
		<-slots
	}
	bench.ReportAllocs()
	bench.SetBytes(128)
	for bench.Loop() {
		slots <- struct{}{}
		b.sendFrame(bench, frame, sink)
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
}
