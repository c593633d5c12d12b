package broker

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// TestDelayTimesStayWithTheirMessages asks as store.Get does when a read spans
// two queue files: about two messages without their records, then with them,
// and the same again.
func TestDelayTimesStayWithTheirMessages(t *testing.T) {
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	s := &delayScratch{}
	var res store.GetResult
	for part := range 2 {
		for _, withRecord := range []bool{false, true} {
			for i := range 2 {
				n := 2*part + i
				m := message.Message{Topic: message.TopicSchedule, Body: fmt.Append(nil, n)}
				m.BornHost, m.StoreHost = host, host
				rec, err := m.AppendStored(nil)
				require.NoError(t, err)
				if !withRecord {
					require.True(t, s.match(int64(100+n), nil))
					continue
				}
				require.True(t, s.match(int64(100+n), rec))
				message.PatchOffsets(rec, message.QueueOffset(n), 0)
				res.Messages = append(res.Messages, rec...)
			}
		}
	}
	entries, err := s.take(res)
	require.NoError(t, err)
	require.Len(t, entries, 4)
	for i, e := range entries {
		require.Equal(t, int64(100+i), e.DeliverAt)
		require.Equal(t, message.QueueOffset(i), e.Offset)
	}
}
