package drill

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cometmq/cometmq/admin"
)

// readBack reads every queue of a topic from offset 0 to its end.
func readBack(ctx context.Context, client *admin.Client, topic string, broker string, queues int) (map[int32][]Found, error) {
	out := make([][]Found, queues)
	errs := make([]error, queues)
	var wg sync.WaitGroup
	for q := range queues {
		wg.Go(func() {
			r := client.NewReader(topic, admin.Queue{Broker: broker, ID: int32(q)}, 0)
			for {
				msgs, err := r.Read(ctx, 0)
				if err != nil {
					errs[q] = fmt.Errorf("read back queue %d: %w", q, err)
					return
				}
				for _, m := range msgs {
					out[q] = append(out[q], Found{Offset: int64(m.QueueOffset()), Body: m.Body()})
				}
				if len(msgs) == 0 && r.Next() >= r.Max() {
					return
				}
			}
		})
	}
	wg.Wait()
	found := map[int32][]Found{}
	for q := range queues {
		found[int32(q)] = out[q]
	}
	return found, errors.Join(errs...)
}
