package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestTopicAttributeSwitchesDeduplication(t *testing.T) {
	t.Parallel()
	_, c := one(t, nil)
	put := func(attributes string) *protocol.Command {
		return c.call(fields(protocol.CodeUpdateAndCreateTopic, "topic", "orders", "defaultTopic", "TBW102",
			"readQueueNums", "1", "writeQueueNums", "1", "perm", "6", "attributes", attributes))
	}
	stored := func() int64 {
		c.stored(uniqueSend("u1", 0))
		return c.maxOffset("orders", 0)
	}
	require.Equal(t, protocol.StatusSuccess, put("+deduplicate=true,+message.type=NORMAL").Code)
	require.EqualValues(t, 1, stored())
	require.EqualValues(t, 1, stored())
	require.Equal(t, protocol.StatusSuccess, put("").Code)
	require.EqualValues(t, 1, stored(), "a change without attributes leaves them")
	for _, bad := range []string{"deduplicate=true", "+deduplicate", "+=x", "-", "-a=b", ","} {
		resp := put(bad)
		require.Equal(t, protocol.StatusSystemError, resp.Code, bad)
		require.Contains(t, resp.Remark, "attribute")
	}
	require.Equal(t, protocol.StatusSuccess, put("-deduplicate").Code)
	require.EqualValues(t, 2, stored())
}
