//go:build restart

package e2e

import (
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

const (
	restartRounds = 3
	// What is promised.
	restartClean  = 2 * time.Second
	restartKilled = 5 * time.Second
)

// TestRestartServing: a broker with a log of 10 GB (RESTART_MB), a group of one, is stopped by SIGTERM, and killed while it is
// sent to as fast as it takes; each time it is started again at once. It serves when it has acknowledged a message and handed out the
// first one of its log. In the end every acknowledged message is there. `make restart` runs it.
func TestRestartServing(t *testing.T) {
	c := ownCluster(t, "--nodes", "1")
	big := fillLog(t, c, megabytes(t, "RESTART_MB", 10<<10))
	n := c.leader(t)
	topic := uniqueName("restart")
	c.createTopic(t, topic, 1)
	var cmd *exec.Cmd
	end := func(sig syscall.Signal) {
		t.Helper()
		if cmd == nil {
			require.NoError(t, syscall.Kill(n.PID, sig))
			require.Eventually(t, func() bool { return ended(n.PID) }, time.Minute, time.Millisecond)
		} else {
			require.NoError(t, cmd.Process.Signal(sig))
			err := cmd.Wait()
			require.True(t, err == nil || sig == syscall.SIGKILL, "a clean stop ends with 0: %v", err)
		}
		n.awaitPorts(t)
	}
	var acked atomic.Int64
	serve := func(how string, most time.Duration) {
		t.Helper()
		began := time.Now()
		cmd = c.member(t, n.ID)
		require.Eventually(t, func() bool {
			r, err := invoke(n.Addr, 10, sendFields(topic, 0), []byte(how))
			return err == nil && r.Code == 0
		}, time.Minute, 2*time.Millisecond, "no acknowledgement after %s", how)
		acked.Add(1)
		wrote := time.Since(began)
		r := must(t, n.Addr, 11, pullFields(big.topic, 0, 0), nil)
		require.NotEmpty(t, primitive.DecodeMessage(r.Body))
		took := time.Since(began)
		load, _ := os.ReadFile("/proc/loadavg")
		t.Logf("%s: serving after %v (first acknowledgement %v), load average %s", how, took.Round(time.Millisecond), wrote.Round(time.Millisecond), load)
		require.Less(t, took, most, how)
	}
	for range restartRounds {
		end(syscall.SIGTERM)
		serve("clean stop", restartClean)
	}
	for range restartRounds {
		var writing sync.WaitGroup
		var sent atomic.Int64
		for range 8 {
			writing.Go(func() { // until the broker is gone
				for {
					r, err := invoke(n.Addr, 10, sendFields(topic, 0), make([]byte, 64<<10))
					if err != nil || r.Code != 0 {
						return
					}
					acked.Add(1)
					sent.Add(1)
				}
			})
		}
		require.Eventually(t, func() bool { return sent.Load() > 500 }, time.Minute, time.Millisecond)
		end(syscall.SIGKILL)
		writing.Wait()
		serve("kill -9", restartKilled)
	}
	big.audit(t, n.Addr)
	stored := maxOffset(t, n.Addr, topic, 0)
	require.GreaterOrEqual(t, stored, acked.Load(), "acknowledged and lost")
	require.LessOrEqual(t, stored, acked.Load()+8*restartRounds, "what was on its way when the broker died may be stored")
}
