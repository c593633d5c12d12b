package broker

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"testing"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// BenchmarkSendOnce is BenchmarkSend with a new unique id each time and
// de-duplication off, on, and on with each send made twice.
func BenchmarkSendOnce(bench *testing.B) {
	for _, mode := range []struct {
		name  string
		on    string
		every uint64 // sends with the same id
	}{{"off", "false", 1}, {"on", "true", 1}, {"repeated", "true", 2}} {
		bench.Run(mode.name, func(bench *testing.B) {
			b := newAloneWith(bench, map[string]string{"deduplicateEnable": mode.on})
			frame := frameOf(bench, "TopicTest", 128)
			at := bytes.Index(frame, []byte("7F00000100002A9F"))
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
			var id [8]byte
			n := uint64(0)
			for bench.Loop() {
				binary.BigEndian.PutUint64(id[:], n/mode.every)
				hex.Encode(frame[at:], id[:])
				n++
				slots <- struct{}{}
				b.sendFrame(bench, frame, sink)
			}
			for range cap(slots) {
				slots <- struct{}{}
			}
		})
	}
}
