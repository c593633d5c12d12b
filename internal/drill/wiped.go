package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
)

// auditWiped reads everything back from the wiped member alone: the others are
// dead meanwhile, so that nobody can help it. The cluster runs with
// slaveReadEnable, so it serves what it knows to be committed.
func auditWiped(ctx context.Context, t *trial) error {
	apart, err := t.apart(ctx)
	if err != nil || len(apart) > 0 {
		return err // the audit says so too
	}
	wiped := t.out.Node
	others := t.followers(wiped)
	if err := each(others, t.cluster.Kill); err != nil {
		return err
	}
	queues, readErr := t.readAlone(ctx, wiped)
	for _, id := range others {
		if err := t.cluster.Start(id); err != nil {
			return err
		}
	}
	if readErr != nil {
		return fmt.Errorf("read everything from %s alone: %w", wiped, readErr)
	}
	if _, err := t.leader(ctx); err != nil {
		return err
	}
	v := Check(t.run, t.load.history, queues)
	t.out.Wiped = &v
	if !v.Pass() {
		t.out.fail(fmt.Sprintf("the wiped member %s does not have everything: %v", wiped, v.Examples))
	}
	return t.joined(ctx, others...)
}

func (t *trial) readAlone(ctx context.Context, id string) (map[int32][]Found, error) {
	addr := ""
	for _, b := range t.local.Status(ctx).Brokers {
		if b.ID == id {
			addr = b.Addr
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, recoverTimeout, errors.New("it did not serve"))
	defer cancel()
	found := map[int32][]Found{}
	for q := range int32(topicQueues) {
		r := t.client.NewReaderAt(addr, t.topic, admin.Queue{Broker: local.BrokerName, ID: q}, 0)
		for first := true; first || r.Next() < r.Max(); first = false {
			msgs, err := r.Read(ctx, 0)
			if err != nil {
				return nil, err
			}
			for _, m := range msgs {
				found[q] = append(found[q], Found{Offset: int64(m.QueueOffset()), Body: m.Body()})
			}
			if len(msgs) == 0 {
				wait(ctx, 10*time.Millisecond)
			}
		}
	}
	return found, nil
}
