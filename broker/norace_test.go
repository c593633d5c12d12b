//go:build !race

// The race detector makes sync.Pool forget at random, so counts of allocations
// mean nothing under it.

package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// A send may allocate next to nothing, or the collector becomes the bottleneck
// on a small machine. Measured from frame to proposal and answer; the entry
// that Raft makes is shared by all sends in it.
func TestSendAllocatesLittle(t *testing.T) {
	b := newAlone(t)
	frame := frameOf(t, "TopicTest", 128)
	done := make(chan struct{}, 256)
	sink := func(r *protocol.Response) {
		if r.Code != protocol.StatusSuccess {
			t.Error(r.Code, r.Remark)
		}
		done <- struct{}{}
	}
	burst := func() {
		for range cap(done) {
			b.sendFrame(t, frame, sink)
		}
		for range cap(done) {
			<-done
		}
	}
	burst()
	// Everything that one burst of 256 allocates, Raft's entries included.
	perSend := testing.AllocsPerRun(20, burst) / float64(cap(done))
	t.Logf("%.2f allocations a send", perSend)
	require.Less(t, perSend, 3.0)
}
