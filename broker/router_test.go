package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// While the leadership is handed over, and when a paused leader wakes up, the
// node refuses proposals and this member still believes to lead. Trying again
// at once overflowed the stack (found by mqadmin drill pause-leader).
func TestLeaderThatIsRefusedWaits(t *testing.T) {
	b := newAlone(t)
	set := b.settings
	require.NoError(t, set.Put("leaderWaitTimeout", "100", "test"))
	require.NoError(t, b.node.Close())
	b.leading.Store(true)
	answer := make(chan protocol.Response, 1)
	began := time.Now()
	b.sendFrame(t, frameOf(t, "TopicTest", 10), func(r *protocol.Response) { answer <- *r })
	r := <-answer
	require.Equal(t, protocol.StatusServiceNotAvailable, r.Code)
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
}

func TestSecondPortServesNoPulls(t *testing.T) {
	b := newAlone(t)
	ask := func(handle func(remoting.Call, *protocol.Command), code int32) int32 {
		answer := make(chan int32, 1)
		req := protocol.NewRequest(code)
		handle(remoting.NewCall(nil, req, func(r *protocol.Response) { answer <- r.Code }), req)
		return <-answer
	}
	for _, code := range []int32{protocol.CodePullMessage, protocol.CodeLitePullMessage} {
		require.Equal(t, protocol.StatusRequestCodeNotSupported, ask(b.handleVIP, code))
		require.Equal(t, protocol.StatusSystemError, ask(b.handle, code), "served, and refused for its missing fields")
	}
	require.Equal(t, protocol.StatusSuccess, ask(b.handleVIP, protocol.CodeGetBrokerRuntimeInfo))
}
