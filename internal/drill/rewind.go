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
	// news are, for each queue, the readings that were higher than those before,
	// of the last seconds.
	news [][]reading
	last []time.Time // of the last reading as high as the highest
	// worst is for how long an offset had been shown that was gone later. A leader
	// shows only what is replicated; what is left is a consumer that goes back on
	// purpose, and a deposed leader's answer that comes late.
	worst time.Duration
}

type reading struct {
	offset int64
	at     time.Time
}

func newReadings(queues int) readings {
	return readings{highest: make([]int64, queues), news: make([][]reading, queues), last: make([]time.Time, queues)}
}

// newsMax is how many readings are kept: far more than the bound's worth.
const newsMax = 100

// take notes one reading.
func (r *readings) take(queue int, offset int64, at time.Time) {
	switch news := r.news[queue]; {
	case offset > r.highest[queue]:
		r.highest[queue], r.last[queue] = offset, at
		r.news[queue] = append(news[max(0, len(news)-newsMax):], reading{offset, at})
	case offset == r.highest[queue]:
		r.last[queue] = at
	default:
		for _, n := range news {
			if n.offset > offset {
				r.worst = max(r.worst, r.last[queue].Sub(n.at))
				break
			}
		}
	}
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
	w := &offsetWatch{client: client, group: group, topic: topic, queues: queues, seen: newReadings(queues)}
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
		w.seen.take(q, offset, time.Now())
		w.mu.Unlock()
	}
}

func (w *offsetWatch) stop() {
	w.once.Do(func() {
		w.cancel()
		w.wg.Wait()
	})
}

func (w *offsetWatch) rewound() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.worst
}

// shortPatience is how long a consumer's last offsets may take to be stored:
// consumers report them every 5 s.
const shortPatience = 20 * time.Second

// short counts the queues whose stored offset does not get to the end of what
// they hold.
func (w *offsetWatch) short(ctx context.Context, queues map[int32][]Found) int {
	ctx, cancel := context.WithTimeout(ctx, shortPatience)
	defer cancel()
	for {
		w.mu.Lock()
		n := w.seen.short(queues)
		w.mu.Unlock()
		if n == 0 || ctx.Err() != nil {
			return n
		}
		wait(ctx, offsetPause)
	}
}
