//go:build strace

package e2e

import (
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// The kernel's answer to fdatasync is changed under the real binary: with an error, and with a sync that never returns.
// Either way the leader must end by itself and the other two go on.
func TestLeaderEndsWhenItsDiskFails(t *testing.T) {
	for name, inject := range map[string]string{
		"fsync fails": "inject=fdatasync,fsync:error=EIO",
		"fsync hangs": "inject=fdatasync,fsync:delay_enter=600000000",
	} {
		t.Run(name, func(t *testing.T) {
			c := ownCluster(t)
			topic := uniqueName("disk")
			c.createTopic(t, topic, 4)
			p := newProducer(t, c.namesrv)
			for i := range 50 {
				sendSync(t, p, primitive.NewMessage(topic, fmt.Appendf(nil, "before %d", i)))
			}
			old := c.leader(t)
			s := run(t, exec.Command("strace", "-f", "-q", "-p", strconv.Itoa(old.PID), "-e", "trace=fdatasync,fsync", "-e", inject))
			// Give the leader something to sync until it is gone; these sends may fail.
			gone := func() bool {
				_, _ = invoke(old.Addr, 310, map[string]string{"a": "g", "b": topic, "c": "TBW102", "d": "4", "e": "0", "f": "0",
					"g": "1", "h": "0", "i": "", "j": "0", "k": "false"}, []byte("during"))
				st, err := c.status()
				if err != nil {
					return false
				}
				for _, b := range st.Brokers {
					if b.Role == "leader" && b.ID != old.ID {
						return true
					}
				}
				return false
			}
			require.Eventually(t, gone, time.Minute, 100*time.Millisecond, "the leader did not give way; strace said: %s", s.output())
			require.Eventually(t, func() bool { return ended(old.PID) }, 30*time.Second, 50*time.Millisecond, "the process of the old leader still runs")
			now := c.leader(t)
			require.NotEqual(t, old.ID, now.ID)
			var sum int64
			for q := range 4 {
				sum += maxOffset(t, now.Addr, topic, q)
			}
			require.GreaterOrEqual(t, sum, int64(50))
		})
	}
}
