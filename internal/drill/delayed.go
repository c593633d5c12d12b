package drill

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
	"github.com/cometmq/cometmq/message"
)

const (
	delayedPause = 40 * time.Millisecond // between two delayed messages
	delayTime    = 4 * time.Second       // of the ones that are delivered at a time
	levelTime    = 5 * time.Second       // of delay level 2
	// earlyBound allows for times that are kept in whole ms.
	earlyBound = 2 * time.Millisecond
	// lateBound is how long after the last due time a message counts as missing.
	lateBound = 30 * time.Second
)

// delayedMessage is one that was acknowledged.
type delayedMessage struct {
	ID
	due  time.Time // not to be seen before, by the drill's own clock
	once bool      // acknowledged at the first attempt: stored once
}

// DelayedVerdict counts what became of delayed messages. Early, Twice and
// Missing must be 0.
type DelayedVerdict struct {
	Sent      int      `json:"sent"`
	Early     int      `json:"early"`
	Twice     int      `json:"twice"`
	Missing   int      `json:"missing"`
	LateMsMax int64    `json:"lateMsMax"`
	Examples  []string `json:"examples,omitempty"`
}

// Pass reports whether every promise was kept.
func (v DelayedVerdict) Pass() bool { return v.Early == 0 && v.Twice == 0 && v.Missing == 0 }

// CheckDelayed compares what was sent with when it was seen.
func CheckDelayed(sent []delayedMessage, seen map[ID][]time.Time) DelayedVerdict {
	v := DelayedVerdict{Sent: len(sent)}
	example := func(n *int, format string, args ...any) {
		*n++
		if len(v.Examples) < examplesMax {
			v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
		}
	}
	for _, m := range sent {
		times := seen[m.ID]
		if len(times) == 0 {
			example(&v.Missing, "%v did not come", m.ID)
			continue
		}
		if len(times) > 1 && m.once {
			example(&v.Twice, "%v came %d times", m.ID, len(times))
		}
		late := times[0].Sub(m.due)
		if late < -earlyBound {
			example(&v.Early, "%v came %v early", m.ID, -late)
		}
		v.LateMsMax = max(v.LateMsMax, late.Milliseconds())
	}
	return v
}

// delayedLoad sends delayed messages of both kinds, and reads them as they come.
type delayedLoad struct {
	client *admin.Client
	run    string
	topic  string
	stop   context.CancelFunc // the sending
	quit   context.CancelFunc // the reading
	sends  sync.WaitGroup
	reads  sync.WaitGroup

	mu   sync.Mutex
	sent []delayedMessage
	seen map[ID][]time.Time
}

func startDelayed(ctx context.Context, client *admin.Client, run, topic string) *delayedLoad {
	d := &delayedLoad{client: client, run: run, topic: topic, seen: map[ID][]time.Time{}}
	sending, stop := context.WithCancel(ctx)
	reading, quit := context.WithCancel(ctx)
	d.stop, d.quit = stop, quit
	d.sends.Go(func() { d.send(sending) })
	d.reads.Go(func() { d.read(reading) })
	return d
}

func (d *delayedLoad) send(ctx context.Context) {
	for seq := int64(0); ctx.Err() == nil; seq++ {
		id, delay := ID{int(seq % 2), seq}, delayTime
		props := message.AppendProperty(nil, message.PropertyTimerDelayMS, fmt.Sprint(delayTime.Milliseconds()))
		if id.Sender == 1 {
			delay, props = levelTime, message.AppendProperty(nil, message.PropertyDelayTimeLevel, "2")
		}
		began := time.Now()
		res, err := d.client.Send(ctx, admin.Message{Topic: d.topic, Body: appendBody(nil, d.run, id, bodySize), Properties: props})
		if err == nil {
			d.mu.Lock()
			d.sent = append(d.sent, delayedMessage{ID: id, due: began.Add(delay), once: res.Attempts == 1})
			d.mu.Unlock()
		}
		wait(ctx, delayedPause)
	}
}

func (d *delayedLoad) read(ctx context.Context) {
	r := d.client.NewReader(d.topic, admin.Queue{Broker: local.BrokerName}, 0)
	for ctx.Err() == nil {
		msgs, err := r.Read(ctx, 100*time.Millisecond)
		if err != nil {
			continue
		}
		now := time.Now()
		d.mu.Lock()
		for _, m := range msgs {
			if id, damaged, foreign := parseBody(d.run, m.Body()); !damaged && !foreign {
				d.seen[id] = append(d.seen[id], now)
			}
		}
		d.mu.Unlock()
	}
}

// finish ends the sending, waits for what is due, and judges.
func (d *delayedLoad) finish(ctx context.Context) DelayedVerdict {
	d.stop()
	d.sends.Wait()
	ctx, cancel := context.WithTimeout(ctx, lateBound+levelTime)
	defer cancel()
	for {
		d.mu.Lock()
		v := CheckDelayed(d.sent, d.seen)
		d.mu.Unlock()
		if v.Missing == 0 || ctx.Err() != nil {
			d.quit()
			d.reads.Wait()
			return v
		}
		wait(ctx, 20*time.Millisecond)
	}
}
