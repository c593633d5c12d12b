package drill

import (
	"context"
	"sync"
	"time"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
)

// leaderWatch asks the name server who leads, all the time, and tells senders
// at once when that is somebody else: an eager client does not wait for the
// answer of a host that has vanished.
type leaderWatch struct {
	client *admin.Client
	wg     sync.WaitGroup
	kick   chan struct{} // a sender failed: look now

	mu      sync.Mutex // guards the rest
	addr    string
	current context.Context // ends when addr is nobody's to wait for any more
	cancel  context.CancelFunc
}

const (
	watchPause = 20 * time.Millisecond // between two looks
	hurryPause = 3 * time.Millisecond  // while senders fail
	// leaveTime is how long answers of the last leader may still come: one that
	// handed over finishes what it has.
	leaveTime = 100 * time.Millisecond
)

func watchLeader(ctx context.Context, client *admin.Client) *leaderWatch {
	w := &leaderWatch{client: client, kick: make(chan struct{}, 1)}
	w.current, w.cancel = context.WithCancel(ctx)
	w.wg.Go(func() { w.run(ctx) })
	return w
}

func (w *leaderWatch) run(ctx context.Context) {
	pause := watchPause
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		info, err := w.client.Cluster(short)
		cancel()
		if err == nil {
			w.set(ctx, info.BrokerAddrTable[local.BrokerName].BrokerAddrs[0])
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = watchPause
		case <-w.kick:
			pause = hurryPause
			wait(ctx, hurryPause)
		}
	}
}

func (w *leaderWatch) set(ctx context.Context, addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if addr == "" || addr == w.addr {
		return // nobody leads: the last one may still answer
	}
	if w.addr != "" {
		time.AfterFunc(leaveTime, w.cancel)
	}
	w.addr = addr
	w.current, w.cancel = context.WithCancel(ctx)
}

// leader is whom to send to, and a context that ends when that is wrong.
func (w *leaderWatch) leader() (context.Context, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current, w.addr
}

// failed makes the watch hurry.
func (w *leaderWatch) failed() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}
