package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
)

// lane is a share of the load over a connection of its own.
type lane struct {
	client    *admin.Client
	topics    []string
	body      []byte
	unique    string // first half of the messages' unique ids, or ""
	next      atomic.Uint64
	spread    bool // over the queues of several groups, not by number over those of one
	recording *atomic.Bool
	ctx       context.Context
	wg        sync.WaitGroup // one per send under way

	mu     sync.Mutex // guards the fields below
	hist   *hdrhistogram.Histogram
	acked  int64
	failed int64
}

const (
	queues     = 8                      // per topic
	slowestUs  = 60_000_000             // top of the histogram, µs
	failPause  = 2 * time.Millisecond   // before the next try after a failure
	idlePeriod = 500 * time.Millisecond // between looks at an idle cluster
)

// send keeps one send under way: its answer starts the next.
func (l *lane) send() {
	if l.ctx.Err() != nil {
		l.wg.Done()
		return
	}
	n := l.next.Add(1)
	m := admin.Message{Topic: l.topics[n%uint64(len(l.topics))], Queue: int32(n % queues), Body: l.body}
	if l.spread {
		m.Queue = admin.AnyQueue
	}
	if l.unique != "" {
		m.Properties = fmt.Appendf(nil, "UNIQ_KEY\x01%s%016X", l.unique, n)
	}
	began := time.Now()
	l.client.SendAsync(l.ctx, m, func(_ admin.SendResult, err error) {
		took := time.Since(began)
		if l.recording.Load() {
			l.mu.Lock()
			if err == nil {
				l.acked++
				_ = l.hist.RecordValue(min(took.Microseconds(), slowestUs))
			} else {
				l.failed++
			}
			l.mu.Unlock()
		}
		if err != nil {
			time.AfterFunc(failPause, l.send)
			return
		}
		l.send()
	})
}

// measure loads the cluster, and reports on the window after the warm-up.
func measure(ctx context.Context, c config, cluster *local.Cluster) (*result, error) {
	topics, err := createTopics(ctx, cluster, c.Topics)
	if err != nil {
		return nil, err
	}
	before, err := terms(ctx, cluster)
	if err != nil {
		return nil, err
	}
	load, stop := context.WithCancel(ctx)
	defer stop()
	var recording atomic.Bool
	lanes := make([]*lane, c.Connections)
	for i := range lanes {
		client, err := admin.New(admin.Config{NameServers: []string{cluster.Namesrv()}, Timeout: 10 * time.Second})
		if err != nil {
			return nil, err
		}
		defer client.Close()
		lanes[i] = &lane{client: client, topics: topics, body: make([]byte, c.Size), spread: c.Groups > 1, recording: &recording, ctx: load,
			hist: hdrhistogram.New(1, slowestUs, 3)}
		if c.Unique {
			lanes[i].unique = fmt.Sprintf("%016X", i)
		}
	}
	for i := range c.Outstanding {
		l := lanes[i%len(lanes)]
		l.wg.Add(1)
		go l.send()
	}

	pause(ctx, c.Warmup)
	start, err := usage(cluster)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	recording.Store(true)
	pause(ctx, c.Window)
	recording.Store(false)
	took := time.Since(began)
	end, err := usage(cluster)
	if err != nil {
		return nil, err
	}
	after, err := terms(ctx, cluster)
	stop()
	for _, l := range lanes {
		l.wg.Wait()
	}
	if err != nil {
		return nil, err
	}
	r := newResult(lanes, took, start, end)
	r.Elections = after - before
	return r, ctx.Err()
}

// terms is the sum of the groups' terms: it grows by one with each election.
func terms(ctx context.Context, cluster *local.Cluster) (uint64, error) {
	sum := uint64(0)
	for _, g := range cluster.Groups() {
		leader, err := cluster.LeaderOf(ctx, g, true)
		if err != nil {
			return 0, err
		}
		sum += leader.Term
	}
	return sum, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func createTopics(ctx context.Context, cluster *local.Cluster, n int) ([]string, error) {
	client, err := admin.New(admin.Config{NameServers: []string{cluster.Namesrv()}})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	leaders, err := client.Leaders(ctx, "")
	if err != nil {
		return nil, err
	}
	topics := make([]string, n)
	for i := range topics {
		topics[i] = "bench-" + strconv.Itoa(i)
		for _, leader := range leaders {
			if err := client.CreateTopic(ctx, leader, topics[i], queues); err != nil {
				return nil, err
			}
		}
	}
	for ctx.Err() == nil {
		if _, err = client.Route(ctx, topics[n-1]); err == nil {
			return topics, nil
		}
		pause(ctx, 10*time.Millisecond)
	}
	return nil, fmt.Errorf("the topics did not reach the name server: %w", err)
}

// member is one broker's consumption at one moment.
type member struct {
	id string
	local.Usage
}

func usage(cluster *local.Cluster) ([]member, error) {
	var out []member
	for _, g := range cluster.Groups() {
		for _, id := range cluster.MembersOf(g) {
			u, err := cluster.Usage(id)
			if err != nil {
				return nil, err
			}
			out = append(out, member{id, u})
		}
	}
	return out, nil
}

// idleRSS looks at a cluster that has nothing to do, and returns the resident
// memory of its largest broker in bytes.
func idleRSS(ctx context.Context, cluster *local.Cluster) (int64, error) {
	pause(ctx, 4*idlePeriod)
	members, err := usage(cluster)
	if err != nil {
		return 0, err
	}
	largest := int64(0)
	for _, m := range members {
		largest = max(largest, m.RSS)
	}
	return largest, nil
}
