package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// TestOfficialClientsOutliveTheLeader sends and consumes with unmodified clients while the leader is killed with -9:
// what was acknowledged is delivered, and the committed offsets are not forgotten.
func TestOfficialClientsOutliveTheLeader(t *testing.T) {
	t.Parallel()
	c := ownCluster(t)
	topic, group := uniqueName("outlive"), uniqueName("g")
	c.createTopic(t, topic, 4)
	p := newProducer(t, c.namesrv)
	box := newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, nil)

	var mu sync.Mutex
	acked := map[string]bool{}
	var sent atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				body := fmt.Sprintf("%d-%d", w, i)
				// A failed send is tried again under the same body until it is acknowledged, as an application would.
				for ctx.Err() == nil {
					if r, err := p.SendSync(ctx, primitive.NewMessage(topic, []byte(body))); err == nil && r.Status == primitive.SendOK {
						mu.Lock()
						acked[body] = true
						mu.Unlock()
						sent.Add(1)
						break
					}
				}
			}
		})
	}
	enough := func(n int64) func() bool { return func() bool { return sent.Load() >= n } }
	require.Eventually(t, enough(500), 30*time.Second, 10*time.Millisecond)
	old := c.leader(t)
	// A setting of the group, asked of the one that is to die, is in force at the next.
	_, err := command("mqadmin", "updateBrokerConfig", "-b", old.Addr, "-k", "maxMessageSize", "-v", "100000")
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(old.PID, syscall.SIGKILL))
	var next node
	require.Eventually(t, func() bool {
		s, err := c.status()
		if err != nil {
			return false
		}
		for _, b := range s.Brokers {
			if b.Role == "leader" && b.PID != old.PID && b.Term > old.Term {
				next = b
				return true
			}
		}
		return false
	}, 10*time.Second, 20*time.Millisecond, "no new leader")
	explained, err := command("mqadmin", "config", "explain", "maxMessageSize", "-b", next.Addr)
	require.NoError(t, err)
	require.Contains(t, explained, "100000  (the group, asked at "+next.Addr+")")
	before := sent.Load()
	// Stock clients ask for routes every 30 s; sends to the dead address fail until then.
	require.Eventually(t, enough(before+500), 90*time.Second, 20*time.Millisecond)
	cancel()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	box.waitFor(t, acked, 2*time.Minute)
}

func TestDrills(t *testing.T) {
	for _, args := range [][]string{
		{"kill-leader", "--trials", "2"},
		{"kill-all", "--flush", "sync"},
		{"kill-all", "--flush", "async"},
		{"pause-leader"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			out, err := command("mqadmin", append(append([]string{"drill"}, args...), "-o", "json")...)
			t.Log(out)
			require.NoError(t, err)
		})
	}
}
