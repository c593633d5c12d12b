package drill

import (
	"context"
	"sync"
	"time"

	"github.com/cometmq/cometmq/admin"
)

// offsetWatch reads a group's stored offsets again and again and notices when
// one is lower than it was.
type offsetWatch struct {
	client       *admin.Client
	group, topic string
	queues       int
	once         sync.Once
	cancel       context.CancelFunc
	wg           sync.WaitGroup

	mu   sync.Mutex
	seen readings
}

// readings are offsets in the order in which they were read.
type readings struct {
	highest []int64
	rewinds int
}

// take notes one reading.
func (r *readings) take(queue int, offset int64) {
	if offset < r.highest[queue] {
		r.rewinds++
	}
	r.highest[queue] = max(r.highest[queue], offset)
}

// short counts the queues that were not read to their end.
func (r *readings) short(queues map[int32][]Found) int {
	n := 0
	for q, found := range queues {
		if r.highest[q] < int64(len(found)) {
			n++
		}
	}
	return n
}

const offsetPause = 50 * time.Millisecond

func watchOffsets(client *admin.Client, group, topic string, queues int) *offsetWatch {
	w := &offsetWatch{client: client, group: group, topic: topic, queues: queues, seen: readings{highest: make([]int64, queues)}}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.wg.Go(func() {
		for ctx.Err() == nil {
			w.look(ctx)
			wait(ctx, offsetPause)
		}
	})
	return w
}

// look reads all queues from the leader; failures are expected while there is none.
func (w *offsetWatch) look(ctx context.Context) {
	addrs, err := w.client.Leaders(ctx, "")
	if err != nil {
		return
	}
	for q := range w.queues {
		offset, ok, err := w.client.ConsumerOffset(ctx, addrs[0], w.group, w.topic, int32(q))
		if err != nil || !ok {
			continue
		}
		w.mu.Lock()
		w.seen.take(q, offset)
		w.mu.Unlock()
	}
}

func (w *offsetWatch) stop() {
	w.once.Do(func() {
		w.cancel()
		w.wg.Wait()
	})
}

func (w *offsetWatch) rewound() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.rewinds
}

// shortPatience is how long a consumer's last offsets may take to be stored.
const shortPatience = 10 * time.Second

// short counts the queues whose stored offset does not get to the end of what
// they hold, after the watch has stopped.
func (w *offsetWatch) short(ctx context.Context, queues map[int32][]Found) int {
	ctx, cancel := context.WithTimeout(ctx, shortPatience)
	defer cancel()
	for {
		w.look(ctx)
		n := w.seen.short(queues)
		if n == 0 || ctx.Err() != nil {
			return n
		}
		wait(ctx, offsetPause)
	}
}
