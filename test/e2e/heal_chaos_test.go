//go:build chaos

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// healLoad sends messages one after the other from several senders, each to whichever member takes them, and remembers
// where each one was stored.
type healLoad struct {
	addrs []string
	stop  atomic.Bool
	wg    sync.WaitGroup
	mu    sync.Mutex
	acked map[string]string // queue/offset to body
}

func startHealLoad(c *cluster, t *testing.T) *healLoad {
	s, err := c.status()
	require.NoError(t, err)
	l := &healLoad{acked: map[string]string{}}
	for _, n := range s.Brokers {
		l.addrs = append(l.addrs, n.Addr)
	}
	for sender := range 4 {
		l.wg.Go(func() {
			for seq := 0; !l.stop.Load(); seq++ {
				body := fmt.Sprintf("%d-%d-%01000d", sender, seq, 0)
				for try := 0; !l.stop.Load(); try++ {
					r, err := invoke(l.addrs[(sender+try)%len(l.addrs)], 310, map[string]string{"a": "g", "b": "heal", "c": "TBW102", "d": "4",
						"e": strconv.Itoa(sender), "f": "0", "g": "1", "h": "0", "i": "", "j": "0", "k": "false"}, []byte(body))
					if err == nil && r.Code == 0 {
						l.mu.Lock()
						l.acked[r.Ext["queueId"]+"/"+r.Ext["queueOffset"]] = body
						l.mu.Unlock()
						break
					}
				}
			}
		})
	}
	return l
}

func (l *healLoad) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// grow waits for n more messages.
func (l *healLoad) grow(t *testing.T, n int) {
	t.Helper()
	from := l.count()
	require.Eventually(t, func() bool { return l.count() >= from+n }, 2*time.Minute, 5*time.Millisecond)
}

// A byte of an old file changes on the disk of a follower, and then of the leader, while the group takes messages. Both are
// found by a comparison of the logs, start again by themselves under the same process id, are brought up, and vote again;
// nothing that was acknowledged is lost. Rows 26 and 29 of the fault matrix.
func TestChaosDamagedMembersHeal(t *testing.T) {
	dir := t.TempDir()
	c, err := up(dir, "--set", "mappedFileSizeCommitLog=1048576")
	require.NoError(t, err)
	defer c.down()
	load := startHealLoad(c, t)
	load.grow(t, 3000)
	for round, leads := range []bool{false, true} {
		victim := c.leader(t)
		if !leads {
			s, err := c.status()
			require.NoError(t, err)
			for _, n := range s.Brokers {
				if n.ID != victim.ID {
					victim = n
					break
				}
			}
		}
		file := filepath.Join(dir, victim.ID, "commitlog", "00000000000000000000")
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		require.NoError(t, err)
		var b [1]byte
		_, err = f.ReadAt(b[:], 300_000)
		require.NoError(t, err)
		b[0] ^= 0x10
		_, err = f.WriteAt(b[:], 300_000)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		began := time.Now()
		_, err = command("mqadmin", "store", "compare", "-n", c.namesrv)
		require.Error(t, err, "the member could not answer for the damaged range, or the leader is gone")
		require.Eventually(t, func() bool {
			h, err := health(victim.Addr)
			return err == nil && h["storeRepairs"] == "1" && h["votes"] == "true" && h["logInDoubt"] == "false" && h["refillFrom"] == ""
		}, 2*time.Minute, 20*time.Millisecond)
		t.Logf("round %d: %s (leader: %v) was whole again %v after the damage was found", round, victim.ID, leads, time.Since(began).Round(time.Millisecond))
		s, err := c.status()
		require.NoError(t, err)
		for _, n := range s.Brokers {
			if n.ID == victim.ID {
				require.Equal(t, victim.PID, n.PID, "nobody had to start it again")
			}
		}
		require.FileExists(t, filepath.Join(dir, victim.ID, "damaged", "00000000000000000000.damaged"))
		load.grow(t, 300)
	}
	load.stop.Store(true)
	load.wg.Wait()
	require.Eventually(t, func() bool {
		_, err := command("mqadmin", "store", "compare", "-n", c.namesrv)
		return err == nil
	}, time.Minute, time.Second, "all members have the same log")
	leader := c.leader(t)
	for queue := range 4 {
		for offset, m := range readQueue(t, leader.Addr, "heal", queue) {
			key := fmt.Sprintf("%d/%d", queue, offset)
			if want, ok := load.acked[key]; ok {
				require.Equal(t, want, string(m.Body), key)
				delete(load.acked, key)
			}
		}
	}
	require.Empty(t, load.acked, "acknowledged and lost")
}
